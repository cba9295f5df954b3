"""What the pictures show, counted by DuckDB in the published tables. No count is of one person by name or pseudonym."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stedi_assets.contracts import SOURCES, TABLES, Policy
from stedi_assets.lake.layout import Lake
from stedi_assets.lake.snapshots import current, current_dataset
from stedi_assets.second_engine.engine import Given, engine_for, provide

ML = TABLES["machine_learning_curated"]
MEASURES = ("distanceFromObject", "x", "y", "z")
_BINS = 40
_AS_GIVEN = (*TABLES, SOURCES["customer"].quarantine.name)
# Everybody whom a record names, and then who is left: by what each table promises.
_STEPS = {
    "people in the records": ("SELECT count(DISTINCT person) FROM customer_records", "named in a record"),
    "consent to research": ("SELECT count(*) FROM customer_trusted", "never consented, or withdrew"),
    "have phone readings": ("SELECT count(*) FROM customers_curated", "no phone reading"),
    "have device readings": (
        'SELECT count(DISTINCT "user") FROM step_trainer_trusted',
        "no device reading that is theirs alone",
    ),
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
    """A step of the way from everybody to the people in the table: how many are left, how many have left, and why."""

    name: str
    left: int
    gone: int
    why: str


@dataclass(frozen=True)
class Numbers:
    """All that the pictures of a snapshot show.

    `measures` are by column, `readings_per_subject` counts subjects, `coverage` is rows by day, as ISO dates.
    """

    snapshot: str
    rows: int
    customer_records: int
    measures: dict[str, Histogram]
    readings_per_subject: Histogram
    coverage: dict[str, int]
    funnel: Sequence[Step]


def count_for_pictures(lake: Lake, key: Callable[[], bytes]) -> Numbers:
    """Count what the pictures of the current snapshot show.

    Raises `LakeError` where a table is missing, and `SecondEngineFailed` where DuckDB stops.
    """
    pointer = current(lake, ML)
    policy = Policy.from_dict(pointer.policy) if pointer.policy else Policy()
    given = Given(lambda name: current_dataset(lake, name), policy, pointer.as_of, key)
    with engine_for(ML.name) as engine:
        provide(engine, [query for query, _ in _STEPS.values()], given, _AS_GIVEN)

        def rows_of(query: str) -> list[tuple[float, ...]]:
            return engine.execute(query).fetchall()

        per_subject = f"SELECT count(*) AS readings FROM {ML.name} GROUP BY subject_id"
        by_day = f'SELECT CAST(make_timestamp("timestamp" * 1000) AS DATE) AS day FROM {ML.name}'
        return Numbers(
            snapshot=pointer.snapshot,
            rows=pointer.rows,
            customer_records=current(lake, TABLES["customer_landing"]).rows,
            measures={name: _histogram(rows_of, f'SELECT "{name}" AS value FROM {ML.name}') for name in MEASURES},
            readings_per_subject=_histogram(rows_of, f"SELECT readings AS value FROM ({per_subject})"),
            coverage={
                str(day): int(count)
                for day, count in rows_of(f"SELECT day, count(*) FROM ({by_day}) GROUP BY day ORDER BY day")
            },
            funnel=_funnel([int(rows_of(query)[0][0]) for query, _ in _STEPS.values()]),
        )


def _histogram(rows_of: Callable[[str], list[tuple[float, ...]]], values: str) -> Histogram:
    ((low, high),) = rows_of(f"SELECT min(value), max(value) FROM ({values})")
    if low is None:
        return Histogram([0.0, 1.0], [0])
    width = (high - low) / _BINS or 1.0
    place = f"least(CAST(floor((value - {low!r}) / {width!r}) AS BIGINT), {_BINS - 1})"
    counts = [0] * _BINS
    for bin_number, count in rows_of(f"SELECT {place} AS place, count(*) FROM ({values}) GROUP BY place"):
        counts[int(bin_number)] = int(count)
    return Histogram([low + width * n for n in range(_BINS + 1)], counts)


def _funnel(left: Sequence[int]) -> list[Step]:
    before = [left[0], *left[:-1]]
    return [
        Step(name, now, was - now, why) for (name, (_, why)), now, was in zip(_STEPS.items(), left, before, strict=True)
    ]
