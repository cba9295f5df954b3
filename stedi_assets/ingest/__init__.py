"""From raw files to landing rows and quarantine: splitting, validation, whose a record is, a report of each file.

Belongs here: what Spark's tasks do to a delivery, once; they account for every record and byte. Does not: consent. What
runs in the tasks needs no Spark, so that `stedi hash-person` and the tests run the same code without it.
"""
