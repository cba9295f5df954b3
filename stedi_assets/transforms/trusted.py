"""The trusted zone: people who consent, and their readings.

People and devices are compared only by the keys that the landing gate stored.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, ConsentRecord, MatchOn, Policy, Readings
from stedi_assets.transforms.holders import holders

_CONSENT = "shareWithResearchAsOfDate"
# The keys that replace these columns in the tables made from them.
_KEYS = {"email": "_person", "serialNumber": "_device"}


def customer_trusted(customers: DataFrame, quarantined: DataFrame | None, policy: Policy, as_of: int) -> DataFrame:
    """Return the record that decides for each person, if it consents to research at `as_of` (epoch milliseconds).

    `customers`: customer_landing. `quarantined`: its quarantine, None if that is empty; a record there counts as one
    without consent for each person it names, and as the newest if its date is in doubt. A consent, or a record, from
    after `as_of` does not consent yet. Out: the contract of `customer_trusted`, one row per person.
    """
    columns = [column.name for column in SOURCES["customer"].record_columns]
    known_by_then = F.col("lastUpdateDate").isNull() | (F.col("lastUpdateDate") <= as_of)
    consents = F.coalesce(F.col(_CONSENT) <= as_of, F.lit(False)) & known_by_then
    records = customers.select(*columns, *_KEYS.values(), consents.alias("consents"))
    if policy.consent_record is ConsentRecord.ANY:
        records = records.where("consents")
    elif quarantined is not None:
        withheld = quarantined.select(
            F.explode("_people").alias("_person"),
            F.col("_updated").alias("lastUpdateDate"),
            F.lit(False).alias("consents"),
        )
        records = records.unionByName(withheld, allowMissingColumns=True)

    # Without a date, doubt goes against use: a consent counts as the oldest record, anything else as the newest.
    undated = F.when(F.col("consents"), F.lit(0)).otherwise(F.lit(2**63 - 1))
    newest_first = Window.partitionBy("_person").orderBy(
        F.coalesce("lastUpdateDate", undated).desc(),
        F.col("consents").asc(),
        F.col("registrationDate").desc_nulls_last(),
        *(F.col(name).asc_nulls_first() for name in columns),
    )
    latest = records.withColumn("rank", F.row_number().over(newest_first)).where("rank = 1 AND consents")
    return latest.select(*(F.col(_KEYS.get(name, name)).alias(name) for name in columns))


def accelerometer_trusted(phone_readings: DataFrame, customer_trusted: DataFrame, policy: Policy) -> DataFrame:
    """Return the phone readings of the people in customer_trusted, exact repeats once.

    In: accelerometer_landing, customer_trusted. Out: the contract of `accelerometer_trusted`.
    """
    readings = phone_readings.select(F.col("_person").alias("user"), "timestamp", "x", "y", "z")
    return _of_people(readings, customer_trusted, policy, instant="timestamp").dropDuplicates(
        ["user", "timestamp", "x", "y", "z"]
    )


def step_trainer_trusted(
    device_readings: DataFrame,
    customers_curated: DataFrame,
    customers: DataFrame,
    quarantined: DataFrame | None,
    phone_readings: DataFrame,
    policy: Policy,
) -> DataFrame:
    """Return the device readings that belong to exactly one person of customers_curated, exact repeats once.

    In: step_trainer_landing, customers_curated, customer_landing and its quarantine, accelerometer_landing (the last
    three are the evidence for whose a reading is, and are never filtered). Out: the contract of `step_trainer_trusted`;
    `user` is null if the policy matches on the timestamp alone.
    """
    readings = device_readings.select("sensorReadingTime", F.col("_device").alias("serialNumber"), "distanceFromObject")
    if policy.match_on is MatchOn.TIMESTAMP:
        serials = customers_curated.select("serialNumber")
        theirs = readings.join(serials, on="serialNumber", how="left_semi").withColumn(
            "user", F.lit(None).cast("string")
        )
    else:
        owners = _owners(customers, quarantined, phone_readings)
        owned = readings.join(owners, on=["serialNumber", "sensorReadingTime"], how="inner")
        theirs = _of_people(owned, customers_curated, policy, instant="sensorReadingTime")
    # Remove repeats last: the join has already brought the rows of an instant together.
    return theirs.select(*readings.columns, "user").dropDuplicates(readings.columns)


def _owners(customers: DataFrame, quarantined: DataFrame | None, phone_readings: DataFrame) -> DataFrame:
    """Return the owner of a device reading at an instant: the one holder whose phone logged a reading just then.

    In: customer_landing and its quarantine, accelerometer_landing. Columns out: `serialNumber`, `sensorReadingTime`,
    `user`; no row if several holders' phones did.
    """
    active = phone_readings.select(F.col("_person").alias("person"), F.col("timestamp").alias("sensorReadingTime"))
    evidence = active.join(holders(customers, quarantined), on="person", how="inner")
    # Exactly one person, however often: the least and the greatest are the same.
    return (
        evidence.groupBy(F.col("serial").alias("serialNumber"), "sensorReadingTime")
        .agg(F.min("person").alias("user"), F.max("person").alias("other"))
        .where("user = other")
        .select("serialNumber", "sensorReadingTime", "user")
    )


def _of_people(readings: DataFrame, people: DataFrame, policy: Policy, *, instant: str) -> DataFrame:
    """Keep the readings whose `user` is one of the people; only those since their consent if the policy says so."""
    consents = people.select(F.col("email").alias("person"), F.col(_CONSENT).alias("consent"))
    theirs = F.col("user") == F.col("person")
    if policy.readings is Readings.SINCE_CONSENT:
        theirs = theirs & (F.col(instant) >= F.col("consent"))
    return readings.join(consents, on=theirs, how="left_semi")
