"""Published tables as they lie in the lake: immutable snapshots, and one pointer that says which of them is current.

Reading only; `stedi_assets.tables.publishing` makes them. Beside its data each snapshot holds `_snapshot.json`: the
pointer it was made for, its data files, and what was counted while it was written.
"""

import errno
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession

from stedi_assets.contracts import LANDING_TABLES, QUARANTINE_TABLES, TABLES, Table
from stedi_assets.storage.errors import LakeError, NotWhole
from stedi_assets.storage.lake import DATA_CARD, POINTER, SNAPSHOT, Lake
from stedi_assets.tables.arrow_types import ARROW_TYPES
from stedi_assets.tables.pointers import FORMAT, Pointer

_Rows = TypeVar("_Rows")
_REPAIR = "Run `stedi repair` to go back to the newest whole snapshot, or materialise {table} again."


def read_pointer(lake: Lake, table: Table) -> Pointer | None:
    """Return a table's pointer, None if it was never published.

    Raises `LakeError` where the pointer is damaged or of a newer format.
    """
    found = lake.storage.read(f"{table.path}/{POINTER}")
    if found is None:
        return None
    path = lake.storage.shown(f"{table.path}/{POINTER}")
    try:
        pointer = Pointer.from_dict(json.loads(found.content), found.version)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"The pointer of {table.name}, {path}, is damaged. {_REPAIR.format(table=table.name)}"
        raise NotWhole(msg) from error
    if pointer.format != FORMAT:
        what_to_do = (
            "It was published by an earlier version: move the folders of the tables and quarantines away (landing "
            "folders and the files that begin with _ stay), and run rebuild_lakehouse."
            if pointer.format < FORMAT
            else "Install the version that published it."
        )
        msg = (
            f"The pointer of {table.name}, {path}, has format {pointer.format}; this version reads {FORMAT}. "
            f"{what_to_do}"
        )
        raise LakeError(msg)
    return pointer


def current(lake: Lake, table: Table) -> Pointer:
    """Return a table's pointer. Raises `LakeError` where there is none."""
    pointer = read_pointer(lake, table)
    if pointer is None:
        msg = f"{table.name} has not been published in {lake.location} yet. Materialise it first."
        raise LakeError(msg)
    return pointer


def snapshot_folder(table: Table, snapshot: str) -> str:
    """Return the folder of a snapshot, below the lake."""
    return f"{table.path}/{snapshot}"


def read_snapshot(spark: SparkSession, lake: Lake, table: Table, snapshot: str) -> DataFrame:
    """Return the rows of a snapshot, by the contract's columns.

    Raises `NotWhole` where a part of the snapshot is gone.
    """
    # Spark lists the files here. They only ever go, so those that are all there afterwards were all there then.
    try:
        rows = rows_in(spark, lake, table, snapshot_folder(table, snapshot))
    except AnalysisException:
        require_whole(lake, table, snapshot)
        raise
    require_whole(lake, table, snapshot)
    return rows


def read_current(spark: SparkSession, lake: Lake, table: Table) -> tuple[Pointer, DataFrame]:
    """Return a table as it is published now, and its pointer.

    Raises `LakeError` where it is not published, and `NotWhole` where a part of it is gone.
    """
    return _read_by_pointer(lake, table, lambda snapshot: read_snapshot(spark, lake, table, snapshot))


def require_whole(lake: Lake, table: Table, snapshot: str) -> None:
    """Raise `NotWhole` unless every data file of a snapshot is there, and as long as it was written."""
    _require_files(lake, table, snapshot, lambda found, written: found != written)


def _read_by_pointer(lake: Lake, table: Table, read: Callable[[str], _Rows]) -> tuple[Pointer, _Rows]:
    """Return what is read of a table's current snapshot; of the next one, where that has replaced it meanwhile."""
    pointer = current(lake, table)
    while True:
        try:
            return pointer, read(pointer.snapshot)
        except NotWhole:
            before, pointer = pointer, current(lake, table)
            if pointer.snapshot == before.snapshot:
                raise


def _require_files(lake: Lake, table: Table, snapshot: str, is_damaged: Callable[[int | None, int], bool]) -> None:
    folder = snapshot_folder(table, snapshot)
    written, found = read_beside(lake, table, snapshot, SNAPSHOT)["files"], lake.storage.files(folder)
    damaged = sum(is_damaged(found.get(name), size) for name, size in written.items())
    if damaged:
        msg = (
            f"The snapshot {lake.storage.shown(folder)} of {table.name} is damaged: {damaged:,} of its "
            f"{len(written):,} files are gone or cut. {_REPAIR.format(table=table.name)}"
        )
        raise NotWhole(msg)


def read_beside(lake: Lake, table: Table, snapshot: str, name: str) -> Any:
    """Return a JSON file that lies beside a snapshot's data. Raises `NotWhole` where it is gone or damaged."""
    path = f"{snapshot_folder(table, snapshot)}/{name}"
    found = lake.storage.read(path)
    try:
        return json.loads(found.content if found else b"")
    except ValueError:
        where = lake.storage.shown(path)
        msg = f"{where} of {table.name} {'is damaged' if found else 'is missing'}. {_REPAIR.format(table=table.name)}"
        raise NotWhole(msg) from None


def saved_counts(lake: Lake, table: Table, snapshot: str) -> dict[str, int]:
    """Return the counts that were taken while a snapshot was written: `rows`, and the breaches of each counted rule."""
    counts: dict[str, int] = read_beside(lake, table, snapshot, SNAPSHOT)["counts"]
    return counts


def read_data_card(lake: Lake, table: Table, snapshot: str) -> str | None:
    """Return the data card of a snapshot, as Markdown; None where there is none."""
    found = lake.storage.read(f"{snapshot_folder(table, snapshot)}/{DATA_CARD}")
    return found.content.decode() if found else None


def reader_of(spark: SparkSession) -> DataFrameReader:
    """Return a reader that takes paths to the letter. By itself, Spark looks for patterns in those it reads."""
    # The option that Spark reads its own tables with: `[`, `{`, `*`, `?` and `\\` are letters like any other.
    return spark.read.option("__globPaths__", "false")


def rows_in(spark: SparkSession, lake: Lake, table: Table, folder: str) -> DataFrame:
    """Return the rows of a table's data files in a folder."""
    return reader_of(spark).schema(table.ddl).parquet(lake.storage.url(folder))


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a snapshot, by its footer. `as_in_contract` is whether it has the contract's columns."""

    name: str
    rows: int
    bytes: int
    as_in_contract: bool


def data_files(lake: Lake, table: Table, folder: str) -> list[DataFile]:
    """Return the data files in a snapshot's folder by their footers, without a Spark job.

    Raises `NotWhole` where a footer is damaged, and `OSError` where it cannot be reached.
    """
    wanted = [(column.name, ARROW_TYPES[column.type]) for column in table.columns]
    files, arrow, found = lake.storage.files(folder), lake.storage.arrow(), []
    for name in sorted(name for name in files if name.endswith(".parquet")):
        try:
            footer = pq.ParquetFile(lake.storage.arrow_path(f"{folder}/{name}"), filesystem=arrow)
        except (OSError, pa.ArrowInvalid) as error:
            where = lake.storage.shown(folder)
            if _cannot_be_reached(error):
                raise OSError(errno.EIO, "it cannot be read", f"{where}/{name}") from None
            msg = f"The file {name} of {table.name} in {where} is damaged. {_REPAIR.format(table=table.name)}"
            raise NotWhole(msg) from None
        schema = [(column.name, column.type) for column in footer.schema_arrow]
        found.append(DataFile(name, footer.metadata.num_rows, files[name], schema == wanted))
    return found


def _cannot_be_reached(error: Exception) -> bool:
    """Whether Arrow could not get at a file at all. What it finds and cannot make out, it gives no error number."""
    if isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, OSError) and (error.errno is not None or "AWS Error" in str(error))


def dataset(lake: Lake, table: Table, folder: str) -> ds.Dataset:
    """Return the data files in a snapshot's folder for engines other than Spark.

    Raises `NotWhole` where there are none, or a footer cannot be read.
    """
    paths = [lake.storage.arrow_path(f"{folder}/{file.name}") for file in data_files(lake, table, folder)]
    if not paths:
        msg = f"The snapshot {lake.storage.shown(folder)} of {table.name} is gone. {_REPAIR.format(table=table.name)}"
        raise NotWhole(msg)
    return ds.dataset(paths, filesystem=lake.storage.arrow(), format="parquet")


def current_dataset(lake: Lake, name: str) -> ds.Dataset:
    """Return a table as it is published now, by its name. Raises as `read_current` does."""
    table = table_named(name)

    def read(snapshot: str) -> ds.Dataset:
        # In this order, as above. Files that are all there and hold something else are for the checks to find.
        files = dataset(lake, table, snapshot_folder(table, snapshot))
        _require_files(lake, table, snapshot, lambda found, _: found is None)
        return files

    return _read_by_pointer(lake, table, read)[1]


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
