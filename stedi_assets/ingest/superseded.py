"""Customers' records that outlive their files: replacing a file does not take back what a person's records said.

When a customers' file is replaced, its records stay in customer_landing, marked as superseded, and count for consent
and for who holds a device. Only a later record, an erasure, or `forget_files` by name changes that.
"""

from collections.abc import Collection, Iterable

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest.evidence import find_evidence, find_mentions
from stedi_assets.ingest.identity import device_of, person_of
from stedi_assets.transforms.suppression import ascii_of, is_ascii

_COLUMNS = [column.name for column in SOURCES["customer"].record_columns]
_SAME_RECORD = ("_source_file", "raw", "_digest")
# Also of one that has lost its content, as it named somebody who was erased.
_SAME_ROW = (*_SAME_RECORD, "_offset", "_length", "_people", "_devices", "_updated")


def kept_accepted(
    before: DataFrame,
    live: DataFrame | None,
    replaced: Collection[str],
    forget: Collection[str],
    *,
    has_old_keys: bool = False,
) -> DataFrame:
    """Return the accepted records that stay although their file was replaced, each once.

    In: `before`, customer_landing as it was; `live`, what the files hold now, None if that is nothing; `replaced`, the
    files whose content has changed since; `forget`, the files to be forgotten, by name. `has_old_keys`: another version
    of the code made the keys. Out: the columns of `before`, `_superseded` true.
    """
    old = _outlived(before, replaced, forget)
    if has_old_keys:
        old = old.mapInArrow(_with_keys, old.schema)
    if live is not None:
        old = old.join(live, on=[old[name].eqNullSafe(live[name]) for name in _COLUMNS], how="left_anti")
    others = [name for name in before.columns if name not in (*_COLUMNS, "_source_file", "_superseded")]
    # If several files held the same record, the first by name.
    once = old.groupBy(*_COLUMNS, *others).agg(F.min("_source_file").alias("_source_file"))
    return once.withColumn("_superseded", F.lit(True)).select(*before.columns)


def kept_quarantined(
    before: DataFrame,
    live: DataFrame | None,
    accepted: DataFrame | None,
    replaced: Collection[str],
    forget: Collection[str],
    *,
    has_old_keys: bool = False,
) -> DataFrame:
    """Return the quarantined records that stay although their file was replaced.

    A record goes if the new file has an accepted record of everybody whom it names. One that is not UTF-8 names a
    person in several ways, of which one is enough. In and out: as above; `accepted` are the records that the files hold
    now.
    """
    old = _outlived(before, replaced, forget)
    if has_old_keys:
        old = old.mapInArrow(_with_evidence, old.schema)
    if live is not None:
        same = [old[name].eqNullSafe(live[name]) for name in _SAME_RECORD]
        # Records without their content look all the same by it.
        old = old.join(live, on=[F.length(old["raw"]) > 0, *same], how="left_anti")
        emptied = [
            F.length(old["raw"]) == 0,
            *(old[name] == live[name] for name in ("_source_file", "_length")),
            old["_updated"].eqNullSafe(live["_updated"]),
            *(F.size(F.array_except(old[name], live[name])) == 0 for name in ("_people", "_devices")),
        ]
        old = old.join(live, on=emptied, how="left_anti")
    if accepted is not None:
        named = old.select(*_SAME_ROW, "reasons", F.explode_outer("_people").alias("_person"))
        one_way_of_many = F.array_contains("reasons", "invalid_utf8") & ~is_ascii(F.col("_person"))
        named = named.withColumn("in_other_ways", F.coalesce(one_way_of_many, F.lit(False)))
        named = named.withColumn("ascii", ascii_of(F.col("_person")))
        unread = named.join(accepted, on=["_source_file", "_person"], how="left_anti")
        read = named.where("in_other_ways").join(accepted, on=["_source_file", "_person"], how="left_semi")
        one_person = (*_SAME_ROW, "ascii")
        read = read.select(*(F.col(name).alias(f"read {name}") for name in one_person))
        is_read = [F.col(name).eqNullSafe(F.col(f"`read {name}`")) for name in one_person]
        unread = unread.join(read, on=[*is_read, F.col("in_other_ways")], how="left_anti")
        # Rename the columns: both sides come from the same rows.
        unread = unread.select(*(F.col(name).alias(f"unread {name}") for name in _SAME_ROW))
        same = [F.col(name).eqNullSafe(F.col(f"`unread {name}`")) for name in _SAME_ROW]
        old = old.join(unread, on=same, how="left_semi")
    return old.withColumn("_superseded", F.lit(True)).select(*before.columns)


def _with_keys(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Give accepted records the keys that this version of the code makes; where it makes none, they keep theirs."""
    for batch in batches:
        rows = batch.to_pylist()
        for row in rows:
            row["_person"] = person_of(row["email"]) or row["_person"]
            row["_device"] = device_of(row["serialNumber"]) or row["_device"]
        yield pa.RecordBatch.from_pylist(rows, schema=batch.schema)


def _with_evidence(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Add to quarantined records the people and devices that this version of the code finds in them.

    Of a very large record the beginning alone is kept, so nobody who was found in it before is dropped.
    """
    for batch in batches:
        rows = batch.to_pylist()
        for row in rows:
            found, mentions = find_evidence(row["raw"]), find_mentions(row["raw"])
            row["_people"] = list(dict.fromkeys([*row["_people"], *found.people]))
            row["_devices"] = list(dict.fromkeys([*row["_devices"], *found.devices]))
            if mentions is None or row["_mentions"] is None:
                row["_mentions"] = None
            else:
                row["_mentions"] = list(dict.fromkeys([*row["_mentions"], *mentions]))
        yield pa.RecordBatch.from_pylist(rows, schema=batch.schema)


def _outlived(before: DataFrame, replaced: Collection[str], forget: Collection[str]) -> DataFrame:
    """Return the records of `before` whose file was replaced, except those that may be forgotten."""
    spark = before.sparkSession
    listed = dict.fromkeys(replaced, True) | dict.fromkeys(forget, False)
    if not listed:
        return before.where("_superseded")
    marks = pa.table({"_source_file": list(listed), "stays": list(listed.values())})
    marked = before.join(F.broadcast(spark.createDataFrame(marks)), on="_source_file", how="left")
    return marked.where("coalesce(stays, _superseded)").select(*before.columns)
