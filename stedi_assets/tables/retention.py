"""Which old snapshots of a table stay, and the removal of the rest: old snapshots, branches, and unreferenced files."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from pyiceberg.table.update import AssertRefSnapshotId
from pyiceberg.table.update.snapshot import ExpireSnapshots

from stedi_assets.contracts import Table
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.branches import MAIN, commit, descends, refs_of, tag_of
from stedi_assets.tables.catalog import load
from stedi_assets.tables.file_io import cannot_be_reached, path_of
from stedi_assets.tables.manifests import files_in, manifests_in
from stedi_assets.tables.snapshots import as_published
from stedi_assets.tables.transactions import QuickTransaction


@dataclass(frozen=True)
class Retention:
    """Which old snapshots stay: the last ones, and any that was current not long ago, for those still reading it."""

    snapshots: int = 2
    readers: timedelta = timedelta(hours=1)


NOTHING_OLD = Retention(snapshots=1, readers=timedelta(0))


def kept_ids(lake: Lake, table: Table, retention: Retention) -> set[int]:
    """Return the ids of a table's published snapshots that stay."""
    iceberg = load(lake, table)
    if iceberg is None:
        return set()
    now, until, kept = datetime.now(timezone.utc), None, set()
    for place, entry in enumerate(reversed(iceberg.history()), start=1):
        found = iceberg.snapshot_by_id(entry.snapshot_id)
        replaced = datetime.fromtimestamp(until / 1000, timezone.utc) if until else now
        until = entry.timestamp_ms
        if found is None or (place > retention.snapshots and now - replaced >= retention.readers):
            continue
        if as_published(lake, table, found):
            kept.add(entry.snapshot_id)
    return kept


def snapshot_rows(lake: Lake, table: Table) -> dict[int, int]:
    """Return the number of rows of each snapshot in a table's metadata, those of branches included."""
    iceberg = load(lake, table)
    found = iceberg.metadata.snapshots if iceberg else []
    return {s.snapshot_id: int(s.summary.additional_properties.get("total-records", 0)) for s in found if s.summary}


def named_by(lake: Lake, table: Table, companion: Table) -> set[int]:
    """Return the ids of a companion's snapshots that any snapshot of a table names."""
    iceberg = load(lake, table)
    found = (as_published(lake, table, snapshot) for snapshot in (iceberg.metadata.snapshots if iceberg else []))
    return {snapshot.inputs[companion.name] for snapshot in found if snapshot and companion.name in snapshot.inputs}


def expire(
    lake: Lake,
    table: Table,
    kept: Callable[[], set[int]],
    found: Mapping[str, int],
    *,
    purge: bool,
    with_branches: bool = False,
) -> int:
    """Expire all snapshots of a table but the current one and those that are kept; return how many.

    `kept` returns their ids. It is called after the table is loaded, and so knows everything in it. The branches of
    runs that began from the current snapshot stay, unless `with_branches`; others are dropped. `found` are the files
    that were below the table's folder before its last commit. Those that nothing names any more are removed: a run that
    is still writing one of them began from the earlier `main`, and has lost. With `purge`, old metadata files go too.
    """
    dropped = 0

    def change(iceberg: IcebergTable) -> None:
        nonlocal dropped
        current = iceberg.current_snapshot()
        if current is None:
            return
        main = current.snapshot_id
        begun = set() if with_branches else _made_from(iceberg, main)
        stay = {*kept(), main, *begun}
        _drop_refs(iceberg, lambda name, ref: _goes(name, ref, stay, begun))
        dropped = _remove_snapshots(iceberg, lambda snapshot: snapshot not in stay)

    stay = referenced(lake, commit(lake, table, change), with_old_metadata=not purge)
    remove(lake, table, [path for path in found if path not in stay])
    return dropped


def discard(lake: Lake, table: Table, branch: str, start: int, written: Iterable[str] = ()) -> bool:
    """Drop a branch that began with `start`, and what only it holds; return whether it was still there.

    It may hold people who have been removed from the table meanwhile. `written` are files known to be the branch's,
    which another run may have expired already. If the branch was published, or another table names its snapshot,
    nothing is removed.
    """
    was_there, alone = False, {*written}

    def change(iceberg: IcebergTable) -> None:
        nonlocal was_there
        refs = iceberg.metadata.refs
        was_there = branch in refs and descends(iceberg, refs[branch].snapshot_id, start)
        _drop_refs(iceberg, lambda name, _: name == branch)
        held = {ref.snapshot_id for ref in iceberg.metadata.refs.values()}
        if any(descends(iceberg, snapshot, start) for snapshot in held):
            return
        alone.update(referenced(lake, iceberg, with_old_metadata=False))
        _remove_snapshots(iceberg, lambda snapshot: descends(iceberg, snapshot, start))

    iceberg = commit(lake, table, change)
    if alone:
        going = alone - referenced(lake, iceberg, with_old_metadata=True)
        remove(lake, table, [*going, *map(_checksum, going)])
    return was_there


def _checksum(path: str) -> str:
    """Return the checksum file that Spark writes beside a file in a local folder."""
    folder, name = path.rsplit("/", 1)
    return f"{folder}/.{name}.crc"


def _drop_refs(iceberg: IcebergTable, goes: Callable[[str, SnapshotRef], bool]) -> None:
    change = refs_of(iceberg)
    going = {name: ref for name, ref in iceberg.metadata.refs.items() if goes(name, ref)}
    for name, ref in going.items():
        is_tag = ref.snapshot_ref_type is SnapshotRefType.TAG
        change = change.remove_tag(name) if is_tag else change.remove_branch(name)
    if going:
        change.commit()


def _remove_snapshots(iceberg: IcebergTable, goes: Callable[[int], bool]) -> int:
    snapshots = [snapshot.snapshot_id for snapshot in iceberg.metadata.snapshots]
    going = [snapshot for snapshot in snapshots if goes(snapshot)]
    if going:
        expiry = ExpireSnapshots(QuickTransaction(iceberg, autocommit=True)).by_ids(going)
        # Fail if another process has tagged one meanwhile: PyIceberg would remove the tag with the snapshot.
        expiry._requirements += tuple(AssertRefSnapshotId(ref=tag_of(snapshot)) for snapshot in going)  # noqa: SLF001  (PyIceberg has no public way to add a requirement)
        expiry.commit()
    return len(going)


def referenced(lake: Lake, iceberg: IcebergTable, *, with_old_metadata: bool) -> set[str]:
    """Return the paths of all files that a table's metadata names."""
    metadata = {iceberg.metadata_location}
    if with_old_metadata:
        metadata |= {entry.metadata_file for entry in iceberg.metadata.metadata_log}
    named = {path_of(lake, location) for location in metadata}
    for snapshot in iceberg.metadata.snapshots:
        named.update(_named_by(lake, iceberg, snapshot))
    return named


def files_of_snapshot(lake: Lake, iceberg: IcebergTable, snapshot: int) -> Iterator[str]:
    """Yield the paths of all files of a snapshot: its manifests, and those that hold its rows."""
    if found := iceberg.snapshot_by_id(snapshot):
        yield from _named_by(lake, iceberg, found)


def _named_by(lake: Lake, iceberg: IcebergTable, snapshot: IcebergSnapshot) -> Iterator[str]:
    """Yield the files of a snapshot; if it is damaged, those that can still be read."""
    yield path_of(lake, snapshot.manifest_list)
    try:
        for manifest in manifests_in(iceberg.io, snapshot.manifest_list):
            yield path_of(lake, manifest.manifest_path)
            yield from (path_of(lake, file.location) for file in files_in(iceberg.io, manifest))
    except LakeError:
        raise
    except Exception as error:
        # PyIceberg has no error of its own for what it cannot read.
        if cannot_be_reached(error):
            raise


def left_behind(lake: Lake, table: Table) -> list[str]:
    """Return the files below a table's folder that can hold rows and that no snapshot names.

    They were left by a run that died, or a run is writing them.
    """
    iceberg = load(lake, table)
    named = referenced(lake, iceberg, with_old_metadata=False) if iceberg else set[str]()
    found = lake.storage.below(table.path)
    return [path for path in found if path not in named and not path.startswith(f"{table.path}/metadata/")]


def remove(lake: Lake, table: Table, paths: Iterable[str]) -> None:
    """Remove files of a table for good. Raises `LakeError` if the storage refuses."""
    try:
        if going := list(paths):
            lake.storage.delete_permanently(table.path, going)
    except OSError as error:
        msg = (
            f"{table.name} was published, but older files of it could not be removed: {error.strerror} in "
            f"{lake.storage.shown(table.path)}. They may still contain people who left. Give the run permission to "
            "remove them, all versions included, and materialise the table again."
        )
        raise LakeError(msg) from error


def _made_from(iceberg: IcebergTable, snapshot: int) -> set[int]:
    """Return the snapshots that descend from another."""
    found = {each.snapshot_id for each in iceberg.metadata.snapshots}
    return {each for each in found if each != snapshot and descends(iceberg, each, snapshot)}


def _goes(name: str, ref: SnapshotRef, stay: set[int], begun: set[int]) -> bool:
    """Whether a branch or tag goes: all but `main`, the tags of snapshots that stay, and branches begun since."""
    if ref.snapshot_ref_type is SnapshotRefType.TAG:
        return name != tag_of(ref.snapshot_id) or ref.snapshot_id not in stay
    return name != MAIN and ref.snapshot_id not in begun
