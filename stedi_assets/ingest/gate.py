"""The landing gate as Spark's tasks run it: pieces of raw files in, validated records out.

A task reads each piece once, in bounded memory. Its records come out as rows, and for each piece one more row with its
report: what was counted on the way.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from stedi_assets.contracts import Source, Type
from stedi_assets.ingest.content import Content, FileError, is_packed
from stedi_assets.ingest.envelopes import elements_within, require_no_envelope
from stedi_assets.ingest.evidence import Listener
from stedi_assets.ingest.json_text import read_object, with_all_the_stack
from stedi_assets.ingest.splitter import Block, End, Record, split
from stedi_assets.ingest.validation import QuarantinedRecord, RecordValidator
from stedi_assets.tables.arrow_types import ARROW_TYPES
from stedi_assets.tables.days import DAY, day_of

# Opens a file of the landing folder by its path, from an offset on.
Opener = Callable[[str, int], BinaryIO]

REPORT = "_report"
# A name of this form is hardly a person's name. It is shown if enough records have it.
_LIKE_AN_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_MOST_NAMES = 1_000
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 10_000, 16 << 20


@dataclass(frozen=True)
class Piece:
    """A part of a raw file: its bytes from `start` to before `end`. `path` opens the file, `name` is for reports.

    Only a piece that begins at 0 may be packed; it is then read to the end of the file.
    """

    path: str
    name: str
    start: int
    end: int


@dataclass
class Report:
    """What was counted while a piece was read. `error` says why its file cannot be read.

    `bytes` is the length of the content, unpacked. `days` are those of accepted readings. `ends_within`: an object has
    not ended, or the last record is broken, so that more of it may follow. `unknown_fields` are counts by name,
    `other_names` counts the names that do not look like identifiers.
    """

    name: str
    start: int
    error: str | None = None
    packed: bool = False
    digest: str = ""
    bytes: int = 0
    records: int = 0
    accepted: int = 0
    accepted_bytes: int = 0
    quarantined: int = 0
    quarantined_bytes: int = 0
    separator_bytes: int = 0
    cut_off: bool = False
    ends_within: bool = False
    unknown_fields: dict[str, int] = field(default_factory=dict)
    other_names: int = 0
    days: list[str] = field(default_factory=list)


def columns_of(source: Source) -> dict[str, Type]:
    """Return the columns of the gate's rows, with their types: those of both tables, and the report."""
    of_both = {column.name: column.type for table in (source.quarantine, source.landing) for column in table.columns}
    return {**{name: kind for name, kind in of_both.items() if name != "_superseded"}, REPORT: Type.STRING}


def read_pieces(opened: Opener, source: Source) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    """Return a task's function for `DataFrame.mapInArrow`: rows of pieces in, rows of `columns_of` out."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for piece in batch.to_pylist():
                yield from read_piece(opened, source, Piece(**piece))

    return read


def read_piece(opened: Opener, source: Source, piece: Piece) -> Iterator[pa.RecordBatch]:
    """Yield a piece's validated records, and its report last."""
    reading = _Reading(source, piece)
    try:
        yield from reading.rows(opened)
    except FileError as error:
        reading.report.error = str(error)
    except PermissionError:
        reading.report.error = "no permission to read it"
    except OSError as error:
        reading.report.error = f"it cannot be read: {error.strerror or type(error).__name__}"
    yield reading.reported()


class _Reading:
    def __init__(self, source: Source, piece: Piece) -> None:
        self.piece = piece
        self.report = Report(piece.name, piece.start)
        self._validator = RecordValidator(source)
        self._names = {column.name.lower() for column in source.record_columns}
        self._columns = columns_of(source)
        self._schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in self._columns.items()])
        self._waiting: list[Mapping[str, Any]] = []
        self._waiting_bytes = 0
        self._last: Record | None = None
        self._listener = Listener(of_customers=source.name == "customer")
        self._instant = source.landing.instant
        self._days = set[int]()

    def rows(self, opened: Opener) -> Iterator[pa.RecordBatch]:
        piece = self.piece
        if piece.start:
            with opened(piece.path, 0) as beginning:
                if is_packed(beginning):
                    return  # the piece at the beginning reads the whole file
        with opened(piece.path, piece.start) as raw:
            content = Content(raw, piece.end - piece.start)
            self.report.packed = content.packed
            yield from self._validated(content, piece.start)
            self.report.digest = content.digest
        if self._last is not None:
            self.report.cut_off = self._last.is_cut_off
            self.report.ends_within |= not self._last.is_object and self._last.raw.startswith(b"{")
        self._count_unknown_fields()

    def reported(self) -> pa.RecordBatch:
        """Return the report as a row."""
        self.report.days = sorted(day_of(day * DAY) for day in self._days)
        report = json.dumps(asdict(self.report))
        return self._batch({"_source_file": [self.piece.name], REPORT: [report]}, 1)

    def _validated(self, content: Content, offset: int) -> Iterator[pa.RecordBatch]:
        for found in split(content, self._listen):
            if isinstance(found, Block):
                yield from self._take_block(found, offset)
            elif isinstance(found, Record):
                yield from self._take(found, offset)
            else:
                yield from self._end(found)

    def _listen(self) -> Listener:
        self._listener = Listener(of_customers=self._listener.evidence.of_customers)
        return self._listener

    def _take_block(self, block: Block, offset: int) -> Iterator[pa.RecordBatch]:
        columns = self._validator.columns(block)
        if columns is None:
            for record in block.records():
                yield from self._take(record, offset)
            return
        yield from self._flush()
        lengths, report = sum(map(len, block.lines)), self.report
        report.records += len(block.objects)
        report.separator_bytes += block.separator_bytes + len(block.data) - lengths
        report.accepted += len(block.objects)
        report.accepted_bytes += lengths
        self._last = None
        if self._instant:
            self._days.update({instant // DAY for instant in columns[self._instant]})
        yield self._batch({**columns, "_source_file": [self.piece.name] * len(block.objects)}, len(block.objects))

    def _take(self, record: Record, offset: int) -> Iterator[pa.RecordBatch]:
        if record.is_object and (elements := self._elements(record)):
            yield from self._take_elements(record, elements, offset)
            return
        if record.larger_object:
            require_no_envelope(record.larger_object, self._names)
        self._last = record
        report = self.report
        report.records += 1
        report.separator_bytes += record.separator_bytes
        validated = self._validator.validate(record, self._listener.evidence if record.digest else None)
        if isinstance(validated, QuarantinedRecord):
            report.quarantined += 1
            report.quarantined_bytes += record.length
            row: Mapping[str, Any] = {
                "reasons": validated.reasons,
                "raw": record.raw,
                "_offset": offset + record.offset,
                "_length": record.length,
                "_digest": record.digest,
                "_people": list(validated.evidence.people),
                "_devices": list(validated.evidence.devices),
                "_updated": validated.updated,
                "_mentions": validated.mentions,
            }
            self._waiting_bytes += len(record.raw)
        else:
            report.accepted += 1
            report.accepted_bytes += record.length
            row = validated
            if self._instant:
                self._days.add(validated[self._instant] // DAY)
        self._waiting.append(row)
        if len(self._waiting) >= _ROWS_AT_ONCE or self._waiting_bytes >= _BYTES_AT_ONCE:
            yield from self._flush()

    def _take_elements(
        self, envelope: Record, elements: Sequence[tuple[int, int]], offset: int
    ) -> Iterator[pa.RecordBatch]:
        """Take the records in an envelope. The text around them is no record."""
        separators, last = envelope.separator_bytes, 0
        for start, end in elements:
            raw = envelope.raw[start:end]
            is_object = raw.startswith(b"{")
            value = read_object(raw) if is_object else None
            record = Record(raw, envelope.offset + start, end - start, separators + start - last, is_object, value)
            yield from self._take(record, offset)
            separators, last = 0, end
        self.report.separator_bytes += envelope.length - last
        self._last = None

    def _elements(self, record: Record) -> Sequence[tuple[int, int]]:
        value = record.value
        if value is not None:
            is_record = any(name.lower() in self._names for name in value)
            if is_record or not any(isinstance(found, (list, dict)) for found in value.values()):
                return []
        try:
            return with_all_the_stack(lambda: elements_within(record.raw, self._names))
        except (ValueError, RecursionError):
            return []

    def _end(self, end: End) -> Iterator[pa.RecordBatch]:
        yield from self._flush()
        self.report.separator_bytes += end.separator_bytes
        self.report.bytes = end.offset
        self.report.ends_within = end.within_object

    def _flush(self) -> Iterator[pa.RecordBatch]:
        if rows := self._waiting:
            columns = {name: [row.get(name) for row in rows] for name in self._columns if name != REPORT}
            columns["_source_file"] = [self.piece.name] * len(rows)
            yield self._batch(columns, len(rows))
            self._waiting, self._waiting_bytes = [], 0

    def _batch(self, columns: Mapping[str, Any], rows: int) -> pa.RecordBatch:
        arrays = [
            pa.array(columns[name], kind) if name in columns else pa.nulls(rows, kind)
            for name, kind in zip(self._schema.names, self._schema.types, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _count_unknown_fields(self) -> None:
        for name, records in self._validator.unknown_fields.items():
            shown = _LIKE_AN_IDENTIFIER.fullmatch(name) and len(self.report.unknown_fields) < _MOST_NAMES
            if shown:
                self.report.unknown_fields[name] = records
            else:
                self.report.other_names += 1
