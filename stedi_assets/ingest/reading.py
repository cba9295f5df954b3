"""Raw files are read: every record is validated once and staged, and each file gets a report.

Spark's tasks read them. If there is little to read, this process does it in the same way, which takes less time than a
Spark job.
"""

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from zipimport import zipimporter

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import Source, Table
from stedi_assets.ingest.gate import Opener, Piece, Report, read_piece
from stedi_assets.ingest.landing_files import LandingFile, changed_since
from stedi_assets.ingest.staged_rows import staged_rows
from stedi_assets.storage.errors import ContractBroken, LakeError
from stedi_assets.storage.interface import RawFiles, Storage
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.file_reports import FileReport
from stedi_assets.tables.snapshots import reader_of

# Several tasks read a larger file, unless it turns out to be packed or to have a record across a cut.
_LARGEST_PIECE = 64 << 20
_BYTES_A_TASK = 16 << 20
_LEAST_TASKS = 8
# Up to so many bytes in so many pieces are little. From S3, a piece takes a request.
_LITTLE, _FEW = 16 << 20, 32
_BLOCK = 64 << 10
# A field's name is shown if at least so many records have it: then it is hardly about one person.
_LEAST_RECORDS = 20


@dataclass(frozen=True)
class Delivery:
    """What was read: validated records, each None if there are none, and a report of each file."""

    accepted: DataFrame | None
    quarantined: DataFrame | None
    files: tuple[FileReport, ...]


def read_files(spark: SparkSession, lake: Lake, source: Source, files: Sequence[LandingFile], stage: str) -> Delivery:
    """Read files, validate their records and stage them below `stage`, a folder of the lake.

    The records of a file that has changed since it was listed are left out.

    Raises `ContractBroken` if not every byte of a file is accounted for.
    """
    readable = {file.name: file for file in files if file.error is None}
    pieces = [piece for file in readable.values() if file.size for piece in _pieces(lake.raw, source, file)]
    parts = [_read(spark, lake, source, pieces, f"{stage}/validated")] if pieces else []
    if astray := _with_records_across_a_cut(parts):
        again = [readable[name] for name in sorted(astray)]
        whole = [Piece(f"{source.raw_path}/{file.path}", file.name, 0, file.size) for file in again]
        parts = [_without(parts[0], astray), _read(spark, lake, source, whole, f"{stage}/validated_whole")]
    found: dict[str, list[Report]] = {}
    for report in (report for part in parts for report in part.reports):
        found.setdefault(report.name, []).append(report)
    changed = changed_since(lake.raw, source.raw_path, files)
    reports = [
        _changed_meanwhile(file)
        if file.name in changed and not file.error
        else _file_report(source, file, found.get(file.name, []))
        for file in files
    ]
    usable = [_without(part, {report.path for report in reports if report.error}) for part in parts]
    accepted, quarantined = [part.accepted for part in usable], [part.quarantined for part in usable]
    return Delivery(
        union(source.landing, accepted) if any(report.accepted for report in reports) else None,
        union(source.quarantine, quarantined) if any(report.quarantined for report in reports) else None,
        _with_unknown_fields(reports, found),
    )


def union(table: Table, parts: Sequence[DataFrame | None]) -> DataFrame | None:
    """Return parts as one table; None if no part has rows."""
    rows = [part.select(*table.column_names) for part in parts if part is not None]
    return reduce(DataFrame.unionByName, rows) if rows else None


def of_files(rows: DataFrame, names: Sequence[str], how: str) -> DataFrame:
    """Return the rows of some files (`how` is `left_semi`), or of all others (`left_anti`)."""
    if not names and how == "left_anti":
        return rows
    listed = rows.sparkSession.createDataFrame(pa.table({"_source_file": pa.array(names, pa.string())}))
    return rows.join(F.broadcast(listed), on="_source_file", how=how).select(*rows.columns)


def _with_unknown_fields(
    reports: Sequence[FileReport], found: Mapping[str, Sequence[Report]]
) -> tuple[FileReport, ...]:
    """Add the names of fields that the contract does not know, if enough records have them."""
    usable = {report.path: found.get(report.path, ()) for report in reports if not report.error}
    records: Counter[str] = Counter()
    for pieces in usable.values():
        for piece in pieces:
            records.update(piece.unknown_fields)

    def named(report: FileReport) -> FileReport:
        pieces = usable.get(report.path, ())
        names = set[str]().union(*(piece.unknown_fields for piece in pieces))
        shown = tuple(sorted(name for name in names if records[name] >= _LEAST_RECORDS))
        others = len(names) - len(shown) + sum(piece.other_names for piece in pieces)
        return replace(report, unknown_fields=shown, other_names=others)

    return tuple(map(named, reports))


_ADDED_UP = ("bytes", "records", "accepted", "accepted_bytes", "quarantined", "quarantined_bytes", "separator_bytes")

_Task = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]
# What a task returns for each piece: its report, and the files in which its rows are staged.
_RETURNED = pa.schema([(name, pa.string()) for name in ("report", "accepted", "quarantined")])


@dataclass(frozen=True)
class _Part:
    """Staged rows of both kinds, None if there are none, and the reports of their pieces."""

    accepted: DataFrame | None
    quarantined: DataFrame | None
    reports: Sequence[Report]


def _read(spark: SparkSession, lake: Lake, source: Source, pieces: Sequence[Piece], folder: str) -> _Part:
    """Have pieces read and their rows staged."""
    columns = pa.Table.from_pylist([asdict(piece) for piece in pieces])
    size = sum(piece.end - piece.start for piece in pieces)
    task = _task(lake.raw.open, source, lake.storage, folder)
    returned: Sequence[Mapping[str, str]]
    if size <= _LITTLE and len(pieces) <= _FEW:
        returned = _in_this_process(task, columns)
    else:
        tasks = min(len(pieces), max(_LEAST_TASKS, size // _BYTES_A_TASK))
        schema = ", ".join(f"{name} STRING" for name in _RETURNED.names)
        read = spark.createDataFrame(columns).repartition(tasks).mapInArrow(_in_silence(task), schema)
        # One row per piece: counts and file names, nothing of a record.
        returned = [row.asDict() for row in read.collect()]
    accepted, quarantined = ({row[name] for row in returned} - {""} for name in ("accepted", "quarantined"))
    return _Part(
        _staged(spark, lake, source.landing, accepted),
        _staged(spark, lake, source.quarantine, quarantined),
        [Report(**json.loads(row["report"])) for row in returned],
    )


def _task(opened: Opener, source: Source, storage: Storage, folder: str) -> _Task:
    """Return what a task does: pieces in, and `_RETURNED` of each out, once its rows are staged in files."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with (
            staged_rows(storage, folder, arrow_schema(source.landing)) as accepted,
            staged_rows(storage, folder, arrow_schema(source.quarantine)) as quarantined,
        ):
            reports = [
                read_piece(opened, source, Piece(**piece), accepted.write, quarantined.write)
                for batch in batches
                for piece in batch.to_pylist()
            ]
        for report in reports:
            row = [json.dumps(asdict(report)), accepted.path, quarantined.path]
            yield pa.RecordBatch.from_arrays([pa.array([text]) for text in row], schema=_RETURNED)

    return read


def _in_this_process(task: _Task, pieces: pa.Table) -> Sequence[Mapping[str, str]]:
    """Do what a task does. Nothing that is raised shows what was read."""
    try:
        return [row for batch in task(pieces.to_batches()) for row in batch.to_pylist()]
    except LakeError:
        raise
    except Exception as error:  # noqa: BLE001  (its message can quote a record)
        at = traceback.extract_tb(error.__traceback__)[-1]
        msg = (
            f"Reading stopped with {type(error).__name__} at {Path(at.filename).name}:{at.lineno}. The published "
            "tables stay as they were. This is a bug in the software, not a fault of a file: please report it."
        )
        raise LakeError(msg) from None


def _staged(spark: SparkSession, lake: Lake, table: Table, paths: Collection[str]) -> DataFrame | None:
    if not paths:
        return None
    schema = ", ".join(f"`{column.name}` {column.type.value}" for column in table.columns)
    return reader_of(spark).schema(schema).parquet(*(lake.storage.url(path) for path in sorted(paths)))


def _in_silence(read: _Task) -> _Task:
    """Keep a task from printing anything: if Spark goes away, Python's stack trace can quote a record."""

    def silent(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        if TaskContext.get() is None:
            yield from read(batches)
            return
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (for as long as the worker lives)
        try:
            yield from read(batches)
        finally:
            _forget_archives()

    return silent


def _forget_archives() -> None:
    """Keep Python, before 3.12, from reading the directories of Spark's archives again when the next task begins."""
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimporter):
            del sys.path_importer_cache[path]


def _pieces(raw: RawFiles, source: Source, file: LandingFile) -> list[Piece]:
    """Cut a large file at the beginnings of lines."""
    path, cuts = f"{source.raw_path}/{file.path}", [0]
    while file.size - cuts[-1] > _LARGEST_PIECE:
        cut = _next_line(raw, path, cuts[-1] + _LARGEST_PIECE, file.size)
        if cut is None:
            break
        cuts.append(cut)
    return [Piece(path, file.name, start, end) for start, end in zip(cuts, [*cuts[1:], file.size], strict=True)]


def _next_line(raw: RawFiles, path: str, start: int, size: int) -> int | None:
    """Return where the next line begins; None if there is none nearby, or the file cannot be read."""
    try:
        with raw.open(path, start) as content:
            block = content.read(_BLOCK)
    except OSError:
        return None
    end = block.find(b"\n")
    return start + end + 1 if end >= 0 and start + end + 1 < size else None


def _with_records_across_a_cut(parts: Sequence[_Part]) -> set[str]:
    """Return the files with a broken record before a cut, which may go on after it."""
    reports = [report for part in parts for report in part.reports]
    last = {report.name: report.start for report in sorted(reports, key=lambda report: report.start)}
    return {report.name for report in reports if report.ends_within and report.start < last[report.name]}


def _without(part: _Part, names: set[str]) -> _Part:
    """Return a part without the rows of some files. There are hardly ever any."""
    left_out = sorted(names & {report.name for report in part.reports})
    accepted, quarantined = (
        of_files(rows, left_out, "left_anti") if rows is not None else None
        for rows in (part.accepted, part.quarantined)
    )
    return _Part(accepted, quarantined, [report for report in part.reports if report.name not in left_out])


def _changed_meanwhile(file: LandingFile) -> FileReport:
    return FileReport(
        file.name, file.size, file.fingerprint, error="it was replaced, cut or removed while it was being read"
    )


def _file_report(source: Source, file: LandingFile, pieces: Sequence[Report]) -> FileReport:
    """Return a file's report: the counts of its pieces, added up."""
    report = FileReport(file.name, file.size, file.fingerprint, error=file.error)
    if file.error or not pieces:
        return report
    errors = [piece.error for piece in pieces if piece.error]
    if errors:
        return replace(report, error=errors[0])
    pieces = sorted(pieces, key=lambda piece: piece.start)
    counted = replace(
        report,
        **{name: sum(getattr(piece, name) for piece in pieces) for name in _ADDED_UP},
        digest="-".join(piece.digest for piece in pieces if piece.digest),
        gzip=pieces[0].packed,
        cut_off=pieces[-1].cut_off,
        days=tuple(sorted(set[str]().union(*(piece.days for piece in pieces)))),
    )
    expected = counted.bytes if counted.gzip else file.size
    lost = expected - counted.accepted_bytes - counted.quarantined_bytes - counted.separator_bytes
    if lost or counted.bytes != expected or counted.accepted + counted.quarantined != counted.records:
        raise ContractBroken(
            source.landing.name,
            "rows_accounted_for",
            counted.records,
            1,
            f"The records and separators of {file.name} do not add up to its size. "
            "This is a bug in the software, not a fault of the file: please report it.",
        )
    return counted
