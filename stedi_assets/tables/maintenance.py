"""Maintenance of published tables: small data files are compacted, and what is no longer needed is removed.

The rows of a table, and what its snapshot says of them, stay the same. So nothing has to be computed again afterwards.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyspark.sql import SparkSession

from stedi_assets.contracts import Table
from stedi_assets.contracts.tables import companions_of
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.branches import MAIN, begin_branch, require_descent, seal
from stedi_assets.tables.catalog import NAME, load, session_of
from stedi_assets.tables.publishing import make_current
from stedi_assets.tables.retention import Retention, expire, files_of_snapshot, kept_ids, named_by, referenced
from stedi_assets.tables.snapshots import Snapshot, current, data_paths, listed_in, named_snapshot
from stedi_assets.tables.staging import RunContext, Staged, branch_name, give_up, read_back

# Iceberg's own defaults for compaction: a day with so many files, each smaller than three quarters of 512 MiB.
_MANY = 5
_SMALL = 384 << 20
# Iceberg's least age of a file that its own procedure removes as an orphan: no run takes so long.
_DEAD_AFTER = 24 * 3_600_000


@dataclass(frozen=True)
class Maintained:
    """What was done to a table: how many data files it had and has, and what was removed.

    `expired` are snapshots, and `orphans` files that no snapshot named.
    """

    table: Table
    files_before: int
    files_now: int
    expired: int
    orphans: int


def maintain(
    session: Callable[[], SparkSession], lake: Lake, table: Table, run: RunContext, retention: Retention
) -> list[Maintained]:
    """Compact a published table, and expire and remove what is no longer kept; of a landing table's companions, too.

    `session` is called if there is anything to compact. Raises `CommitConflictError` if another run publishes the table
    meanwhile, `ContractBroken` if the rows would not be the same, and `LakeError` if the table is damaged.
    """
    before = current(lake, table)
    snapshots = {table: before.id, **{each: before.inputs[each.name] for each in companions_of(table)}}
    files_before = {each: len(data_paths(lake, each, snapshot)) for each, snapshot in snapshots.items()}
    scattered = {each for each, snapshot in snapshots.items() if _is_scattered(lake, each, snapshot)}
    if scattered:
        _compact(session_of(session(), lake), lake, table, before, run, retention, scattered)
    kept: dict[Table, Callable[[], set[int]]] = {table: partial(kept_ids, lake, table, retention)}
    kept |= {each: partial(named_by, lake, table, each) for each in companions_of(table)}
    return [_cleaned(lake, each, files_before[each], kept[each]) for each in snapshots]


def _is_scattered(lake: Lake, table: Table, snapshot: int) -> bool:
    iceberg = load(lake, table)
    listed = listed_in(lake, table, iceberg, snapshot) if iceberg else []
    small = Counter(file.day for file in listed if file.bytes < _SMALL)
    return any(files >= _MANY for files in small.values())


def _compact(
    spark: SparkSession,
    lake: Lake,
    table: Table,
    before: Snapshot,
    run: RunContext,
    retention: Retention,
    scattered: set[Table],
) -> None:
    with ExitStack() as stages:
        companions = [
            stages.enter_context(
                _compacting(spark, lake, each, named_snapshot(lake, each, before.inputs[each.name]), run)
            )
            for each in companions_of(table)
            if each in scattered
        ]
        inputs = {staged.table.name: staged.snapshot.id for staged in companions}
        compacted = stages.enter_context(
            _compacting(spark, lake, table, before, run, inputs=inputs, rewrite=table in scattered)
        )
        make_current(lake, compacted, retention=retention, companions=companions)


@contextmanager
def _compacting(
    spark: SparkSession,
    lake: Lake,
    table: Table,
    before: Snapshot,
    run: RunContext,
    *,
    inputs: Mapping[str, int] | None = None,
    rewrite: bool = True,
) -> Iterator[Staged]:
    """Rewrite a table's small files on a branch, seal it and yield it; drop it if anything fails.

    `inputs` are ids of snapshots that the table names from now on. Without `rewrite`, only those change.
    """
    branch, written = branch_name(run), list[str]()
    start = begin_branch(lake, table, branch, before.id)
    ours = [start]
    try:
        if rewrite:
            spark.sql(
                f"CALL {NAME}.system.rewrite_data_files(table => '{lake.namespace}.{table.name}', "
                f"branch => '{branch}', options => map('min-input-files', '{_MANY}'))"
            )
        iceberg, tip = require_descent(lake, table, branch, start)
        sizes = {file.path: file.bytes for file in listed_in(lake, table, iceberg, tip)}
        old = data_paths(lake, table, before.id)
        written += sizes.keys() - old.keys()
        read_back(lake, table, sizes, before.rows, done="to be compacted", what_next="The table stays.")
        lake.storage.fsync(path for path in files_of_snapshot(lake, iceberg, tip) if path not in old)
        described = replace(before, inputs={**before.inputs, **(inputs or {})})
        snapshot = replace(described, id=seal(lake, table, branch, tip, described.summary()))
        ours.append(snapshot.id)
        yield Staged(table, branch, before.id, snapshot, sizes, added=0, removed=0)
    except BaseException as error:  # noqa: BLE001  (`give_up` raises it, or the conflict behind it)
        give_up(lake, table, before, branch, ours, written, error)


def _cleaned(lake: Lake, table: Table, files_before: int, kept: Callable[[], set[int]]) -> Maintained:
    """Expire snapshots, drop the branches of dead runs, and remove files that nothing names."""
    long_ago = int(time.time() * 1000) - _DEAD_AFTER
    old = lake.storage.unchanged_since(table.path, long_ago)
    iceberg = load(lake, table)
    named = referenced(lake, iceberg, with_old_metadata=True) if iceberg else set[str]()
    # The report's pictures are those of the current rows; the next publication of others removes them.
    orphans = {path for path in old - named if not path.startswith(f"{table.path}/report/")}
    is_dead = [at < long_ago for at in _branches(iceberg)] if iceberg else []
    may_go = dict.fromkeys(named | orphans, 0)
    # The branches of runs in progress stay, and so do all others until those are through.
    with_branches = bool(is_dead) and all(is_dead)
    expired = expire(lake, table, kept, may_go, purge=False, with_branches=with_branches)
    found = load(lake, table)
    now = found.current_snapshot() if found else None
    files_now = len(data_paths(lake, table, now.snapshot_id)) if now else 0
    return Maintained(table, files_before, files_now, expired, len(orphans))


def _branches(iceberg: IcebergTable) -> Iterator[int]:
    """Yield when each branch of a run was last written, in epoch milliseconds."""
    for name, ref in iceberg.metadata.refs.items():
        found = iceberg.snapshot_by_id(ref.snapshot_id)
        if name != MAIN and ref.snapshot_ref_type == SnapshotRefType.BRANCH and found:
            yield found.timestamp_ms
