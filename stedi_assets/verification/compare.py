"""Recompute a derived table with DuckDB, and compare it with the published one, row for row."""

from collections.abc import Callable
from operator import add
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.dataset as ds

from stedi_assets.contracts import Policy, Table
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import Days
from stedi_assets.tables.snapshots import Snapshot, dataset
from stedi_assets.verification.engine import RuleContext, engine_for, provide
from stedi_assets.verification.portions import portions, rule_context
from stedi_assets.verification.queries import inputs_of

if TYPE_CHECKING:
    import duckdb

_PUBLISHED = "published"


class Comparison(NamedTuple):
    """How a published table differs, in rows, from what DuckDB computes from the same inputs.

    `missing` are rows that DuckDB finds and the published table lacks, `surplus` the opposite. Repeated rows count as
    often as they occur.
    """

    published: int
    recomputed: int
    missing: int
    surplus: int


def compare(table: Table, published: ds.Dataset, context: RuleContext) -> Comparison:
    """Recompute a derived table from those of `inputs_of`, and compare it with the published one.

    `published`: the table, of which the contract's columns are compared. `context.table` opens its inputs, and the rest
    of `context` is what the table was made under.

    Raises `SecondEngineFailed` if DuckDB stops.
    """
    columns = ", ".join(f'"{name}"' for name in table.column_names)
    ours, theirs = f"SELECT {columns} FROM {table.name}", f"SELECT {columns} FROM {_PUBLISHED}"
    with engine_for(table.name) as engine:
        provide(engine, [ours], context, inputs_of(table))
        engine.register(_PUBLISHED, published)
        return Comparison(
            published=_count(engine, theirs),
            recomputed=_count(engine, ours),
            missing=_count(engine, f"{ours} EXCEPT ALL {theirs}"),
            surplus=_count(engine, f"{theirs} EXCEPT ALL {ours}"),
        )


def compare_days(
    lake: Lake, table: Table, snapshot: Snapshot, policy: Policy, key: Callable[[], bytes], days: Days | None
) -> Comparison:
    """Compare some days of a derived table as it is published, or all, portion by portion. Raises as `compare`."""
    total = Comparison(0, 0, 0, 0)
    for portion in portions(lake, table, policy, days=days, snapshot=snapshot.id):
        context = rule_context(lake, policy, snapshot.as_of, key, days=portion)
        found = compare(table, dataset(lake, table, snapshot.id, portion), context)
        total = Comparison(*map(add, total, found))
    return total


def _count(engine: "duckdb.DuckDBPyConnection", rows: str) -> int:
    ((count,),) = engine.execute(f"SELECT count(*) FROM ({rows})").fetchall()
    return int(count)
