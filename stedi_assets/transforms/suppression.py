"""Erased people: keyed hashes alone tell which records are theirs.

A person's hash is that of the key that the landing gate stored. A device that nobody else holds is the person's too; of
a device that others also hold, only the readings at which the person's phone was active.
`stedi_assets.privacy.suppression` keeps the list of hashes.

`pads` everywhere: one row, `inner_pad` and `outer_pad` BINARY, from `stedi_assets.privacy.keys`. `erased` everywhere:
`hash`, and `back_since`, a consent from after the erasure in epoch milliseconds, null if there is none.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import Source
from stedi_assets.transforms.people import holders
from stedi_assets.transforms.pseudonyms import keyed_hash

_CONSENT = "shareWithResearchAsOfDate"
_INSTANTS = {"customer": "lastUpdateDate", "accelerometer": "timestamp", "step_trainer": "sensorReadingTime"}


def unsuppressed(accepted: DataFrame, source: Source, pads: DataFrame, erased: DataFrame) -> DataFrame:
    """Return the accepted records that are of nobody erased, or are from after such a person came back.

    In and out: the columns of `accepted`, including the source's record columns.
    """
    instant = F.col(_INSTANTS[source.name])
    if source.name == "customer":
        # The record with the consent may have no date of its own.
        instant = F.greatest(instant, F.col(_CONSENT))
    kept = accepted.crossJoin(F.broadcast(pads))
    for text in _texts(source):
        listed = erased.select(F.col("hash").alias("erased_hash"), F.col("back_since").alias("erased_until"))
        theirs = (keyed_hash(text) == F.col("erased_hash")) & _before(instant, F.col("erased_until"))
        kept = kept.join(F.broadcast(listed), on=theirs, how="left_anti")
    return kept.select(*accepted.columns)


def unsuppressed_quarantine(quarantined: DataFrame, source: Source, pads: DataFrame, erased: DataFrame) -> DataFrame:
    """Return the quarantined records that can concern nobody erased, or are from after such a person came back.

    A record that may concern anybody counts as concerning every erased person. In and out: the columns of
    `quarantined`.
    """
    # A broken reading has no instant that could be trusted.
    instant = F.col("_updated") if source.name == "customer" else F.lit(None).cast("bigint")
    listed = erased.agg(F.collect_list(F.struct("hash", "back_since")).alias("listed"))
    anybody = F.col("_mentions").isNull()
    people = F.when(anybody, F.col("_people")).otherwise(F.concat("_people", "_mentions"))
    hashes = F.concat(
        F.transform(people, keyed_hash), F.transform("_devices", lambda serial: keyed_hash(_device(serial)))
    )
    theirs = F.exists(
        F.filter("listed", lambda entry: _before(instant, entry["back_since"])),
        lambda entry: anybody | F.array_contains(hashes, entry["hash"]),
    )
    kept = quarantined.crossJoin(F.broadcast(pads)).crossJoin(F.broadcast(listed)).where(~theirs)
    return kept.select(*quarantined.columns)


def came_back(customers: DataFrame, pads: DataFrame, erased: DataFrame, as_of: int) -> DataFrame:
    """Return the erased people who have consented since: `hash`, and `back_since`, the first such consent.

    `customers`: customer records. `erased`: `hash`, `erased_at` in epoch milliseconds. A consent from after `as_of`
    does not count yet.
    """
    consents = customers.crossJoin(F.broadcast(pads)).select(
        keyed_hash(F.col("_person")).alias("hash"), F.col(_CONSENT).alias("consent")
    )
    since = consents.where(F.col("consent") <= as_of).join(F.broadcast(erased), on="hash", how="inner")
    return since.where("consent > erased_at").groupBy("hash").agg(F.min("consent").alias("back_since"))


def hashes_of_devices(customers: DataFrame, quarantined: DataFrame | None, pads: DataFrame, person: str) -> DataFrame:
    """Return the devices that only the person with this hash holds: `hash`."""
    theirs, others = _held(customers, quarantined, pads, person)
    sole = theirs.join(others, on="serial", how="left_anti")
    return sole.crossJoin(F.broadcast(pads)).select(keyed_hash(_device(F.col("serial"))).alias("hash"))


def hashes_of_readings(
    customers: DataFrame,
    quarantined: DataFrame | None,
    phone_readings: DataFrame,
    device_readings: DataFrame,
    pads: DataFrame,
    person: str,
) -> DataFrame:
    """Return the readings of devices that others hold too, from when that person's phone was active: `hash`.

    In: the landing tables, and the customers' quarantine (None if it is empty).
    """
    theirs, others = _held(customers, quarantined, pads, person)
    shared = theirs.join(others, on="serial", how="left_semi")
    active = phone_readings.crossJoin(F.broadcast(pads)).where(keyed_hash(F.col("_person")) == person)
    readings = device_readings.select(F.col("_device").alias("serial"), "sensorReadingTime")
    of_shared = readings.join(shared, on="serial", how="left_semi").join(
        active, on=readings["sensorReadingTime"] == active["timestamp"], how="left_semi"
    )
    hashed = keyed_hash(_reading(F.col("serial"), F.col("sensorReadingTime"))).alias("hash")
    return of_shared.dropDuplicates(["serial", "sensorReadingTime"]).crossJoin(F.broadcast(pads)).select(hashed)


def _held(
    customers: DataFrame, quarantined: DataFrame | None, pads: DataFrame, person: str
) -> tuple[DataFrame, DataFrame]:
    """Return the serial numbers that the person with this hash holds, and those that others hold: `serial`."""
    held = holders(customers, quarantined).crossJoin(F.broadcast(pads))
    theirs = keyed_hash(F.col("person")) == person
    return held.where(theirs).select("serial"), held.where(~theirs).select("serial")


def _texts(source: Source) -> list[Column]:
    """Return the texts of a source's record whose hashes tell whose it is."""
    if source.name == "step_trainer":
        return [_device(F.col("_device")), _reading(F.col("_device"), F.col("sensorReadingTime"))]
    return [F.col("_person")]


def _device(serial: Column) -> Column:
    return F.concat(F.lit("device "), serial)


def _reading(serial: Column, instant: Column) -> Column:
    return F.concat(F.lit("reading "), serial, F.lit(" "), instant.cast("string"))


def _before(instant: Column, back_since: Column) -> Column:
    """Whether a record is from before its person came back; if in doubt, it is."""
    return ~F.coalesce(instant >= back_since, F.lit(False))
