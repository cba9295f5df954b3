"""Keyed hashes of people, for where the person must not be known."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def with_subjects(rows: DataFrame, person: str, hmac_pads: DataFrame) -> DataFrame:
    """Add `subject_id`, the keyed hash of the column `person`.

    `hmac_pads`: one row, `inner_pad` and `outer_pad` BINARY, from `stedi_assets.privacy.keys`.
    """
    hashed = keyed_hash(F.col(person)).alias("subject_id")
    return rows.crossJoin(F.broadcast(hmac_pads)).select(*rows.columns, hashed)


def keyed_hash(text: Column) -> Column:
    """Return the HMAC-SHA256 of a text as 64 hex digits, by the columns `inner_pad` and `outer_pad` of the same row.

    Spark has no such function (seen in 4.1), so it is written out as in RFC 2104.
    """
    inner = F.unhex(F.sha2(F.concat("inner_pad", text.cast("binary")), 256))
    return F.sha2(F.concat(F.col("outer_pad"), inner), 256)
