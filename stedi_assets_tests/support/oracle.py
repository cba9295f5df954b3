# The meaning of the eight tables a second time, in plain Python: what the product's results are compared with.
# It belongs to the tests, uses the standard library only and shares no code with the product, so that a
# misunderstanding in one of them shows as a difference. Plain before fast; nothing here knows Spark or Dagster.
"""An independent reference implementation of the lakehouse, from raw bytes to the machine-learning table.

Reading: ``split_records`` cuts a file into records, ``read_file`` accepts or quarantines each of them,
``read_landing`` walks a landing folder. Meaning: one function per trusted or curated table, over lists of rows.
``lakehouse`` does all of it for one lake folder; it is ``read_lake`` followed by ``tables``.
"""

import bisect
import gzip
import hashlib
import hmac
import math
import os
import re
import time
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

Source = Literal["customer", "accelerometer", "step_trainer"]
Row = dict[str, Any]
"""One row of a table: values by column name, in the table's column order."""

MOST_FIELDS = 1_000
SOURCES: tuple[Source, ...] = ("customer", "accelerometer", "step_trainer")
RECORD_SUFFIXES = tuple(f"{suffix}{packed}" for suffix in (".json", ".jsonl", ".ndjson") for packed in ("", ".gz"))

Kind = Literal["email", "text", "free_text", "instant", "shared_instant", "double"]

FIELDS: dict[Source, dict[str, Kind]] = {
    "customer": {
        "customerName": "free_text",
        "email": "email",
        "phone": "free_text",
        "birthDay": "free_text",
        "serialNumber": "text",
        "registrationDate": "instant",
        "lastUpdateDate": "instant",
        "shareWithResearchAsOfDate": "shared_instant",
        "shareWithPublicAsOfDate": "shared_instant",
        "shareWithFriendsAsOfDate": "shared_instant",
    },
    "accelerometer": {"user": "email", "timestamp": "instant", "x": "double", "y": "double", "z": "double"},
    "step_trainer": {"sensorReadingTime": "instant", "serialNumber": "text", "distanceFromObject": "double"},
}
REQUIRED: dict[Source, frozenset[str]] = {
    "customer": frozenset({"email", "serialNumber"}),
    "accelerometer": frozenset(FIELDS["accelerometer"]),
    "step_trainer": frozenset(FIELDS["step_trainer"]),
}

COLUMNS: dict[str, tuple[str, ...]] = {
    "customer_landing": (*FIELDS["customer"], "_person", "_device", "_superseded", "_source_file"),
    "accelerometer_landing": (*FIELDS["accelerometer"], "_person", "_source_file"),
    "step_trainer_landing": (*FIELDS["step_trainer"], "_device", "_source_file"),
    **{
        f"{source}_quarantine": (
            *("_source_file", "reasons", "raw", "_offset", "_length", "_digest", "_people", "_devices", "_updated"),
            *(("_superseded",) if source == "customer" else ()),
        )
        for source in SOURCES
    },
    "customer_trusted": tuple(FIELDS["customer"]),
    "accelerometer_trusted": tuple(FIELDS["accelerometer"]),
    "step_trainer_trusted": (*FIELDS["step_trainer"], "user"),
    "customers_curated": tuple(FIELDS["customer"]),
    "machine_learning_curated": ("person", "timestamp", "distanceFromObject", "x", "y", "z"),
}
"""Column order of every table ``lakehouse`` returns. ``person`` stands where the product has ``subject_id``.

Of the product's columns ``_mentions`` alone is missing, which may hold more than anybody can foretell.
"""


@dataclass(frozen=True)
class Policy:
    """The policy switches; the defaults are the production policy."""

    consent_record: Literal["latest", "any"] = "latest"
    readings: Literal["all", "since_consent"] = "all"
    match_on: Literal["customer_and_timestamp", "timestamp"] = "customer_and_timestamp"
    published_time: Literal["millisecond", "second", "minute", "hour", "day"] = "millisecond"


# --- From bytes to records ------------------------------------------------------------------------------------------

# Everything is matched on bytes: extents are counted in bytes, and a broken file need not be UTF-8. That is safe
# because the lead bytes of the multi-byte separators never occur inside another character.
_LINE_BREAK = rb"(?:[\n\r]|\xe2\x80[\xa8\xa9])"
_BLANK = rb"(?:[ \t\n\v\f\r]|\xef\xbb\xbf|\xc2[\x85\xa0]|\xe2\x80[\xa8\xa9])"
_SEPARATOR = rb"(?:[,\[\]]|" + _BLANK + rb")"
_SEPARATORS = (
    *(bytes([character]) for character in b" \t\n\v\f\r,[]"),
    *(character.encode() for character in "\ufeff\u0085\u00a0\u2028\u2029"),
)

_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_STRING = rb'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"'

_NEXT_SEPARATOR = re.compile(_SEPARATOR)
_EMPTY_ARRAY = re.compile(rb"\[" + _BLANK + rb"*\]")
_END_OF_LINE = re.compile(_LINE_BREAK + rb"|\Z")
_LONE_SCALAR = re.compile(
    rb"(?:null|true|false|" + _NUMBER + rb"|" + _STRING + rb")(?=" + _SEPARATOR + rb"*(?:\{|" + _LINE_BREAK + rb"|\Z))"
)
# Each match ends with the only `{` in it, so that no match can hide another one.
_RESTART_POINT = re.compile(rb"(?:\A|" + _LINE_BREAK + rb")[ \t]*\{|\}" + _SEPARATOR + rb"*\{")
_TOKEN = re.compile(
    rb"[ \t\n\r]*(?:([{}\[\],:])|(" + _STRING + rb")|(" + _NUMBER + rb"|null|true|false|NaN|-?Infinity))"
)

_OPENING = {b"}": b"{", b"]": b"["}

DEEPEST_NESTING = 900
"""An object that opens more brackets than this inside one another, its own included, counts as broken."""
LONGEST_RECORD = 16_000_000
"""A record of more bytes than this is too large; ``HEAD`` bytes of it are kept, and its hash."""
HEAD = 64 * 1024


class Member(NamedTuple):
    """A top-level key and value of an object as they are written; of a nested value only its opening bracket."""

    key: bytes
    value: bytes
    start: int  # of the value
    end: int


Members = list[Member]


class _Record(NamedTuple):
    start: int
    end: int
    members: Members | None  # None: broken, or no object


def split_records(content: bytes) -> list[tuple[int, int, bool]]:
    """Cut one decompressed file into records: (start, end, whether it is a JSON object), in order.

    Every byte outside the extents belongs to a separator. An envelope is one record here.
    """
    return [(record.start, record.end, record.members is not None) for record in _records(content, None)]


def _records(content: bytes, source: Source | None) -> Iterator[_Record]:
    restart_points = [match.end() - 1 for match in _RESTART_POINT.finditer(content)]

    def next_restart(after: int) -> int:
        index = bisect.bisect_right(restart_points, after)
        return restart_points[index] if index < len(restart_points) else len(content)

    position = 0
    while position < len(content):
        members: Members | None = None
        if empty_array := _EMPTY_ARRAY.match(content, position):
            end = empty_array.end()
        elif separator := _NEXT_SEPARATOR.match(content, position):
            position = separator.end()
            continue
        elif content.startswith(b"{", position):
            if found := _scan_object(content, position):
                end, members = found
                if source and (enveloped := _enveloped(content, _Record(position, end, members), source)):
                    yield from enveloped
                    position = end
                    continue
            if not found or end - position > LONGEST_RECORD:
                members = None
                end = _without_trailing_separators(content, position, next_restart(position))
        elif scalar := _LONE_SCALAR.match(content, position):
            end = scalar.end()
        else:
            line_end = _END_OF_LINE.search(content, position)
            assert line_end is not None  # the pattern matches at the end of the file at the latest
            end = _without_trailing_separators(content, position, min(line_end.start(), next_restart(position)))
        yield _Record(position, end, members)
        position = end


def _without_trailing_separators(content: bytes, start: int, end: int) -> int:
    while trailing := next((s for s in _SEPARATORS if content.endswith(s, start, end)), None):
        end -= len(trailing)
    return end


def _scan_object(content: bytes, start: int) -> tuple[int, Members] | None:
    """End and top-level members of the complete JSON object that starts here, or None when there is none.

    The strict grammar, except that NaN, Infinity and -Infinity pass as numbers: what to say of them is decided with
    the type of their column. A loop instead of recursion, so that hostile nesting cannot exhaust the stack.
    """
    members: Members = []
    open_brackets: list[bytes] = []
    key = b""
    expected = "value"
    position = start
    while token := _TOKEN.match(content, position):
        position = token.end()
        mark, string, other_scalar = token.groups()
        if mark in _OPENING:
            if not expected.endswith("end") or open_brackets.pop() != _OPENING[mark]:
                return None
            if not open_brackets:
                return position, members
            expected = "comma or end"
        elif expected == "comma or end":
            if mark != b",":
                return None
            expected = "key" if open_brackets[-1] == b"{" else "value"
        elif expected == "colon":
            if mark != b":":
                return None
            expected = "value"
        elif expected in ("key", "key or end"):
            if not string:
                return None
            key = string
            expected = "colon"
        else:  # "value" or "value or end"
            if mark in (b",", b":"):
                return None
            if open_brackets == [b"{"]:
                value = string or other_scalar or mark
                members.append(Member(key, value, position - len(value), position))
            expected = "comma or end"
            if mark:
                open_brackets.append(mark)
                if len(open_brackets) > DEEPEST_NESTING:
                    return None
                expected = "key or end" if mark == b"{" else "value or end"
    return None


def _enveloped(content: bytes, record: _Record, source: Source) -> list[_Record]:
    """The records that an object is only an envelope of, none where it is a record itself.

    A record has all keys that its contract requires, or is a customer's and has one of them. An envelope has no key of
    the contract, and one value that is an array which holds an object with such a key; each element of that is a
    record, or an envelope. Raises FileError where something is neither, and what is in it could be records, or names
    several customers.
    """
    columns, required = ({column.lower() for column in names} for names in (FIELDS[source], REQUIRED[source]))
    own = _keys(record.members or [])
    if record.members is None or required <= own or (source == "customer" and own & columns):
        return []
    arrays = [_elements(content, member.end) for member in record.members if member.value == b"["]
    holding = [array for array in arrays if any(_has_column(element.members or [], source) for element in array)]
    chosen = holding[0] if holding else []
    inside = range(chosen[0].start, chosen[-1].end) if chosen else range(0)
    outside = [t for t in _TOKEN.finditer(content, record.start, record.end) if t.end() - 1 not in inside]
    if len(holding) == 1 and not own & columns and not _is_doubtful(outside, source):
        return [inner for element in chosen for inner in _enveloped(content, element, source) or [element]]
    _, *objects = _objects([*_TOKEN.finditer(content, record.start, record.end)])
    named = set().union(*(names for names, _ in objects))
    if own & columns:
        named = own.union(*(_keys(element.members or []) for array in holding for element in array))
    people = [names for names, in_array in objects if in_array and "email" in names] if source == "customer" else []
    if required <= named or len(people) > 1:
        raise FileError("an envelope of several parts")
    return []


def _is_doubtful(tokens: list[re.Match[bytes]], source: Source) -> bool:
    """Whether an envelope, without its array of records, holds anything that could be one."""
    texts = [unicodedata.normalize("NFKC", _string(token)) for token in tokens]
    names = set().union(*(names for names, _ in _objects(tokens)))
    opened: list[bytes] = []
    for token in tokens:
        if token[1] in _OPENING:
            opened.pop()
        elif token[1] in (b"{", b"["):
            if opened and opened[-1] == b"[":
                return True
            opened.append(token[1])
    return bool(names & {column.lower() for column in FIELDS[source]}) or (
        source == "customer" and any("@" in text for text in texts)
    )


def _objects(tokens: list[re.Match[bytes]]) -> list[tuple[set[str], bool]]:
    """The names in each object, in lower case, and whether it is an element of an array."""
    found: list[tuple[set[str], bool]] = []
    opened: list[tuple[bytes, set[str]]] = []
    for token, after in pairwise(tokens):
        if token[1] in _OPENING:
            opened.pop()
        elif token[1] in (b"{", b"["):
            names: set[str] = set()
            if token[1] == b"{":
                found.append((names, bool(opened) and opened[-1][0] == b"["))
            opened.append((token[1], names))
        elif token[2] and after[1] == b":":
            opened[-1][1].add(_string(token).lower())
    return found


def _string(token: re.Match[bytes]) -> str:
    return _text(token[2].decode("utf-8", "replace")[1:-1]) if token[2] else ""


def _elements(content: bytes, position: int) -> list[_Record]:
    """The elements of an array of a whole object, from behind its opening bracket."""
    elements: list[_Record] = []
    while token := _TOKEN.match(content, position):
        start, end = token.start() + len(token[0]) - len(token[0].lstrip(b" \t\n\r")), token.end()
        inner: Members | None = None
        if token[1] == b"]":
            break
        if token[1] in (b"{", b"["):
            scanned = _scan_object(content, start)
            assert scanned is not None  # the whole envelope has been scanned before
            end, inner = scanned[0], scanned[1] if token[1] == b"{" else None
        if token[1] != b",":
            elements.append(_Record(start, end, inner))
        position = end
    return elements


def _has_column(members: Members, source: Source) -> bool:
    return bool(_keys(members) & {column.lower() for column in FIELDS[source]})


def _keys(members: Members) -> set[str]:
    """The keys of an object, in lower case."""
    return {_text(member.key.decode("utf-8", "replace")[1:-1]).lower() for member in members}


# --- From records to rows -------------------------------------------------------------------------------------------

EARLIEST_INSTANT, END_OF_INSTANTS = 1_000_000_000_000, 4_100_000_000_000
_NOT_FINITE_TEXTS = frozenset({"NaN", "Infinity", "-Infinity", "+Infinity", "INF", "-INF", "+INF"})
_NOT_FINITE_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity"})
_ZERO = re.compile(r"-?0(?:\.0+)?(?:[eE][+-]?[0-9]+)?")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class FileError(Exception):
    """A file as a whole cannot be read; it contributes no row. The message never quotes content."""


@dataclass(frozen=True)
class Quarantined:
    """A record that was not accepted: its bytes as they came, every reason, sorted, and whom it names.

    ``updated`` is when it was updated, None where that is in doubt: it counts as the newest.
    """

    raw: bytes
    reasons: tuple[str, ...]
    offset: int
    people: frozenset[str]
    devices: frozenset[str]
    updated: int | None


@dataclass
class Landed:
    """What became of the records of one file."""

    accepted: list[Row] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)


@dataclass
class Landing:
    """What became of every file below a landing folder; names are paths relative to it, with ``/``."""

    files: dict[str, Landed] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    """Not hidden, but without a suffix that records have."""
    hidden: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> list[Row]:
        """The accepted rows of all files."""
        return [row for landed in self.files.values() for row in landed.accepted]

    @property
    def quarantined(self) -> list[Quarantined]:
        """The quarantined records of all files."""
        return [record for landed in self.files.values() for record in landed.quarantined]


class _Refused(Exception):
    """A value its column cannot accept; the argument is the reason."""


def read_landing(source: Source, folder: Path) -> Landing:
    """Read a landing folder at any depth; a folder that does not exist holds no files."""
    landing = Landing()
    names = sorted(
        (Path(parent) / name).relative_to(folder).as_posix() for parent, _, found in os.walk(folder) for name in found
    )
    for name in names:
        if any(part.startswith(("_", ".")) for part in name.split("/")):
            landing.hidden.append(name)
        elif not name.lower().endswith(RECORD_SUFFIXES):
            landing.ignored.append(name)
        else:
            try:
                landing.files[name] = read_file(source, (folder / name).read_bytes())
            except (FileError, OSError) as error:
                landing.errors[name] = str(error) if isinstance(error, FileError) else "cannot be opened"
    return landing


def read_file(source: Source, content: bytes) -> Landed:
    """Accept or quarantine every record of one file, given its bytes as they lie in the folder.

    Whether they are gzip is decided by the bytes themselves. Raises FileError for a file that cannot be read.
    """
    content = _decompressed(content)
    if _PACKED.match(content):
        raise FileError("packed, and not with gzip")
    if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff", b"{\x00", b"[\x00", b"\x00{", b"\x00[")):
        raise FileError("UTF-16 or UTF-32")
    landed = Landed()
    for record in _records(content, source):
        raw = content[record.start : record.end]
        row, reasons, unknown = _verdict(source, raw, record.members)
        if reasons:
            updated = row.get("lastUpdateDate")
            people, devices = _named(raw, source)
            landed.quarantined.append(Quarantined(raw, tuple(sorted(reasons)), record.start, people, devices, updated))
        else:
            landed.accepted.append(row)
            landed.unknown_fields |= unknown
    return landed


# How zip, bzip2 (a block, or nothing), Zstandard and xz begin.
_PACKED = re.compile(
    rb"PK(?:\x03\x04|\x05\x06|\x07\x08)|BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)|\x28\xb5\x2f\xfd|\xfd7zXZ\x00"
)


def _decompressed(content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError("truncated or corrupt gzip") from error


def _verdict(source: Source, raw: bytes, members: Members | None) -> tuple[Row, set[str], set[str]]:
    """Row, reasons against it, and names of unknown fields. Where there are reasons, only its values are certain."""
    if len(raw) > LONGEST_RECORD:
        return {}, {"record_too_large"}, set()
    if not _is_utf8(raw):
        return {}, {"invalid_utf8"}, set()
    if members is None:
        return {}, {"malformed_json"}, set()
    fields = _decoded(members)
    values = {key.lower(): value for key, value in fields}
    if len(values) < len(fields):
        return {}, {"duplicate_key"}, set()
    row: Row = {}
    reasons = {"too_many_fields"} if len(fields) > MOST_FIELDS else set[str]()
    for column, kind in FIELDS[source].items():
        value = values.pop(column.lower(), "null")
        try:
            row[column] = None if value == "null" else _typed(kind, value)
            if kind in _KEYS and value != "null":
                row[_KEYS[kind]] = _key(kind, _text(value[1:-1]))
        except _Refused as refused:
            reasons.add(str(refused))
        else:
            if value == "null" and column in REQUIRED[source]:
                reasons.add(f"missing_{column}")
    unknown = {key for key, _ in fields if key.lower() in values}  # what no column has taken
    return row, reasons, unknown


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(members: Members) -> list[tuple[str, str]]:
    """Keys as text, values still as they are written."""
    return [(_storable(_text(member.key.decode()[1:-1])), member.value.decode()) for member in members]


def _typed(kind: Kind, value: str) -> str | int | float | None:
    """The value a column of this kind gets from a JSON value other than null, or _Refused."""
    if kind == "shared_instant" and (value in ("false", '""') or _ZERO.fullmatch(value)):
        return None  # the sources' ways to say "not shared"
    if kind in ("instant", "shared_instant"):
        return _instant(value)
    if kind == "double":
        return _double(value)
    if kind == "free_text" and _is_number(value) and value not in _NOT_FINITE_NUMBERS:
        return value
    if not value.startswith('"'):
        raise _Refused("wrong_type")
    return _storable(_text(value[1:-1]))


_KEYS: dict[Kind, str] = {"email": "_person", "text": "_device"}


def _key(kind: Kind, text: str) -> str:
    key = person(text) if kind == "email" else device(text)
    if key is None:
        raise _Refused("ambiguous_text" if _is_ambiguous(text) else "invalid_email")
    return key


def _is_number(value: str) -> bool:
    # Of the JSON values only numbers begin like this; null, true, false begin with a small letter.
    return value[0] in "-0123456789NI"


def _double(value: str) -> float:
    if value.startswith('"'):
        raise _Refused("not_finite" if _text(value[1:-1]) in _NOT_FINITE_TEXTS else "wrong_type")
    if not _is_number(value):
        raise _Refused("wrong_type")
    number = float(value)
    if not math.isfinite(number):
        raise _Refused("not_finite")
    return number


def _instant(value: str) -> int:
    roughly = _double(value)
    # Only what is near the range is worth an exact look: a Decimal cannot hold every exponent JSON can spell.
    if EARLIEST_INSTANT - 1 <= roughly <= END_OF_INSTANTS:
        exact = Decimal(value)
        if exact == int(exact) and EARLIEST_INSTANT <= exact < END_OF_INSTANTS:
            return int(exact)
    raise _Refused("invalid_instant")


def _text(escaped: str) -> str:
    """What stands between the quotes of a JSON string, its escapes resolved; what is no escape stays as it is."""
    if "\\" not in escaped:
        return escaped
    resolved = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _SHORT_ESCAPES.get(m[2], m[2]), escaped)
    # Two \u escapes may spell one character together.
    return resolved.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _storable(text: str) -> str:
    """A text without halves of characters, which no UTF-8 can store."""
    return text.encode("utf-8", "replace").decode()


# --- Who is who -----------------------------------------------------------------------------------------------------

# Default_Ignorable_Code_Point, from DerivedCoreProperties.txt of Unicode.
_INVISIBLE = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010)),
    *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0),
    *(*range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
)


@cache
def _seen(character: str) -> str:
    """What a reader sees of a character: nothing of an invisible one, its plain form where it has a width."""
    if ord(character) in _INVISIBLE:
        return ""
    kind, _, plain = unicodedata.decomposition(character).partition(" ")
    return _seen(chr(int(plain, 16))) if kind in ("<wide>", "<narrow>") else character


@cache
def _is_blank(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("Z") or category == "Cc"


def _is_ambiguous(text: str) -> bool:
    """Whether a text has half of a character, one that is none yet, or the mark of a lost one."""
    return "\ufffd" in text or any(unicodedata.category(character) in ("Cs", "Cn") for character in text)


@cache
def device(text: str) -> str | None:
    """How serial numbers are compared; None where that is not certain."""
    if _is_ambiguous(text):
        return None
    seen = _trimmed("".join(map(_seen, text)))
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", seen).casefold())


@cache
def person(text: str) -> str | None:
    """How e-mails are compared; None where the text is not one address."""
    address = device(text)
    if address is None:
        return None
    if named := re.fullmatch(r"[^<>]*<([^<>]*)>", address, re.DOTALL):
        address = _trimmed(named[1])
    while address.startswith("mailto:"):
        address = _trimmed(address[len("mailto:") :].split("?")[0])
    parts = address.split("@")
    if len(parts) != 2 or "" in parts or any(c in "<>" or _is_blank(c) for c in address):
        return None
    return address


def _trimmed(text: str) -> str:
    while text and _is_blank(text[0]):
        text = text[1:]
    while text and _is_blank(text[-1]):
        text = text[:-1]
    return text


# --- From rows to meaning -------------------------------------------------------------------------------------------


def customer_trusted(
    customers: Sequence[Row], quarantined: Iterable[Quarantined], policy: Policy, as_of: int
) -> list[Row]:
    """One row per person whose deciding record consents, e-mail and serial number normalised."""

    def consents(record: Row) -> bool:
        consent, last_update = record["shareWithResearchAsOfDate"], record["lastUpdateDate"]
        return consent is not None and consent <= as_of and (last_update is None or last_update <= as_of)

    def latest_first(record: Row) -> tuple[Any, ...]:
        updated, registered = record["lastUpdateDate"], record["registrationDate"]
        if updated is None:
            updated = -math.inf if consents(record) else math.inf
        if registered is None:
            registered = -math.inf
        # The last part orders whole records; a null sorts before any value.
        values = [record[column] for column in FIELDS["customer"]]
        return -updated, consents(record), -registered, [(v is not None, v) for v in values]

    records = [*customers, *_records_in_doubt(quarantined)]
    if policy.consent_record == "any":
        records = [record for record in records if consents(record)]
    by_person: dict[str, list[Row]] = defaultdict(list)
    for record in records:
        by_person[record["_person"]].append(record)

    deciding = [min(theirs, key=latest_first) for theirs in by_person.values()]
    return [_with_keys("customer", record) for record in deciding if consents(record)]


def _with_keys(source: Source, row: Row) -> Row:
    """A landed row as trusted tables hold it: the source's columns, keys in place of e-mail and serial number."""
    return {column: row[_KEYS.get(kind, column)] for column, kind in FIELDS[source].items()}


def accelerometer_trusted(accelerometer: Iterable[Row], trusted: Iterable[Row], policy: Policy) -> list[Row]:
    """The phone readings of the persons in ``customer_trusted``, exact repeats once."""
    since = _kept_since(trusted, policy)
    readings = (_with_keys("accelerometer", row) for row in accelerometer)
    return _distinct(row for row in readings if row["user"] in since and row["timestamp"] >= since[row["user"]])


def customers_curated(trusted: Iterable[Row], accelerometer: Iterable[Row]) -> list[Row]:
    """The rows of ``customer_trusted`` whose person has at least one row in ``accelerometer_trusted``."""
    active = {row["user"] for row in accelerometer}
    return [row for row in trusted if row["email"] in active]


def attributed(
    step_trainer: Iterable[Row],
    customers: Iterable[Row],
    quarantined: Iterable[Quarantined],
    accelerometer: Iterable[Row],
) -> list[str | None]:
    """For each landed step-trainer reading the one person it belongs to, or None: unattributed.

    All arguments are landing tables, whatever the policy: evidence is never filtered.
    """
    holders: dict[str, set[str]] = defaultdict(set)
    for row in customers:
        holders[row["_device"]].add(row["_person"])
    for record in quarantined:
        for serial_number in record.devices:
            holders[serial_number] |= record.people
    phone_active = {(row["_person"], row["timestamp"]) for row in accelerometer}

    owners: list[str | None] = []
    for step in step_trainer:
        present = [
            person for person in holders.get(step["_device"], ()) if (person, step["sensorReadingTime"]) in phone_active
        ]
        owners.append(present[0] if len(present) == 1 else None)
    return owners


def step_trainer_trusted(
    step_trainer: Sequence[Row],
    customers: Iterable[Row],
    quarantined: Iterable[Quarantined],
    accelerometer: Iterable[Row],
    curated: Sequence[Row],
    policy: Policy,
) -> list[Row]:
    """The step-trainer readings of the persons in ``customers_curated``, exact repeats once.

    All arguments but ``curated`` are landing tables.
    """
    steps = [_with_keys("step_trainer", row) for row in step_trainer]
    if policy.match_on == "timestamp":
        serial_numbers = {row["serialNumber"] for row in curated}
        return _distinct({**row, "user": None} for row in steps if row["serialNumber"] in serial_numbers)
    since = _kept_since(curated, policy)
    owners = attributed(step_trainer, customers, quarantined, accelerometer)
    return _distinct(
        {**row, "user": owner}
        for row, owner in zip(steps, owners, strict=True)
        if owner in since and row["sensorReadingTime"] >= since[owner]
    )


def machine_learning_curated(steps: Iterable[Row], accelerometer: Iterable[Row], policy: Policy) -> list[Row]:
    """Each trusted step-trainer reading with each trusted phone reading it meets: a multiset, person not yet hidden."""
    by_person = policy.match_on == "customer_and_timestamp"
    instant = {"millisecond": 1, "second": 10**3, "minute": 60 * 10**3, "hour": 36 * 10**5, "day": 864 * 10**5}
    phone: dict[tuple[str | None, int], list[Row]] = defaultdict(list)
    for reading in accelerometer:
        phone[reading["user"] if by_person else None, reading["timestamp"]].append(reading)
    return [
        {
            "person": reading["user"],
            "timestamp": reading["timestamp"] // instant[policy.published_time] * instant[policy.published_time],
            "distanceFromObject": step["distanceFromObject"],
            **{axis: reading[axis] for axis in "xyz"},
        }
        for step in steps
        for reading in phone.get((step["user"], step["sensorReadingTime"]), ())
    ]


def subject_id(person: str, key: bytes) -> str:
    """The pseudonym of a person in the machine-learning table: HMAC-SHA256, 64 hex digits."""
    return hmac.new(key, person.encode(), hashlib.sha256).hexdigest()


def lakehouse(lake: Path, policy: Policy = Policy(), as_of: int | None = None) -> dict[str, list[tuple[Any, ...]]]:
    """All eight tables and the three quarantines of a lake folder: rows as tuples in the order of ``COLUMNS``.

    ``as_of`` is in epoch milliseconds; None means now. A file that cannot be read contributes nothing: ask
    ``read_landing`` for errors.
    """
    return tables(read_lake(lake), policy, time.time_ns() // 1_000_000 if as_of is None else as_of)


def read_lake(lake: Path) -> dict[Source, Landing]:
    """The landing folders of a lake."""
    return {source: read_landing(source, lake / source / "landing") for source in SOURCES}


def tables(landings: Mapping[Source, Landing], policy: Policy, as_of: int) -> dict[str, list[tuple[Any, ...]]]:
    """What ``lakehouse`` returns, from landing folders that have been read."""
    customers, accelerometer, step_trainer = (landings[source].accepted for source in SOURCES)
    quarantined = landings["customer"].quarantined

    trusted = customer_trusted(customers, quarantined, policy, as_of)
    phone = accelerometer_trusted(accelerometer, trusted, policy)
    curated = customers_curated(trusted, phone)
    steps = step_trainer_trusted(step_trainer, customers, quarantined, accelerometer, curated, policy)
    rows: dict[str, Iterable[Mapping[str, Any]]] = {
        "customer_trusted": trusted,
        "accelerometer_trusted": phone,
        "customers_curated": curated,
        "step_trainer_trusted": steps,
        "machine_learning_curated": machine_learning_curated(steps, phone, policy),
    }
    for source, landing in landings.items():
        rows[f"{source}_landing"] = (
            {**row, "_superseded": False, "_source_file": name}
            for name, landed in landing.files.items()
            for row in landed.accepted
        )
        rows[f"{source}_quarantine"] = (
            _quarantine_row(name, record) for name, landed in landing.files.items() for record in landed.quarantined
        )
    return {table: [tuple(row[column] for column in COLUMNS[table]) for row in rows[table]] for table in COLUMNS}


def _quarantine_row(name: str, record: Quarantined) -> Row:
    is_too_large = len(record.raw) > LONGEST_RECORD
    return {
        "_source_file": name,
        "reasons": record.reasons,
        "raw": record.raw[:HEAD] if is_too_large else record.raw,
        "_offset": record.offset,
        "_length": len(record.raw),
        "_digest": hashlib.blake2b(record.raw, digest_size=16).hexdigest() if is_too_large else None,
        "_people": tuple(sorted(record.people)),
        "_devices": tuple(sorted(record.devices)),
        "_updated": record.updated,
        "_superseded": False,
    }


def _kept_since(customers: Iterable[Row], policy: Policy) -> dict[str | None, float]:
    """For each person among trusted customers the instant from which on their readings are kept."""
    if policy.readings == "all":
        return {row["email"]: -math.inf for row in customers}
    return {row["email"]: row["shareWithResearchAsOfDate"] for row in customers}


def _distinct(rows: Iterable[Row]) -> list[Row]:
    return list({tuple(row.values()): row for row in rows}.values())


# --- In doubt, no: what a quarantined customer record still says ------------------------------------------------------

# A lookahead, so that a pair that begins within another one is found too. The value is read leniently: the record is
# broken anyway, and its person must not be missed for that.
_PAIR = re.compile(
    r'(?="((?:[a-zA-Z]|\\u00[0-9a-fA-F]{2})+)"\s*:\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|(-?[0-9][0-9.eE+-]*)))', re.DOTALL
)
_NAMING = {"customer": {"email"}, "accelerometer": {"email", "user"}, "step_trainer": {"email", "user"}}


def _named(raw: bytes, source: Source) -> tuple[frozenset[str], frozenset[str]]:
    """The people and devices that a quarantined record names, at any depth, broken or not."""
    people, devices = set(), set()
    decoded = {raw.decode(encoding, "replace") for encoding in _encodings(raw)}
    for pair in (pair for text in decoded for pair in _PAIR.finditer(text)):
        key, number = _text(pair[1]).lower(), pair[3]
        text = None if number else _leniently(pair[2])
        if key in _NAMING[source] and text is not None:
            people.add(person(text))
        elif key == "serialnumber":
            devices.add(device(number if text is None else text))
    return frozenset(p for p in people if p is not None), frozenset(d for d in devices if d is not None)


def _encodings(raw: bytes) -> tuple[str, ...]:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return ("utf-8", "cp1252", "latin-1", "cp1250", "cp850", "mac_roman")
    return ("utf-8",)


def _leniently(written: str) -> str:
    """A text of a broken record: control characters are blanks; with an escape that is none it stays as it is."""
    is_json = "\\" not in _ESCAPE.sub("", written)
    return _text(re.sub(r"[\0-\x1f]", " ", written)) if is_json else written


def _records_in_doubt(quarantined: Iterable[Quarantined]) -> Iterator[Row]:
    """A customer record without consent for every person a quarantined customer record names."""
    for record in quarantined:
        for named in record.people:
            yield {**dict.fromkeys(FIELDS["customer"]), "_person": named, "lastUpdateDate": record.updated}
