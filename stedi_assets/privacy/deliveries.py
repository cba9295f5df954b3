"""A delivery becomes a landing table and its quarantine; whoever withdrew in it leaves first.

Whatever else is to happen to a lake, what customers have delivered is landed before it: see `customers_first`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace

from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import SOURCES, Source
from stedi_assets.ingest.landing import Landing, count_by_file, land, require_all_files, without_suppressed
from stedi_assets.ingest.landing_files import list_landing_files
from stedi_assets.privacy.suppression import change_suppressed, read_suppressed
from stedi_assets.privacy.withdrawal import Withdrawn, withdraw_first
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.file_reports import FILES, read_file_reports
from stedi_assets.tables.publishing import Provenance, Published, Retention, publish
from stedi_assets.tables.snapshots import read_pointer

_CUSTOMERS = SOURCES["customer"]


def land_without_erased(
    spark: SparkSession,
    lake: Lake,
    source: Source,
    *,
    suppression_key: Callable[[], bytes],
    forget: frozenset[str] = frozenset(),
    settled_before: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Landing:
    """Land a source's raw files; records of people who have been erased are left out, and counted.

    `suppression_key` is asked for where people have been erased, and where the name of a file could hold somebody's
    data. The rest, and what is raised, is as for `land`.
    """
    # Refused before anything is read.
    erased = read_suppressed(lake, suppression_key)
    landing = land(spark, lake, source, name_key=suppression_key, forget=forget, settled_before=settled_before, say=say)
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
    spark: SparkSession, lake: Lake, source: Source, landing: Landing, by: Provenance, retention: Retention
) -> tuple[Published, Published, Withdrawn]:
    """Let whoever withdrew leave, publish the quarantine, and then the landing table whose pointer names it.

    Raises `VanishedFiles` where files are gone: whoever withdrew has left by then.
    """
    withdrawn = withdraw_first(spark, lake, landing, by) if source is _CUSTOMERS else Withdrawn()
    require_all_files(source, landing)
    quarantine = publish(
        lake,
        source.quarantine,
        landing.quarantined,
        by=by,
        expected=read_pointer(lake, source.quarantine),
        inputs={},
        retention=retention,
    )
    published = publish(
        lake,
        source.landing,
        landing.accepted,
        by=by,
        expected=landing.previous,
        inputs={source.quarantine.name: quarantine.pointer},
        beside={FILES: {**landing.beside(), "withdrawn": asdict(withdrawn)}},
        retention=retention,
    )
    return quarantine, published, withdrawn


def customers_first(
    spark: SparkSession,
    lake: Lake,
    by: Provenance,
    retention: Retention,
    *,
    suppression_key: Callable[[], bytes],
    settled_before: int | None,
    say: Callable[[str], None],
) -> None:
    """Land what customers have delivered and no table holds yet, before anything else is opened.

    What stands in its way is told, and holds up nothing else: whoever withdrew has left by then, as far as can be read.
    """
    if not _are_waiting(lake, suppression_key, settled_before):
        return
    say("customer: files are waiting, and may hold withdrawals; they are landed first")
    try:
        landing = land_without_erased(
            spark, lake, _CUSTOMERS, suppression_key=suppression_key, settled_before=settled_before, say=say
        )
        try:
            by = replace(by, as_of=int(time.time() * 1000))
            _, _, withdrawn = publish_landing(spark, lake, _CUSTOMERS, landing, by, retention)
        finally:
            landing.stage.discard()
    except LakeError as error:
        by.warn(str(error))
    else:
        say(in_words(withdrawn))


def in_words(withdrawn: Withdrawn) -> str:
    """Say for people how many have left."""
    if not withdrawn.left:
        return "Nobody withdrew"
    unread = f"; {withdrawn.unread:,} of them for records that cannot be read" if withdrawn.unread else ""
    return f"{withdrawn.left:,} people withdrew: removed from every trusted and curated table{unread}"


def _are_waiting(lake: Lake, key: Callable[[], bytes], settled_before: int | None) -> bool:
    """Whether there are customers' files that customer_landing has not seen as they are now."""
    pointer = read_pointer(lake, _CUSTOMERS.landing)
    known = {file.path: file for file in (read_file_reports(lake, _CUSTOMERS, pointer) if pointer else ())}
    listing = list_landing_files(lake.storage, _CUSTOMERS.raw_path, known, settled_before, key=key)
    return any(file.name not in known or known[file.name].fingerprint != file.fingerprint for file in listing.files)
