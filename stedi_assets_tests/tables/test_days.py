"""The days of tables of readings: instants to days and back, versions, and which days are stale."""

import itertools
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from stedi_assets.contracts import TABLES
from stedi_assets.contracts.rules import END_OF_INSTANTS, FIRST_INSTANT
from stedi_assets.tables.days import (
    DAY,
    MOST_RANGES,
    carried_over,
    day_of,
    in_portions,
    new_versions,
    ranges_of,
    stale_days,
    start_of,
    versions_from,
    within,
)

STEPS = TABLES["step_trainer_trusted"]
INSTANTS = st.integers(FIRST_INSTANT, END_OF_INSTANTS - 1)
DAYS = st.builds(day_of, INSTANTS)
SOME_DAYS = st.frozensets(DAYS, max_size=12)


@given(INSTANTS)
def test_an_instant_is_of_its_utc_day(instant: int) -> None:
    assert day_of(instant) == datetime.fromtimestamp(instant // 1000, timezone.utc).date().isoformat()
    assert start_of(day_of(instant)) <= instant < start_of(day_of(instant)) + DAY


@given(SOME_DAYS)
def test_ranges_hold_exactly_the_days(days: frozenset[str]) -> None:
    # Neighbours are common.
    days |= {
        (datetime.fromisoformat(day) + timedelta(days=number)).date().isoformat() for day in days for number in (1, 2)
    }
    ranges = ranges_of(days)
    found = [day_of(instant) for start, end in ranges for instant in range(start, end, DAY)]
    assert found == sorted(days)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(ranges))


def test_a_condition_has_the_edges_of_the_days() -> None:
    assert within("t", ["1970-01-02", "1970-01-03", "1970-01-05"]) == (
        "(t >= 86400000 AND t < 259200000) OR (t >= 345600000 AND t < 432000000)"
    )
    assert within("t", []) == "FALSE"


@given(SOME_DAYS)
def test_no_two_new_versions_are_equal(days: frozenset[str]) -> None:
    """Or what changed together would show, which may be one person's days."""
    versions = new_versions(days)
    assert versions.keys() == days
    assert len({*versions.values()}) == len(days)


@given(SOME_DAYS, SOME_DAYS, SOME_DAYS)
def test_a_day_is_stale_if_anything_it_follows_from_has_changed(
    readings: frozenset[str], others: frozenset[str], people: frozenset[str]
) -> None:
    before = _versions_of_inputs(readings, others, people)
    made = versions_from(before, STEPS, "code")
    assert made.keys() == readings | others
    assert versions_from(before, STEPS, "code") == made
    assert not stale_days(made, made)
    for changed in before:
        for day in sorted(readings | others)[:3]:
            again = before | {changed: before[changed] | new_versions([day])}
            stale = stale_days(made, versions_from(again, STEPS, "code"))
            assert stale is None if len(made) == 1 else stale == frozenset({day})
    if made:
        assert stale_days(made, versions_from(before, STEPS, "other code")) is None


@given(SOME_DAYS, SOME_DAYS, SOME_DAYS, SOME_DAYS)
def test_a_day_that_was_stale_stays_stale_when_people_leave(
    readings: frozenset[str], people: frozenset[str], left: frozenset[str], stale: frozenset[str]
) -> None:
    before = _versions_of_inputs(readings, readings, people)
    after = before | {"customers_curated": before["customers_curated"] | new_versions(left)}
    then, now = (versions_from(inputs, STEPS, "code") for inputs in (before, after))
    stored = then | new_versions(stale & readings)
    kept = carried_over(stored, then, now)
    assert {day for day in now if kept[day] != now[day]} == stale & readings


def _versions_of_inputs(
    readings: frozenset[str], others: frozenset[str], people: frozenset[str]
) -> dict[str, dict[str, str]]:
    return {
        "customers_curated": new_versions(people),
        "step_trainer_landing": new_versions(readings),
        "customer_landing": new_versions(people),
        "accelerometer_landing": new_versions(others),
    }


def test_a_day_that_is_gone_is_stale() -> None:
    before = new_versions(["2022-06-18", "2022-06-19", "2022-06-20"])
    now = {day: version for day, version in before.items() if day != "2022-06-19"}
    assert stale_days(before, now) == frozenset({"2022-06-19"})
    assert stale_days({}, now) is None


def test_too_many_ranges_are_computed_whole() -> None:
    every = [day_of(FIRST_INSTANT + number * DAY) for number in range(2 * MOST_RANGES + 4)]
    before = new_versions(every)
    for step, expected in ((2, None), (3, frozenset(every[::3]))):
        now = before | new_versions(every[::step])
        assert stale_days(before, now) == expected


@given(st.dictionaries(DAYS, st.integers(0, 50), max_size=20), st.integers(1, 60))
def test_portions_are_small_and_miss_no_day(rows: dict[str, int], most: int) -> None:
    portions = list(in_portions(rows, most))
    assert sorted(day for portion in portions for day in portion) == sorted(rows)
    assert all(len(portion) == 1 or sum(rows[day] for day in portion) <= most for portion in portions)
