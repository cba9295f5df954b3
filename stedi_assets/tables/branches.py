"""Branches of a table, and commits: each changes the table as it is now, and fails if that has moved."""

from collections.abc import Callable

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.update.snapshot import ManageSnapshots

from stedi_assets.contracts import Table
from stedi_assets.storage.errors import CommitConflictError, CorruptTableError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.catalog import catalog_errors, load

MAIN = "main"
_TAG = "landed_"
# Others commit on branches of their own, and each such commit has ours tried once more.
_TRIES = 20


def commit(lake: Lake, table: Table, change: Callable[[IcebergTable], object]) -> IcebergTable:
    """Change a table, again from its newest state where another was faster, and return it as it is then.

    Raises `CommitConflictError` where it cannot be changed any more, and `CorruptTableError` where a part of its
    metadata is gone.
    """
    for _ in range(_TRIES):
        iceberg = load(lake, table)
        if iceberg is None:
            break
        try:
            with catalog_errors(lake):
                change(_without_retries(iceberg))
        except (CommitFailedException, ValueError):
            continue
        except FileNotFoundError:
            # Whoever was faster has removed it; if nobody was, it is gone.
            found = load(lake, table)
            if found and found.metadata_location == iceberg.metadata_location:
                msg = f"A part of the metadata of {table.name} in {lake.location} is gone. Run `stedi repair`."
                raise CorruptTableError(msg) from None
        else:
            return iceberg
    msg = f"{table.name} was not published: other runs change it all the time. Materialise it again."
    raise CommitConflictError(msg)


def begin_branch(lake: Lake, table: Table, name: str, base: int) -> int:
    """Begin a branch from a snapshot, and return the snapshot that it begins with, of the same rows.

    Who writes on a branch that another has dropped makes it again unawares; what is written then does not descend from
    that snapshot. Raises `CommitConflictError` where `base` is gone.
    """

    def begin(iceberg: IcebergTable) -> None:
        with iceberg.transaction() as beginning:
            ManageSnapshots(beginning).create_branch(base, name).commit()
            beginning.append(iceberg.schema().as_arrow().empty_table(), branch=name)

    return _tip(table, commit(lake, table, begin), name)


def seal(lake: Lake, table: Table, branch: str, tip: int, summary: dict[str, str]) -> int:
    """Commit a snapshot of the same rows on a branch, with what is said of them, and return its id.

    Raises `CommitConflictError` where the branch is not at `tip`, or gone.
    """

    def append_nothing(iceberg: IcebergTable) -> None:
        if _tip(table, iceberg, branch) != tip:
            raise _dropped(table)
        iceberg.append(iceberg.schema().as_arrow().empty_table(), snapshot_properties=summary, branch=branch)

    return _tip(table, commit(lake, table, append_nothing), branch)


def fast_forward(lake: Lake, table: Table, branch: str, tip: int, base: int | None) -> bool:
    """Move `main` to the tip of a branch and drop the branch; return whether it was.

    It is not where the branch was dropped or moved, or `main` is not at `base` any more; None is wherever `main` is,
    unless it has come past the tip already.
    """
    moved = False

    def move(iceberg: IcebergTable) -> None:
        nonlocal moved
        refs = iceberg.metadata.refs
        main = refs[MAIN].snapshot_id
        may = not descends(iceberg, main, tip) if base is None else main == base and descends(iceberg, tip, base)
        moved = branch in refs and refs[branch].snapshot_id == tip and may
        if moved:
            iceberg.manage_snapshots().create_branch(tip, MAIN).remove_branch(branch).commit()

    commit(lake, table, move)
    return moved


def go_back(lake: Lake, table: Table, published: int, base: int) -> None:
    """Move `main` back from a snapshot to what it was published from, unless another run has moved it on."""

    def move(iceberg: IcebergTable) -> None:
        if iceberg.metadata.refs[MAIN].snapshot_id == published:
            iceberg.manage_snapshots().create_branch(base, MAIN).commit()

    commit(lake, table, move)


def tag(lake: Lake, table: Table, snapshot: int) -> None:
    """Tag a snapshot that another table's names, so that nothing expires it.

    Raises `CommitConflictError` where it is gone.
    """
    commit(lake, table, lambda iceberg: iceberg.manage_snapshots().create_tag(snapshot, tag_of(snapshot)).commit())


def untag(lake: Lake, table: Table, snapshot: int) -> None:
    """Remove the tag of a snapshot that no other table's names after all."""

    def remove(iceberg: IcebergTable) -> None:
        if tag_of(snapshot) in iceberg.metadata.refs:
            iceberg.manage_snapshots().remove_tag(tag_of(snapshot)).commit()

    commit(lake, table, remove)


def tag_of(snapshot: int) -> str:
    """Return the tag of a snapshot that another table's names."""
    return f"{_TAG}{snapshot}"


def descends(iceberg: IcebergTable, snapshot: int, ancestor: int) -> bool:
    """Whether a snapshot is another one, or was made from it."""
    at: int | None = snapshot
    while at is not None and at != ancestor:
        found = iceberg.snapshot_by_id(at)
        at = found.parent_snapshot_id if found else None
    return at == ancestor


def require_descent(lake: Lake, table: Table, branch: str, start: int) -> tuple[IcebergTable, int]:
    """Return a table as it is now, and the tip of a branch of it.

    Raises `CommitConflictError` where the branch is not the one that began with `start`.
    """
    iceberg = load(lake, table)
    if iceberg is None or not descends(iceberg, tip := _tip(table, iceberg, branch), start):
        raise _dropped(table)
    return iceberg, tip


def _tip(table: Table, iceberg: IcebergTable, branch: str) -> int:
    found = iceberg.metadata.refs.get(branch)
    if found is None:
        raise _dropped(table)
    return found.snapshot_id


def _without_retries(iceberg: IcebergTable) -> IcebergTable:
    """Return a table whose commits PyIceberg does not repeat by itself: it would not ask whether they still may be."""
    properties = {**iceberg.metadata.properties, "commit.retry.num-retries": "0"}
    iceberg.metadata = iceberg.metadata.model_copy(update={"properties": properties})
    return iceberg


def _dropped(table: Table) -> CommitConflictError:
    msg = (
        f"{table.name} was not published: another run has published it, or removed people from it, meanwhile. "
        "The newer tables stay. Materialise it again."
    )
    return CommitConflictError(msg)
