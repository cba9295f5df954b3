"""Who a record is about: consent, and who holds which device.

People and devices are compared by the keys that the landing gate stored, and in no other way.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, ConsentRecord, Policy

_CONSENT = "shareWithResearchAsOfDate"
# What stands for a column in the tables made of it.
_KEYS = {"email": "_person", "serialNumber": "_device"}


def chosen_records(customers: DataFrame, quarantined: DataFrame | None, policy: Policy, as_of: int) -> DataFrame:
    """Return the record that decides for each person, for those whom it lets in.

    `customers`: customer_landing. `quarantined`: its quarantine, None where that is empty; a record there counts for
    each person it names as one without consent, the newest of all if its date is in doubt. `as_of`: epoch
    milliseconds; a consent, or a record, from after it is none yet.
    Columns out: the customer record's, keys for e-mail and serial number; one row per person.
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

    # Without a date, doubt goes against use: a consent is taken for the oldest record, anything else for the newest.
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
    """Return every person with at least one record carrying a serial number, accepted or quarantined.

    Columns out: `person`, `serial`, each pair once.
    """
    pairs = customers.select(F.col("_person").alias("person"), F.col("_device").alias("serial"))
    if quarantined is not None:
        people = quarantined.select(F.explode("_people").alias("person"), "_devices")
        pairs = pairs.unionByName(people.select("person", F.explode("_devices").alias("serial")))
    return pairs.dropDuplicates(["person", "serial"])
