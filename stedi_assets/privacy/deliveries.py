"""A delivery becomes a landing table and its quarantine; people who withdrew in it leave first.

Before anything else happens to a lake, customers' deliveries are landed: see `customers_first`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import ALL_TABLES, SOURCES, Source, Table
from stedi_assets.ingest.landing import (
    Again,
    Landing,
    LandingOptions,
    count_by_file,
    land,
    require_all_files,
    without_suppressed,
)
from stedi_assets.ingest.landing_files import list_landing_files
from stedi_assets.privacy.suppression import SuppressionList, change_suppressed, digest_for, digest_of, read_suppressed
from stedi_assets.privacy.withdrawal import Withdrawn, all_delivered, withdraw_first
from stedi_assets.storage.errors import CommitConflictError, CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import Days, day_of, new_versions
from stedi_assets.tables.days_of_people import versions_of_people
from stedi_assets.tables.file_reports import FileReport, as_rows, read_file_reports
from stedi_assets.tables.publishing import make_current
from stedi_assets.tables.purpose import claim_purpose
from stedi_assets.tables.retention import NOTHING_OLD, Retention
from stedi_assets.tables.snapshots import Snapshot, read_quarantine, read_snapshot, read_snapshot_of
from stedi_assets.tables.staging import RunContext, Staged, companion_at, raise_conflict, stage_companion, staging
from stedi_assets.transforms.changes import changed_people, days_of
from stedi_assets.transforms.holders import holders
from stedi_assets.verification.rules import auditor

_CUSTOMERS = SOURCES["customer"]
# What a delivery records of the list of erased people: all that it tells of the source, and what can let records in.
LISTED, _LETS_IN = "list_of_erased", "list_of_erased_lets_in"


def land_without_erased(
    session: Callable[[], SparkSession],
    lake: Lake,
    source: Source,
    options: LandingOptions = LandingOptions(),
    *,
    suppression_key: Callable[[], bytes],
) -> Landing:
    """Land a source's raw files; records of erased people are left out, and counted.

    `suppression_key` is called if people have been erased, or if a file's name could hold personal data. The rest, and
    what is raised, is as for `land`.
    """
    # First, so that a wrong key is refused before anything is read.
    erased = read_suppressed(lake, suppression_key)
    now = int(time.time() * 1000)
    remembered = _digests(source, erased, now)

    def read_again(before: Snapshot, file: FileReport) -> bool:
        # What was left out of it may belong there now: its person is back.
        if source is _CUSTOMERS:
            # A quarantined record may have been emptied, and no longer name its person.
            return file.suppressed > 0 or (erased is not None and file.quarantined > 0)
        return file.suppressed > 0 and before.delivery.get(_LETS_IN) != remembered[_LETS_IN]

    def look_again(before: Snapshot) -> Again:
        # The table may hold what the list suppresses by now: readings that came before what tells whose they are.
        if not erased or before.delivery.get(LISTED) == remembered[LISTED]:
            return Again()
        if source is _CUSTOMERS:
            return Again(days=None, quarantine=True)
        spark = session()
        instants = erased.instants(read_snapshot(spark, lake, source.landing, before.id), source)
        held = read_quarantine(spark, lake, source.landing, before)
        return Again(
            frozenset(day_of(row["start"]) for row in days_of(instants, "instant").collect()),
            quarantine=held is not None and not erased.quarantined_of_erased(held, source).isEmpty(),
        )

    landing = land(
        session, lake, source, options, name_key=suppression_key, read_again=read_again, look_again=look_again
    )
    landing = replace(landing, remembered=remembered)
    if not erased or landing.is_unchanged:
        return landing
    try:
        accepted, quarantined = landing.accepted, landing.quarantined
        told, told_unread = all_delivered(session, lake, landing) if source is _CUSTOMERS else (accepted, quarantined)
        if told is not None:
            erased = _with_what_is_told(lake, source, erased, told, told_unread, now, suppression_key)
            if source is _CUSTOMERS:
                # All its rows are looked at below; the files of the others were chosen by the list as it was.
                landing = replace(landing, remembered=_digests(source, erased, now))
        accepted = erased.accepted(accepted, source) if accepted is not None else None
        quarantined = erased.quarantined(quarantined, source) if quarantined is not None else None
        # Some may be of files that were landed before: if an erasure has died, they are still in the table.
        delivered, kept = count_by_file(landing.accepted, landing.quarantined), count_by_file(accepted, quarantined)
        return replace(
            landing,
            accepted=accepted,
            quarantined=quarantined,
            files=without_suppressed(landing.files, delivered, kept),
            superseded=(_superseded(accepted), _superseded(quarantined)) if any(landing.superseded) else (0, 0),
        )
    except BaseException:
        landing.stage.discard()
        raise


def _digests(source: Source, erased: SuppressionList | None, now: int) -> dict[str, str]:
    people = erased.people if erased else {}
    lets_in, all_told = (digest_of(people, now, with_readings=readings) for readings in (False, True))
    return {LISTED: all_told if source.name == "step_trainer" else lets_in, _LETS_IN: lets_in}


def _with_what_is_told(
    lake: Lake,
    source: Source,
    erased: SuppressionList,
    accepted: DataFrame,
    quarantined: DataFrame | None,
    now: int,
    key: Callable[[], bytes],
) -> SuppressionList:
    """Store and return the list with what a delivery tells of erased people, before their records are left out.

    Customers' records tell who is back and who holds which device, phone readings when a person was active.
    """
    if source is _CUSTOMERS:
        return change_suppressed(
            lake, key, lambda listed: listed.with_those_back(accepted, now).with_devices(accepted, quarantined)
        )
    if source is not SOURCES["accelerometer"] or not erased.has_devices:
        return erased
    return change_suppressed(lake, key, lambda listed: listed.with_readings(accepted))


def _superseded(rows: DataFrame | None) -> int:
    return rows.where("_superseded").count() if rows is not None else 0


def publish_landing(
    session: Callable[[], SparkSession],
    lake: Lake,
    source: Source,
    landing: Landing,
    run: RunContext,
    retention: Retention,
) -> tuple[Staged, Snapshot, Withdrawn]:
    """Remove people who withdrew, then publish the landing table, with the quarantine and the files that it names.

    Raises `VanishedFiles` if files are gone; people who withdrew have left by then. Raises `CommitConflictError` if
    another run has published the table meanwhile.
    """
    withdrawn = withdraw_first(session, lake, landing, run) if source is _CUSTOMERS else Withdrawn()
    require_all_files(source, landing)
    _require_unmoved(lake, source, landing)
    if landing.has_old_rows and landing.previous:
        # So the next run reads everything, too.
        run = replace(run, code=landing.previous.code)
    try:
        published, quarantine = _publish(session, lake, source, landing, run, retention, withdrawn)
    except CorruptTableError:
        # The run that was faster has removed files of ours; of a companion that it has not changed, too.
        _require_unmoved(lake, source, landing)
        raise
    return published, quarantine, withdrawn


def _require_unmoved(lake: Lake, source: Source, landing: Landing) -> None:
    if read_snapshot_of(lake, source.landing) != landing.previous:
        raise_conflict(source.landing, source.landing)


def _require_same_list(lake: Lake, source: Source, landing: Landing) -> None:
    """Raise `CommitConflictError` if the list of erased people has changed since this run read it.

    An erasure that found no table yet may be over by now.
    """
    if LISTED in landing.remembered and landing.remembered[LISTED] != digest_for(lake, source):
        name = source.landing.name
        msg = f"{name} was not published: the list of erased people has changed meanwhile. Materialise it again."
        raise CommitConflictError(msg)


def _publish(
    session: Callable[[], SparkSession],
    lake: Lake,
    source: Source,
    landing: Landing,
    run: RunContext,
    retention: Retention,
    withdrawn: Withdrawn,
) -> tuple[Staged, Snapshot]:
    delivery = {**landing.delivery(), "withdrawn": asdict(withdrawn)}
    named = landing.previous.inputs if landing.previous else {}
    inputs = {name: companion_at(lake, ALL_TABLES[name], snapshot) for name, snapshot in named.items()}
    with ExitStack() as stages:
        companions = [
            stages.enter_context(stage_companion(lake, table, part, named.get(table.name), run, days=days))
            for table, part, days in _changed_companions(source, landing, inputs)
        ]
        inputs |= {staged.table.name: staged.snapshot for staged in companions}
        quarantined = inputs[source.quarantine.name]

        def versions(landed: int) -> Mapping[str, str]:
            if source is not _CUSTOMERS or landing.is_unchanged:
                return landing.versions
            return _versions_of_holders(session, lake, landing.previous, landed, quarantined)

        landed = stages.enter_context(
            staging(
                lake,
                source.landing,
                landing.accepted,
                run=run,
                before=landing.previous,
                inputs=inputs,
                audit=auditor(lake, source.landing, run, {name: staged.id for name, staged in inputs.items()}),
                delivery=delivery,
                days=landing.days,
                versions=versions,
            )
        )
        claim_purpose(lake, run.purpose)
        _require_same_list(lake, source, landing)
        make_current(lake, landed, retention=retention, companions=companions)
    return landed, quarantined


def _changed_companions(
    source: Source, landing: Landing, named: Mapping[str, Snapshot]
) -> Iterator[tuple[Table, DataFrame | pa.Table | None, Days | None]]:
    """Yield the companions that a delivery changes, each with its rows, and with no days at all if they are added."""
    held = named.get(source.quarantine.name)
    days = frozenset[str]() if landing.adds_quarantined else None
    # Nothing is added to what is there, or nothing replaces nothing.
    if held is None or landing.quarantined is not None or (days is None and held.rows):
        yield source.quarantine, landing.quarantined, days
    if not landing.is_unchanged or landing.has_new_hashes:
        yield source.files, as_rows(source, landing.files), None


def _versions_of_holders(
    session: Callable[[], SparkSession], lake: Lake, before: Snapshot | None, landed: int, quarantine: Snapshot
) -> dict[str, str]:
    """Return the versions of customer_landing by day: who holds which device decides whose a reading is."""
    table = _CUSTOMERS.landing

    def changed() -> DataFrame:
        spark = session()
        quarantined = read_snapshot(spark, lake, _CUSTOMERS.quarantine, quarantine.id) if quarantine.rows else None
        now = holders(read_snapshot(spark, lake, table, landed), quarantined)
        if before is None:
            return now.select("person")
        then = holders(read_snapshot(spark, lake, table, before.id), read_quarantine(spark, lake, table, before))
        return changed_people(then, now, "person")

    return versions_of_people(lake, before, changed)


def republish_landing(
    lake: Lake,
    source: Source,
    before: Snapshot,
    accepted: DataFrame,
    quarantined: DataFrame | None,
    files: Sequence[FileReport],
    run: RunContext,
) -> Snapshot:
    """Publish fewer records of a landing table, with its quarantine and files, and remove their older snapshots."""
    rows = {source.quarantine: quarantined, source.files: as_rows(source, files)}
    with ExitStack() as stages:
        companions = [
            stages.enter_context(stage_companion(lake, table, part, before.inputs[table.name], run))
            for table, part in rows.items()
        ]
        inputs = {staged.table.name: staged.snapshot for staged in companions}
        landed = stages.enter_context(
            staging(
                lake,
                source.landing,
                accepted,
                run=run,
                before=before,
                inputs=inputs,
                audit=None,
                # The people who leave may have rows on any day.
                versions=lambda _: new_versions(before.days),
            )
        )
        make_current(lake, landed, retention=NOTHING_OLD, companions=companions)
    return landed.snapshot


def customers_first(
    session: Callable[[], SparkSession],
    lake: Lake,
    run: RunContext,
    retention: Retention,
    *,
    suppression_key: Callable[[], bytes],
    settled_before: int | None,
    log: Callable[[str], None],
) -> None:
    """Land customers' deliveries that no table holds yet, before anything else is opened.

    A problem with them is reported and blocks nothing else: people who withdrew have left by then, as far as their
    records can be read.
    """
    if not _are_waiting(lake, suppression_key, settled_before):
        return
    log("customer: landing the waiting files first, because they may hold withdrawals")
    try:
        options = LandingOptions(settled_before=settled_before, code=run.code, log=log)
        landing = land_without_erased(session, lake, _CUSTOMERS, options, suppression_key=suppression_key)
        try:
            run = replace(run, as_of=int(time.time() * 1000))
            _, _, withdrawn = publish_landing(session, lake, _CUSTOMERS, landing, run, retention)
        finally:
            landing.stage.discard()
    except LakeError as error:
        run.warn(str(error))
    else:
        log(in_words(withdrawn))


def in_words(withdrawn: Withdrawn) -> str:
    """Return in words how many people have left."""
    if not withdrawn.left:
        return "Nobody withdrew"
    unread = f"; {withdrawn.unread:,} of them because of records that cannot be read" if withdrawn.unread else ""
    return f"{withdrawn.left:,} people withdrew: removed from every trusted and curated table{unread}"


def _are_waiting(lake: Lake, key: Callable[[], bytes], settled_before: int | None) -> bool:
    """Whether there are customers' files that customer_landing has not seen as they are now."""
    snapshot = read_snapshot_of(lake, _CUSTOMERS.landing)
    known = {file.path: file for file in (read_file_reports(lake, _CUSTOMERS, snapshot) if snapshot else ())}
    listing = list_landing_files(lake.raw, _CUSTOMERS.raw_path, known, settled_before, key=key)
    return any(file.name not in known or known[file.name].fingerprint != file.fingerprint for file in listing.files)
