"""Where AWS does the work: runs of the Glue job, and its script.

Not here: what a table means, and what S3 or Glue's catalog are to a lake (`storage`, `tables`).
"""
