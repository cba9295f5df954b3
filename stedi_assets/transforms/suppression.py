"""Erased people: keyed hashes alone tell which records are theirs.

A person's hash is that of the key that the landing gate stored. A device that nobody else holds is the person's too; of
a device that others also hold, only the readings at which the person's phone was active.
`stedi_assets.privacy.suppression` keeps the list of hashes.

`pads` everywhere: one row, `inner_pad` and `outer_pad` BINARY, from `stedi_assets.privacy.keys`. `erased` everywhere:
`hash`, and `back_since`, when a consent from after the erasure was recorded, in epoch milliseconds; null if none was.
"""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import Source
from stedi_assets.transforms.pseudonyms import keyed_hash

_CONSENT = "shareWithResearchAsOfDate"
# Later than any instant.
_UNKNOWN = 2**62
_KEYS = {"accelerometer": "_person", "step_trainer": "_device"}
_INSTANTS = {"customer": "lastUpdateDate", "accelerometer": "timestamp", "step_trainer": "sensorReadingTime"}


def unsuppressed(accepted: DataFrame, source: Source, pads: DataFrame, erased: DataFrame) -> DataFrame:
    """Return the accepted records that are of nobody erased, or are from after such a person came back.

    In and out: the columns of `accepted`, including the source's record columns.
    """
    kept = accepted.crossJoin(F.broadcast(pads))
    for text in _texts(source):
        kept = _of_erased(kept, source, text, erased, how="left_anti")
    return kept.select(*accepted.columns)


def suppressed_instants(
    stored: DataFrame, source: Source, pads: DataFrame, erased: DataFrame, keys: DataFrame
) -> DataFrame:
    """Return when the readings were taken that a landing table holds of erased people: `instant`.

    In: the landing table, and `keys`, the hashes of the people and of all their devices: `hash`.
    """
    key, *_ = texts = _texts(source)
    name = _KEYS[source.name]
    # A table has many readings of few people and devices.
    names = stored.select(name).dropDuplicates([name]).crossJoin(F.broadcast(pads))
    listed = names.join(F.broadcast(keys), on=keyed_hash(key) == keys["hash"], how="left_semi").select(name)
    readings = stored.join(F.broadcast(listed), on=name, how="left_semi").crossJoin(F.broadcast(pads))
    parts = [_of_erased(readings, source, text, erased, how="left_semi") for text in texts]
    return reduce(DataFrame.unionByName, parts).select(F.col(_INSTANTS[source.name]).alias("instant"))


def _of_erased(rows: DataFrame, source: Source, text: Column, erased: DataFrame, *, how: str) -> DataFrame:
    """Join records, with the pads, with the list by the hash of a text."""
    # Without a date and a consent, a record counts against whoever is back.
    undated = F.lit(_UNKNOWN)
    instant = F.coalesce(_recorded(), undated) if source.name == "customer" else F.col(_INSTANTS[source.name])
    listed = erased.select(F.col("hash").alias("erased_hash"), F.col("back_since").alias("erased_until"))
    theirs = (keyed_hash(text) == F.col("erased_hash")) & _before(instant, F.col("erased_until"))
    return rows.join(F.broadcast(listed), on=theirs, how=how)


def unsuppressed_quarantine(quarantined: DataFrame, source: Source, pads: DataFrame, erased: DataFrame) -> DataFrame:
    """Return the quarantined records that can concern nobody erased, or are from after such a person came back.

    A customers' record that names others too counts against them: it stays, without its content. In and out: the
    columns of `quarantined`.
    """
    found = _with_erased(quarantined, source, pads, erased)
    if source.name != "customer":
        return found.where("cardinality(gone) = 0").select(*quarantined.columns)
    others = F.filter("_people", lambda person: ~F.array_contains("away", keyed_hash(person)))
    # Bytes that are not UTF-8 name one person in several ways, all with the same ASCII characters.
    has_several = F.arrays_overlap("reasons", F.array(F.lit("invalid_utf8"), F.lit("record_too_large")))
    of_away = F.filter("_people", lambda person: ~is_ascii(person) & F.array_contains("away", keyed_hash(person)))
    found = found.withColumn("ways", F.transform(of_away, ascii_of))
    is_other = F.filter(others, lambda person: is_ascii(person) | ~F.array_contains("ways", ascii_of(person)))
    others = F.when(has_several, is_other).otherwise(others)
    emptied = {
        "raw": F.lit(b""),
        "_people": F.col("others"),
        "_devices": F.filter("_devices", lambda serial: ~F.array_contains("gone", keyed_hash(_device(serial)))),
        "_mentions": F.array().cast("array<string>"),
    }
    is_theirs = F.col("cardinality") > 0
    columns = [
        F.when(is_theirs, emptied[name]).otherwise(F.col(name)).alias(name) if name in emptied else F.col(name)
        for name in quarantined.columns
    ]
    known = found.withColumn("others", others).withColumn("cardinality", F.size("gone"))
    return known.where(~is_theirs | (F.size("others") > 0)).select(*columns)


def quarantined_of_erased(quarantined: DataFrame, source: Source, pads: DataFrame, erased: DataFrame) -> DataFrame:
    """Return the quarantined records that may concern somebody erased: the columns of `quarantined`."""
    found = _with_erased(quarantined, source, pads, erased)
    return found.where("cardinality(gone) > 0").select(*quarantined.columns)


def _with_erased(quarantined: DataFrame, source: Source, pads: DataFrame, erased: DataFrame) -> DataFrame:
    """Add the hashes on the list that each record may concern: `gone`. One that may be anybody's concerns all.

    `away` are those against whom it need not count. Without a date, it counts against whoever is back.
    """
    # A broken reading has no instant that could be trusted.
    instant = F.col("_updated") if source.name == "customer" else F.lit(None).cast("bigint")
    listed = erased.agg(F.collect_list(F.struct("hash", "back_since")).alias("listed"))
    anybody = F.col("_mentions").isNull()
    people = F.when(anybody, F.col("_people")).otherwise(F.concat("_people", "_mentions"))
    hashes = F.concat(
        F.transform(people, keyed_hash), F.transform("_devices", lambda serial: keyed_hash(_device(serial)))
    )
    found = quarantined.crossJoin(F.broadcast(pads)).crossJoin(F.broadcast(listed)).withColumn("hashes", hashes)
    before = F.filter("listed", lambda entry: _before(instant, entry["back_since"]))
    theirs = F.filter(before, lambda entry: anybody | F.array_contains("hashes", entry["hash"]))
    away = F.filter(theirs, lambda entry: entry["back_since"].isNull() | instant.isNotNull())
    gone, of_away = (F.transform(entries, lambda entry: entry["hash"]) for entries in (theirs, away))
    return found.withColumn("gone", gone).withColumn("away", of_away)


def came_back(customers: DataFrame, pads: DataFrame, erased: DataFrame, as_of: int) -> DataFrame:
    """Return the erased people in customer records, each with `back_since`, when a consent since was first recorded.

    `customers`: customer records. `erased`: `hash`, `erased_at`, and `known_consent`, the latest consent that was known
    then, in epoch milliseconds. What was recorded before the erasure brings nobody back, however far ahead its consent
    is dated. A consent from after `as_of` does not count yet. Out: `hash`; `back_since`, null for those who are not
    back; `back_from`, when the next such consent counts; and `latest_consent`; both null if there is none.
    """
    consents = customers.crossJoin(F.broadcast(pads)).select(
        keyed_hash(F.col("_person")).alias("hash"), F.col(_CONSENT).alias("consent"), _recorded().alias("recorded")
    )
    is_since = (F.least("consent", "recorded") > F.col("erased_at")) & (F.col("consent") > F.col("known_consent"))
    counts_from = F.greatest("consent", "recorded")
    theirs = consents.join(F.broadcast(erased), on="hash", how="inner").groupBy("hash")
    return theirs.agg(
        F.min(F.when(is_since & (counts_from <= as_of), F.col("recorded"))).alias("back_since"),
        F.min(F.when(is_since & (counts_from > as_of), counts_from)).alias("back_from"),
        F.max("consent").alias("latest_consent"),
    )


def latest_consent(customers: DataFrame, pads: DataFrame, person: str) -> DataFrame:
    """Return the latest consent in the records of the person with this hash, in one row: `consent`."""
    theirs = customers.crossJoin(F.broadcast(pads)).where(keyed_hash(F.col("_person")) == person)
    return theirs.agg(F.max(_CONSENT).alias("consent"))


def holders_of_devices(
    customers: DataFrame, quarantined: DataFrame | None, pads: DataFrame, people: DataFrame, devices: DataFrame
) -> DataFrame:
    """Return everybody who holds a device that an erased person also held: `person` and `device`, as hashes; `since`.

    `customers` and `quarantined` can have records of erased people; such a record in quarantine tells of nobody else.
    `people` and `devices`: `hash` of the erased, and of the devices that are known to have been theirs. `since` is the
    first date of a record with the device, in epoch milliseconds: a consent's if it has no other; far ahead without.
    """
    dated = F.coalesce(F.greatest("lastUpdateDate", "registrationDate"), _CONSENT, F.lit(_UNKNOWN)).alias("since")
    pairs = customers.select(F.col("_person").alias("person"), F.col("_device").alias("serial"), dated)
    pairs = pairs.groupBy("person", "serial").agg(F.min("since").alias("since")).crossJoin(F.broadcast(pads))
    device = keyed_hash(_device(F.col("serial"))).alias("device")
    held = pairs.select(keyed_hash(F.col("person")).alias("person"), device, "since")
    if quarantined is not None:
        listed = people.agg(F.collect_list("hash").alias("listed"))
        hashed = F.transform("_people", keyed_hash)
        named = F.when(F.arrays_overlap(hashed, "listed"), F.array_intersect(hashed, "listed")).otherwise(hashed)
        unread = (
            quarantined.crossJoin(F.broadcast(pads))
            .crossJoin(F.broadcast(listed))
            .select(
                F.explode(named).alias("person"),
                F.transform("_devices", lambda serial: keyed_hash(_device(serial))).alias("devices"),
                F.coalesce("_updated", F.lit(_UNKNOWN)).alias("since"),
            )
        )
        held = held.unionByName(unread.select("person", F.explode("devices").alias("device"), "since"))
    theirs = held.join(F.broadcast(people), on=held["person"] == people["hash"], how="left_semi")
    concerned = theirs.select(F.col("device").alias("hash")).unionByName(devices)
    return held.join(F.broadcast(concerned), on=held["device"] == concerned["hash"], how="left_semi")


def hashes_while_active(phone_readings: DataFrame, pads: DataFrame, devices: DataFrame) -> DataFrame:
    """Return the readings that erased people's devices may have taken while their phones were active.

    In: phone readings as delivered, and the hashes of the people and their devices, with the instants between which
    readings count: `person`, `device`, `after`, `until` (null: for ever). Out: `person`, and `hash` of the reading.
    """
    # Few people have many readings.
    people = phone_readings.select("_person").dropDuplicates(["_person"]).crossJoin(F.broadcast(pads))
    named = people.select("_person", keyed_hash(F.col("_person")).alias("person"))
    theirs = named.join(F.broadcast(devices), on="person", how="inner")
    active = phone_readings.join(F.broadcast(theirs), on="_person", how="inner")
    active = active.where("timestamp > after AND (until IS NULL OR timestamp < until)")
    readings = active.crossJoin(F.broadcast(pads))
    return readings.select("person", keyed_hash(_reading(F.col("device"), F.col("timestamp"))).alias("hash"))


def last_active(phone_readings: DataFrame, pads: DataFrame, person: str, as_of: int) -> DataFrame:
    """Return when the phone of the person with this hash took its last reading until `as_of`, in one row: `instant`."""
    known = phone_readings.where(F.col("timestamp") <= as_of)
    theirs = known.crossJoin(F.broadcast(pads)).where(keyed_hash(F.col("_person")) == person)
    return theirs.agg(F.max("timestamp").alias("instant"))


def _texts(source: Source) -> list[Column]:
    """Return the texts of a source's record whose hashes tell whose it is."""
    if source.name == "step_trainer":
        device = _device(F.col("_device"))
        return [device, _reading(keyed_hash(device), F.col("sensorReadingTime"))]
    return [F.col("_person")]


def _device(serial: Column) -> Column:
    return F.concat(F.lit("device "), serial)


def _reading(device: Column, instant: Column) -> Column:
    """Return the text of a reading. The device is a hash, so that nobody need know its serial number."""
    return F.concat(F.lit("reading "), device, F.lit(" "), instant.cast("string"))


def is_ascii(text: Column) -> Column:
    """Whether a text has ASCII characters only."""
    return text.rlike("^[\\x00-\\x7f]*$")


def ascii_of(text: Column) -> Column:
    """Return the ASCII characters of a text, which all ways of reading bytes that are not UTF-8 leave alone."""
    return F.regexp_replace(text, "[^\\x00-\\x7f]", "")


def _recorded() -> Column:
    """Return when a customer record was made; the record with a consent may have no other date."""
    return F.coalesce("lastUpdateDate", _CONSENT)


def _before(instant: Column, back_since: Column) -> Column:
    """Whether a record is from before its person came back; if in doubt, it is."""
    return ~F.coalesce(instant >= back_since, F.lit(False))
