"""The curated zone: the people with readings, and the table a model is trained on."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import MatchOn, Policy
from stedi_assets.transforms.pseudonyms import with_subjects


def customers_curated(customer_trusted: DataFrame, accelerometer_trusted: DataFrame) -> DataFrame:
    """Return the people in customer_trusted who have at least one reading in accelerometer_trusted.

    In and out: the contract of `customer_trusted`.
    """
    # Each reader once before the join, or Spark would shuffle every reading for it.
    readers = accelerometer_trusted.select(F.col("user").alias("email")).dropDuplicates(["email"])
    return customer_trusted.join(readers, on="email", how="left_semi").select(*customer_trusted.columns)


def machine_learning_curated(
    step_trainer_trusted: DataFrame, accelerometer_trusted: DataFrame, hmac_pads: DataFrame, policy: Policy
) -> DataFrame:
    """Return each trusted device reading with each trusted phone reading of the same person at the same instant.

    In: the two trusted tables; `hmac_pads`: one row, `inner_pad` and `outer_pad` BINARY, from
    `stedi_assets.privacy.keys`. Out: the contract of `machine_learning_curated`. If the policy matches on the timestamp
    alone, the instant decides, and the subject is the phone's person. Instants are as exact as the policy says.
    """
    steps = step_trainer_trusted.select(F.col("sensorReadingTime").alias("timestamp"), "distanceFromObject", "user")
    if policy.match_on is MatchOn.TIMESTAMP:
        steps, readings, on = steps.drop("user"), with_subjects(accelerometer_trusted, "user", hmac_pads), ["timestamp"]
    else:
        # Hash each device reading, not each pair: one device reading meets several phone readings.
        steps, readings, on = with_subjects(steps, "user", hmac_pads), accelerometer_trusted, ["user", "timestamp"]
    pairs = steps.join(readings, on=on, how="inner")
    instant = F.col("timestamp") - F.col("timestamp") % policy.published_time.milliseconds
    return pairs.select("subject_id", instant.alias("timestamp"), "distanceFromObject", "x", "y", "z")
