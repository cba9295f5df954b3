"""The curated zone: the people with readings, and the table a model is trained on."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import MatchOn, Policy


def customers_curated(customer_trusted: DataFrame, accelerometer_trusted: DataFrame) -> DataFrame:
    """Return the people in customer_trusted who have at least one reading in accelerometer_trusted.

    In and out: the contract of `customer_trusted`.
    """
    readers = accelerometer_trusted.select(F.col("user").alias("email"))
    return customer_trusted.join(readers, on="email", how="left_semi").select(*customer_trusted.columns)


def machine_learning_curated(
    step_trainer_trusted: DataFrame, accelerometer_trusted: DataFrame, hmac_pads: DataFrame, policy: Policy
) -> DataFrame:
    """Return each trusted device reading with each trusted phone reading of the same person at the same instant.

    In: the two trusted tables; `hmac_pads`: one row, `inner_pad` and `outer_pad` BINARY, from
    `stedi_assets.lake.pseudonym_key`. Out: the contract of `machine_learning_curated`. Where the policy matches on
    the timestamp alone, the instant decides and the subject is the phone's person.
    """
    steps = step_trainer_trusted.select(F.col("sensorReadingTime").alias("timestamp"), "distanceFromObject", "user")
    on = ["user", "timestamp"]
    if policy.match_on is MatchOn.TIMESTAMP:
        steps, on = steps.drop("user"), ["timestamp"]
    pairs = steps.join(accelerometer_trusted, on=on, how="inner")
    return pairs.crossJoin(F.broadcast(hmac_pads)).select(
        _keyed_pseudonym("user").alias("subject_id"), "timestamp", "distanceFromObject", "x", "y", "z"
    )


def _keyed_pseudonym(name: str) -> Column:
    """Return HMAC-SHA256 of a text column, as 64 hex digits (Spark 4.1 has no such function; RFC 2104 spelled out)."""
    inner = F.unhex(F.sha2(F.concat(F.col("inner_pad"), F.col(name).cast("binary")), 256))
    return F.sha2(F.concat(F.col("outer_pad"), inner), 256)
