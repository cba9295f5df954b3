"""Counts violations of a table's rules in its stored files, in one way for publishing, checks and repair."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import pyarrow.dataset as ds

from stedi_assets.contracts import QUARANTINE_TABLES, TABLES, Policy, Rule, Severity, Table
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import DAY, Days, day_of, ranges_of
from stedi_assets.tables.snapshots import Snapshot, dataset
from stedi_assets.tables.staging import Audit, RunContext, Written
from stedi_assets.verification.engine import RuleContext, engine_for, provide
from stedi_assets.verification.portions import portions, rule_context

if TYPE_CHECKING:
    import duckdb

STORED = "stored"
# A withdrawal changes what these find on days that a run does not compute.
_OF_PEOPLE = {"consent_is_current"}


def auditor(
    lake: Lake,
    table: Table,
    run: RunContext,
    staged: Mapping[str, int] | None = None,
    days: Days | None = None,
    before: Snapshot | None = None,
    people: str = "",
) -> Audit:
    """Return a function that counts the violations of a table's rules in what a run has written, by the rules' names.

    Violations of rules that only warn about readings are counted by day. `staged` are snapshots of other tables that
    are read before they are current; `days` are those that were written, all if None. Whether consents are
    current is counted on all days, unless `before`, the table's snapshot, was compared with the same `people`, by their
    content. The function raises `SecondEngineFailed` if DuckDB stops.
    """
    policy = run.policy or Policy()
    queries = _queries(table, policy, run.as_of)
    by_day = {rule.name: queries.pop(rule.name) for rule in table.rules if _counts_by_day(table, rule, queries)}
    on_all_days = {name: queries[name] for name in _OF_PEOPLE & queries.keys()} if days is not None else {}
    if before and before.people and before.people == people and before.counts.keys() >= on_all_days.keys():
        on_all_days = {}
    # Spark has counted the others while it wrote.
    queried = {rule.name: queries[rule.name] for rule in _queried(table, policy) if rule.name in queries}

    def audit(written: Written) -> dict[str, int | Mapping[str, int]]:
        counts: Counter[str] = Counter(dict.fromkeys(queried, 0))
        counts_by_day: dict[str, dict[str, int]] = {name: {} for name in by_day}
        for portion in portions(lake, table, policy, days=days) if queried or by_day else ():
            stored = written.rows if portion is None else _of_days(table, written.rows, portion)
            context = rule_context(lake, policy, run.as_of, run.key, staged, portion)
            in_portion, in_days = _violations(table, stored, context, queried, by_day)
            counts.update(in_portion)
            for name, found in in_days.items():
                counts_by_day[name] |= found
        context = rule_context(lake, policy, run.as_of, run.key, staged)
        of_people = _counted(table, written.all_rows(), context, on_all_days) if on_all_days else {}
        return {**counts, **counts_by_day, **of_people}

    return audit


def _counts_by_day(table: Table, rule: Rule, queries: Mapping[str, str]) -> bool:
    return table.instant is not None and rule.severity is Severity.WARN and rule.name in queries


def _violations(
    table: Table, stored: ds.Dataset, context: RuleContext, queries: Mapping[str, str], by_day: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Count what queries find, and what others find by day."""
    with engine_for(table.name) as engine:
        provide(engine, [*queries.values(), *by_day.values()], context, [*TABLES, *QUARANTINE_TABLES])
        engine.register(STORED, stored)
        return _counts(engine, queries), {name: _counts_of_days(engine, query) for name, query in by_day.items()}


def _counts_of_days(engine: "duckdb.DuckDBPyConnection", query: str) -> dict[str, int]:
    found = engine.execute(f"SELECT instant // {DAY}, count(*) FROM ({query}) GROUP BY 1").fetchall()
    return {day_of(day * DAY): count for day, count in found}


def _of_days(table: Table, rows: ds.Dataset, days: Days) -> ds.Dataset:
    instant = ds.field(str(table.instant))
    return rows.filter(reduce(or_, ((instant >= start) & (instant < end) for start, end in ranges_of(days))))


def recount(
    lake: Lake, table: Table, snapshot: Snapshot, key: Callable[[], bytes], staged: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Count everything that is counted of a table: `rows`, and by its name the violations of each rule.

    `snapshot` is compared with the other tables as they are published now, or as `staged`. Raises `SecondEngineFailed`
    if DuckDB stops.
    """
    policy = Policy.from_dict(snapshot.policy)
    queries = {"rows": f"SELECT 1 FROM {STORED}", **_queries(table, policy, snapshot.as_of)}
    counts: Counter[str] = Counter(dict.fromkeys(queries, 0))
    for portion in portions(lake, table, policy, snapshot=snapshot.id):
        stored = dataset(lake, table, snapshot.id, portion)
        context = rule_context(lake, policy, snapshot.as_of, key, staged, portion)
        counts.update(_counted(table, stored, context, queries))
    return dict(counts)


def count_by(table: Table, stored: ds.Dataset, column: str, which: str) -> dict[str, int]:
    """Count the rows of a table for which `which` is true, by the values of a column.

    Raises `SecondEngineFailed` if DuckDB stops.
    """
    query = f'SELECT "{column}", count(*) FROM {STORED} WHERE {which} GROUP BY "{column}"'
    with engine_for(table.name) as engine:
        engine.register(STORED, stored)
        return dict(engine.execute(query).fetchall())


def count_missing(table: str, column: str, before: ds.Dataset, after: ds.Dataset) -> int:
    """Count the values of a column that are in `before` and not in `after`. Raises `SecondEngineFailed`."""
    query = f'SELECT count(*) FROM before WHERE "{column}" NOT IN (SELECT "{column}" FROM after)'
    with engine_for(table) as engine:
        engine.register("before", before)
        engine.register("after", after)
        return int((engine.execute(query).fetchone() or (0,))[0])


def count_differing(table: str, before: ds.Dataset, after: ds.Dataset) -> int:
    """Count the rows that are in one of two tables and not in the other. Raises `SecondEngineFailed`."""
    only = "SELECT * FROM {} EXCEPT ALL SELECT * FROM {}".format
    queries = {"gone": only("before", "after"), "new": only("after", "before")}
    with engine_for(table) as engine:
        engine.register("before", before)
        engine.register("after", after)
        return sum(_counts(engine, queries).values())


def applies(rule: Rule, policy: Policy) -> bool:
    """Whether a rule applies under a policy."""
    return rule.skipped_under is None or not policy.has(rule.skipped_under)


def _queried(table: Table, policy: Policy) -> Iterable[Rule]:
    return [rule for rule in table.rules if rule.violations_sql and applies(rule, policy)]


def _queries(table: Table, policy: Policy, as_of: int | None) -> dict[str, str]:
    """Return a query for the violations of each counted rule; of a table of readings, each has a column `instant`."""
    instant = f'"{table.instant}" AS instant' if table.instant else "1"
    broken = {
        rule.name: f"SELECT {instant} FROM {STORED} WHERE NOT coalesce({rule.row_predicate}, FALSE)"
        for rule in table.rules
        if rule.row_predicate
    }
    queried = {rule.name: rule.violations_sql or "" for rule in _queried(table, policy)}
    return {name: _in_sql(query, as_of) for name, query in {**broken, **queried}.items()}


def _in_sql(rule: str, as_of: int | None) -> str:
    # Spark writes names in backticks.
    return rule.replace("`", '"').replace("{as_of}", str(as_of))


def _counted(table: Table, stored: ds.Dataset, context: RuleContext, queries: Mapping[str, str]) -> dict[str, int]:
    with engine_for(table.name) as engine:
        provide(engine, queries.values(), context, [*TABLES, *QUARANTINE_TABLES])
        engine.register(STORED, stored)
        return _counts(engine, queries)


def _counts(engine: "duckdb.DuckDBPyConnection", queries: Mapping[str, str]) -> dict[str, int]:
    if not queries:
        return {}
    counts = [f"(SELECT count(*) FROM ({query}) AS broken)" for query in queries.values()]
    row = engine.execute(f"SELECT {', '.join(counts)}").fetchone() or ()
    return dict(zip(queries, row, strict=True))
