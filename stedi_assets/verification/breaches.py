"""Count how often the rules of a table are broken, in the files that hold it."""

from collections.abc import Iterable

import pyarrow.dataset as ds

from stedi_assets.contracts import QUARANTINE_TABLES, TABLES, Policy, Rule, Table
from stedi_assets.verification.engine import Given, engine_for, provide

STORED = "stored"


def count_breaches(table: Table, stored: ds.Dataset, given: Given) -> dict[str, int]:
    """Count the breaches of each rule that has a query, in rows, by the rule's name.

    `stored`: the rows to judge. `given.table` gives the other tables as they are published now.

    Raises `SecondEngineFailed` where DuckDB stops.
    """
    return _counted(table, stored, given, {rule.name: _rows(rule, given) for rule in _queried(table, given.policy)})


def recount(table: Table, stored: ds.Dataset, given: Given) -> dict[str, int]:
    """Count all that is counted of a table: `rows`, and under its name how often each rule is broken.

    In and raised: as for `count_breaches`.
    """
    broken = {
        rule.name: f"SELECT 1 FROM {STORED} WHERE NOT coalesce({_in_sql(rule.holds, given)}, FALSE)"
        for rule in table.rules
        if rule.holds
    }
    rows = {"rows": f"SELECT 1 FROM {STORED}"}
    queried = {rule.name: _rows(rule, given) for rule in _queried(table, given.policy)}
    return _counted(table, stored, given, {**rows, **broken, **queried})


def count_by(table: Table, stored: ds.Dataset, column: str, which: str) -> dict[str, int]:
    """Count those rows of a table for which `which` is true, by the values of a column.

    Raises `SecondEngineFailed` where DuckDB stops.
    """
    query = f'SELECT "{column}", count(*) FROM {STORED} WHERE {which} GROUP BY "{column}"'
    with engine_for(table.name) as engine:
        engine.register(STORED, stored)
        return dict(engine.execute(query).fetchall())


def count_missing(table: str, column: str, before: ds.Dataset, after: ds.Dataset) -> int:
    """Count the values of a column that were there before and are not after. Raises `SecondEngineFailed`."""
    query = f'SELECT count(*) FROM before WHERE "{column}" NOT IN (SELECT "{column}" FROM after)'
    with engine_for(table) as engine:
        engine.register("before", before)
        engine.register("after", after)
        return int((engine.execute(query).fetchone() or (0,))[0])


def applies(rule: Rule, policy: Policy) -> bool:
    """Whether a rule is one under a policy."""
    return rule.unless is None or not policy.has(rule.unless)


def _queried(table: Table, policy: Policy) -> Iterable[Rule]:
    return [rule for rule in table.rules if rule.breaches and applies(rule, policy)]


def _rows(rule: Rule, given: Given) -> str:
    return _in_sql(rule.breaches or "", given)


def _in_sql(rule: str, given: Given) -> str:
    # Spark puts names into backticks.
    return rule.replace("`", '"').replace("{as_of}", str(given.as_of))


def _counted(table: Table, stored: ds.Dataset, given: Given, queries: dict[str, str]) -> dict[str, int]:
    if not queries:
        return {}
    counts = [f"(SELECT count(*) FROM ({query}) AS broken)" for query in queries.values()]
    with engine_for(table.name) as engine:
        provide(engine, queries.values(), given, [*TABLES, *QUARANTINE_TABLES])
        engine.register(STORED, stored)
        row = engine.execute(f"SELECT {', '.join(counts)}").fetchone() or ()
    return dict(zip(queries, row, strict=True))
