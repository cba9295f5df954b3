"""What people look at: the data card, and pictures of the ML table and of who is in it.

Aggregates only, nothing of one person. Does not belong here: Spark.
"""
