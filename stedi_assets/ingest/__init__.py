"""From raw files to landing rows and quarantine: splitting, validation, whose a record is, what came of each file.

Belongs here: what is done to a delivery, once, by Spark's tasks; every record and byte accounted for. Does not:
consent. What runs in the tasks needs no Spark, so that `stedi hash-person` and the tests run the same code without it.
"""
