"""From a source's raw files to its landing table and quarantine: every record parsed once, every byte accounted for.

The files are listed first, and exactly those are read: cut at `}` by Spark, judged, and staged as Parquet with the
bytes of each record. What was staged is then counted by file. A file that is not a plain run of flat objects is split
again by the exact splitter and judged by the same rules. What comes of a file that was replaced, cut or lost meanwhile
is left out, and the file is named.
"""

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import Source, Table
from stedi_assets.lake.errors import ContractBroken, LakeError, VanishedFiles
from stedi_assets.lake.keys import no_key
from stedi_assets.lake.landing_files import (
    FileReport,
    LandingFile,
    Listing,
    changed_since,
    list_landing_files,
    open_content,
)
from stedi_assets.lake.layout import Lake, masked
from stedi_assets.lake.pointers import Pointer
from stedi_assets.lake.publishing import Stage
from stedi_assets.lake.snapshots import (
    dataset,
    read_beside,
    read_pointer,
    read_quarantine,
    read_snapshot,
    reader_of,
    snapshot_folder,
)
from stedi_assets.lake.splitter import split_records
from stedi_assets.lake.storage import Storage
from stedi_assets.lake.suppression import change_suppressed, read_suppressed
from stedi_assets.transforms.records import judge, read_plain, split_at_braces

FILES = "_files.json"

_SPLIT_ROWS = pa.schema(
    [("_source_file", pa.string()), ("raw", pa.binary()), ("broken", pa.bool_()), ("separator_bytes", pa.int64())]
)
# What is kept of where a record was found, besides its bytes.
_PLACE = ("_source_file", "separator_bytes", "blank", "bracketed", "block", "place")
_ROWS_AT_ONCE = 20_000
_BYTES_AT_ONCE = 32 << 20
_BYTE_ORDER_MARK = 3
_TRIES = 3
# Field names come out of hostile files too: enough to see what is wrong, never more.
_NAMES_KEPT = 20
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Landing:
    """What a source delivered: accepted records, quarantined ones, and what became of each file.

    `accepted` has the landing table's columns, `quarantined` those of the quarantine; None where there are no such
    records. Both are read from `stage`, which is to be discarded once they are written. `previous` is the table's
    pointer as it was before. `gone` are the files that it was made from and that are missing or unreadable now, but
    for those that may be forgotten: with any of them, the table must not be published. `new_files` is how many files
    that table was not made from, as they are now. `began` is when it began, by the monotonic clock.
    """

    accepted: DataFrame | None
    quarantined: DataFrame | None
    files: tuple[FileReport, ...]
    listing: Listing
    previous: Pointer | None
    gone: tuple[str, ...]
    new_files: int
    stage: Stage
    began: float


def land(
    spark: SparkSession,
    lake: Lake,
    source: Source,
    *,
    suppression_key: Callable[[], bytes] = no_key,
    forget: frozenset[str] = frozenset(),
    settled_before: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Landing:
    """Read a source's raw files and judge every record. The caller discards the stage of what it is given.

    `forget` are the paths of files that may be missing or unreadable from now on. Files that have changed since
    `settled_before`, in epoch milliseconds, are left for a later run; of those that were landed before, what was landed
    stays. `suppression_key` is asked for where people have been erased: their records are left out, and counted.

    Raises `LakeError` where there are no landing files, and `ContractBroken` where not every byte is accounted for.
    """
    began, pointer = time.monotonic(), read_pointer(lake, source.landing)
    previous = read_file_reports(lake, source, pointer) if pointer else ()
    lake.storage.require_writable()
    stage = Stage.begin(lake, source.landing)
    try:
        listing = _listing(lake, source, previous, settled_before)
        say(f"{source.name}: reading {len(listing.files):,} files, {listing.bytes / 1e6:,.1f} MB")
        files, accepted, quarantined = _land(spark, lake, source, listing, previous, forget, stage.folder, say)
        if pointer and (kept := [file for file in previous if file.path in listing.unsettled]):
            before, doubtful = landed_before(spark, lake, source, pointer, [file.path for file in kept])
            accepted = together(source.landing, [accepted, before])
            quarantined = together(source.quarantine, [quarantined, doubtful])
            files = tuple(sorted((*files, *kept), key=lambda file: file.path))
        if suppressed := read_suppressed(lake, suppression_key):
            if source.name == "customer" and accepted is not None:
                delivered, now = accepted, int(time.time() * 1000)
                suppressed = change_suppressed(
                    lake, suppression_key, lambda found: found.with_those_back(delivered, now)
                )
            accepted = suppressed.accepted(accepted, source) if accepted is not None else None
            quarantined = suppressed.quarantined(quarantined, source) if quarantined is not None else None
            files = without_suppressed(files, count_by_file(accepted, quarantined))
    except BaseException:
        stage.discard()
        raise
    new = {(file.path, file.fingerprint) for file in files} - {(file.path, file.fingerprint) for file in previous}
    gone = _gone(files, previous, forget)
    return Landing(accepted, quarantined, files, listing, pointer, gone, len(new), stage, began)


def require_all_files(source: Source, landing: Landing) -> None:
    """Raise `VanishedFiles` where records that stand in the table would be forgotten in silence."""
    if landing.gone:
        first = ", ".join(masked(path) for path in landing.gone[:_NAMES_SHOWN])
        more = ", …" if len(landing.gone) > _NAMES_SHOWN else ""
        msg = (
            f"{source.landing.name} was not published: {len(landing.gone):,} files it was made from are gone or "
            f"unreadable in {source.raw_path}: {first}{more}. Bring them back, or say that their records may go "
            f'with the run config ops: {{{source.landing.name}: {{config: {{forget_files: ["…"]}}}}}}.'
        )
        raise VanishedFiles(msg)


def read_file_reports(lake: Lake, source: Source, pointer: Pointer) -> tuple[FileReport, ...]:
    """Return what became of each file that a snapshot of a landing table was made from."""
    entries = read_beside(lake, source.landing, pointer.snapshot, FILES)["files"]
    return tuple(FileReport(**{**entry, "unknown_fields": tuple(entry["unknown_fields"])}) for entry in entries)


def landed_before(
    spark: SparkSession, lake: Lake, source: Source, pointer: Pointer, paths: Sequence[str] | None
) -> tuple[DataFrame, DataFrame | None]:
    """Return what a snapshot holds of some files, of all if none are named: accepted records and quarantined ones."""
    accepted = read_snapshot(spark, lake, source.landing, pointer.snapshot)
    quarantined = read_quarantine(spark, lake, source.landing, pointer)
    if paths is None:
        return accepted, quarantined
    of_those = F.col("_source_file").isin(*paths)
    return accepted.where(of_those), quarantined.where(of_those) if quarantined is not None else None


def count_by_file(accepted: DataFrame | None, quarantined: DataFrame | None) -> dict[str, tuple[int, int]]:
    """Count the records that came from each file, by its path: accepted, quarantined."""
    parts = [
        rows.select("_source_file", F.lit(fate).alias("accepted"))
        for rows, fate in ((accepted, True), (quarantined, False))
        if rows is not None
    ]
    if not parts:
        return {}
    by_file = reduce(DataFrame.unionByName, parts).groupBy("_source_file")
    # A row a file: its name and counts.
    counts = by_file.agg(F.count_if("accepted"), F.count_if(~F.col("accepted"))).collect()
    return {path: (good, bad) for path, good, bad in counts}


def count_reasons(lake: Lake, source: Source, quarantine: Pointer) -> dict[str, int]:
    """Count the records of a quarantine by each reason they are there for, the most frequent first."""
    if quarantine.rows == 0:
        return {}
    stored = dataset(lake, source.quarantine, snapshot_folder(source.quarantine, quarantine.snapshot))
    reasons = Counter(pc.list_flatten(stored.to_table(columns=["reasons"])["reasons"]).to_pylist())
    return dict(sorted(reasons.items(), key=lambda found: (-found[1], found[0])))


def without_suppressed(files: Sequence[FileReport], kept: Mapping[str, tuple[int, int]]) -> tuple[FileReport, ...]:
    """Return the reports of files of whose records only so many, accepted and quarantined, are kept."""

    def counted(file: FileReport) -> FileReport:
        accepted, quarantined = kept.get(file.path, (0, 0))
        suppressed = file.records - accepted - quarantined
        return replace(file, accepted=accepted, quarantined=quarantined, suppressed=suppressed)

    return tuple(file if file.error else counted(file) for file in files)


def together(table: Table, parts: Sequence[DataFrame | None]) -> DataFrame | None:
    """Return parts as one table; None where no part has rows."""
    rows = [part.select(*table.column_names) for part in parts if part is not None]
    return reduce(DataFrame.unionByName, rows) if rows else None


def _listing(lake: Lake, source: Source, previous: Sequence[FileReport], settled_before: int | None) -> Listing:
    known = {file.path: file for file in previous}
    listing = list_landing_files(lake.storage, source.raw_path, known, settled_before)
    if not listing.files and not previous:
        where = lake.storage.shown(source.raw_path)
        msg = (
            f"No landing files in {where} that have settled. Wait until they are written, and materialise it again."
            if listing.unsettled
            else f"No landing files in {where}. Put .json files there, or make some: "
            "python -m stedi_assets.sample_data."
        )
        raise LakeError(msg)
    return listing


def _land(
    spark: SparkSession,
    lake: Lake,
    source: Source,
    listing: Listing,
    previous: Sequence[FileReport],
    forget: frozenset[str],
    stage: str,
    say: Callable[[str], None],
) -> tuple[tuple[FileReport, ...], DataFrame | None, DataFrame | None]:
    storage, folder = lake.storage, source.raw_path
    readable = [file for file in listing.files if file.error is None]
    filled = [file for file in readable if file.bytes]
    parts = [_cut_at_braces(spark, storage, source, [f for f in filled if f.named_for_its_content], stage)]
    irregular = [file for file in filled if not _is_plain(file, parts[0].counts.get(file.path))]
    if irregular:
        say(f"{source.name}: {len(irregular):,} files hold more than flat objects; splitting those again, exactly")
        parts[0] = parts[0].without(file.path for file in irregular)
        parts.append(_split_exactly(spark, storage, source, irregular, stage))

    counts = {path: row for part in parts for path, row in part.counts.items()}
    changed = changed_since(storage, folder, readable)
    reports = {f.path: _report(source, f, counts.get(f.path), changed=f.path in changed) for f in listing.files}
    files = _forgotten(tuple(reports[path] for path in sorted(reports)), previous, forget)

    unusable = {file.path for file in files if file.error}
    usable = [part.without(unusable) for part in parts]
    accepted = together(source.landing, [part.rows("reasons IS NULL") for part in usable if part.accepted])
    quarantined = together(source.quarantine, [part.rows("reasons IS NOT NULL") for part in usable if part.quarantined])
    return files, accepted, quarantined


@dataclass(frozen=True)
class _Part:
    """Judged records as they were staged, and how many of what each file holds."""

    judged: DataFrame | None
    counts: Mapping[str, Row]
    left_out: frozenset[str] = frozenset()

    @property
    def accepted(self) -> int:
        """How many records are accepted."""
        return sum(row["accepted"] for row in self.counts.values())

    @property
    def quarantined(self) -> int:
        """How many records are quarantined."""
        return sum(row["quarantined"] for row in self.counts.values())

    def without(self, paths: Iterable[str]) -> "_Part":
        """Return the part without the records of some files."""
        left_out = self.left_out | {path for path in paths if path in self.counts}
        return _Part(self.judged, {path: row for path, row in self.counts.items() if path not in left_out}, left_out)

    def rows(self, condition: str) -> DataFrame | None:
        """Return the records that meet a condition. Almost never is a file left out."""
        if self.judged is None or not self.counts:
            return None
        rows = self.judged.where("NOT blank").where(condition)
        return rows.where(~F.col("_source_file").isin(*self.left_out)) if self.left_out else rows


def _cut_at_braces(
    spark: SparkSession, storage: Storage, source: Source, files: Sequence[LandingFile], stage: str
) -> _Part:
    """Stage the records of files, cut at every `}` by Spark, in parallel."""
    text = _read_text(spark, storage, source.raw_path, files)
    if text is None:
        return _Part(None, {})
    chunks = text.select(
        "value",
        _path_below(storage.url(source.raw_path)).alias("_source_file"),
        # A block is read by one task, in its order.
        F.col("_metadata.file_block_start").alias("block"),
        F.monotonically_increasing_id().alias("place"),
    )
    records = read_plain(split_at_braces(chunks), source)
    doubtful = Observation()
    staged = _staged(records.observe(doubtful, F.count("not_plain").alias("records")), storage.url(f"{stage}/plain"))
    plain = staged.where("not_plain IS NULL").selectExpr(
        *_PLACE,
        *(f"`{column.name}`" for column in source.record_columns),
        "NOT blank AS is_object",
        "CAST(NULL AS array<string>) AS reasons",
        "CAST(NULL AS binary) AS raw",
        "record_bytes",
        "CAST(NULL AS array<string>) AS unknown_fields",
    )
    if not doubtful.get["records"]:
        return _counted(plain)
    others = staged.where("not_plain IS NOT NULL").selectExpr(*_PLACE, "string(not_plain) AS text", "false AS broken")
    judged = _staged(judge(others, source, bare_nan=False), storage.url(f"{stage}/judged"))
    return _counted(plain.unionByName(judged))


def _read_text(spark: SparkSession, storage: Storage, folder: str, files: Sequence[LandingFile]) -> DataFrame | None:
    """Return the text of files, cut at every `}`; None if none of them stays for long enough.

    Spark refuses to read a list with a file that is gone. What goes after that, or cannot be read, is missing from
    the bytes of its file, and found there.
    """
    there = [file.path for file in files if _has_name_for_hadoop(file.path)]
    for _ in range(_TRIES):
        if not there:
            break
        reader = reader_of(spark).option("lineSep", "}").option("recursiveFileLookup", "true")
        reader = reader.option("ignoreCorruptFiles", "true").option("ignoreMissingFiles", "true")
        try:
            return reader.text([storage.url(f"{folder}/{path}") for path in there])
        except AnalysisException as error:
            if error.getCondition() != "PATH_NOT_FOUND":
                raise
            found = {entry.path for entry in storage.entries(folder) if entry.is_file}
            there = [path for path in there if path in found]
    return None


def _split_exactly(
    spark: SparkSession, storage: Storage, source: Source, files: Sequence[LandingFile], stage: str
) -> _Part:
    """Stage the records of files as the exact splitter finds them."""
    split = f"{stage}/split.parquet"
    with storage.writing(split) as open_file, pq.ParquetWriter(open_file, _SPLIT_ROWS) as writer:
        for file in files:
            for rows in _split_rows(storage, source.raw_path, file):
                writer.write_table(rows)
    records = reader_of(spark).schema("_source_file string, raw binary, broken boolean, separator_bytes bigint")
    texts = records.parquet(storage.url(split)).select(
        "_source_file",
        F.col("raw").cast("string").alias("text"),
        "broken",
        "separator_bytes",
        (F.octet_length("raw") == 0).alias("blank"),
        F.lit(False).alias("bracketed"),
        F.lit(0).cast("bigint").alias("block"),
        F.monotonically_increasing_id().alias("place"),
    )
    return _counted(_staged(judge(texts, source, bare_nan=True), storage.url(f"{stage}/split_exactly")))


def _split_rows(storage: Storage, folder: str, file: LandingFile) -> Iterator[pa.Table]:
    """Yield a file's records as tables of a bounded size; nothing more from where it turns out to be damaged."""
    rows: list[tuple[str, bytes, bool, int]] = []
    size = 0
    try:
        with open_content(storage, folder, file) as content:
            for record in split_records(content):
                rows.append((file.path, record.raw, not record.is_object, record.separator_bytes))
                size += len(record.raw)
                if size > _BYTES_AT_ONCE or len(rows) > _ROWS_AT_ONCE:
                    yield _as_table(rows)
                    rows, size = [], 0
    except (OSError, EOFError, zlib.error):
        # It was whole when it was listed: the fingerprint has changed, which names it.
        return
    if rows:
        yield _as_table(rows)


def _as_table(rows: list[tuple[str, bytes, bool, int]]) -> pa.Table:
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=_SPLIT_ROWS)


def _staged(rows: DataFrame, url: str) -> DataFrame:
    """Write rows once, and return them as they were written."""
    rows.write.parquet(url)
    return reader_of(rows.sparkSession).schema(rows.schema).parquet(url)


def _counted(staged: DataFrame) -> _Part:
    """Count staged records by file."""
    record = ~F.col("blank")
    counts = staged.groupBy("_source_file").agg(
        F.count_if(record).alias("records"),
        F.count_if(record & F.col("reasons").isNull()).alias("accepted"),
        F.count_if(record & F.col("reasons").isNotNull()).alias("quarantined"),
        F.sum(F.when(record, F.col("record_bytes")).otherwise(0)).alias("record_bytes"),
        F.sum("separator_bytes").alias("separator_bytes"),
        F.count_if("blank").alias("blanks"),
        F.max_by("blank", F.struct("block", "place")).alias("ends_blank"),
        F.count_if((record & ~F.col("is_object")) | F.col("bracketed")).alias("irregular"),
        F.array_distinct(F.flatten(F.collect_set("unknown_fields"))).alias("unknown_fields"),
    )
    # A row a file: counts and names of reasons, nothing of a record.
    return _Part(staged, {row["_source_file"]: row for row in counts.collect()})


def _is_plain(file: LandingFile, counts: Row | None) -> bool:
    """Whether a file that was cut at `}` is nothing but flat objects, and so was cut where its records end.

    What follows the last `}` is only separators, and must be the last thing there: a blank elsewhere is a stray `}`.
    Every chunk was given its `}` back, the last one too where it had none.
    """
    if counts is None or counts["irregular"]:
        return False
    expected = file.bytes - (_BYTE_ORDER_MARK if file.byte_order_mark else 0)
    found = counts["record_bytes"] + counts["separator_bytes"]
    return bool(found == expected and counts["blanks"] == int(counts["ends_blank"]))


def _report(source: Source, file: LandingFile, counts: Row | None, *, changed: bool) -> FileReport:
    """Say what became of a file, its bytes added up."""
    report = FileReport(
        path=file.path,
        size=file.size,
        fingerprint=file.fingerprint,
        bytes=file.bytes,
        digest=file.digest,
        gzip=file.gzip,
        byte_order_mark=file.byte_order_mark,
        error=file.error,
    )
    if file.error:
        return report
    if changed:
        return replace(report, error="it was replaced, cut or removed while it was being read")
    if counts is None:
        counted = report
    else:
        # Spark takes a byte-order mark off, the exact splitter counts it with the separators.
        mark = _BYTE_ORDER_MARK if file.byte_order_mark and _is_plain(file, counts) else 0
        counted = replace(
            report,
            records=counts["records"],
            accepted=counts["accepted"],
            quarantined=counts["quarantined"],
            record_bytes=counts["record_bytes"],
            separator_bytes=counts["separator_bytes"] + mark,
            unknown_fields=tuple(sorted(counts["unknown_fields"])[:_NAMES_KEPT]),
        )
    if counted.record_bytes + counted.separator_bytes != file.bytes or (
        counted.accepted + counted.quarantined != counted.records
    ):
        raise ContractBroken(
            source.landing.name,
            "rows_accounted_for",
            counted.records,
            1,
            f"The records and separators of {masked(file.path)} do not add up to its size. "
            "This is a defect of the software, not of the file: please report it.",
        )
    return counted


def _forgotten(
    files: tuple[FileReport, ...], previous: Sequence[FileReport], forget: frozenset[str]
) -> tuple[FileReport, ...]:
    """Mark the unreadable files that somebody has said to forget, now or for as long as they have not changed."""
    before = {(file.path, file.fingerprint) for file in previous if file.forgotten}
    return tuple(
        replace(file, forgotten=True)
        if file.error and (file.path in forget or (file.path, file.fingerprint) in before)
        else file
        for file in files
    )


def _gone(files: Sequence[FileReport], previous: Sequence[FileReport], forget: frozenset[str]) -> tuple[str, ...]:
    """Return the files whose records stand in the table and are there no longer, and that nobody has said to forget."""
    used = {file.path: file for file in previous if not file.error}
    there = {file.path for file in files if not file.error}
    # The same content under a new name is a rename; under a name that was there before, it is another delivery.
    renamed = {file.digest for file in files if not file.error and file.path not in used}
    return tuple(sorted(p for p, file in used.items() if p not in there | forget and file.digest not in renamed))


def _has_name_for_hadoop(path: str) -> bool:
    """Whether Hadoop can name a file: S3 knows keys with empty parts, and with dots for parts."""
    return not {"", ".", ".."} & set(path.split("/"))


def _path_below(folder: str) -> Column:
    """Return the path of the file a row was read from, below a folder."""
    decoded = F.url_decode(F.replace("_metadata.file_path", F.lit("+"), F.lit("%2B")))
    return F.substring(decoded, F.locate(f"{folder}/", decoded) + len(f"{folder}/"), F.length(decoded))
