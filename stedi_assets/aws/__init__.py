"""Where AWS does the work: the Glue job and its runs, Athena, the CloudFormation stack, links to AWS's console.

Not here: what a table means, and what S3 or Glue's catalog are to a lake (`storage`, `tables`).
"""
