"""Tables for callers without Spark: opened by PyIceberg, or read as Arrow."""

from datetime import datetime, timezone

import pyarrow as pa
from pyiceberg.table import Table as IcebergTable

from stedi_assets.contracts import ALL_TABLES, Table
from stedi_assets.storage.errors import CatalogError, CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.catalog import load
from stedi_assets.tables.file_io import cannot_be_reached
from stedi_assets.tables.snapshots import (
    as_published,
    current,
    dataset,
    named_snapshot,
    read_as_it_is_now,
    require_whole,
)


def open_table(lake: Lake, name: str) -> IcebergTable:
    """Open a table by its name. Raises `LakeError` if there is no such table, or it is not published."""
    table = _named(name)
    current(lake, table)
    opened = load(lake, table)
    if opened is None:
        msg = f"{name} has left the catalog of {lake.location} just now. Run `stedi repair`."
        raise CatalogError(msg)
    return opened


def read_rows(lake: Lake, name: str, as_of: int | datetime | None = None) -> pa.Table:
    """Read a table by its name, in the contract's columns: its current snapshot, or an older one that is kept.

    `as_of` is a snapshot's id, or an instant at which it was current. Raises `LakeError` if there is no such table,
    snapshot or instant, or if a part of it is gone.
    """
    table = _named(name)
    if as_of is None:
        return read_as_it_is_now(lake, table, lambda snapshot: _rows(lake, table, snapshot))[1]
    return _rows(lake, table, as_of if isinstance(as_of, int) else _current_at(lake, table, as_of))


def _rows(lake: Lake, table: Table, snapshot: int) -> pa.Table:
    named_snapshot(lake, table, snapshot)
    require_whole(lake, table, snapshot)
    try:
        return dataset(lake, table, snapshot).to_table()
    except (OSError, pa.ArrowInvalid) as error:
        if cannot_be_reached(error):
            raise
        msg = (
            f"The snapshot {snapshot} of {table.name} in {lake.location} is damaged, or was removed while it was being "
            f"read. Read it again; if that fails too, run `stedi repair` or materialise {table.name} again."
        )
        raise CorruptTableError(msg) from None


def _current_at(lake: Lake, table: Table, instant: datetime) -> int:
    """Return the id of the snapshot that was current at an instant. Raises `LakeError` if none is kept."""
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        msg = (
            f"as_of={instant!r} is neither a snapshot's id nor an instant with its time zone, such as "
            "datetime(2026, 1, 31, tzinfo=timezone.utc)."
        )
        raise LakeError(msg)
    iceberg = open_table(lake, table.name)
    kept = {found.snapshot_id for found in iceberg.snapshots() if as_published(lake, table, found)}
    began = [entry for entry in iceberg.history() if entry.snapshot_id in kept]
    before = [entry for entry in began if entry.timestamp_ms <= instant.timestamp() * 1000]
    if not before:
        oldest = datetime.fromtimestamp(began[0].timestamp_ms / 1000, timezone.utc).isoformat()
        msg = (
            f"{table.name} in {lake.location} holds nothing from {instant.isoformat()} any more: its oldest snapshot "
            f"is from {oldest}. Read one from then or later."
        )
        raise LakeError(msg)
    return before[-1].snapshot_id


def _named(name: str) -> Table:
    if name not in ALL_TABLES:
        msg = f"No table is called {name}. The tables are: {', '.join(ALL_TABLES)}."
        raise LakeError(msg)
    return ALL_TABLES[name]
