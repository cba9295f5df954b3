"""Withdrawal: people who are no longer in customer_trusted leave every table made from it, old snapshots included.

Nothing may block it. The tables are not computed again for it: their last snapshots are published again without the
people who left, whatever is wrong with other sources. The tables furthest downstream go first and customer_trusted
last, so that if a run dies half-way, the next one completes it. After that the tables are checked again, because
another run may have published what it had computed meanwhile.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, TABLES, MatchOn, Policy, Table
from stedi_assets.ingest.landing import Landing, landed_before
from stedi_assets.ingest.reading import union
from stedi_assets.privacy.keys import hmac_pads
from stedi_assets.storage.errors import CommitConflictError, CorruptTableError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import Days, carried_over, day_of, few, made_under, versions_from, within
from stedi_assets.tables.days_of_people import versions_of_people
from stedi_assets.tables.file_reports import read_file_reports
from stedi_assets.tables.publishing import mark, publish, republish
from stedi_assets.tables.retention import Retention, left_behind
from stedi_assets.tables.snapshots import Snapshot, current, dataset, dataset_of_all, read_snapshot, read_snapshot_of
from stedi_assets.tables.staging import RunContext, Staged
from stedi_assets.transforms.changes import changed_people, days_of
from stedi_assets.transforms.pseudonyms import with_subjects
from stedi_assets.transforms.trusted import customer_trusted
from stedi_assets.verification.rules import auditor, count_differing, count_missing

_CUSTOMERS = SOURCES["customer"]
_PEOPLE = TABLES["customer_trusted"]
# How often another run may publish a table while people leave it.
_TRIES = 10
_MADE_OF_PEOPLE = ("machine_learning_curated", "step_trainer_trusted", "customers_curated", "accelerometer_trusted")


@dataclass(frozen=True)
class Withdrawn:
    """How many people were in customer_trusted, how many left, and how many of these because of unreadable records."""

    people: int = 0
    left: int = 0
    unread: int = 0


def publish_people(
    session: Callable[[], SparkSession],
    lake: Lake,
    rows: DataFrame | None,
    run: RunContext,
    inputs: Mapping[str, Snapshot],
    retention: Retention,
    *,
    before: Snapshot | None,
    made_from: str = "",
) -> Staged:
    """Publish customer_trusted. Before it is current, people who are no longer in it leave the tables made from it.

    `before` is its snapshot, whose people stay as they are if `rows` is None. Raises as `publish`.
    """
    removal = _Removal(session, lake, run)
    published = publish(
        lake,
        _PEOPLE,
        rows,
        run=run,
        before=before,
        inputs=inputs,
        audit=auditor(lake, _PEOPLE, run),
        retention=retention,
        days=frozenset() if rows is None else None,
        versions=lambda written: _versions(session, lake, before, written),
        made_from=made_from,
        before_commit=lambda after: removal.remove_if_any(before, after),
    )
    removal.recheck_after_commit()
    return published


def withdraw_first(session: Callable[[], SparkSession], lake: Lake, landing: Landing, run: RunContext) -> Withdrawn:
    """Remove the people who, according to customers' files now, may be in no table any more; return how many.

    This is for what has landed and is not published yet, even if it cannot be: for files that are gone, their last
    records are used. `run.as_of` is the instant of the run, in epoch milliseconds.
    """
    before = read_snapshot_of(lake, _PEOPLE)
    if before is None or run.as_of is None or not _has_changed(lake, landing):
        return Withdrawn(before.rows if before else 0)
    spark = session()
    accepted, quarantined = all_delivered(session, lake, landing)
    if accepted is None:
        return Withdrawn(before.rows)
    policy = Policy.from_dict(before.policy)
    stay = customer_trusted(accepted, quarantined, policy, run.as_of).select("email", "serialNumber")
    people = read_snapshot(spark, lake, _PEOPLE, before.id)
    leave = people.join(stay, on="email", how="left_anti")
    left = leave.count()
    # A run that died while it removed people may have left a file of customer_trusted that no snapshot names any more.
    if not left and not _is_unfinished(lake, before) and not left_behind(lake, _PEOPLE):
        return Withdrawn(before.rows)
    unread = 0
    if quarantined is not None:
        # The people who would stay if it were not for the quarantine.
        would_stay = customer_trusted(accepted, None, policy, run.as_of).select("email")
        unread = leave.join(would_stay, on="email", how="left_semi").count()
    remove_withdrawn(lake, before, people.join(stay, on="email", how="left_semi").select(*people.columns), run)
    return Withdrawn(before.rows, left, unread)


def remove_withdrawn(lake: Lake, before: Snapshot, staying: DataFrame, run: RunContext) -> dict[str, int]:
    """Publish customer_trusted, and before it the tables made from it, with only the people who stay.

    `before` is the snapshot of customer_trusted, `staying` its rows that stay. Returns the rows removed, by table.
    """
    spark = staying.sparkSession
    removal = _Removal(lambda: spark, lake, run)
    fewer = republish(
        lake,
        _PEOPLE,
        before,
        staying,
        run=run,
        versions=lambda written: _versions(lambda: spark, lake, before, written),
        before_commit=lambda after: removal.remove(after, before),
    )
    removal.recheck_after_commit()
    return {**removal.rows, _PEOPLE.name: before.rows - fewer.rows}


def _versions(session: Callable[[], SparkSession], lake: Lake, before: Snapshot | None, written: int) -> dict[str, str]:
    """Return the versions of customer_trusted by day."""
    if before and not count_differing(_PEOPLE.name, *(dataset(lake, _PEOPLE, each) for each in (before.id, written))):
        return before.days

    def changed() -> DataFrame:
        now = read_snapshot(session(), lake, _PEOPLE, written)
        then = read_snapshot(session(), lake, _PEOPLE, before.id) if before else now.limit(0)
        return changed_people(then, now, "email")

    return versions_of_people(lake, before, changed)


@dataclass
class _Removal:
    """The removal of people around a commit of customer_trusted. `rows` are those removed, by table."""

    session: Callable[[], SparkSession]
    lake: Lake
    run: RunContext
    rows: dict[str, int] = field(default_factory=dict)
    _published: dict[str, int] = field(default_factory=dict)

    def remove_if_any(self, before: Snapshot | None, after: Snapshot) -> bool:
        """Before a snapshot becomes customer_trusted, remove the people who leave; return whether there are any."""
        # Without an earlier snapshot, nobody knows who has left: all tables are gone through.
        if before is not None and not _is_unfinished(self.lake, after):
            return False
        self.remove(after)
        return bool(self._published)

    def remove(self, people: Snapshot, before: Snapshot | None = None) -> None:
        """Remove everybody who is not in `people`, a snapshot, from the tables made from customer_trusted.

        `before` is that of customer_trusted, if it differs from `people` by those who leave and by nothing else. Then
        what is left of a day is what would be computed, so that days which were current stay current.
        """
        then, now = (_versions_with(self.lake, each) if before and each else {} for each in (before, people))
        for name in _MADE_OF_PEOPLE:
            self._remove(name, people.id, then.get(name, {}), now.get(name, {}))

    def recheck_after_commit(self) -> None:
        """If anybody has left, let no run publish what it computed from the earlier people.

        A run that read customer_trusted before the commit, and has already checked that it had not moved, loses to
        this.
        """
        if not self._published:
            return
        people = current(self.lake, _PEOPLE).id
        for name in _MADE_OF_PEOPLE:
            while (found := read_snapshot_of(self.lake, TABLES[name])) and found.withdrawn_through != people:
                with contextlib.suppress(CommitConflictError):
                    if found.id != self._published.get(name):
                        found = self._remove(name, people, {}, {}) or found
                    mark(self.lake, TABLES[name], found, self.run, withdrawn_through=people)

    def _remove(self, name: str, people: int, then: Mapping[str, str], now: Mapping[str, str]) -> Snapshot | None:
        """Publish a table without those who leave; again, if another run has published it meanwhile.

        Versions of its days that are those of `then` become those of `now`.
        """
        table, tries = TABLES[name], 0
        while before := read_snapshot_of(self.lake, table):
            tries += 1
            try:
                fewer = self._without_those_who_leave(table, before, people, carried_over(before.days, then, now))
            except (CommitConflictError, CorruptTableError):
                after = read_snapshot_of(self.lake, table)
                if tries == _TRIES or after == before:
                    raise
            else:
                self.rows[name] = self.rows.get(name, 0) + before.rows - fewer.rows
                self._published[name] = fewer.id
                return fewer
        return None

    def _without_those_who_leave(
        self, table: Table, before: Snapshot, people: int, versions: Mapping[str, str]
    ) -> Snapshot:
        rows = read_snapshot(self.session(), self.lake, table, before.id)
        stay = read_snapshot(self.session(), self.lake, _PEOPLE, people)
        known, on = _named_in(table, stay, before, self.run)
        days = _days_of(table, rows.join(known, on=on, how="left_anti"))
        staying = None
        if days != frozenset():
            of_days = rows if days is None else rows.where(within(f"`{table.instant}`", days))
            staying = of_days.join(known, on=on, how="left_semi").select(*rows.columns)
        return republish(self.lake, table, before, staying, run=self.run, days=days, versions=lambda _: versions)


def _versions_with(lake: Lake, people: Snapshot) -> dict[str, Mapping[str, str]]:
    """Return the versions by day of the tables made of people, were they computed now from `people`."""
    found: dict[str, Mapping[str, str]] = {_PEOPLE.name: people.days}
    for table in map(TABLES.__getitem__, reversed(_MADE_OF_PEOPLE)):
        snapshot = read_snapshot_of(lake, table)
        inputs = {name: found[name] if name in found else _days_now(lake, TABLES[name]) for name in table.inputs}
        found[table.name] = (
            versions_from(inputs, table, made_under(snapshot.code, snapshot.policy))
            if snapshot and table.instant
            else people.days
        )
    return found


def _days_now(lake: Lake, table: Table) -> Mapping[str, str]:
    snapshot = read_snapshot_of(lake, table)
    return snapshot.days if snapshot else {}


def _days_of(table: Table, rows: DataFrame) -> Days | None:
    """Return the days on which a table has some of its rows; None if the table is better written whole."""
    if table.instant is None:
        return None
    starts = {row["start"] for row in days_of(rows, table.instant).collect()}
    return None if None in starts else few(frozenset(map(day_of, starts)))


def _is_unfinished(lake: Lake, people: Snapshot) -> bool:
    """Whether any stored snapshot of customer_trusted has a person who is not in `people`, a snapshot.

    That is so if somebody leaves, and if a run has died that was removing somebody. In doubt it is so: nobody can tell
    who was in an old snapshot that is damaged.
    """
    now = dataset(lake, _PEOPLE, people.id)
    try:
        ever = dataset_of_all(lake, _PEOPLE)
    except CorruptTableError:
        return True
    return count_missing(_PEOPLE.name, "email", ever, now) > 0


def _named_in(table: Table, people: DataFrame, before: Snapshot, run: RunContext) -> tuple[DataFrame, str]:
    """Return people as a table's rows name them, and the column that does."""
    match_on = (before.policy or {}).get("match_on")
    if table.name == "machine_learning_curated":
        pads = hmac_pads(people.sparkSession, run.key())
        return with_subjects(people.select("email"), "email", pads), "subject_id"
    if table.name == "customers_curated":
        return people, "email"
    if table.name == "step_trainer_trusted" and match_on == MatchOn.TIMESTAMP.value:
        return people, "serialNumber"
    return people.select(F.col("email").alias("user")), "user"


def _has_changed(lake: Lake, landing: Landing) -> bool:
    """Whether any file differs from those that the published landing table was made from."""
    before = read_file_reports(lake, _CUSTOMERS, landing.previous) if landing.previous else ()
    now, then = ({(file.path, file.fingerprint, file.error) for file in files} for files in (landing.files, before))
    return now != then


def all_delivered(
    session: Callable[[], SparkSession], lake: Lake, landing: Landing
) -> tuple[DataFrame | None, DataFrame | None]:
    """Return all accepted and quarantined records: those landed now, and the last ones of files that are gone."""
    if landing.previous is None or not landing.gone:
        return landing.accepted, landing.quarantined
    stayed, quarantined = landed_before(session(), lake, _CUSTOMERS, landing.previous, landing.gone)
    return (
        union(_CUSTOMERS.landing, [landing.accepted, stayed]),
        union(_CUSTOMERS.quarantine, [landing.quarantined, quarantined]),
    )
