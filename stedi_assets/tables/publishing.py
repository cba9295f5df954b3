"""Publishing tables: one commit makes what is staged current, if neither the table nor an input has moved.

The next run that publishes a table removes what dead runs left behind: every branch, and every file that existed before
its commit and that no snapshot names. A living run that is still writing such a file has already lost, because it began
from the earlier `main`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame

from stedi_assets.contracts import ALL_TABLES, Table
from stedi_assets.contracts.tables import companions_of
from stedi_assets.storage.errors import CommitConflictError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.branches import begin_branch, fast_forward, go_back, seal, tag, untag
from stedi_assets.tables.catalog import METADATA, load
from stedi_assets.tables.days import Days
from stedi_assets.tables.purpose import claim_purpose
from stedi_assets.tables.retention import NOTHING_OLD, Retention, discard, expire, kept_ids, named_by, remove
from stedi_assets.tables.snapshots import Snapshot, read_snapshot_of
from stedi_assets.tables.staging import Audit, RunContext, Staged, Versions, branch_name, raise_conflict, staging


def publish(
    lake: Lake,
    table: Table,
    rows: DataFrame | pa.Table | None,
    *,
    run: RunContext,
    before: Snapshot | None,
    inputs: Mapping[str, Snapshot],
    audit: Audit,
    retention: Retention,
    days: Days | None = None,
    versions: Versions | None = None,
    made_from: str = "",
    people: str = "",
    before_commit: Callable[[Snapshot], bool] = lambda _: False,
) -> Staged:
    """Write a table's new snapshot, check it against its contract, and make it current.

    `before` is the table's snapshot and `inputs` those of its inputs, as they were when the step began. `before_commit`
    gets the new snapshot before it is current, and returns whether every older snapshot must go. `rows` and what
    describes them are as for `staging`.

    Raises `ContractBroken` if a rule is violated, `CommitConflictError` if the table or an input has moved, and
    `LakeError` if the lake has another purpose. Errors of the storage come as Python and Spark raise them.
    """
    require_unmoved(lake, table, inputs)
    with staging(
        lake,
        table,
        rows,
        run=run,
        before=before,
        inputs=inputs,
        audit=audit,
        days=days,
        versions=versions,
        made_from=made_from,
        people=people,
    ) as staged:
        if before_commit(staged.snapshot):
            retention = NOTHING_OLD
        claim_purpose(lake, run.purpose)
        make_current(lake, staged, inputs=inputs, retention=retention)
    return staged


def republish(
    lake: Lake,
    table: Table,
    before: Snapshot,
    rows: DataFrame | pa.Table | None,
    *,
    run: RunContext,
    days: Days | None = None,
    versions: Versions | None = None,
    before_commit: Callable[[Snapshot], None] = lambda _: None,
) -> Snapshot:
    """Publish fewer rows of a table's current snapshot as its next one, and remove every older one.

    `rows` are those that stay: of some `days`, or all if that is None. Anything else that is wrong with the table was
    wrong before, and must not block this: rules are counted, not enforced. `inputs` stay those that the rows were
    computed from.

    Raises `CommitConflictError` if the table has moved since `before`.
    """
    with staging(
        lake, table, rows, run=run, before=before, inputs=None, audit=None, days=days, versions=versions
    ) as staged:
        before_commit(staged.snapshot)
        make_current(lake, staged, retention=NOTHING_OLD)
    return staged.snapshot


def make_current(
    lake: Lake,
    staged: Staged,
    *,
    retention: Retention,
    inputs: Mapping[str, Snapshot] | None = None,
    companions: Sequence[Staged] = (),
) -> None:
    """Make what is staged a table's current snapshot, unless the table or one of its inputs has moved.

    `companions` are snapshots of other tables that this one names; they become current with it. Then remove the
    snapshots that are no longer kept, and what other runs left behind.
    """
    table = staged.table
    tables = (table, *companions_of(table))
    there = {each.name: lake.storage.below(each.path) for each in tables}
    there[table.name] = _without_pictures(there[table.name], table, staged.snapshot)
    for companion in companions:
        tag(lake, companion.table, companion.snapshot.id)
    try:
        _move_main(lake, staged, inputs or {})
    except CommitConflictError:
        for companion in companions:
            untag(lake, companion.table, companion.snapshot.id)
        raise
    for companion in companions:
        fast_forward(lake, companion.table, companion.branch, companion.snapshot.id, None)
    purge = retention == NOTHING_OLD
    expire(lake, table, lambda: kept_ids(lake, table, retention), there[table.name], purge=purge)
    for each in tables[1:]:
        expire(lake, each, partial(named_by, lake, table, each), there[each.name], purge=purge)


def _move_main(lake: Lake, staged: Staged, inputs: Mapping[str, Snapshot]) -> None:
    table = staged.table
    require_unmoved(lake, table, inputs)
    if not _is_whole(lake, staged) or not fast_forward(lake, table, staged.branch, staged.snapshot.id, staged.base):
        raise_conflict(table, table)
    if not _is_whole(lake, staged):
        # A run that removes people has deleted these files after we looked for them.
        go_back(lake, table, staged.snapshot.id, staged.base)
        raise_conflict(table, table)


def mark(lake: Lake, table: Table, before: Snapshot, run: RunContext, *, withdrawn_through: int) -> Snapshot:
    """Record up to which withdrawals a table was checked, in a snapshot of the same rows, and return it.

    Older snapshots, and what other runs left behind, are removed: they can contain people who withdrew. Raises
    `CommitConflictError` if the table has moved.
    """
    there = _without_pictures(lake.storage.below(table.path), table, before)
    branch = branch_name(run)
    start = begin_branch(lake, table, branch, before.id)
    marked = replace(before, withdrawn_through=withdrawn_through)
    marked = replace(marked, id=seal(lake, table, branch, start, marked.summary()))
    if not fast_forward(lake, table, branch, marked.id, before.id):
        discard(lake, table, branch, start)
        raise_conflict(table, table)
    expire(lake, table, set, there, purge=True)
    return marked


def pictures_of(table: Table, snapshot: Snapshot) -> str:
    """Return the folder of the pictures of a table's rows. They stay as long as the rows do."""
    return f"{table.path}/report/{snapshot.content}"


def _without_pictures(found: Mapping[str, int], table: Table, snapshot: Snapshot) -> dict[str, int]:
    kept = f"{pictures_of(table, snapshot)}/"
    return {path: size for path, size in found.items() if not path.startswith(kept)}


def drop_old(lake: Lake, table: Table) -> int:
    """Remove at once all but a table's current snapshot, and what runs left behind; return how many snapshots.

    For a landing table, this includes its companions. A run that is about to publish one of these tables loses. Raises
    `CommitConflictError` if other runs keep changing them.
    """
    read_snapshot_of(lake, table)
    dropped = _drop_all_but(lake, table, set)
    for companion in companions_of(table):
        dropped += _drop_all_but(lake, companion, partial(named_by, lake, table, companion))
    return dropped


def _drop_all_but(lake: Lake, table: Table, kept: Callable[[], set[int]]) -> int:
    there = lake.storage.below(table.path)
    if load(lake, table):
        return expire(lake, table, kept, there, purge=True, with_branches=True)
    if not any(path.endswith(METADATA) for path in there):
        # A run that died before it created the table left them behind.
        remove(lake, table, there)
    return 0


def require_unmoved(lake: Lake, table: Table, inputs: Mapping[str, Snapshot]) -> None:
    """Raise `CommitConflictError` if one of a table's inputs has moved."""
    for name, read in inputs.items():
        found = read_snapshot_of(lake, ALL_TABLES[name])
        if found is None or found.may_differ_from(read):
            raise_conflict(table, ALL_TABLES[name])


def _is_whole(lake: Lake, staged: Staged) -> bool:
    """Whether every staged file is there: a run that removes people deletes the files of other runs."""
    return staged.sizes.items() <= lake.storage.files(f"{staged.table.path}/data").items()
