"""Staging a table: its rows are written to a branch, counted on the way, read back, audited, and sealed.

Nobody reads the branch until `stedi_assets.tables.publishing` moves `main` to it. A run that dies or fails here leaves
the table as it was.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import NoReturn

import pyarrow as pa
import pyarrow.dataset as ds
from py4j.protocol import Py4JJavaError
from pyiceberg.table import Table as IcebergTable
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from stedi_assets.contracts import Policy, Purpose, Severity, Table
from stedi_assets.contracts.rules import AS_PUBLISHED
from stedi_assets.storage.errors import CommitConflictError, ContractBroken, CorruptTableError, LakeError
from stedi_assets.storage.interface import Storage
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import no_key
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.branches import MAIN, begin_branch, commit, descends, refs_of, require_descent, seal
from stedi_assets.tables.catalog import load, load_or_create, name_of, require_session_of
from stedi_assets.tables.days import Days, within
from stedi_assets.tables.retention import discard, files_of_snapshot
from stedi_assets.tables.snapshots import (
    DataFile,
    ListedFile,
    Snapshot,
    data_files_in,
    dataset_of,
    listed_in,
    named_snapshot,
    published,
    read_footers,
    read_snapshot_of,
)
from stedi_assets.tables.transactions import QuickTransaction

_MOST_OPEN_FILES = 31


@dataclass(frozen=True)
class Written:
    """What a run has staged: the `rows` of the days that it computed, and `all_rows` of the table, as a function."""

    rows: ds.Dataset
    all_rows: Callable[[], ds.Dataset]


# Counts the violations of each rule in what was written; by day, if the rule only warns about readings.
Audit = Callable[[Written], Mapping[str, "int | Mapping[str, int]"]]
# Returns the versions of a table's days, given the snapshot that was written.
Versions = Callable[[int], Mapping[str, str]]


@dataclass(frozen=True)
class RunContext:
    """What a run says about the tables it makes.

    `code` is the version of the code that makes the table. `key` returns the pseudonym key, for the rules that need it.
    `warn` gets messages about what does not stop the run.
    """

    run_id: str
    purpose: Purpose
    as_of: int | None = None
    policy: Policy | None = None
    key: Callable[[], bytes] = field(default=no_key, repr=False)
    warn: Callable[[str], None] = field(default=lambda _: None, repr=False, compare=False)
    code: str = ""


@dataclass(frozen=True)
class Stage:
    """A working folder inside a table's folder. If its run dies, the next run that publishes the table removes it.

    Begin it after reading the table's snapshot; otherwise another run may remove it although this run has not lost.
    """

    storage: Storage
    folder: str

    @classmethod
    def begin(cls, lake: Lake, table: Table) -> "Stage":
        """Return a new stage. Its folder exists from its first file on."""
        return cls(lake.storage, f"{table.path}/_stage-{secrets.token_hex(8)}")

    def discard(self) -> None:
        """Remove the folder with everything in it."""
        self.storage.delete_permanently(self.folder)


@dataclass(frozen=True)
class Staged:
    """A table that is written to a branch and sealed.

    `base` is the snapshot that the branch began from, `sizes` are the data files' by path, in bytes. `added` and
    `removed` are how many rows were written, and how many of `base` went.
    """

    table: Table
    branch: str
    base: int
    snapshot: Snapshot
    sizes: Mapping[str, int]
    added: int
    removed: int


def stage_companion(
    lake: Lake,
    table: Table,
    rows: DataFrame | pa.Table | None,
    named: int | None,
    run: RunContext,
    *,
    days: Days | None = None,
) -> AbstractContextManager[Staged]:
    """Stage rows of a table that another table's snapshot will name; `named` is the snapshot that it names now.

    `days` is as for `staging`: no days at all add the rows, None replaces all that there are.
    """
    before = (
        companion_at(lake, table, named) if named is not None else published(lake, table, load_or_create(lake, table))
    )
    return staging(lake, table, rows, run=run, before=before, inputs={}, audit=_no_rules, days=days)


def companion_at(lake: Lake, table: Table, named: int) -> Snapshot:
    """Return the snapshot of a table that another table's snapshot names, and make it the current one.

    It is not if a run died after the other table's commit.
    """
    iceberg = load(lake, table)
    if iceberg and iceberg.metadata.refs[MAIN].snapshot_id != named:
        commit(lake, table, lambda found: refs_of(found).create_branch(named, MAIN).commit())
    return named_snapshot(lake, table, named)


def _no_rules(_: Written) -> Mapping[str, int]:
    return {}


@contextmanager
def staging(
    lake: Lake,
    table: Table,
    rows: DataFrame | pa.Table | None,
    *,
    run: RunContext,
    before: Snapshot | None,
    inputs: Mapping[str, Snapshot] | None,
    audit: Audit | None,
    delivery: Mapping[str, object] | None = None,
    days: Days | None = None,
    versions: Versions | None = None,
    made_from: str = "",
    people: str = "",
) -> Iterator[Staged]:
    """Write rows to a branch of a table, audit them, seal the branch and yield it; drop it if anything fails.

    `rows` replace those of some `days`, or all if that is None; rows of other days are added. They may be None if there
    are none: Spark would take as long for them as for a few. `audit` counts violations of the table's rules. Without
    it, they are fewer rows of `before`, and the rest of its summary is kept, with its inputs if these are None.
    `versions` gives those of the table's days, `made_from` is a digest of what it is computed from, `people` the
    content of customer_trusted that its audit compares it with. `delivery` is what else is known about the files of a
    landing table. Raises as `publish`.
    """
    if isinstance(rows, DataFrame):
        _require_contract_columns(table, rows)
    iceberg = load_or_create(lake, table)
    main = iceberg.current_snapshot()
    if main is None or published(lake, table, iceberg) != before:
        raise_conflict(table, table)
    # No table can be made from a snapshot whose manifests are damaged.
    base = {file.path: file.rows for file in listed_in(lake, table, iceberg, main.snapshot_id)}
    branch, files = branch_name(run), list[DataFile]()
    start = begin_branch(lake, table, branch, main.snapshot_id)
    # Publishing expires the first of them, so keep both.
    ours = [start]
    try:
        as_of = run.as_of if audit else before.as_of if before else None
        counts = _write(lake, table, rows, branch, as_of, days)
        written, tip = require_descent(lake, table, branch, start)
        listed = listed_in(lake, table, written, tip)
        added = {file.path for file in listed if file.path not in base}
        files += read_back(lake, table, added, counts["rows"], done="written", what_next="Materialise it again.")
        counts["rows"] = sum(file.rows for file in listed)
        computed = days_to_audit(days, before, run)
        if audit:
            audited = files if computed == days else data_files_in(lake, table, listed, computed)
            found = audit(Written(dataset_of(table, audited), partial(_all_rows, lake, table, listed)))
            by_day = _by_day(before, found, computed)
            counts |= _violations(found, by_day)
            _require_rules(table, counts)
            described = _snapshot_of_run(table, counts, run, before, delivery)
            described = replace(described, counts_by_day=by_day, made_from=made_from, people=people)
        else:
            described = _snapshot_of_fewer_rows(before, counts, run)
        if inputs is not None:
            described = replace(
                described,
                inputs={name: read.id for name, read in inputs.items()},
                input_contents={name: read.content for name, read in inputs.items()},
            )
        if versions:
            described = replace(described, days=dict(versions(tip)))
        adds_nothing = rows is None and days == frozenset()
        content = before.content if before and adds_nothing else secrets.token_hex(8)
        described = replace(described, computed=None if computed is None else sorted(computed), content=content)
        lake.storage.fsync(path for path in files_of_snapshot(lake, written, tip) if path not in base)
        snapshot = replace(described, id=seal(lake, table, branch, tip, described.summary()))
        ours.append(snapshot.id)
        sizes = {file.path: file.bytes for file in listed}
        removed = sum(rows for path, rows in base.items() if path not in sizes)
        written_rows = sum(file.rows for file in files)
        yield Staged(table, branch, main.snapshot_id, snapshot, sizes, written_rows, removed)
    except BaseException as error:  # noqa: BLE001  (`give_up` raises it, or the conflict behind it)
        give_up(lake, table, before, branch, ours, [file.path for file in files], error)


def _all_rows(lake: Lake, table: Table, listed: Sequence[ListedFile]) -> ds.Dataset:
    return dataset_of(table, data_files_in(lake, table, listed, None))


def give_up(
    lake: Lake,
    table: Table,
    before: Snapshot | None,
    branch: str,
    ours: Sequence[int],
    written: Sequence[str],
    error: BaseException,
) -> NoReturn:
    """Raise the error that explains why a publication failed; remove what it has written, unless it was published.

    `ours` are the snapshots of its branch, the first of them first; `written` is as for `discard`. It was published if
    `main` descends from one of them: then only the clean-up has failed.
    """
    try:
        iceberg = load(lake, table)
        is_published = iceberg is not None and any(
            descends(iceberg, iceberg.metadata.refs[MAIN].snapshot_id, snapshot) for snapshot in ours
        )
        has_moved = read_snapshot_of(lake, table) != before
        has_lost = not is_published and (not discard(lake, table, branch, ours[0], written) or has_moved)
    except (OSError, LakeError):
        # We cannot tell whether it was published. If not, the next run removes it.
        raise error from None
    if has_lost and isinstance(error, Exception) and not _says_itself(error):
        # Whatever went wrong, the cause may be that a faster run has removed the files.
        raise_conflict(table, table)
    raise error


def _says_itself(error: Exception) -> bool:
    """Whether even a run that has lost should report this error."""
    return isinstance(error, LakeError) and not isinstance(error, CorruptTableError)


def _snapshot_of_run(
    table: Table,
    counts: Mapping[str, int],
    run: RunContext,
    before: Snapshot | None,
    delivery: Mapping[str, object] | None,
) -> Snapshot:
    return Snapshot(
        rows=counts["rows"],
        run_id=run.run_id,
        published_at=_now().isoformat(),
        purpose=run.purpose.value,
        as_of=run.as_of if table.policy_applies else None,
        policy=run.policy.as_dict() if run.policy and table.policy_applies else None,
        previous_rows=before.rows_of_run if before else None,
        rows_of_run=counts["rows"],
        counts=dict(counts),
        delivery=dict(delivery or {}),
        code=run.code,
    )


def days_to_audit(days: Days | None, before: Snapshot | None, run: RunContext) -> Days | None:
    """Return the days of a table that a run has written, some `days` now; None if they are all.

    They include those of `before` if the same run has published that: when it removed people, it counted no rules.
    """
    if days is None or before is None or before.run_id != run.run_id:
        return days
    return None if before.computed is None else days.union(before.computed)


def _by_day(
    before: Snapshot | None, found: Mapping[str, int | Mapping[str, int]], days: Days | None
) -> dict[str, dict[str, int]]:
    """Return violations by rule and day: those found now, and those of days that were not computed."""
    by_day = {rule: dict(number) for rule, number in found.items() if isinstance(number, Mapping)}
    if before is not None and days is not None:
        for rule, counted in by_day.items():
            stay = before.counts_by_day.get(rule, {})
            by_day[rule] = {day: number for day, number in stay.items() if day not in days} | counted
    return by_day


def _violations(
    found: Mapping[str, int | Mapping[str, int]], by_day: Mapping[str, Mapping[str, int]]
) -> dict[str, int]:
    """Return the violations of each rule, those of all days added up."""
    counted = {rule: number for rule, number in found.items() if isinstance(number, int)}
    return counted | {rule: sum(violations.values()) for rule, violations in by_day.items()}


def _snapshot_of_fewer_rows(before: Snapshot | None, counts: Mapping[str, int], run: RunContext) -> Snapshot:
    if before is None:
        msg = "There is no snapshot to remove rows from."
        raise CorruptTableError(msg)
    return replace(before, rows=counts["rows"], run_id=run.run_id, published_at=_now().isoformat(), counts=dict(counts))


def _require_contract_columns(table: Table, rows: DataFrame) -> None:
    found = [(name, kind) for name, kind in rows.dtypes]
    wanted = [(column.name, column.type.value) for column in table.columns]
    if found != wanted:
        differing = sorted({name for name, _ in set(found) ^ set(wanted)}) or ["their order"]
        what_to_do = f"Not as in the contract: {', '.join(differing)}."
        raise ContractBroken(table.name, AS_PUBLISHED.name, len(wanted), len(differing), what_to_do)


def _write(
    lake: Lake, table: Table, rows: DataFrame | pa.Table | None, branch: str, as_of: int | None, days: Days | None
) -> dict[str, int]:
    """Write rows to a branch, and return what was counted: `rows`, and the violations of each row rule."""
    if not isinstance(rows, DataFrame):
        return _write_arrow(lake, table, rows, branch, days)
    require_session_of(rows.sparkSession, lake)
    observation = Observation()
    observed = rows.observe(observation, F.count(F.lit(1)).alias("rows"), *_broken(table, as_of))
    # The file of each day stays open, its rows in memory, until a task ends. If there are many, rows are sorted first.
    few_days = days is not None and 0 < len(days) <= _MOST_OPEN_FILES
    to_branch = observed.writeTo(f"{name_of(lake, table)}.branch_{branch}")
    writer = to_branch.option("fanout-enabled", str(few_days).lower())
    if days is None:
        writer.overwrite(F.lit(True))
    elif days:
        writer.overwrite(F.expr(within(f"`{table.instant}`", days)))
    else:
        writer.append()
    return _no_rows(table) | _observed(observation)


def _observed(observation: Observation) -> dict[str, int]:
    """Return what was counted during a write.

    Nothing is, if Spark finds out meanwhile that there are no rows: then it drops the count from its plan. A count that
    is lost otherwise is noticed when the rows are read back.
    """
    try:
        return {name: int(count) for name, count in observation.get.items()}
    except Py4JJavaError:
        # Spark's classic API stumbles over counts that are not there. Spark Connect returns none.
        return {}


def _no_rows(table: Table) -> dict[str, int]:
    """Return the counts of a table without rows."""
    return {"rows": 0, **dict.fromkeys((rule.name for rule in table.rules if rule.row_predicate), 0)}


def _broken(table: Table, as_of: int | None) -> Iterator[Column]:
    """Yield how many rows violate each row rule."""
    for rule in table.rules:
        if rule.row_predicate:
            holds = rule.row_predicate.replace("{as_of}", str(as_of))
            yield F.count_if(F.expr(f"NOT coalesce({holds}, false)")).alias(rule.name)


def _write_arrow(lake: Lake, table: Table, rows: pa.Table | None, branch: str, days: Days | None) -> dict[str, int]:
    """Write a few rows, or none, without Spark. They replace all, or are added: never those of some days."""
    rows = rows if rows is not None else arrow_schema(table).empty_table()
    counts = _no_rows(table) | {"rows": rows.num_rows}
    if days is not None and not rows.num_rows:
        return counts

    def replace_rows(iceberg: IcebergTable) -> None:
        tip = iceberg.snapshot_by_name(branch)
        held = tip.summary.additional_properties.get("total-records", "0") if tip and tip.summary else "0"
        with QuickTransaction(iceberg) as writing:
            # PyIceberg warns if a table has nothing to replace.
            (writing.append if held == "0" or days is not None else writing.overwrite)(rows, branch=branch)

    commit(lake, table, replace_rows)
    return counts


def read_back(
    lake: Lake, table: Table, paths: Iterable[str], rows: int, *, done: str, what_next: str
) -> list[DataFile]:
    """Return data files, after checking their footers against the contract, and against the `rows` that were `done`.

    Raises `ContractBroken`, which tells `what_next`, if they differ.
    """
    files = read_footers(lake, table, paths)
    found = sum(file.rows for file in files)
    if found != rows or not all(file.as_in_contract for file in files):
        what_to_do = f"{rows:,} rows were {done} and {found:,} can be read back. {what_next}"
        raise ContractBroken(table.name, AS_PUBLISHED.name, rows, abs(rows - found), what_to_do)
    return files


def _require_rules(table: Table, counts: Mapping[str, int]) -> None:
    for rule in table.rules:
        if rule.severity is Severity.ERROR and counts.get(rule.name):
            raise ContractBroken(table.name, rule.name, counts["rows"], counts[rule.name], rule.what_to_do)


def raise_conflict(table: Table, moved: Table) -> NoReturn:
    """Raise `CommitConflictError`: another run has published `moved` since this run began."""
    msg = (
        f"{table.name} was not published: another run has published {moved.name} since this one began. "
        "The newer tables stay. Materialise it again."
    )
    raise CommitConflictError(msg) from None


def branch_name(run: RunContext) -> str:
    """Return a new branch name for a run."""
    return f"run_{re.sub('[^0-9A-Za-z]', '_', run.run_id)}_{secrets.token_hex(4)}"


def _now() -> datetime:
    return datetime.now(timezone.utc)
