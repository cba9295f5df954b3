"""Who consents, and who holds which device.

People and devices are compared only by the keys that the landing gate stored.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, ConsentRecord, Policy

_CONSENT = "shareWithResearchAsOfDate"
# The keys that replace these columns in the tables made from them.
_KEYS = {"email": "_person", "serialNumber": "_device"}


def chosen_records(customers: DataFrame, quarantined: DataFrame | None, policy: Policy, as_of: int) -> DataFrame:
    """Return the record that decides for each person, if it lets them in.

    `customers`: customer_landing. `quarantined`: its quarantine, None if that is empty; a record there counts as one
    without consent for each person it names, and as the newest if its date is in doubt. `as_of`: epoch milliseconds; a
    consent, or a record, from after it does not consent yet. Columns out: the customer record's, keys for e-mail and
    serial number; one row per person.
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


def holders(customers: DataFrame, quarantined: DataFrame | None) -> DataFrame:
    """Return every person with at least one record, accepted or quarantined, that carries a serial number.

    Columns out: `person`, `serial`, each pair once.
    """
    pairs = customers.select(F.col("_person").alias("person"), F.col("_device").alias("serial"))
    if quarantined is not None:
        people = quarantined.select(F.explode("_people").alias("person"), "_devices")
        pairs = pairs.unionByName(people.select("person", F.explode("_devices").alias("serial")))
    return pairs.dropDuplicates(["person", "serial"])
