"""What the tables mean: pure `DataFrame -> DataFrame` functions.

Belongs here: the consent and attribution rules, the pseudonym. Does not: Dagster, reading, writing,
Python UDFs. Everything runs unchanged on a cluster and over Spark Connect.
"""
