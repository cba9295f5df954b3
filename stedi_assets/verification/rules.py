"""Counts violations of a table's rules in its stored files, in one way for publishing, checks and repair."""

from collections.abc import Callable, Iterable, Mapping

import pyarrow.dataset as ds

from stedi_assets.contracts import QUARANTINE_TABLES, TABLES, Policy, Rule, Table
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current_dataset, dataset, table_named
from stedi_assets.tables.staging import Audit, RunContext
from stedi_assets.verification.engine import RuleContext, engine_for, provide

STORED = "stored"


def auditor(lake: Lake, table: Table, run: RunContext, staged: Mapping[str, int] | None = None) -> Audit:
    """Return a function that counts the violations of a table's rules in what a run has written, by the rules' names.

    `staged` are snapshots of other tables that are to be read before they are current. The function raises
    `SecondEngineFailed` if DuckDB stops.
    """
    context = rule_context(lake, run.policy or Policy(), run.as_of, run.key, staged)
    return lambda stored: count_violations(table, stored, context)


def rule_context(
    lake: Lake, policy: Policy, as_of: int | None, key: Callable[[], bytes], staged: Mapping[str, int] | None = None
) -> RuleContext:
    """Return what rules are evaluated with: the tables of a lake as they are published now, or as they are staged."""

    def table(name: str) -> ds.Dataset:
        if staged and name in staged:
            return dataset(lake, table_named(name), staged[name])
        return current_dataset(lake, name)

    return RuleContext(table, policy, as_of, key)


def count_violations(table: Table, stored: ds.Dataset, context: RuleContext) -> dict[str, int]:
    """Count the violations of each rule that has a query, in rows, by the rule's name.

    `stored`: the rows to check. `context.table` opens the other tables as they are published now.

    Raises `SecondEngineFailed` if DuckDB stops.
    """
    return _counted(
        table, stored, context, {rule.name: _rows(rule, context) for rule in _queried(table, context.policy)}
    )


def recount(table: Table, stored: ds.Dataset, context: RuleContext) -> dict[str, int]:
    """Count everything that is counted of a table: `rows`, and by its name the violations of each rule.

    In and raised: as for `count_violations`.
    """
    broken = {
        rule.name: f"SELECT 1 FROM {STORED} WHERE NOT coalesce({_in_sql(rule.row_predicate, context)}, FALSE)"
        for rule in table.rules
        if rule.row_predicate
    }
    rows = {"rows": f"SELECT 1 FROM {STORED}"}
    queried = {rule.name: _rows(rule, context) for rule in _queried(table, context.policy)}
    return _counted(table, stored, context, {**rows, **broken, **queried})


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


def applies(rule: Rule, policy: Policy) -> bool:
    """Whether a rule applies under a policy."""
    return rule.skipped_under is None or not policy.has(rule.skipped_under)


def _queried(table: Table, policy: Policy) -> Iterable[Rule]:
    return [rule for rule in table.rules if rule.violations_sql and applies(rule, policy)]


def _rows(rule: Rule, context: RuleContext) -> str:
    return _in_sql(rule.violations_sql or "", context)


def _in_sql(rule: str, context: RuleContext) -> str:
    # Spark writes names in backticks.
    return rule.replace("`", '"').replace("{as_of}", str(context.as_of))


def _counted(table: Table, stored: ds.Dataset, context: RuleContext, queries: dict[str, str]) -> dict[str, int]:
    if not queries:
        return {}
    counts = [f"(SELECT count(*) FROM ({query}) AS broken)" for query in queries.values()]
    with engine_for(table.name) as engine:
        provide(engine, queries.values(), context, [*TABLES, *QUARANTINE_TABLES])
        engine.register(STORED, stored)
        row = engine.execute(f"SELECT {', '.join(counts)}").fetchone() or ()
    return dict(zip(queries, row, strict=True))
