"""From raw files to landing rows and quarantine: splitting, judging, and whose a record is.

Belongs here: what is done to the bytes of a delivery, once, by Spark's tasks. Does not: consent, and how tables are
stored. Nothing here needs Spark but `gate`, so that `stedi hash-person` and the tests run the same code without it.
"""
