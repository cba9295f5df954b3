"""Withdrawal: who is not in customer_trusted any more leaves every table that was made of it, old snapshots included.

It is never held up. The tables are not computed again for it: their last snapshots are published once more without
the people who left, whatever is wrong with other sources. Those furthest down go first and customer_trusted last, so
that a run that dies half-way is made good by the next one. After that they are looked through once more, for another
run may have published what it had computed meanwhile.
"""

import contextlib
from dataclasses import dataclass, field, replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, TABLES, MatchOn, Policy
from stedi_assets.ingest.landing import Landing, landed_before, together
from stedi_assets.privacy.keys import hmac_pads
from stedi_assets.storage.errors import LostRace
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.file_reports import read_file_reports
from stedi_assets.tables.pointers import Pointer
from stedi_assets.tables.publishing import Provenance, point_at, republish
from stedi_assets.tables.snapshots import (
    current,
    current_dataset,
    dataset,
    read_pointer,
    read_snapshot,
    rows_in,
    snapshot_folder,
)
from stedi_assets.transforms.people import chosen_records
from stedi_assets.transforms.pseudonyms import with_subjects
from stedi_assets.verification.breaches import count_missing

_CUSTOMERS = SOURCES["customer"]
_PEOPLE = TABLES["customer_trusted"]
_MADE_OF_PEOPLE = ("machine_learning_curated", "step_trainer_trusted", "customers_curated", "accelerometer_trusted")


@dataclass(frozen=True)
class Withdrawn:
    """How many people stood in customer_trusted, how many left, and how many of these for records nobody can read."""

    people: int = 0
    left: int = 0
    unread: int = 0


def withdraw_first(spark: SparkSession, lake: Lake, landing: Landing, by: Provenance) -> Withdrawn:
    """Remove the people who, by what customers' files say now, may be in no table any more; return how many.

    For what has landed and is not published yet, and also where it cannot be: of files that are gone, what was read
    of them last is used. `by.as_of` is the instant of the run, in epoch milliseconds.
    """
    pointer = read_pointer(lake, _PEOPLE)
    if pointer is None or by.as_of is None or not _changed(lake, landing):
        return Withdrawn(pointer.rows if pointer else 0)
    accepted, quarantined = _all_delivered(spark, lake, landing)
    if accepted is None:
        return Withdrawn(pointer.rows)
    policy = Policy.from_dict(pointer.policy) if pointer.policy else Policy()
    stay = chosen_records(accepted, quarantined, policy, by.as_of).select("email", "serialNumber")
    people = read_snapshot(spark, lake, _PEOPLE, pointer.snapshot)
    leave = people.join(stay, on="email", how="left_anti")
    if not (left := leave.count()):
        return Withdrawn(pointer.rows)
    unread = 0
    if quarantined is not None:
        # Who would stay, if it were not for what is in quarantine.
        would_stay = chosen_records(accepted, None, policy, by.as_of).select("email")
        unread = leave.join(would_stay, on="email", how="left_semi").count()
    let_leave(lake, pointer, people.join(stay, on="email", how="left_semi").select(*people.columns), by)
    return Withdrawn(pointer.rows, left, unread)


def let_leave(lake: Lake, pointer: Pointer, staying: DataFrame, by: Provenance) -> dict[str, int]:
    """Publish customer_trusted, and before it what was made of it, with those who stay alone.

    `pointer` is that of customer_trusted, `staying` the rows of it that stay. Returns the rows removed, by table.
    """
    leaving = Leaving(staying.sparkSession, lake, by)
    fewer = republish(lake, _PEOPLE, pointer, staying, by=by, before_switch=leaving.leave_what_was_made)
    leaving.look_again()
    return {**leaving.removed, _PEOPLE.name: pointer.rows - fewer.rows}


@dataclass
class Leaving:
    """What goes on around a switch of customer_trusted: whoever is not in it any more leaves what was made of it."""

    spark: SparkSession
    lake: Lake
    by: Provenance
    removed: dict[str, int] = field(default_factory=dict)
    _published: dict[str, str] = field(default_factory=dict)

    def leave_if_any(self, folder: str) -> bool:
        """Before what a folder holds becomes customer_trusted: say whether anybody leaves, and let them."""
        # Without the people of before, nobody knows who has left: all are gone through.
        if read_pointer(self.lake, _PEOPLE) is not None:
            before, after = current_dataset(self.lake, _PEOPLE.name), dataset(self.lake, _PEOPLE, folder)
            if not count_missing(_PEOPLE.name, "email", before, after):
                return False
        self.leave_what_was_made(folder)
        return bool(self._published)

    def leave_what_was_made(self, folder: str) -> None:
        """Remove all who are not among the people in a folder from what was made of customer_trusted."""
        for name in _MADE_OF_PEOPLE:
            self._leave(name, folder)

    def look_again(self) -> None:
        """After the switch, where anybody has left: have nobody publish what was computed from the people of before.

        Whoever read customer_trusted before the switch, and has seen already that it had not moved, loses to this.
        """
        if not self._published:
            return
        people = current(self.lake, _PEOPLE).snapshot
        for name in _MADE_OF_PEOPLE:
            while (pointer := read_pointer(self.lake, TABLES[name])) and pointer.fence != people:
                with contextlib.suppress(LostRace):
                    if pointer.snapshot != self._published.get(name):
                        pointer = self._leave(name, snapshot_folder(_PEOPLE, people)) or pointer
                    point_at(self.lake, TABLES[name], replace(pointer, fence=people), pointer.version)

    def _leave(self, name: str, people: str) -> Pointer | None:
        pointer = read_pointer(self.lake, TABLES[name])
        if pointer is None:
            return None
        stay = rows_in(self.spark, self.lake, _PEOPLE, people)
        rows = read_snapshot(self.spark, self.lake, TABLES[name], pointer.snapshot)
        staying = _of_those_who_stay(name, rows, stay, pointer, self.by)
        fewer = republish(self.lake, TABLES[name], pointer, staying, by=self.by)
        self.removed[name] = self.removed.get(name, 0) + pointer.rows - fewer.rows
        self._published[name] = fewer.snapshot
        return fewer


def _of_those_who_stay(name: str, rows: DataFrame, stay: DataFrame, pointer: Pointer, by: Provenance) -> DataFrame:
    match_on = (pointer.policy or {}).get("match_on")
    if name == "machine_learning_curated":
        pads = hmac_pads(rows.sparkSession, by.key())
        people, on = with_subjects(stay.select("email"), "email", pads), "subject_id"
    elif name == "customers_curated":
        people, on = stay, "email"
    elif name == "step_trainer_trusted" and match_on == MatchOn.TIMESTAMP.value:
        people, on = stay, "serialNumber"
    else:
        people, on = stay.select(F.col("email").alias("user")), "user"
    return rows.join(people, on=on, how="left_semi").select(*rows.columns)


def _changed(lake: Lake, landing: Landing) -> bool:
    """Whether any file is another than those that the published landing table was made from."""
    before = read_file_reports(lake, _CUSTOMERS, landing.previous) if landing.previous else ()
    now, then = ({(file.path, file.fingerprint, file.error) for file in files} for files in (landing.files, before))
    return now != then


def _all_delivered(spark: SparkSession, lake: Lake, landing: Landing) -> tuple[DataFrame | None, DataFrame | None]:
    """Return all accepted and quarantined records: those that landed now, and the last ones of files that are gone."""
    if landing.previous is None or not landing.gone:
        return landing.accepted, landing.quarantined
    before, doubtful = landed_before(spark, lake, _CUSTOMERS, landing.previous, landing.gone)
    return (
        together(_CUSTOMERS.landing, [landing.accepted, before]),
        together(_CUSTOMERS.quarantine, [landing.quarantined, doubtful]),
    )
