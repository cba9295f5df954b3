"""Published tables as they lie in the lake: immutable snapshots, and one pointer that says which of them is current.

Reading only; `stedi_assets.lake.publishing` makes them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import LANDING_TABLES, QUARANTINE_TABLES, TABLES, Table, Type
from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.layout import Lake

FORMAT = 1
POINTER = "_current.json"
COUNTS = "_counts.json"
ARROW_TYPES = {
    Type.STRING: pa.string(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BINARY: pa.binary(),
    Type.STRINGS: pa.list_(pa.field("element", pa.string())),
}


@dataclass(frozen=True)
class Replaced:
    """A snapshot that was current once, and until when."""

    snapshot: str
    until: str


@dataclass(frozen=True)
class Pointer:
    """What `_current.json` says: which snapshot is current, and what it was made of.

    `as_of` is in epoch milliseconds, null for landing tables; so is `policy`. `inputs` are snapshot ids by table; a
    landing table's is that of the quarantine that belongs to it. `previous_rows` are those of the snapshot before.
    """

    snapshot: str
    rows: int
    run_id: str
    published_at: str
    purpose: str
    as_of: int | None = None
    policy: dict[str, str] | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    previous_rows: int | None = None
    replaced: tuple[Replaced, ...] = ()
    format: int = FORMAT


def read_pointer(lake: Lake, table: Table) -> Pointer | None:
    """Return a table's pointer, None if it was never published.

    Raises `LakeError` where the pointer is damaged or of a newer format.
    """
    path = lake.table_folder(table) / POINTER
    try:
        found = json.loads(path.read_text())
        pointer = Pointer(**{**found, "replaced": tuple(Replaced(**old) for old in found["replaced"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        msg = (
            f"The pointer of {table.name}, {path}, is damaged. Remove it and materialise {table.name} again; "
            "its raw files and the other tables are untouched."
        )
        raise LakeError(msg) from error
    if pointer.format != FORMAT:
        msg = f"The pointer of {table.name}, {path}, has format {pointer.format}; this version reads {FORMAT}."
        raise LakeError(msg)
    return pointer


def current(lake: Lake, table: Table) -> Pointer:
    """Return a table's pointer. Raises `LakeError` where there is none."""
    pointer = read_pointer(lake, table)
    if pointer is None:
        msg = f"{table.name} has not been published in {lake.root} yet. Materialise it first."
        raise LakeError(msg)
    return pointer


def snapshot_folder(lake: Lake, table: Table, snapshot: str) -> Path:
    """Return the folder of a snapshot."""
    return lake.table_folder(table) / snapshot


def read_snapshot(spark: SparkSession, lake: Lake, table: Table, snapshot: str) -> DataFrame:
    """Return the rows of a snapshot, by the contract's columns.

    Raises `LakeError` where the snapshot is gone.
    """
    folder = snapshot_folder(lake, table, snapshot)
    if not folder.is_dir():
        msg = f"The snapshot {folder} of {table.name} is missing. Materialise {table.name} again."
        raise LakeError(msg)
    return rows_in(spark, table, folder)


def read_beside(lake: Lake, table: Table, snapshot: str, name: str) -> Any:
    """Return a JSON file that lies beside a snapshot's data."""
    return json.loads((snapshot_folder(lake, table, snapshot) / name).read_text())


def saved_counts(lake: Lake, table: Table, snapshot: str) -> dict[str, int]:
    """Return the counts that were taken while a snapshot was written: `rows`, and the breaches of each counted rule."""
    counts: dict[str, int] = read_beside(lake, table, snapshot, COUNTS)
    return counts


def rows_in(spark: SparkSession, table: Table, folder: Path) -> DataFrame:
    """Return the rows of a table's data files in a folder."""
    return spark.read.schema(table.ddl).parquet(str(folder))


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a snapshot, by its footer. `as_in_contract` is whether it has the contract's columns."""

    path: Path
    rows: int
    bytes: int
    as_in_contract: bool


def data_files(table: Table, folder: Path) -> list[DataFile]:
    """Return the data files of a snapshot by their footers, without a Spark job.

    Raises `LakeError` where a footer cannot be read.
    """
    wanted = [(column.name, ARROW_TYPES[column.type]) for column in table.columns]
    found = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            footer = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            msg = f"The file {path.name} of {table.name} in {folder} is damaged. Materialise {table.name} again."
            raise LakeError(msg) from error
        schema = [(column.name, column.type) for column in footer.schema_arrow]
        found.append(DataFile(path, footer.metadata.num_rows, path.stat().st_size, schema == wanted))
    return found


def dataset(table: Table, folder: Path) -> ds.Dataset:
    """Return the data files of a snapshot for engines other than Spark. Raises as `data_files` does."""
    return ds.dataset([file.path for file in data_files(table, folder)], format="parquet")


def current_dataset(lake: Lake, name: str) -> ds.Dataset:
    """Return a table as it is published now, by its name. Raises `LakeError` where it is not, or is damaged."""
    table = table_named(name)
    return dataset(table, snapshot_folder(lake, table, current(lake, table).snapshot))


def table_named(name: str) -> Table:
    """Return a table of the eight, or a quarantine."""
    return TABLES.get(name) or QUARANTINE_TABLES[name]


def read_quarantine(spark: SparkSession, lake: Lake, landing: Table, pointer: Pointer) -> DataFrame | None:
    """Return the quarantine that belongs to a snapshot of a landing table; None where nothing is quarantined."""
    quarantine = LANDING_TABLES[landing.name].quarantine
    snapshot = pointer.inputs[quarantine.name]
    if saved_counts(lake, quarantine, snapshot)["rows"] == 0:
        return None
    return read_snapshot(spark, lake, quarantine, snapshot)
