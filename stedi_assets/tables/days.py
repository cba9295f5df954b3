"""The UTC days of tables of readings: the version in which a table holds each, and which are to be computed again.

Every join between readings is on the exact instant. So a day of a table follows from the same day of its inputs, and
from the people. A landing table gives a day a new version whenever it adds, replaces or removes rows of that day; a
table of people gives one to each day on which a person who differs has phone readings. A table made from those keeps,
for each day, a digest of the versions it was computed from. If that is not the current one, the day is stale.

A day is written as in `2022-06-18`.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone

from stedi_assets.contracts import ALL_TABLES, Table

DAY = 86_400_000
Days = frozenset[str]
# Above so many ranges of days, a table is computed whole: Spark's plan would grow with them.
MOST_RANGES = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def day_of(instant: int) -> str:
    """Return the UTC day of an instant, which is given in epoch milliseconds."""
    return (_EPOCH + timedelta(days=instant // DAY)).date().isoformat()


def start_of(day: str) -> int:
    """Return the first instant of a day, in epoch milliseconds."""
    return (datetime.fromisoformat(day).replace(tzinfo=timezone.utc) - _EPOCH).days * DAY


def ranges_of(days: Iterable[str]) -> list[tuple[int, int]]:
    """Return days as few ranges of instants: the first of each, and the first after it."""
    merged: list[tuple[int, int]] = []
    for start in sorted(map(start_of, days)):
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], start + DAY)
        else:
            merged.append((start, start + DAY))
    return merged


def within(column: str, days: Iterable[str]) -> str:
    """Return the SQL condition that an instant is of one of the days."""
    parts = [f"({column} >= {start} AND {column} < {end})" for start, end in ranges_of(days)]
    return " OR ".join(parts) or "FALSE"


def new_versions(days: Iterable[str]) -> dict[str, str]:
    """Return a new version for each day. None equals another, so that nobody sees which days changed together."""
    return {day: secrets.token_hex(4) for day in sorted(days)}


def versions_from(inputs: Mapping[str, Mapping[str, str]], table: Table, made_under: str) -> dict[str, str]:
    """Return, for each day that any input of readings has, a digest of all that a table's day is computed from.

    `inputs` are the versions of the table's inputs, by name and day.
    """
    days = set[str]().union(*(inputs[name] for name in table.inputs if ALL_TABLES[name].instant))
    return {day: digest_of(made_under, *(inputs[name].get(day, "") for name in table.inputs)) for day in sorted(days)}


def made_under(code: str, policy: Mapping[str, str] | None) -> str:
    """Return, in one text, what decides how a table is computed, besides its inputs."""
    return json.dumps([code, policy])


def carried_over(versions: Mapping[str, str], then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return a table's versions by day; where they were those of `then`, they become those of `now`."""
    return {day: now.get(day, found) if found == then.get(day) else found for day, found in versions.items()}


def stale_days(before: Mapping[str, str], now: Mapping[str, str]) -> Days | None:
    """Return the days whose version is not the current one; None if a table is better computed whole."""
    stale = frozenset(day for day in before.keys() | now.keys() if before.get(day) != now.get(day))
    return None if not before or stale >= now.keys() else few(stale)


def few(days: Days) -> Days | None:
    """Return days, or None if a table is better computed whole than in so many ranges."""
    return None if len(ranges_of(days)) > MOST_RANGES else days


def in_portions(rows: Mapping[str, int], most: int) -> Iterator[Days]:
    """Yield days, in order, in portions of at most `most` rows, or of one day. `rows` are counts by day."""
    portion, size = set[str](), 0
    for day in sorted(rows):
        if portion and size + rows[day] > most:
            yield frozenset(portion)
            portion, size = set(), 0
        portion.add(day)
        size += rows[day]
    if portion:
        yield frozenset(portion)


def digest_of(*words: str) -> str:
    """Return 12 hex digits that identify words."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
