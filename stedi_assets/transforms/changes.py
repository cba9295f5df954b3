"""What differs between two versions of what is known about people, and on which days that can matter."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_DAY = 86_400_000


def changed_people(then: DataFrame, now: DataFrame, person: str) -> DataFrame:
    """Return the people of whom a row is in one of two tables and not in the other, `person` being their column.

    In: two tables with the same columns. Column out: `person`; somebody may stand there more than once.
    """
    marked = then.select("*", F.lit(1).alias("balance")).unionByName(now.select("*", F.lit(-1).alias("balance")))
    balances = marked.groupBy(*then.columns).agg(F.sum("balance").alias("balance"))
    return balances.where("balance != 0").select(F.col(person).alias("person"))


def active_days(phone_readings: DataFrame, people: DataFrame) -> DataFrame:
    """Return the UTC days on which any of some people has phone readings.

    In: accelerometer_landing; `person`. Column out: `start`, the first instant of a day, in epoch milliseconds.
    """
    # Each person's days once before the join, or Spark would shuffle every reading for it.
    active = phone_readings.select(F.col("_person").alias("person"), _start("timestamp"))
    theirs = active.dropDuplicates(["person", "start"]).join(people, on="person", how="left_semi")
    return theirs.select("start").dropDuplicates(["start"])


def days_of(readings: DataFrame, instant: str) -> DataFrame:
    """Return the UTC days of readings, given the column of their instants.

    Column out: `start`, the first instant of a day, in epoch milliseconds.
    """
    return readings.select(_start(instant)).dropDuplicates(["start"])


def _start(instant: str) -> Column:
    return (F.col(instant) - F.col(instant) % _DAY).alias("start")
