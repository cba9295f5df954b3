"""Published tables: the current snapshot of each, what it was made of, and its rows.

This module only reads; `stedi_assets.tables.publishing` writes. The summary of a published snapshot says which run made
it, from which snapshots of its inputs, and what was counted.
"""

import errno
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from pyspark.errors import IllegalArgumentException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession

from stedi_assets.contracts import ALL_TABLES, LANDING_TABLES, Table
from stedi_assets.storage.errors import CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.catalog import load, name_of, session_of
from stedi_assets.tables.days import Days, day_of
from stedi_assets.tables.file_io import cannot_be_reached, forget_read, path_of
from stedi_assets.tables.manifests import files_in, manifests_in

# The format of a summary. No other is read.
FORMAT = 1
# Exists in a lake whose tables were made before they were Iceberg tables.
OLD_POINTER = "_current.json"

NO_DAY = ""
_PARQUET = ds.ParquetFileFormat()
_PREFIX = "stedi."
_Rows = TypeVar("_Rows")
_REPAIR = "Run `stedi repair` to go back to the newest whole snapshot, or materialise {table} again."


@dataclass(frozen=True)
class Snapshot:
    """A published snapshot, as its summary describes it.

    `as_of`, in epoch milliseconds, and `policy` are null for landing tables. `inputs` are snapshot ids by table; for a
    landing table, those of its quarantine and its files. `previous_rows` are the rows of the run before, and
    `rows_of_run` those of this run: people may have left since. `withdrawn_through` is the snapshot of customer_trusted
    through whose withdrawals the table was checked. `counts` are `rows`, and the violations of each counted rule; where
    a rule only warns about readings, `counts_by_day` has them by day, too. `delivery` is what else is known about the
    files of a landing table. `days` are versions by day, as in `stedi_assets.tables.days`, and `computed` the days that
    the run computed, None if all. `code` is the version of the code that made it. `content` changes whenever rows may
    have; `made_from` is a digest of what a table was computed from, and `input_contents` are its inputs' `content`, by
    table. `people` is the content of customer_trusted that the table's audit compared it with.
    """

    rows: int
    run_id: str
    published_at: str
    purpose: str
    as_of: int | None = None
    policy: dict[str, str] | None = None
    inputs: dict[str, int] = field(default_factory=dict)
    previous_rows: int | None = None
    rows_of_run: int | None = None
    withdrawn_through: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    counts_by_day: dict[str, dict[str, int]] = field(default_factory=dict)
    delivery: dict[str, Any] = field(default_factory=dict)
    days: dict[str, str] = field(default_factory=dict)
    computed: list[str] | None = None
    code: str = ""
    content: str = ""
    made_from: str = ""
    format: int = FORMAT
    input_contents: dict[str, str] = field(default_factory=dict)
    people: str = ""
    id: int = 0

    def may_differ_from(self, other: "Snapshot") -> bool:
        """Whether this may have other rows than another snapshot of the same table."""
        return self.id != other.id and not (self.content and self.content == other.content)

    def has_other(self, name: str, now: "Snapshot") -> bool:
        """Whether an input may have other rows now than those that this was made from."""
        read = self.input_contents.get(name)
        return now.content != read if read else now.id != self.inputs.get(name)

    def summary(self) -> dict[str, str]:
        """Return it as the properties of an Iceberg summary."""
        return {f"{_PREFIX}{name}": json.dumps(getattr(self, name)) for name in _SAID}


@dataclass(frozen=True)
class ListedFile:
    """A data file as a manifest lists it. `day` is that of its rows, None if the table is not partitioned."""

    path: str
    bytes: int
    rows: int
    day: str | None


_SAID = [named.name for named in fields(Snapshot) if named.name != "id"]


def read_snapshot_of(lake: Lake, table: Table) -> Snapshot | None:
    """Return a table's current snapshot, or None if it was never published.

    Raises `LakeError` if the table is damaged or has another format.
    """
    iceberg = load(lake, table)
    snapshot = published(lake, table, iceberg) if iceberg else None
    if snapshot is None:
        require_no_old_layout(lake, table)
    return snapshot


def require_no_old_layout(lake: Lake, table: Table) -> None:
    """Raise `LakeError` if a table has the layout from before Iceberg, or an upgrade of it has not ended."""
    if lake.storage.size(f"{table.path}/{OLD_POINTER}") is not None:
        msg = (
            f"{table.name} in {lake.location} has the layout from before Iceberg. Run `stedi upgrade`, which takes "
            "over what only the lake knows, such as who withdrew; then run rebuild_lakehouse."
        )
        raise LakeError(msg)


def published(lake: Lake, table: Table, iceberg: IcebergTable) -> Snapshot | None:
    """Return the current snapshot of a loaded table, or None if it was never published. Raises as `read_snapshot_of`.

    A table is created with a snapshot that has no summary of ours. If a later one has none, the table is damaged; if it
    passed for never published, people who must leave would stay in it.
    """
    found = iceberg.current_snapshot()
    snapshot = as_published(lake, table, found) if found else None
    if snapshot is None and (found is None or found.parent_snapshot_id is not None):
        msg = (
            f"The newest snapshot of {table.name} in {lake.location} is gone, or another program has made it: it does "
            "not say what it was made from. Run `stedi repair` to go back to the newest whole snapshot."
        )
        raise CorruptTableError(msg)
    return snapshot


def as_published(lake: Lake, table: Table, found: IcebergSnapshot) -> Snapshot | None:
    """Return what a snapshot's summary says, or None if it was not published. Raises as `read_snapshot_of`."""
    properties = found.summary.additional_properties if found.summary else {}
    said = {name: properties[f"{_PREFIX}{name}"] for name in _SAID if f"{_PREFIX}{name}" in properties}
    if not said:
        return None
    try:
        values = {name: json.loads(value) for name, value in said.items()}
        if (kind := values.get("format")) != FORMAT:
            what_to_do = "Install the version that published it." if (kind or 0) > FORMAT else "Run rebuild_lakehouse."
            msg = f"{table.name} in {lake.location} has format {kind}; this version reads {FORMAT}. {what_to_do}"
            raise LakeError(msg)
        return Snapshot(**values, id=found.snapshot_id)
    except (ValueError, TypeError) as error:
        msg = (
            f"The summary of the snapshot of {table.name} in {lake.location} is damaged. "
            f"{_REPAIR.format(table=table.name)}"
        )
        raise CorruptTableError(msg) from error


def current(lake: Lake, table: Table) -> Snapshot:
    """Return a table's current snapshot. Raises `LakeError` if there is none."""
    snapshot = read_snapshot_of(lake, table)
    if snapshot is None:
        msg = f"{table.name} has not been published in {lake.location} yet. Materialise it first."
        raise LakeError(msg)
    return snapshot


def newer_input(snapshot: Snapshot, current: Callable[[str], Snapshot]) -> str | None:
    """Return the name of a table that a snapshot was made from, directly or not, and that has other rows since.

    `current` returns the current snapshot of a table by its name.
    """
    for name in snapshot.inputs:
        now = current(name)
        if snapshot.has_other(name, now):
            return name
        if newer := newer_input(now, current):
            return newer
    return None


def named_snapshot(lake: Lake, table: Table, snapshot: int) -> Snapshot:
    """Return a snapshot by its id. Raises `CorruptTableError` if there is none."""
    iceberg = load(lake, table)
    found = iceberg.snapshot_by_id(snapshot) if iceberg else None
    read = as_published(lake, table, found) if found else None
    if read is None:
        raise _gone(lake, table)
    return read


def read_snapshot(spark: SparkSession, lake: Lake, table: Table, snapshot: int) -> DataFrame:
    """Return the rows of a snapshot, in the contract's columns.

    Raises `CorruptTableError` if a part of the snapshot is gone.
    """
    require_whole(lake, table, snapshot)
    try:
        rows = session_of(spark, lake).read.option("versionAsOf", snapshot).table(name_of(lake, table))
    except IllegalArgumentException:
        # It was there a moment ago.
        raise _gone(lake, table) from None
    return rows.select(*table.column_names)


def require_whole(lake: Lake, table: Table, snapshot: int) -> None:
    """Raise `CorruptTableError` unless every data file of a snapshot is there, in its full length."""
    there = lake.storage.files(f"{table.path}/data")
    written = data_paths(lake, table, snapshot)
    damaged = len(written.items() - there.items())
    if damaged:
        msg = (
            f"The snapshot {snapshot} of {table.name} in {lake.location} is damaged: {damaged:,} of its "
            f"{len(written):,} files are gone or cut. {_REPAIR.format(table=table.name)}"
        )
        raise CorruptTableError(msg)


def is_whole(lake: Lake, table: Table, snapshot: int) -> bool:
    """Whether every data file of a snapshot is there, in its full length."""
    try:
        require_whole(lake, table, snapshot)
    except CorruptTableError:
        return False
    return True


def require_readable(lake: Lake, table: Table, snapshot: int) -> None:
    """Raise `CorruptTableError` unless every page of a snapshot's data files is as its checksum says.

    It reads all rows. A file keeps its length and its footer if only a byte in it has changed.
    """
    arrow = lake.storage.arrow()
    for path in sorted(data_paths(lake, table, snapshot)):
        try:
            file = pq.ParquetFile(lake.storage.arrow_path(path), filesystem=arrow, page_checksum_verification=True)
            for _ in file.iter_batches():
                pass
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(lake, table, path, error) from None


def data_paths(lake: Lake, table: Table, snapshot: int) -> dict[str, int]:
    """Return the data files of a snapshot: their paths below the lake, and their sizes in bytes.

    Raises `CorruptTableError` if the snapshot or its metadata is gone or damaged, and `OSError` if it cannot be
    reached.
    """
    return {file.path: file.bytes for file in _listed(lake, table, snapshot)}


def _listed(lake: Lake, table: Table, snapshot: int) -> list[ListedFile]:
    iceberg = load(lake, table)
    if iceberg is None:
        raise _gone(lake, table)
    return listed_in(lake, table, iceberg, snapshot)


def listed_in(lake: Lake, table: Table, iceberg: IcebergTable, snapshot: int) -> list[ListedFile]:
    """Return the data files of a snapshot of a loaded table, as its manifests list them. Raises as `data_paths`."""
    found = iceberg.snapshot_by_id(snapshot)
    if found is None:
        raise _gone(lake, table)
    try:
        files = [
            file
            for manifest in manifests_in(iceberg.io, found.manifest_list)
            for file in files_in(iceberg.io, manifest)
        ]
    except LakeError:
        raise
    except Exception as error:  # (PyIceberg has no error of its own for Avro that it cannot read)
        if cannot_be_reached(error):
            raise
        forget_read()
        msg = f"The manifests of {table.name} in {lake.location} are damaged or gone. Run `stedi repair`."
        raise CorruptTableError(msg) from None
    return [ListedFile(path_of(lake, file.location), file.bytes, file.rows, _day(file.partition)) for file in files]


def _day(partition: int | None) -> str | None:
    """Return the day of a file's rows; None if they have no instant, or the table is not partitioned."""
    return None if partition is None else day_of(partition)


def read_as_it_is_now(lake: Lake, table: Table, read: Callable[[int], _Rows]) -> tuple[Snapshot, _Rows]:
    """Return a table's current snapshot and what is read from it, or from the next one if that replaces it meanwhile.

    `read` gets the snapshot's id, and raises `CorruptTableError` if a part of it is gone. Raises as `current`.
    """
    snapshot = current(lake, table)
    while True:
        try:
            return snapshot, read(snapshot.id)
        except CorruptTableError:
            before, snapshot = snapshot, current(lake, table)
            if snapshot.id == before.id:
                raise


def _gone(lake: Lake, table: Table) -> CorruptTableError:
    msg = (
        f"The snapshot of {table.name} in {lake.location} that was asked for is gone: it has expired, or people have "
        "left it. Read the table as it is now."
    )
    return CorruptTableError(msg)


def reader_of(spark: SparkSession) -> DataFrameReader:
    """Return a reader that takes paths literally. By default, Spark takes them for patterns."""
    # The option by which Spark reads its own tables: `[`, `{`, `*`, `?` and `\\` are ordinary characters.
    return spark.read.option("__globPaths__", "false")


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a snapshot, as its footer describes it. `as_in_contract`: it has the contract's columns.

    `fragment` is the file for Arrow's engines, which do not read the footer again.
    """

    path: str
    rows: int
    as_in_contract: bool
    fragment: ds.ParquetFileFragment


def data_files(lake: Lake, table: Table, snapshot: int, days: Days | None = None) -> list[DataFile]:
    """Return the data files of a snapshot, or of some days of it, from their footers, without a Spark job.

    Raises `CorruptTableError` if a footer is damaged, and `OSError` if it cannot be reached.
    """
    return data_files_in(lake, table, _listed(lake, table, snapshot), days)


def data_files_in(lake: Lake, table: Table, listed: Iterable[ListedFile], days: Days | None) -> list[DataFile]:
    """Return those of some listed data files that are of some days, or all. Raises as `data_files`."""
    wanted = {file.path for file in listed if days is None or file.day is None or file.day in days}
    return read_footers(lake, table, wanted)


def read_footers(lake: Lake, table: Table, paths: Iterable[str]) -> list[DataFile]:
    """Return data files from their footers. Raises as `data_files`."""
    wanted = [(column.name, column.type) for column in arrow_schema(table)]
    arrow, found = lake.storage.arrow(), []
    for path in sorted(paths):
        # Without its size from the manifest: of a shorter object, Arrow would read memory beyond its end.
        fragment = _PARQUET.make_fragment(lake.storage.arrow_path(path), arrow)
        try:
            fragment.ensure_complete_metadata()
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(lake, table, path, error) from None
        schema = [(column.name, column.type) for column in fragment.physical_schema]
        found.append(DataFile(path, fragment.metadata.num_rows, schema == wanted, fragment))
    return found


def _unreadable(lake: Lake, table: Table, path: str, error: Exception) -> Exception:
    where = lake.storage.shown(path)
    if cannot_be_reached(error):
        return OSError(errno.EIO, "it cannot be read", where)
    return CorruptTableError(f"The file {where} of {table.name} is damaged. {_REPAIR.format(table=table.name)}")


def dataset(lake: Lake, table: Table, snapshot: int, days: Days | None = None) -> ds.Dataset:
    """Return the rows of a snapshot for engines other than Spark; of a table of readings, those of some days.

    Raises `CorruptTableError` if it is gone, or a footer cannot be read.
    """
    return dataset_of(table, data_files(lake, table, snapshot, days))


def dataset_of_all(lake: Lake, table: Table) -> ds.Dataset:
    """Return the rows of all snapshots in a table's metadata, those of branches included; of each file once.

    Raises as `dataset`.
    """
    listed: dict[str, ListedFile] = {}
    if iceberg := load(lake, table):
        for snapshot in iceberg.metadata.snapshots:
            listed |= {file.path: file for file in listed_in(lake, table, iceberg, snapshot.snapshot_id)}
    return dataset_of(table, data_files_in(lake, table, listed.values(), None))


def rows_by_day(lake: Lake, table: Table, snapshot: int) -> dict[str, int]:
    """Return how many rows a snapshot of a table of readings has, by day. Raises as `data_paths`.

    Rows without an instant, which no rule allows, stand under `NO_DAY`.
    """
    counts: Counter[str] = Counter()
    for file in _listed(lake, table, snapshot):
        counts[file.day or NO_DAY] += file.rows
    return dict(counts)


def dataset_of(table: Table, files: Iterable[DataFile]) -> ds.Dataset:
    """Return the rows of data files for engines other than Spark."""
    schema, fragments = arrow_schema(table), [file.fragment for file in files]
    if not fragments:
        return ds.dataset(schema.empty_table())
    return ds.FileSystemDataset(fragments, schema, _PARQUET)


def current_dataset(lake: Lake, name: str, days: Days | None = None) -> ds.Dataset:
    """Return the current rows of a table by its name; of a table of readings, those of some days.

    Raises as `current` and `dataset`.
    """
    table = ALL_TABLES[name]

    def read(snapshot: int) -> ds.Dataset:
        files = data_files(lake, table, snapshot, days)
        # A run that people leave may have deleted the first ones while we read the footers of the last.
        if not {file.path for file in files} <= lake.storage.files(f"{table.path}/data").keys():
            raise _gone(lake, table)
        return dataset_of(table, files)

    return read_as_it_is_now(lake, table, read)[1]


def read_quarantine(spark: SparkSession, lake: Lake, landing: Table, snapshot: Snapshot) -> DataFrame | None:
    """Return the quarantine of a landing table's snapshot, or None if nothing is quarantined."""
    quarantine = LANDING_TABLES[landing.name].quarantine
    named = snapshot.inputs[quarantine.name]
    if named_snapshot(lake, quarantine, named).rows == 0:
        return None
    return read_snapshot(spark, lake, quarantine, named)
