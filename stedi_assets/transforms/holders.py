"""Who holds which device.

People and devices are compared only by the keys that the landing gate stored.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def holders(customers: DataFrame, quarantined: DataFrame | None) -> DataFrame:
    """Return every person with at least one record, accepted or quarantined, that carries a serial number.

    Columns out: `person`, `serial`, each pair once.
    """
    pairs = customers.select(F.col("_person").alias("person"), F.col("_device").alias("serial"))
    if quarantined is not None:
        people = quarantined.select(F.explode("_people").alias("person"), "_devices")
        pairs = pairs.unionByName(people.select("person", F.explode("_devices").alias("serial")))
    return pairs.dropDuplicates(["person", "serial"])
