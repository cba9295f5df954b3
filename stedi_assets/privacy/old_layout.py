"""The layout before Iceberg, folders of snapshots and a pointer `_current.json`: taken over, then removed.

Tables are made again from the raw files, except for what only the lake knows: records of customers that outlived their
files, and files that an operator has asked to forget. Those are taken over first. The list of erased people, receipts,
the purpose and the keys' check values lie beside the tables, and stay.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from stedi_assets.contracts import ALL_TABLES, SOURCES, Purpose, Source, Table
from stedi_assets.storage.errors import CorruptTableError
from stedi_assets.storage.lake import PURPOSE, Lake
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.catalog import load
from stedi_assets.tables.file_reports import FileReport, as_rows
from stedi_assets.tables.publishing import make_current
from stedi_assets.tables.retention import NOTHING_OLD, referenced
from stedi_assets.tables.snapshots import OLD_POINTER, published
from stedi_assets.tables.staging import RunContext, stage_companion, staging

_RUN = "upgrade"
# The first format in which customers' records outlive their files.
_SUPERSEDED_SINCE = 2


def upgrade(lake: Lake) -> int:
    """Take over what only the old tables know, and remove them; return how many there were.

    If an upgrade dies, running it again finishes it. Raises `CorruptTableError` if the old tables cannot be read.
    """
    old = [table for table in ALL_TABLES.values() if lake.storage.size(f"{table.path}/{OLD_POINTER}") is not None]
    for source in SOURCES.values():
        if source.landing in old:
            _take_over(lake, source)
    for table in old:
        _remove(lake, table)
    return len(old)


def _take_over(lake: Lake, source: Source) -> None:
    iceberg = load(lake, source.landing)
    if iceberg is not None and published(lake, source.landing, iceberg) is not None:
        return
    pointer = _json(lake, source.landing, OLD_POINTER)
    snapshot = f"{source.landing.path}/{pointer['snapshot']}"
    kept = _json(lake, source.landing, f"{pointer['snapshot']}/_files.json")
    whole = source is SOURCES["customer"] and pointer["format"] >= _SUPERSEDED_SINCE
    quarantine = f"{source.quarantine.path}/{pointer['inputs'][source.quarantine.name]}"
    rows = {
        source.quarantine: _rows(lake, source.quarantine, quarantine) if whole else None,
        source.files: as_rows(source, [file for file in map(_report, kept["files"]) if whole or file.forgotten]),
    }
    run = RunContext(_RUN, Purpose(json.loads(_content(lake, PURPOSE))["purpose"]))
    with ExitStack() as stages:
        companions = [
            stages.enter_context(stage_companion(lake, table, part, None, run)) for table, part in rows.items()
        ]
        landed = stages.enter_context(
            staging(
                lake,
                source.landing,
                _rows(lake, source.landing, snapshot) if whole else None,
                run=run,
                before=None,
                inputs={staged.table.name: staged.snapshot for staged in companions},
                audit=lambda _: {},
                delivery=_delivery(kept),
            )
        )
        make_current(lake, landed, retention=NOTHING_OLD, companions=companions)


def _delivery(kept: Mapping[str, Any]) -> dict[str, Any]:
    nobody = {"people": 0, "left": 0, "unread": 0}
    unknown = {"ignored": [], "superseded": 0, "superseded_quarantined": 0}
    return {**unknown, "withdrawn": nobody, **{name: value for name, value in kept.items() if name != "files"}}


def _report(entry: Mapping[str, Any]) -> FileReport:
    known = {field.name for field in fields(FileReport)}
    return FileReport(**{name: value for name, value in entry.items() if name in known})


def _rows(lake: Lake, table: Table, folder: str) -> pa.Table:
    schema = arrow_schema(table)
    paths = [lake.storage.arrow_path(path) for path in lake.storage.files(folder) if path.endswith(".parquet")]
    try:
        return ds.dataset(paths, schema=schema, filesystem=lake.storage.arrow(), format="parquet").to_table()
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(lake, folder) from error


def _json(lake: Lake, table: Table, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(_content(lake, f"{table.path}/{name}"))
    except ValueError as error:
        raise _damaged(lake, f"{table.path}/{name}") from error
    return found


def _content(lake: Lake, path: str) -> bytes:
    found = lake.storage.read(path)
    if found is None:
        raise _damaged(lake, path)
    return found.content


def _damaged(lake: Lake, path: str) -> CorruptTableError:
    msg = (
        f"{lake.storage.shown(path)} is damaged or gone. It records what customers withdrew in files that were "
        "replaced since: nothing was changed. Restore it, and run `stedi upgrade` again."
    )
    return CorruptTableError(msg)


def _remove(lake: Lake, table: Table) -> None:
    """Remove all of an old table, its pointer last: as long as that exists, nothing is landed."""
    iceberg = load(lake, table)
    stay = referenced(lake, iceberg, with_old_metadata=True) if iceberg else set[str]()
    pointer = f"{table.path}/{OLD_POINTER}"
    lake.storage.delete_permanently(table.path, lake.storage.below(table.path).keys() - stay - {pointer})
    lake.storage.delete_permanently(table.path, {pointer})
