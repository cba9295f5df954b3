"""Repair: go back to the newest whole snapshot of a table that is damaged, or that the catalog does not know any more.

Not every snapshot will do: not one that violates a rule, for example because of people who have left since, nor one
from before the last erasure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from stedi_assets.contracts import TABLES, Severity, Table
from stedi_assets.contracts.tables import companions_of
from stedi_assets.privacy.suppression import read_suppressed
from stedi_assets.storage.errors import CorruptTableError, LakeError, WrongKey
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.branches import MAIN, commit, refs_of
from stedi_assets.tables.catalog import forget, load, metadata_files, register
from stedi_assets.tables.snapshots import (
    Snapshot,
    as_published,
    current,
    read_snapshot_of,
    require_readable,
    require_whole,
)
from stedi_assets.verification.rules import recount


@dataclass(frozen=True)
class Repair:
    """What was wrong with a damaged table, and its current snapshot now; None if no whole one is left."""

    table: Table
    damage: str
    snapshot: Snapshot | None


@dataclass(frozen=True)
class Keys:
    """How to get the two keys, for the rules and the list of erased people that need them."""

    pseudonym: Callable[[], bytes]
    suppression: Callable[[], bytes]


def repair(lake: Lake, keys: Keys) -> list[Repair]:
    """Repair every damaged table, and return what was done. Whole tables are left as they are.

    If no whole snapshot is left, the catalog forgets the table, so that it can be materialised again.

    Raises `CommitConflictError` if another run publishes a table meanwhile, and `WrongKey` if a key is not the lake's.
    """
    # In this order: a table's rules read the tables that it is made from.
    return [_repaired(lake, table, damage, keys) for table in TABLES.values() if (damage := _damage(lake, table))]


def _damage(lake: Lake, table: Table) -> str | None:
    """Return what is wrong with a table as it is published now, or None."""
    try:
        if snapshot := read_snapshot_of(lake, table):
            _require_whole(lake, table, snapshot)
            for companion in companions_of(table):
                if current(lake, companion).id != snapshot.inputs[companion.name]:
                    return f"{companion.name} is not the one that {table.name} was published with"
    except CorruptTableError as error:
        return str(error)
    return None


def _require_whole(lake: Lake, table: Table, snapshot: Snapshot) -> None:
    """Raise `CorruptTableError` unless all of a snapshot can be read, and of the companions' that it names."""
    companions = [(each, snapshot.inputs[each.name]) for each in companions_of(table)]
    for each, its_snapshot in [(table, snapshot.id), *companions]:
        require_whole(lake, each, its_snapshot)
        require_readable(lake, each, its_snapshot)


def _repaired(lake: Lake, table: Table, damage: str, keys: Keys) -> Repair:
    for each in (*companions_of(table), table):
        _make_known(lake, each)
    snapshot = next((found for found in _whole_snapshots(lake, table) if _may_stand(lake, table, found, keys)), None)
    if snapshot is None:
        _give_up(lake, table)
        return Repair(table, damage, None)
    _go_back(lake, table, snapshot.id)
    for companion in companions_of(table):
        _go_back(lake, companion, snapshot.inputs[companion.name])
    return Repair(table, damage, snapshot)


def _give_up(lake: Lake, table: Table) -> None:
    """Turn a table into one that was never published. Its other files are removed when it is published."""
    forget(lake, table)
    lake.storage.delete_permanently(table.path, metadata_files(lake, table))


def _go_back(lake: Lake, table: Table, snapshot: int) -> None:
    commit(lake, table, lambda iceberg: refs_of(iceberg).create_branch(snapshot, MAIN).commit())


def _make_known(lake: Lake, table: Table) -> None:
    """Have the catalog know the newest readable metadata of a table."""
    try:
        load(lake, table)
    except CorruptTableError:
        forget(lake, table)
        any(register(lake, table, path) for path in metadata_files(lake, table))


def _whole_snapshots(lake: Lake, table: Table) -> Iterator[Snapshot]:
    """Yield the whole snapshots of a table that were once current, newest first."""
    iceberg = load(lake, table)
    if iceberg is None:
        return
    for entry in reversed(iceberg.history()):
        found = iceberg.snapshot_by_id(entry.snapshot_id)
        snapshot = as_published(lake, table, found) if found else None
        if snapshot:
            try:
                _require_whole(lake, table, snapshot)
            except CorruptTableError:
                continue
            yield snapshot


def _may_stand(lake: Lake, table: Table, snapshot: Snapshot, keys: Keys) -> bool:
    erased = read_suppressed(lake, keys.suppression)
    published = datetime.fromisoformat(snapshot.published_at).timestamp() * 1000
    if erased and any(published < person.erased_at for person in erased.people.values()):
        return False
    # With the companions that it names: those that are current may be another program's.
    named = {companion.name: snapshot.inputs[companion.name] for companion in companions_of(table)}
    try:
        counts = recount(lake, table, snapshot, keys.pseudonym, named)
    except WrongKey:
        raise  # without the right key, no snapshot can be judged
    except LakeError:
        return False  # a table that its rules read is not there: it has to be computed again
    if counts["rows"] != snapshot.rows:
        return False
    return not any(counts.get(rule.name) for rule in table.rules if rule.severity is Severity.ERROR)
