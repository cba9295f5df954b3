"""A delivery becomes a landing table and its quarantine; people who withdrew in it leave first.

Before anything else happens to a lake, customers' deliveries are landed: see `customers_first`.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import SOURCES, Source
from stedi_assets.ingest.landing import Landing, count_by_file, land, require_all_files, without_suppressed
from stedi_assets.ingest.landing_files import list_landing_files
from stedi_assets.privacy.suppression import change_suppressed, read_suppressed
from stedi_assets.privacy.withdrawal import Withdrawn, withdraw_first
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.file_reports import FileReport, as_rows, read_file_reports
from stedi_assets.tables.publishing import Published, make_current
from stedi_assets.tables.purpose import claim_purpose
from stedi_assets.tables.retention import NOTHING_OLD, Retention
from stedi_assets.tables.snapshots import Snapshot, read_snapshot_of
from stedi_assets.tables.staging import RunContext, stage_companion, staging
from stedi_assets.verification.rules import auditor

_CUSTOMERS = SOURCES["customer"]


def land_without_erased(
    spark: SparkSession,
    lake: Lake,
    source: Source,
    *,
    suppression_key: Callable[[], bytes],
    forget: frozenset[str] = frozenset(),
    settled_before: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Landing:
    """Land a source's raw files; records of erased people are left out, and counted.

    `suppression_key` is called if people have been erased, or if a file's name could hold personal data. The rest, and
    what is raised, is as for `land`.
    """
    # First, so that a wrong key is refused before anything is read.
    erased = read_suppressed(lake, suppression_key)
    landing = land(spark, lake, source, name_key=suppression_key, forget=forget, settled_before=settled_before, log=log)
    if not erased:
        return landing
    try:
        accepted, quarantined = landing.accepted, landing.quarantined
        if source is _CUSTOMERS and accepted is not None:
            delivered, now = accepted, int(time.time() * 1000)
            erased = change_suppressed(lake, suppression_key, lambda listed: listed.with_those_back(delivered, now))
        accepted = erased.accepted(accepted, source) if accepted is not None else None
        quarantined = erased.quarantined(quarantined, source) if quarantined is not None else None
        return replace(
            landing,
            accepted=accepted,
            quarantined=quarantined,
            files=without_suppressed(landing.files, count_by_file(accepted, quarantined)),
            superseded=(_superseded(accepted), _superseded(quarantined)) if any(landing.superseded) else (0, 0),
        )
    except BaseException:
        landing.stage.discard()
        raise


def _superseded(rows: DataFrame | None) -> int:
    return rows.where("_superseded").count() if rows is not None else 0


def publish_landing(
    spark: SparkSession, lake: Lake, source: Source, landing: Landing, run: RunContext, retention: Retention
) -> tuple[Published, Snapshot, Withdrawn]:
    """Remove people who withdrew, then publish the landing table, with the quarantine and the files that it names.

    Raises `VanishedFiles` if files are gone; people who withdrew have left by then.
    """
    withdrawn = withdraw_first(spark, lake, landing, run) if source is _CUSTOMERS else Withdrawn()
    require_all_files(source, landing)
    delivery = {**landing.delivery(), "withdrawn": asdict(withdrawn)}
    named = landing.previous.inputs if landing.previous else {}
    rows = {source.quarantine: landing.quarantined, source.files: as_rows(source, landing.files)}
    with ExitStack() as stages:
        companions = [
            stages.enter_context(stage_companion(lake, table, part, named.get(table.name), run))
            for table, part in rows.items()
        ]
        inputs = {staged.table.name: staged.snapshot.id for staged in companions}
        landed = stages.enter_context(
            staging(
                lake,
                source.landing,
                landing.accepted,
                run=run,
                before=landing.previous,
                inputs=inputs,
                audit=auditor(lake, source.landing, run, inputs),
                delivery=delivery,
            )
        )
        claim_purpose(lake, run.purpose)
        make_current(lake, landed, retention=retention, companions=companions)
    published = Published(
        source.landing, landed.snapshot, lake.storage.shown(source.landing.path), landed.bytes, landed.files
    )
    return published, companions[0].snapshot, withdrawn


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
        inputs = {staged.table.name: staged.snapshot.id for staged in companions}
        landed = stages.enter_context(
            staging(lake, source.landing, accepted, run=run, before=before, inputs=inputs, audit=None)
        )
        make_current(lake, landed, retention=NOTHING_OLD, companions=companions)
    return landed.snapshot


def customers_first(
    spark: SparkSession,
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
    log("customer: files are waiting, and may hold withdrawals; they are landed first")
    try:
        landing = land_without_erased(
            spark, lake, _CUSTOMERS, suppression_key=suppression_key, settled_before=settled_before, log=log
        )
        try:
            run = replace(run, as_of=int(time.time() * 1000))
            _, _, withdrawn = publish_landing(spark, lake, _CUSTOMERS, landing, run, retention)
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
    unread = f"; {withdrawn.unread:,} of them for records that cannot be read" if withdrawn.unread else ""
    return f"{withdrawn.left:,} people withdrew: removed from every trusted and curated table{unread}"


def _are_waiting(lake: Lake, key: Callable[[], bytes], settled_before: int | None) -> bool:
    """Whether there are customers' files that customer_landing has not seen as they are now."""
    snapshot = read_snapshot_of(lake, _CUSTOMERS.landing)
    known = {file.path: file for file in (read_file_reports(lake, _CUSTOMERS, snapshot) if snapshot else ())}
    listing = list_landing_files(lake.storage, _CUSTOMERS.raw_path, known, settled_before, key=key)
    return any(file.name not in known or known[file.name].fingerprint != file.fingerprint for file in listing.files)
