"""Branches and commits: each commit changes a table's newest state, and fails if the table has moved since."""

from collections.abc import Callable

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.update.snapshot import ManageSnapshots

from stedi_assets.contracts import Table
from stedi_assets.storage.errors import CommitConflictError, CorruptTableError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.catalog import catalog_errors, load
from stedi_assets.tables.transactions import QuickTransaction, append_nothing

MAIN = "main"
_TAG = "landed_"
# Other runs commit to branches of their own, and each such commit makes ours retry.
_TRIES = 20


def commit(lake: Lake, table: Table, change: Callable[[IcebergTable], object]) -> IcebergTable:
    """Change a table and return its new state; if another process commits first, try again from the newest state.

    Raises `CommitConflictError` if the table is gone or other processes always commit first, and `CorruptTableError` if
    a part of its metadata is gone.
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
            # A faster process may have removed the file. If the table has not moved, the file is lost.
            found = load(lake, table)
            if found and found.metadata_location == iceberg.metadata_location:
                msg = f"A part of the metadata of {table.name} in {lake.location} is gone. Run `stedi repair`."
                raise CorruptTableError(msg) from None
        else:
            return iceberg
    msg = f"{table.name} was not published: other runs keep changing it. Materialise it again."
    raise CommitConflictError(msg)


def refs_of(iceberg: IcebergTable) -> ManageSnapshots:
    """Return what changes a table's branches and tags, in one commit."""
    return ManageSnapshots(QuickTransaction(iceberg, autocommit=True))


def begin_branch(lake: Lake, table: Table, name: str, base: int) -> int:
    """Create a branch from a snapshot, and return the id of its first snapshot, which has the same rows.

    A run that writes to a branch after another has dropped it creates it again without noticing; what it writes then
    does not descend from that first snapshot. Raises `CommitConflictError` if `base` is gone.
    """

    def begin(iceberg: IcebergTable) -> None:
        with QuickTransaction(iceberg) as beginning:
            ManageSnapshots(beginning).create_branch(base, name).commit()
            append_nothing(beginning, name)

    return _tip(table, commit(lake, table, begin), name)


def seal(lake: Lake, table: Table, branch: str, tip: int, summary: dict[str, str]) -> int:
    """Commit a snapshot with the same rows and a summary to a branch, and return its id.

    Raises `CommitConflictError` if the branch is gone or not at `tip`.
    """

    def describe(iceberg: IcebergTable) -> None:
        if _tip(table, iceberg, branch) != tip:
            raise _dropped(table)
        with QuickTransaction(iceberg) as sealing:
            append_nothing(sealing, branch, summary)

    return _tip(table, commit(lake, table, describe), branch)


def fast_forward(lake: Lake, table: Table, branch: str, tip: int, base: int | None) -> bool:
    """Move `main` to the tip of a branch and drop the branch; return whether that was done.

    It is not done if the branch was dropped or moved, or if `main` is not at `base` any more. If `base` is None, `main`
    may be anywhere, unless it has already reached or passed the tip.
    """
    moved = False

    def move(iceberg: IcebergTable) -> None:
        nonlocal moved
        refs = iceberg.metadata.refs
        main = refs[MAIN].snapshot_id
        may = not descends(iceberg, main, tip) if base is None else main == base and descends(iceberg, tip, base)
        moved = branch in refs and refs[branch].snapshot_id == tip and may
        if moved:
            refs_of(iceberg).create_branch(tip, MAIN).remove_branch(branch).commit()

    commit(lake, table, move)
    return moved


def go_back(lake: Lake, table: Table, published: int, base: int) -> None:
    """Move `main` back from a published snapshot to the one before it, unless another run has moved it since."""

    def move(iceberg: IcebergTable) -> None:
        if iceberg.metadata.refs[MAIN].snapshot_id == published:
            refs_of(iceberg).create_branch(base, MAIN).commit()

    commit(lake, table, move)


def tag(lake: Lake, table: Table, snapshot: int) -> None:
    """Tag a snapshot that another table's snapshot names, so that nothing expires it.

    Raises `CommitConflictError` if it is gone.
    """
    commit(lake, table, lambda iceberg: refs_of(iceberg).create_tag(snapshot, tag_of(snapshot)).commit())


def untag(lake: Lake, table: Table, snapshot: int) -> None:
    """Remove the tag of a snapshot that no other table's snapshot names after all."""

    def remove(iceberg: IcebergTable) -> None:
        if tag_of(snapshot) in iceberg.metadata.refs:
            refs_of(iceberg).remove_tag(tag_of(snapshot)).commit()

    commit(lake, table, remove)


def tag_of(snapshot: int) -> str:
    """Return the tag of a snapshot that another table's snapshot names."""
    return f"{_TAG}{snapshot}"


def descends(iceberg: IcebergTable, snapshot: int, ancestor: int) -> bool:
    """Whether a snapshot is `ancestor`, or was made from it."""
    at: int | None = snapshot
    while at is not None and at != ancestor:
        found = iceberg.snapshot_by_id(at)
        at = found.parent_snapshot_id if found else None
    return at == ancestor


def require_descent(lake: Lake, table: Table, branch: str, start: int) -> tuple[IcebergTable, int]:
    """Return a table's newest state, and the tip of one of its branches.

    Raises `CommitConflictError` unless the branch began with `start`.
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
    """Return a table without PyIceberg's own commit retries: they would not check the change again."""
    properties = {**iceberg.metadata.properties, "commit.retry.num-retries": "0"}
    iceberg.metadata = iceberg.metadata.model_copy(update={"properties": properties})
    return iceberg


def _dropped(table: Table) -> CommitConflictError:
    msg = (
        f"{table.name} was not published: another run has published it, or removed people from it, meanwhile. "
        "The newer tables stay. Materialise it again."
    )
    return CommitConflictError(msg)
