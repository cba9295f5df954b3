"""From a source's raw files to its landing table and quarantine: every record validated once, every byte accounted for.

The files are listed first, and of those, exactly the new and changed ones are read; what was landed from the others
stays. If a file is replaced, cut or lost meanwhile, its records are left out, and the file is named.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import accumulate

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import Source
from stedi_assets.ingest.gate import may_pass
from stedi_assets.ingest.landing_files import LandingFile, Listing, is_manifest, list_landing_files
from stedi_assets.ingest.manifests import compare_with_manifests
from stedi_assets.ingest.reading import of_files, read_files, union
from stedi_assets.ingest.superseded import kept_accepted, kept_quarantined
from stedi_assets.storage.errors import LakeError, VanishedFiles
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import alias, no_key
from stedi_assets.tables.catalog import session_of
from stedi_assets.tables.days import Days, new_versions, within
from stedi_assets.tables.file_reports import FileReport, read_file_reports
from stedi_assets.tables.manifest_report import ManifestReport
from stedi_assets.tables.snapshots import (
    Snapshot,
    is_whole,
    read_quarantine,
    read_snapshot,
    read_snapshot_of,
    require_no_old_layout,
)
from stedi_assets.tables.staging import Stage

_NAMES_SHOWN = 3
_MANIFESTS = "Files called manifest.json or *.manifest.json are delivery manifests: rename any that hold records."


@dataclass(frozen=True)
class Landing:
    """What a source delivered: accepted records, quarantined ones, and a report of each file.

    `accepted` has the landing table's columns, `quarantined` those of the quarantine; None if there are no such
    records. Both are read from `stage`, which is to be discarded once they are written. `days` are those that
    `accepted` replaces: if None all of the table, if there are none it is added; `quarantined` replaces all unless
    `adds_quarantined`. `touched` are the days with rows that are new, replaced or gone. `read` are the names of the
    files that were read. `superseded` is how many records of each no file holds any more. `previous` is the table's
    snapshot before. `gone` are the files that it was made from and that are now missing or unreadable, except those
    that may be forgotten: if there are any, the table must not be published. `new_files` is how many files, as they are
    now, that table was not made from. `began` is the start by the monotonic clock. `is_unchanged`: the table was made
    from just these files, as they are now. `has_new_hashes`: a manifest asks for hashes of files that have not changed.
    `has_old_rows`: rows of files that are still being written stay, as another version of the code made them.
    `manifests` is how the files compare with the source's manifests, `remembered` what the snapshot records besides.
    """

    accepted: DataFrame | None
    quarantined: DataFrame | None
    files: tuple[FileReport, ...]
    listing: Listing
    previous: Snapshot | None
    gone: tuple[str, ...]
    new_files: int
    stage: Stage
    began: float
    superseded: tuple[int, int] = (0, 0)
    read: frozenset[str] = frozenset()
    days: Days | None = None
    touched: Days = frozenset()
    adds_quarantined: bool = False
    is_unchanged: bool = False
    has_new_hashes: bool = False
    has_old_rows: bool = False
    manifests: ManifestReport = field(default_factory=ManifestReport)
    remembered: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes_read(self) -> int:
        """How many bytes were read, as the files lie."""
        return _size([file for file in self.listing.files if file.name in self.read])

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the table's days."""
        stay = self.previous.days if self.previous and self.days is not None else {}
        return {**stay, **new_versions(self.touched)}

    def delivery(self) -> dict[str, object]:
        """Return what the landing table's snapshot records about its files."""
        return {
            "ignored": self.listing.ignored,
            "superseded": self.superseded[0],
            "superseded_quarantined": self.superseded[1],
            **self.manifests.as_delivery(),
            **self.remembered,
        }


@dataclass(frozen=True)
class LandingOptions:
    """How a source is to be landed.

    `forget` are the paths of files that may be missing or unreadable from now on, or whose superseded records may go.
    Files that have changed since `settled_before`, in epoch milliseconds, are left for a later run; what was landed
    from them before stays. All files are read with `full`, or if the table was made by another version of the code than
    `code`. Of a backlog of readings, files of `most_bytes` are read; the others are left for a later run.
    """

    forget: frozenset[str] = frozenset()
    settled_before: int | None = None
    code: str = ""
    full: bool = False
    most_bytes: int | None = None
    log: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Again:
    """Rows that stay and are looked at again: those of some days, of all if that is None, and those in quarantine."""

    days: Days | None = frozenset()
    quarantine: bool = False

    @property
    def is_anything(self) -> bool:
        """Whether there are any."""
        return self.days is None or bool(self.days) or self.quarantine


def land(
    session: Callable[[], SparkSession],
    lake: Lake,
    source: Source,
    options: LandingOptions = LandingOptions(),
    *,
    name_key: Callable[[], bytes] = no_key,
    read_again: Callable[[Snapshot, FileReport], bool] = lambda _, __: False,
    look_again: Callable[[Snapshot], Again] = lambda _: Again(),
) -> Landing:
    """Read a source's new and changed raw files and validate every record. The caller discards the result's stage.

    `session` is called if there is anything to read or to remove. Files that have not changed are read if `read_again`
    says so. What `look_again` returns of the rows that stay is part of the delivery, too. `name_key` returns the secret
    that hides file names which could hold personal data.

    Raises `LakeError` if there are no landing files, and `ContractBroken` if not every byte is accounted for.
    """
    began = time.monotonic()
    lake.storage.require_writable()
    require_no_old_layout(lake, source.landing)
    forget = frozenset(alias(path, name_key) for path in options.forget) | options.forget
    plan = _plan(lake, source, options, name_key, read_again, look_again)
    if options.most_bytes is not None:
        plan = plan.in_a_bite(source, options.most_bytes, forget)
    stage = Stage.begin(lake, source.landing)
    options.log(
        f"{source.name}: reading {len(plan.reading):,} of {len(plan.listing.files):,} files, "
        f"{_size(plan.reading) / 1e6:,.1f} MB"
    )
    try:
        if plan.before is not None and not (
            plan.full or plan.reading or plan.removed or forget or plan.again.is_anything
        ):
            landing = _unchanged(plan, plan.before, stage, began)
        else:
            landing = _read(session_of(session(), lake), lake, source, plan, forget, stage, began)
        files, report = compare_with_manifests(lake.raw, source.raw_path, plan.listing, landing.files, name_key)
        return replace(landing, files=files, manifests=report, has_new_hashes=files != landing.files)
    except BaseException:
        stage.discard()
        raise


@dataclass(frozen=True)
class _Plan:
    """What to read for a delivery: the listed files that are `reading`.

    `before` is the table's snapshot, and `previous` the reports of its files: the rows of those `kept` stay, the rows
    of those `removed` go. `again` are the rows that are looked at again. `full`: everything is read. `has_old_keys`:
    another version of the code made the table.
    """

    before: Snapshot | None
    previous: tuple[FileReport, ...]
    listing: Listing
    reading: Sequence[LandingFile]
    kept: Sequence[FileReport]
    removed: Sequence[FileReport]
    again: Again
    full: bool
    has_old_keys: bool

    def in_a_bite(self, source: Source, most_bytes: int, forget: frozenset[str]) -> "_Plan":
        """Return the plan to read at most so many bytes of files, or one file; the rest is left for a later run.

        Everything is read at once in a full run, if a file may have another name now, and for customers: any of their
        files may hold a withdrawal. Files that have not changed and are read again do not wait: the next run would not
        know that it has to read them. Those that could not be read come last, so that they hold nothing up.
        """
        there, known = {file.name for file in self.listing.files}, {file.path for file in self.previous}
        sizes = {file.size for file in self.reading if file.name not in known}
        gone = [f for f in self.removed if f.path not in there and f.path not in forget and not f.error]
        if self.full or not source.landing.instant or any(file.size in sizes for file in gone):
            return self
        tried = {(file.path, file.fingerprint): bool(file.error) for file in self.previous}
        may_wait = [file for file in self.reading if tried.get((file.name, file.fingerprint)) is not False]
        may_wait.sort(key=lambda file: (file.name, file.fingerprint) in tried)
        totals = accumulate(file.size for file in may_wait)
        taken = [file for file, total in zip(may_wait, totals, strict=True) if total <= most_bytes]
        left = {file.name for file in may_wait[max(1, len(taken)) :]}
        listing = replace(
            self.listing,
            files=tuple(file for file in self.listing.files if file.name not in left),
            unsettled=(*self.listing.unsettled, *sorted(left)),
        )
        return replace(
            self,
            listing=listing,
            reading=[file for file in self.reading if file.name not in left],
            kept=[*self.kept, *(file for file in self.removed if file.path in left)],
            removed=[file for file in self.removed if file.path not in left],
        )


def _plan(
    lake: Lake,
    source: Source,
    options: LandingOptions,
    name_key: Callable[[], bytes],
    read_again: Callable[[Snapshot, FileReport], bool],
    look_again: Callable[[Snapshot], Again],
) -> _Plan:
    """Compare the files that are there with those that the table was made from."""
    before = read_snapshot_of(lake, source.landing)
    previous = read_file_reports(lake, source, before) if before else ()
    listing = _listing(lake, source, previous, options.settled_before, name_key)
    stay, full = set(listing.unsettled), options.full
    again = Again()
    if before is not None:
        # A table with a file that is gone or cut is made from scratch.
        full = full or before.code != options.code or not _is_whole(lake, source, before)
    if before is not None and not full:
        again = look_again(before)
        listed = {(file.name, file.fingerprint): file for file in listing.files}

        def stays(file: FileReport) -> bool:
            now = listed[file.path, file.fingerprint]
            if file.forgotten:
                return not (may_pass(file.error or "") and _opens(lake, source, now))
            return not (file.error or now.error or read_again(before, file))

        stay |= {file.path for file in previous if (file.path, file.fingerprint) in listed and stays(file)}
    return _Plan(
        before,
        previous,
        listing,
        reading=[file for file in listing.files if file.name not in stay],
        kept=[file for file in previous if file.path in stay],
        removed=[file for file in previous if file.path not in stay],
        again=again,
        full=full,
        has_old_keys=before is not None and before.code != options.code,
    )


def _opens(lake: Lake, source: Source, file: LandingFile) -> bool:
    try:
        with lake.raw.open(f"{source.raw_path}/{file.path}") as content:
            content.read(1)
    except OSError:
        return False
    return True


def _read(
    spark: SparkSession, lake: Lake, source: Source, plan: _Plan, forget: frozenset[str], stage: Stage, began: float
) -> Landing:
    """Read what is planned, and put it together with what stays."""
    before, previous = plan.before, plan.previous
    found = read_files(spark, lake, source, plan.reading, stage.folder)
    accepted, quarantined = found.accepted, found.quarantined
    files = _forgotten(found.files, previous, forget)
    replaced, adds_quarantined = None, False
    touched = {day for file in files for day in file.days}
    if before and plan.kept:
        names = [file.path for file in plan.removed if not file.error]
        if source.landing.instant and not plan.full:
            replaced = frozenset(day for file in plan.removed for day in file.days) | (plan.again.days or frozenset())
            adds_quarantined = not (plan.again.quarantine or any(file.quarantined for file in plan.removed))
        stayed, stayed_quarantined = landed_before(spark, lake, source, before, names, how="left_anti", days=replaced)
        accepted = union(source.landing, [accepted, stayed if replaced is None or replaced else None])
        quarantined = union(source.quarantine, [quarantined, None if adds_quarantined else stayed_quarantined])
        touched |= {day for file in plan.kept for day in file.days} if replaced is None else replaced
        files = tuple(sorted((*files, *plan.kept), key=lambda file: file.path))
    superseded = (0, 0)
    if before and source.name == "customer":
        old, old_quarantined = _superseded(spark, lake, source, before, plan, files, forget, accepted, quarantined)
        superseded = (_count(old), _count(old_quarantined))
        accepted = union(source.landing, [accepted, old if superseded[0] else None])
        quarantined = union(source.quarantine, [quarantined, old_quarantined if superseded[1] else None])
    new = {(file.path, file.fingerprint) for file in files} - {(file.path, file.fingerprint) for file in previous}
    return Landing(
        accepted,
        quarantined,
        files,
        plan.listing,
        before,
        _gone(files, previous, forget),
        len(new),
        stage,
        began,
        superseded,
        read=frozenset(file.name for file in plan.reading),
        days=replaced,
        touched=frozenset(touched),
        adds_quarantined=adds_quarantined,
        has_old_rows=plan.has_old_keys and bool(plan.kept),
    )


def _is_whole(lake: Lake, source: Source, before: Snapshot) -> bool:
    quarantine = source.quarantine
    named = before.inputs[quarantine.name]
    return is_whole(lake, source.landing, before.id) and is_whole(lake, quarantine, named)


def _unchanged(plan: _Plan, before: Snapshot, stage: Stage, began: float) -> Landing:
    """Return a delivery that adds nothing and removes nothing."""
    return Landing(
        None,
        None,
        plan.previous,
        plan.listing,
        before,
        gone=(),
        new_files=0,
        stage=stage,
        began=began,
        superseded=(before.delivery["superseded"], before.delivery["superseded_quarantined"]),
        days=frozenset(),
        adds_quarantined=True,
        is_unchanged=True,
    )


def _size(files: Sequence[LandingFile]) -> int:
    return sum(file.size for file in files)


def require_all_files(source: Source, landing: Landing) -> None:
    """Raise `VanishedFiles` if records in the table would be forgotten silently."""
    if landing.gone:
        first = ", ".join(landing.gone[:_NAMES_SHOWN])
        more = ", …" if len(landing.gone) > _NAMES_SHOWN else ""
        manifests = f" {_MANIFESTS}" if any(map(is_manifest, landing.gone)) else ""
        msg = (
            f"{source.landing.name} was not published: {len(landing.gone):,} files it was made from are gone or "
            f"unreadable in {source.raw_path}: {first}{more}. Bring them back, or have their records forgotten "
            f'with the run config ops: {{{source.landing.name}: {{config: {{forget_files: ["…"]}}}}}}.{manifests}'
        )
        raise VanishedFiles(msg)


def landed_before(
    spark: SparkSession,
    lake: Lake,
    source: Source,
    snapshot: Snapshot,
    names: Sequence[str],
    *,
    how: str = "left_semi",
    days: Days | None = None,
) -> tuple[DataFrame, DataFrame | None]:
    """Return a snapshot's records from some files, or from all others if `how` is `left_anti`.

    Accepted ones, of some days if any are given, and quarantined ones.
    """
    accepted = read_snapshot(spark, lake, source.landing, snapshot.id)
    if days is not None:
        accepted = accepted.where(within(f"`{source.landing.instant}`", days))
    quarantined = read_quarantine(spark, lake, source.landing, snapshot)
    return (
        of_files(_live(accepted), names, how),
        of_files(_live(quarantined), names, how) if quarantined is not None else None,
    )


def count_by_file(accepted: DataFrame | None, quarantined: DataFrame | None) -> dict[str, tuple[int, int]]:
    """Count each file's records, by its name: accepted, quarantined."""
    parts = [
        _live(rows).select("_source_file", F.lit(fate).alias("accepted"))
        for rows, fate in ((accepted, True), (quarantined, False))
        if rows is not None
    ]
    if not parts:
        return {}
    by_file = reduce(DataFrame.unionByName, parts).groupBy("_source_file")
    # One row per file: its name and counts.
    counts = by_file.agg(F.count_if("accepted"), F.count_if(~F.col("accepted"))).collect()
    return {path: (good, bad) for path, good, bad in counts}


def without_suppressed(
    files: Sequence[FileReport], delivered: Mapping[str, tuple[int, int]], kept: Mapping[str, tuple[int, int]]
) -> tuple[FileReport, ...]:
    """Return reports of files in which the records that were delivered and are not kept count as suppressed.

    Both are counts by file, of accepted and of quarantined records. Of a file that was landed before, they may be of
    some days only.
    """

    def counted(file: FileReport) -> FileReport:
        gone = [n - k for n, k in zip(delivered.get(file.path, (0, 0)), kept.get(file.path, (0, 0)), strict=True)]
        accepted, quarantined = file.accepted - gone[0], file.quarantined - gone[1]
        suppressed = file.records - accepted - quarantined
        return replace(file, accepted=accepted, quarantined=quarantined, suppressed=suppressed)

    return tuple(file if file.error else counted(file) for file in files)


def _listing(
    lake: Lake, source: Source, previous: Sequence[FileReport], settled_before: int | None, key: Callable[[], bytes]
) -> Listing:
    known = {file.path: file for file in previous}
    listing = list_landing_files(lake.raw, source.raw_path, known, settled_before, key=key)
    if not listing.files and not previous:
        where = lake.raw.shown(source.raw_path)
        passed_over = (
            f" {len(listing.ignored):,} files there were passed over, because their names have none of the suffixes "
            ".json, .jsonl and .ndjson (each also .gz): rename them."
            if listing.ignored
            else ""
        )
        if listing.manifests:
            passed_over += f" {_MANIFESTS}"
        msg = (
            f"No landing files in {where} that have settled. Wait until they are written, and materialise it again."
            if listing.unsettled
            else f"No landing files in {where}.{passed_over} Put .json files there, or make some: "
            "python -m stedi_assets.sample_data."
        )
        raise LakeError(msg)
    return listing


def _superseded(
    spark: SparkSession,
    lake: Lake,
    source: Source,
    snapshot: Snapshot,
    plan: _Plan,
    files: Sequence[FileReport],
    forget: frozenset[str],
    accepted: DataFrame | None,
    quarantined: DataFrame | None,
) -> tuple[DataFrame | None, DataFrame | None]:
    """Return the accepted and quarantined records that stay although no file holds them any more."""
    now = {file.path: file for file in files if not file.error}
    digests = {file.digest for file in now.values()}
    before = [file for file in plan.previous if not file.error]
    old_keys = plan.has_old_keys
    replaced = {f.path for f in before if f.path in now and f.digest != now[f.path].digest and f.digest not in digests}
    kept = snapshot.delivery
    old = old_quarantined = None
    if replaced or kept["superseded"]:
        landed = read_snapshot(spark, lake, source.landing, snapshot.id)
        old = kept_accepted(landed, accepted, replaced, forget, has_old_keys=old_keys)
    quarantined_before = read_quarantine(spark, lake, source.landing, snapshot)
    if quarantined_before is not None and (replaced or kept["superseded_quarantined"]):
        old_quarantined = kept_quarantined(
            quarantined_before, quarantined, accepted, replaced, forget, has_old_keys=old_keys
        )
    return old, old_quarantined


def _live(rows: DataFrame) -> DataFrame:
    return rows.where(~F.col("_superseded")) if "_superseded" in rows.columns else rows


def _count(rows: DataFrame | None) -> int:
    return rows.count() if rows is not None else 0


def _forgotten(
    files: tuple[FileReport, ...], previous: Sequence[FileReport], forget: frozenset[str]
) -> tuple[FileReport, ...]:
    """Mark the unreadable files to forget: those named now, and those named before that have not changed."""
    before = {(file.path, file.fingerprint) for file in previous if file.forgotten}
    return tuple(
        replace(file, forgotten=True)
        if file.error and (file.path in forget or (file.path, file.fingerprint) in before)
        else file
        for file in files
    )


def _gone(files: Sequence[FileReport], previous: Sequence[FileReport], forget: frozenset[str]) -> tuple[str, ...]:
    """Return the files that the table was made from, that are missing now, and that nobody has asked to forget."""
    used = {file.path: file for file in previous if not file.error}
    there = {file.path for file in files if not file.error}
    # The same content under a new name is a rename; under a name that was there before, it is another delivery.
    renamed = {file.digest for file in files if not file.error and file.path not in used}
    return tuple(sorted(p for p, file in used.items() if p not in there | forget and file.digest not in renamed))
