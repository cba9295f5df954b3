"""Erasure: one person, known only by a keyed hash, leaves every table, the quarantine and all old snapshots.

The first step checks that the person is there at all: a hash that matches nobody is a mistake, and that of a mistyped
e-mail may be another person's. Then the person is put on the list of erased people, so that no later run lets the
person in again, whatever happens next. Only then is anything removed. The raw files belong to the sources: those that
hold the person are named for their owner to clean.
"""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import ALL_TABLES, LANDING_TABLES, SOURCES, TABLES, Source
from stedi_assets.ingest.landing import count_by_file, without_suppressed
from stedi_assets.privacy.deliveries import republish_landing
from stedi_assets.privacy.suppression import Erased, SuppressionList, change_suppressed, read_suppressed
from stedi_assets.privacy.withdrawal import remove_withdrawn
from stedi_assets.spark.scratch import sweep_all
from stedi_assets.storage.errors import CorruptTableError, LakeError, NobodyFound
from stedi_assets.storage.lake import RECEIPTS, Lake
from stedi_assets.tables.catalog import forget
from stedi_assets.tables.file_reports import read_file_reports
from stedi_assets.tables.publishing import drop_old
from stedi_assets.tables.retention import left_behind, snapshot_rows
from stedi_assets.tables.snapshots import read_quarantine, read_snapshot, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets.transforms.suppression import last_active, latest_consent


@dataclass(frozen=True)
class Receipt:
    """What an erasure removed, but not whom: `removed` are rows by table; `path` is the receipt's own.

    `erased_before`: the person was on the list already. `people_on_the_list` is how many are on it since.
    """

    erased_at: str
    run_id: str
    removed: dict[str, int]
    raw_files: tuple[str, ...]
    erased_before: bool
    people_on_the_list: int
    path: str


def erase(
    spark: SparkSession,
    lake: Lake,
    person: str,
    *,
    key: Callable[[], bytes],
    run: RunContext,
    expect_nobody: bool = False,
) -> Receipt:
    """Remove a person from everything but the raw files, and keep the person out from now on.

    `person` is the keyed hash that `stedi hash-person` prints; `key` returns the suppression key. With `expect_nobody`,
    a person who is not in the lake is kept out too. Doing it twice does no harm, and finishes what a dead run began.

    Raises `NobodyFound` if nobody with that hash is in the lake or was erased before; then nothing is changed. Raises
    `LakeError` if `person` is no such hash, or the list of erased people or a table cannot be used, and
    `CommitConflictError` if another run publishes a table meanwhile.
    """
    if not re.fullmatch("[0-9a-f]{64}", person):
        msg = "A person is erased by the 64 hex digits that `stedi hash-person` prints, and by nothing else."
        raise LakeError(msg)
    for table in ALL_TABLES.values():
        # Nobody could be found in a table that is damaged, unknown to the catalog or of an older layout.
        read_snapshot_of(lake, table)
    before = read_suppressed(lake, key)
    erased_before = before is not None and person in before.people
    # An erased person need not be found again: this run removes what a dead run left behind.
    if not (erased_before or expect_nobody or _is_there(spark, lake, SuppressionList({person: Erased(0)}, key()))):
        msg = (
            f"Nobody with that hash is in {lake.location}: nothing was removed, and nobody was put on the list of "
            "erased people. The e-mail may be mistyped, or written differently from the sources; or `stedi "
            "hash-person` had another suppression key. To keep out a person who is not here yet, add expect_nobody: "
            "true to the config."
        )
        raise NobodyFound(msg)
    now = datetime.now(timezone.utc)
    listed = change_suppressed(lake, key, lambda found: _with_person(spark, lake, found, person, now))
    removed = _leave_trusted_and_curated(spark, lake, listed, key, run)
    raw_files: set[str] = set()
    for source in SOURCES.values():
        removed |= _leave_landing(spark, lake, source, listed, key, run, raw_files)
    for table in TABLES.values():
        drop_old(lake, table)
    path = f"{RECEIPTS}/{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json"
    receipt = Receipt(
        now.isoformat(),
        run.run_id,
        removed,
        tuple(sorted(raw_files)),
        erased_before,
        len(listed.people),
        lake.storage.shown(path),
    )
    lake.storage.write(path, json.dumps(asdict(receipt), indent=1).encode())
    sweep_all()
    return receipt


def _is_there(spark: SparkSession, lake: Lake, erased: SuppressionList) -> bool:
    """Whether a landing table or quarantine has a record of anybody on the list, old snapshots included.

    A row in another table was made from such a record, or leaves before the record does. It is also true if files are
    left that may hold anybody.
    """
    if any(left_behind(lake, table) for table in ALL_TABLES.values()):
        return True
    for source in SOURCES.values():
        for table in (source.landing, source.quarantine):
            for snapshot, rows in snapshot_rows(lake, table).items():
                try:
                    stored = read_snapshot(spark, lake, table, snapshot)
                    if table is source.quarantine:
                        # A record that may be anybody's is no evidence that this person is here.
                        named = F.coalesce("_mentions", F.array().cast("array<string>"))
                        theirs = erased.quarantined_of_erased(stored.withColumn("_mentions", named), source)
                        is_there = not theirs.isEmpty()
                    else:
                        is_there = erased.accepted(stored, source).count() < rows
                    if rows and is_there:
                        return True
                except CorruptTableError:
                    # Nobody can tell who is in what is left of it.
                    return True
    return False


def _with_person(
    spark: SparkSession, lake: Lake, listed: SuppressionList, person: str, now: datetime
) -> SuppressionList:
    """Put a person on the list, with what the lake knows of the person's devices, phone readings and consents."""
    known, pads = listed.people.get(person, Erased(0)), listed.pads(spark)
    # The receipts would not know a list on which somebody was erased earlier than before: a clock can be set back.
    entry = replace(known, erased_at=max(known.erased_at, int(now.timestamp() * 1000)), back_since=None, back_from=0)
    customers, phones = SOURCES["customer"], SOURCES["accelerometer"]
    people, phones_landed = read_snapshot_of(lake, customers.landing), read_snapshot_of(lake, phones.landing)
    if phones_landed:
        phone_readings = read_snapshot(spark, lake, phones.landing, phones_landed.id)
        active = (last_active(phone_readings, pads, person, entry.erased_at).first() or {"instant": None})["instant"]
        entry = replace(entry, active_until=max(active or 0, known.active_until))
    if people is None:
        return replace(listed, people={**listed.people, person: entry})
    records = read_snapshot(spark, lake, customers.landing, people.id)
    quarantined = read_quarantine(spark, lake, customers.landing, people)
    latest = (latest_consent(records, pads, person).first() or {"consent": None})["consent"]
    ahead = [consent for consent in (latest, known.seen_consent) if consent and consent > entry.erased_at]
    entry = replace(entry, known_consent=max([known.known_consent, *ahead]))
    listed = replace(listed, people={**listed.people, person: entry}).with_devices(records, quarantined)
    return listed.with_readings(phone_readings) if phones_landed else listed


def _leave_trusted_and_curated(
    spark: SparkSession, lake: Lake, listed: SuppressionList, key: Callable[[], bytes], run: RunContext
) -> dict[str, int]:
    people = TABLES["customer_trusted"]
    before = read_snapshot_of(lake, people)
    # Later than the table, so that nobody leaves who has come back meanwhile.
    listed = read_suppressed(lake, key) or listed
    if before is None:
        # Nobody knows which people these were made from, so they have to be made again.
        for table in TABLES.values():
            if table.name not in LANDING_TABLES:
                forget(lake, table)
                lake.storage.delete_permanently(table.path)
        return {}
    rows = read_snapshot(spark, lake, people, before.id)
    # Also without those whom an erasure that died has left there.
    staying = listed.accepted(rows.withColumn("_person", F.col("email")), SOURCES["customer"]).select(*rows.columns)
    return remove_withdrawn(lake, before, staying, run)


def _leave_landing(
    spark: SparkSession,
    lake: Lake,
    source: Source,
    listed: SuppressionList,
    key: Callable[[], bytes],
    run: RunContext,
    raw_files: set[str],
) -> dict[str, int]:
    """Publish a landing table and its quarantine without the records of erased people; return how many were removed."""
    before = read_snapshot_of(lake, source.landing)
    if before is None:
        return {}
    # Later than the table, so that nobody leaves who has come back meanwhile.
    listed = read_suppressed(lake, key) or listed
    accepted = listed.accepted(read_snapshot(spark, lake, source.landing, before.id), source)
    quarantined = read_quarantine(spark, lake, source.landing, before)
    named: set[str] = set()
    if quarantined is not None:
        theirs = listed.quarantined_of_erased(quarantined, source).select("_source_file")
        named = {row["_source_file"] for row in theirs.dropDuplicates(["_source_file"]).collect()}
        quarantined = listed.quarantined(quarantined, source)

    reports = read_file_reports(lake, source, before)
    landed = {file.path: (file.accepted, file.quarantined) for file in reports}
    files = without_suppressed(reports, landed, count_by_file(accepted, quarantined))
    raw_files |= {
        f"{source.raw_path}/{file.path}"
        for file, earlier in zip(files, reports, strict=True)
        if file.suppressed > earlier.suppressed or file.path in named
    }
    fewer = republish_landing(lake, source, before, accepted, quarantined, files, run)
    gone = sum(file.quarantined for file in reports) - sum(file.quarantined for file in files)
    return {source.landing.name: before.rows - fewer.rows, source.quarantine.name: gone}
