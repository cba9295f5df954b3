"""Repair: back to the newest whole snapshot of a table whose pointer is damaged, or whose current snapshot is.

Not every snapshot will do: one that breaks a rule, as by people who have left since, is not gone back to, nor is one
from before the last erasure.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from stedi_assets.contracts import LANDING_TABLES, QUARANTINE_TABLES, TABLES, Policy, Severity, Table
from stedi_assets.privacy.suppression import read_suppressed
from stedi_assets.storage.errors import LakeError, NotWhole, WrongKey
from stedi_assets.storage.lake import POINTER, SNAPSHOT, Lake
from stedi_assets.tables.pointers import Pointer
from stedi_assets.tables.publishing import point_at, register
from stedi_assets.tables.snapshots import (
    current_dataset,
    dataset,
    read_beside,
    read_pointer,
    require_whole,
    snapshot_folder,
)
from stedi_assets.verification.breaches import recount
from stedi_assets.verification.engine import Given


@dataclass(frozen=True)
class Repair:
    """What was found of a damaged table, and the snapshot that is current now; None if no whole one is left."""

    table: Table
    damage: str
    pointer: Pointer | None


@dataclass(frozen=True)
class Keys:
    """Where the two keys come from, for the rules and the list of erased people that need them."""

    pseudonym: Callable[[], bytes]
    suppression: Callable[[], bytes]


def repair(lake: Lake, keys: Keys) -> list[Repair]:
    """Repair every damaged table, and return what was done. Whole tables are left as they are.

    Where no whole snapshot is left, the pointer is removed, so that the table can be materialised again.

    Raises `LostRace` where another run publishes a table meanwhile, and `WrongKey` where a key is not the lake's.
    """
    # A table's rules look at those that it is made of.
    tables = (*QUARANTINE_TABLES.values(), *TABLES.values())
    return [_repaired(lake, table, damage, keys) for table in tables if (damage := _damage(lake, table))]


def _damage(lake: Lake, table: Table) -> str | None:
    """Return what is wrong with a table as it is published now, None if nothing is."""
    try:
        pointer = read_pointer(lake, table)
        if pointer is None:
            return "its pointer is missing" if any(_whole_snapshots(lake, table)) else None
        require_whole(lake, table, pointer.snapshot)
    except NotWhole as error:
        return str(error)
    return None


def _repaired(lake: Lake, table: Table, damage: str, keys: Keys) -> Repair:
    path = f"{table.path}/{POINTER}"
    found = lake.storage.read(path)
    whole = _whole_snapshots(lake, table)
    pointer = next((candidate for candidate in whole if _may_stand(lake, table, candidate, keys)), None)
    if pointer is None:
        lake.storage.delete(path)
        return Repair(table, damage, None)
    pointer = point_at(lake, table, pointer, found.version if found else None)
    register(lake, table, pointer)
    return Repair(table, damage, pointer)


def _whole_snapshots(lake: Lake, table: Table) -> Iterator[Pointer]:
    """Yield the pointers of a table's whole snapshots, the newest first."""
    for snapshot in sorted(_snapshots(lake, table), reverse=True):
        try:
            require_whole(lake, table, snapshot)
            yield Pointer.from_dict(read_beside(lake, table, snapshot, SNAPSHOT)["pointer"])
        except NotWhole:
            continue


def _snapshots(lake: Lake, table: Table) -> Iterable[str]:
    return (name for name in lake.storage.folders(table.path) if not name.startswith("_"))


def _may_stand(lake: Lake, table: Table, pointer: Pointer, keys: Keys) -> bool:
    erased = read_suppressed(lake, keys.suppression)
    published = datetime.fromisoformat(pointer.published_at).timestamp() * 1000
    if erased and any(published < person.erased_at for person in erased.people.values()):
        return False
    if table.name in LANDING_TABLES:
        quarantine = LANDING_TABLES[table.name].quarantine
        if (kept := read_pointer(lake, quarantine)) is None or kept.snapshot != pointer.inputs[quarantine.name]:
            return False
    policy = Policy.from_dict(pointer.policy) if pointer.policy else Policy()
    given = Given(lambda name: current_dataset(lake, name), policy, pointer.as_of, keys.pseudonym)
    try:
        counts = recount(table, dataset(lake, table, snapshot_folder(table, pointer.snapshot)), given)
    except WrongKey:
        raise  # of no snapshot could be said whether it may stand
    except LakeError:
        return False  # a table that its rules look at is not there: it has to be computed again
    if counts["rows"] != pointer.rows:
        return False
    return not any(counts.get(rule.name) for rule in table.rules if rule.severity is Severity.ERROR)
