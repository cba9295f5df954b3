"""The days of a table in portions, so that DuckDB looks at a large lake in bounded memory.

A day of a table of readings follows from the same day of its inputs and from the people. So each portion is checked by
itself, with all people and the readings of the same days. Not if readings are matched by instant alone: then
whose a device reading is may depend on any other day.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pyarrow.dataset as ds

from stedi_assets.contracts import ALL_TABLES, MatchOn, Policy, Table
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import Days, in_portions
from stedi_assets.tables.snapshots import NO_DAY, current_dataset, dataset, read_snapshot_of, rows_by_day
from stedi_assets.verification.engine import RuleContext

# Readings in all tables that are looked at together. DuckDB takes some hundred bytes for each.
MOST_ROWS = 2_000_000


def rule_context(
    lake: Lake,
    policy: Policy,
    as_of: int | None,
    key: Callable[[], bytes],
    staged: Mapping[str, int] | None = None,
    days: Days | None = None,
) -> RuleContext:
    """Return what rules are evaluated with: the tables of a lake as they are published now, or as they are staged.

    `staged` are snapshots that are to be read before they are current. Of tables of readings, only those of some `days`
    are read, or all if that is None.
    """

    def table(name: str) -> ds.Dataset:
        of_days = days if ALL_TABLES[name].instant else None
        if staged and name in staged:
            return dataset(lake, ALL_TABLES[name], staged[name], of_days)
        return current_dataset(lake, name, of_days)

    return RuleContext(table, policy, as_of, key)


def portions(
    lake: Lake, table: Table, policy: Policy, *, days: Days | None = None, snapshot: int | None = None
) -> Iterator[Days | None]:
    """Yield days of a table to be looked at together, out of some or of all; None if it must be looked at whole.

    They are the days of its inputs, as these are published now, and those of a snapshot of its own.
    """
    if table.instant is None or policy.match_on is MatchOn.TIMESTAMP:
        yield None
        return
    rows: Counter[str] = Counter(dict.fromkeys(days or (), 0))
    for read in map(ALL_TABLES.__getitem__, table.inputs):
        if read.instant and (found := read_snapshot_of(lake, read)):
            rows.update(rows_by_day(lake, read, found.id))
    if snapshot is not None:
        rows.update(rows_by_day(lake, table, snapshot))
    if NO_DAY in rows:
        yield None
        return
    yield from in_portions({day: count for day, count in rows.items() if days is None or day in days}, MOST_ROWS)
