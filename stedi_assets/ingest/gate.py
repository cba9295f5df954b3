"""The landing gate: a piece of a raw file in, validated records out, and a report of what was counted on the way.

A piece is read once, in bounded memory.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from stedi_assets.contracts import Source, Table
from stedi_assets.ingest.content import Content, FileError, is_packed
from stedi_assets.ingest.envelopes import elements_within, is_record, require_no_envelope
from stedi_assets.ingest.evidence import Listener
from stedi_assets.ingest.json_text import read_object, with_all_the_stack
from stedi_assets.ingest.splitter import Block, End, Record, split
from stedi_assets.ingest.validation import QuarantinedRecord, RecordValidator
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.days import DAY, day_of

# Opens a raw file by its path below the lake, from an offset on.
Opener = Callable[[str, int], BinaryIO]
# Takes rows of one table.
Sink = Callable[[pa.RecordBatch], None]

_NO_PERMISSION, _REFUSED = "no permission to read it", "it cannot be read: "
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


def may_pass(error: str) -> bool:
    """Whether an error is of the place where a file lies, not of its content."""
    return error.startswith((_NO_PERMISSION, _REFUSED))


def read_piece(opened: Opener, source: Source, piece: Piece, accepted: Sink, quarantined: Sink) -> Report:
    """Validate a piece's records, hand the rows of both kinds over in batches, and return the report."""
    reading = _Reading(source, piece, accepted, quarantined)
    try:
        reading.read(opened)
    except FileError as error:
        reading.report.error = str(error)
    except PermissionError:
        reading.report.error = _NO_PERMISSION
    except OSError as error:
        reading.report.error = f"{_REFUSED}{error.strerror or type(error).__name__}"
    return reading.report


class _Rows:
    """Rows of a file on their way out: single ones wait until they fill a batch."""

    def __init__(self, table: Table, file: str, sink: Sink) -> None:
        self._schema = arrow_schema(table)
        self._file = file
        self._sink = sink
        self._waiting: list[Mapping[str, Any]] = []
        self._bytes = 0

    def add(self, row: Mapping[str, Any], size: int) -> None:
        """Add a row that holds so many bytes."""
        self._waiting.append(row)
        self._bytes += size
        if len(self._waiting) >= _ROWS_AT_ONCE or self._bytes >= _BYTES_AT_ONCE:
            self.flush()

    def add_columns(self, columns: Mapping[str, Sequence[Any]], rows: int) -> None:
        """Add many rows, which are a batch."""
        self.flush()
        self._hand_over(columns, rows)

    def flush(self) -> None:
        """Hand over the rows that are waiting."""
        if rows := self._waiting:
            self._hand_over({name: [row.get(name) for row in rows] for name in self._schema.names}, len(rows))
            self._waiting, self._bytes = [], 0

    def _hand_over(self, columns: Mapping[str, Sequence[Any]], rows: int) -> None:
        found = {**columns, "_source_file": [self._file] * rows, "_superseded": [False] * rows}
        self._sink(pa.RecordBatch.from_pydict(found, schema=self._schema))


class _Reading:
    def __init__(self, source: Source, piece: Piece, accepted: Sink, quarantined: Sink) -> None:
        self.piece = piece
        self.report = Report(piece.name, piece.start)
        self._validator = RecordValidator(source)
        self._source = source
        self._accepted = _Rows(source.landing, piece.name, accepted)
        self._quarantined = _Rows(source.quarantine, piece.name, quarantined)
        self._last: Record | None = None
        self._listener = Listener(of_customers=source.name == "customer")
        self._instant = source.landing.instant
        self._days = set[int]()

    def read(self, opened: Opener) -> None:
        """Read the piece to its end."""
        piece = self.piece
        if piece.start:
            with opened(piece.path, 0) as beginning:
                if is_packed(beginning):
                    return  # the piece at the beginning reads the whole file
        with opened(piece.path, piece.start) as raw:
            content = Content(raw, piece.end - piece.start, is_beginning=not piece.start)
            self.report.packed = content.packed
            for found in split(content, self._listen):
                if isinstance(found, Block):
                    self._take_block(found)
                elif isinstance(found, Record):
                    self._take(found)
                else:
                    self._end(found)
            self.report.digest = content.digest
        if self._last is not None:
            self.report.cut_off = self._last.is_cut_off
            self.report.ends_within |= not self._last.is_object and self._last.raw.startswith(b"{")
        self._count_unknown_fields()
        self.report.days = sorted(day_of(day * DAY) for day in self._days)

    def _listen(self) -> Listener:
        self._listener = Listener(of_customers=self._listener.evidence.of_customers)
        return self._listener

    def _take_block(self, block: Block) -> None:
        columns = self._validator.columns(block)
        if columns is None:
            for record in block.records():
                self._take(record)
            return
        lengths, report = sum(map(len, block.lines)), self.report
        report.records += len(block.objects)
        report.separator_bytes += block.separator_bytes + len(block.data) - lengths
        report.accepted += len(block.objects)
        report.accepted_bytes += lengths
        self._last = None
        if self._instant:
            self._days.update({instant // DAY for instant in columns[self._instant]})
        self._accepted.add_columns(columns, len(block.objects))

    def _take(self, record: Record) -> None:
        if record.is_object and (elements := self._elements(record)):
            self._take_elements(record, elements)
            return
        if record.larger_object:
            require_no_envelope(record.larger_object, self._source)
        self._last = record
        report = self.report
        report.records += 1
        report.separator_bytes += record.separator_bytes
        validated = self._validator.validate(record, self._listener.evidence if record.digest else None)
        if isinstance(validated, QuarantinedRecord):
            report.quarantined += 1
            report.quarantined_bytes += record.length
            row = {
                "reasons": validated.reasons,
                "raw": record.raw,
                "_offset": self.piece.start + record.offset,
                "_length": record.length,
                "_digest": record.digest,
                "_people": list(validated.evidence.people),
                "_devices": list(validated.evidence.devices),
                "_updated": validated.updated,
                "_mentions": validated.mentions,
            }
            self._quarantined.add(row, len(record.raw))
        else:
            report.accepted += 1
            report.accepted_bytes += record.length
            if self._instant:
                self._days.add(validated[self._instant] // DAY)
            self._accepted.add(validated, record.length)

    def _take_elements(self, envelope: Record, elements: Sequence[tuple[int, int]]) -> None:
        """Take the records in an envelope. The text around them is no record."""
        separators, last = envelope.separator_bytes, 0
        for start, end in elements:
            raw = envelope.raw[start:end]
            is_object = raw.startswith(b"{")
            value = read_object(raw) if is_object else None
            record = Record(raw, envelope.offset + start, end - start, separators + start - last, is_object, value)
            self._take(record)
            separators, last = 0, end
        self.report.separator_bytes += envelope.length - last
        self._last = None

    def _elements(self, record: Record) -> Sequence[tuple[int, int]]:
        value = record.value
        if value is not None:
            # The raw text has values that `value` lacks where a name is repeated.
            is_flat = not (b"[" in record.raw or b"{" in record.raw[1:])
            if is_flat or is_record({name.lower() for name in value}, self._source):
                return []
        try:
            return with_all_the_stack(lambda: elements_within(record.raw, self._source))
        except (ValueError, RecursionError):
            return []

    def _end(self, end: End) -> None:
        self._accepted.flush()
        self._quarantined.flush()
        self.report.separator_bytes += end.separator_bytes
        self.report.bytes = end.offset
        self.report.ends_within = end.within_object

    def _count_unknown_fields(self) -> None:
        for name, records in self._validator.unknown_fields.items():
            if _LIKE_AN_IDENTIFIER.fullmatch(name) and len(self.report.unknown_fields) < _MOST_NAMES:
                self.report.unknown_fields[name] = records
            else:
                self.report.other_names += 1
