"""What the pictures show, counted by DuckDB in the published tables. No count names a person or a pseudonym."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

from stedi_assets.contracts import SOURCES, TABLES, MatchOn, Policy
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import digest_of
from stedi_assets.tables.snapshots import Snapshot, current
from stedi_assets.verification.engine import engine_for, provide
from stedi_assets.verification.portions import rule_context

ML = TABLES["machine_learning_curated"]
MEASURES = ("distanceFromObject", "x", "y", "z")
_BINS = 40
_DEVICES = "have device readings"
_CUSTOMERS = SOURCES["customer"]
_AS_PUBLISHED = (*TABLES, _CUSTOMERS.quarantine.name)
# The tables of the funnel, each made from the one before it.
_STEPS = tuple(TABLES[name] for name in ("customer_trusted", "customers_curated", "step_trainer_trusted", ML.name))
# All people whom a record names, and then those who are left, by what each table promises.
_FUNNEL = {
    "people in the records": ("SELECT count(DISTINCT person) FROM customer_records", "named in a record"),
    "consent to research": ("SELECT count(*) FROM customer_trusted", "never consented, or withdrew"),
    "have phone readings": ("SELECT count(*) FROM customers_curated", "no phone reading"),
    _DEVICES: ('SELECT count(DISTINCT "user") FROM step_trainer_trusted', "no device reading that is theirs alone"),
    "are in the ML table": (
        "SELECT count(DISTINCT subject_id) FROM machine_learning_curated",
        "no two readings at one instant",
    ),
}


@dataclass(frozen=True)
class Histogram:
    """How many rows have a value within each bin; `edges` has one more than `counts`."""

    edges: Sequence[float]
    counts: Sequence[int]


@dataclass(frozen=True)
class Step:
    """A step from everybody to the people in the table: how many are left, how many are gone, and why."""

    name: str
    left: int
    gone: int
    why: str


@dataclass(frozen=True)
class Numbers:
    """Everything that the pictures of a snapshot of the ML table show.

    `customer_records` are all that were delivered, including those in quarantine. `measures` are by column,
    `readings_per_subject` counts subjects, `coverage` is rows by day.
    """

    snapshot: Snapshot
    customer_records: int
    measures: dict[str, Histogram]
    readings_per_subject: Histogram
    coverage: dict[date, int]
    funnel: Sequence[Step]


def count_for_pictures(lake: Lake, key: Callable[[], bytes]) -> Numbers:
    """Count what the pictures of the current snapshot show.

    Raises `LakeError` if a table is missing, or was made again since, so that the numbers would not add up, and
    `SecondEngineFailed` if DuckDB stops.
    """
    snapshot = current(lake, ML)
    _require_together(lake)
    policy = Policy.from_dict(snapshot.policy)
    records = sum(current(lake, table).rows for table in (_CUSTOMERS.landing, _CUSTOMERS.quarantine))
    # Under that policy, a device reading has no person.
    steps = {name: step for name, step in _FUNNEL.items() if not (policy.has(MatchOn.TIMESTAMP) and name == _DEVICES)}
    context = rule_context(lake, policy, snapshot.as_of, key)
    with engine_for(ML.name) as engine:
        provide(engine, [query for query, _ in steps.values()], context, _AS_PUBLISHED)

        def rows_of(query: str) -> list[tuple[Any, ...]]:
            return engine.execute(query).fetchall()

        per_subject = f"SELECT count(*) AS readings FROM {ML.name} GROUP BY subject_id"
        by_day = f'SELECT CAST(make_timestamp("timestamp" * 1000) AS DATE) AS day FROM {ML.name}'
        return Numbers(
            snapshot=snapshot,
            customer_records=records,
            measures={name: _histogram(rows_of, f'SELECT "{name}" AS value FROM {ML.name}') for name in MEASURES},
            readings_per_subject=_histogram(rows_of, f"SELECT readings AS value FROM ({per_subject})"),
            coverage={
                day: int(count)
                for day, count in rows_of(f"SELECT day, count(*) FROM ({by_day}) GROUP BY day ORDER BY day")
            },
            funnel=_funnel({name: (rows_of(query)[0][0], why) for name, (query, why) in steps.items()}),
        )


def content_of_pictures(lake: Lake) -> str:
    """Return a digest that changes whenever the pictures may. Raises `LakeError` as `count_for_pictures`."""
    _require_together(lake)
    # customer_trusted is computed again whenever customer records change.
    return digest_of(*(current(lake, table).content for table in _STEPS))


def _require_together(lake: Lake) -> None:
    """Raise `LakeError` unless each table of the funnel was made from the current snapshot of the one before it."""
    for before, after in pairwise(_STEPS):
        if current(lake, after).has_other(before.name, current(lake, before)):
            raise LakeError(
                f"{after.name} is behind {before.name}, so that the numbers would not add up. "
                f"Materialise {after.name} first."
            )


def _histogram(rows_of: Callable[[str], list[tuple[Any, ...]]], values: str) -> Histogram:
    ((low, high),) = rows_of(f"SELECT min(value), max(value) FROM ({values})")
    if low is None:
        return Histogram([0.0, 1.0], [0])
    width = (high - low) / _BINS or 1.0
    place = f"least(CAST(floor((value - {low!r}) / {width!r}) AS BIGINT), {_BINS - 1})"
    counts = [0] * _BINS
    for bin_number, count in rows_of(f"SELECT {place} AS place, count(*) FROM ({values}) GROUP BY place"):
        counts[int(bin_number)] = int(count)
    return Histogram([low + width * n for n in range(_BINS + 1)], counts)


def _funnel(steps: Mapping[str, tuple[int, str]]) -> list[Step]:
    found, before = [], None
    for name, (left, why) in steps.items():
        found.append(Step(name, left, (before or left) - left, why))
        before = left
    return found
