"""Where AWS does the work: Glue jobs, Athena, and the CloudFormation stack.

Not here: what a table means, and what S3 or Glue's catalog are to a lake (`storage`, `tables`).
"""
