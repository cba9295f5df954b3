"""Raw bytes: list, open and write files in a folder or on S3; where in the lake each thing lies.

Does not belong here: what a file holds (`ingest`, `tables`), and how a table is published.
"""
