"""Which days of readings follow a change of people: those on which a person who differs has phone readings.

Whose a device reading is, and which phone readings count, depends on the people whose phones were active at that very
instant. So no other day can change.
"""

from collections.abc import Callable

from pyspark.sql import DataFrame

from stedi_assets.contracts import SOURCES
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import day_of, new_versions
from stedi_assets.tables.snapshots import Snapshot, read_snapshot, read_snapshot_of
from stedi_assets.transforms.changes import active_days

_PHONES = SOURCES["accelerometer"].landing


def versions_of_people(lake: Lake, before: Snapshot | None, changed: Callable[[], DataFrame]) -> dict[str, str]:
    """Return the versions of a table of people by day: new ones where a person who differs has phone readings.

    `before` is its snapshot before. `changed` returns the people who differ since, in a column `person`.
    """
    phones = read_snapshot_of(lake, _PHONES)
    if phones is None:
        return before.days if before else {}
    if before is None:
        # Without an earlier snapshot, nobody can tell who differs.
        return new_versions(phones.days)
    people = changed()
    readings = read_snapshot(people.sparkSession, lake, _PHONES, phones.id)
    starts = active_days(readings, people).collect()
    return {**before.days, **new_versions(day_of(row["start"]) for row in starts)}
