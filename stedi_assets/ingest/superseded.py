"""Customers' records that outlive their files: replacing a file does not take back what a person's records said.

When a customers' file is replaced, its records stay in customer_landing, marked as superseded, and count for consent
and for who holds a device. Only a later record, an erasure, or `forget_files` by name changes that.
"""

from collections.abc import Collection

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES

_COLUMNS = [column.name for column in SOURCES["customer"].record_columns]
_SAME_RECORD = ("_source_file", "raw", "_digest")


def kept_accepted(
    before: DataFrame, live: DataFrame | None, replaced: Collection[str], forget: Collection[str]
) -> DataFrame:
    """Return the accepted records that stay although their file was replaced, each once.

    In: `before`, customer_landing as it was; `live`, what the files hold now, None if that is nothing; `replaced`, the
    files whose content has changed since; `forget`, the files to be forgotten, by name. Out: the columns of `before`,
    `_superseded` true.
    """
    old = _outlived(before, replaced, forget)
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
) -> DataFrame:
    """Return the quarantined records that stay although their file was replaced.

    A record goes if the new file has an accepted record of everybody whom it names. In and out: as above; `accepted`
    are the records that the files hold now.
    """
    old = _outlived(before, replaced, forget)
    if live is not None:
        old = old.join(live, on=[old[name].eqNullSafe(live[name]) for name in _SAME_RECORD], how="left_anti")
    if accepted is not None:
        named = old.select(*_SAME_RECORD, F.explode_outer("_people").alias("_person"))
        unread = named.join(accepted, on=["_source_file", "_person"], how="left_anti")
        # Rename the columns: both sides come from the same rows.
        unread = unread.select(*(F.col(name).alias(f"unread {name}") for name in _SAME_RECORD))
        same = [F.col(name).eqNullSafe(F.col(f"`unread {name}`")) for name in _SAME_RECORD]
        old = old.join(unread, on=same, how="left_semi")
    return old.withColumn("_superseded", F.lit(True)).select(*before.columns)


def _outlived(before: DataFrame, replaced: Collection[str], forget: Collection[str]) -> DataFrame:
    """Return the records of `before` whose file was replaced, except those that may be forgotten."""
    spark = before.sparkSession
    listed = dict.fromkeys(replaced, True) | dict.fromkeys(forget, False)
    if not listed:
        return before.where("_superseded")
    marks = pa.table({"_source_file": list(listed), "stays": list(listed.values())})
    marked = before.join(F.broadcast(spark.createDataFrame(marks)), on="_source_file", how="left")
    return marked.where("coalesce(stays, _superseded)").select(*before.columns)
