"""Validation: one record in, its typed columns or the reasons for its quarantine out.

A block of plain records is validated column by column (`RecordValidator.columns`), a record that is not in doubt by its
parsed object, and any other by its members as they are written (`_from_members`). That is the rule; the other two are
shortcuts to the same result.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any

from stedi_assets.contracts import Column, Form, Source
from stedi_assets.contracts.rules import END_OF_INSTANTS, FIRST_INSTANT
from stedi_assets.ingest.alphabet import is_within
from stedi_assets.ingest.evidence import Evidence, find_evidence, find_mentions
from stedi_assets.ingest.identity import LONGEST, device_of, person_of
from stedi_assets.ingest.json_text import Number, read_members
from stedi_assets.ingest.splitter import LARGEST_RECORD, Block, Record

# A record of the contract has at most ten.
MOST_FIELDS = 1_000
_NOT_FINITE = {"NaN", "Infinity", "-Infinity", "+Infinity", "INF", "-INF", "+INF"}
_KEY_OF = {Form.EMAIL: ("_person", person_of), Form.SERIAL_NUMBER: ("_device", device_of)}
_INSTANTS = (Form.INSTANT, Form.SHARE_INSTANT)
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
# Up to here, a DOUBLE holds every whole number exactly.
_LARGEST_EXACT = 2**53
_MOST_KEYS_KEPT = 100_000


@dataclass(frozen=True)
class QuarantinedRecord:
    """A record that is not accepted: why, and whom it may concern.

    `updated` is its `lastUpdateDate` in epoch milliseconds, None if that cannot be read without doubt. `mentions` is
    None if it may concern anybody.
    """

    reasons: tuple[str, ...]
    evidence: Evidence
    mentions: Sequence[str] | None
    updated: int | None = None


class RecordValidator:
    """Validates the records of a source, and counts the fields that the contract does not know: `unknown_fields`."""

    def __init__(self, source: Source) -> None:
        self.unknown_fields = Counter[str]()
        self._of_customers = source.name == "customer"
        self._columns = source.record_columns
        self._names = {column.name for column in self._columns}
        self._by_small_name = {column.name.lower(): column for column in self._columns}
        self._texts = [c.name for c in self._columns if c.form not in _INSTANTS and c.form is not Form.NUMBER]
        self._known_keys = {
            form: (name, lru_cache(_MOST_KEYS_KEPT)(key_of)) for form, (name, key_of) in _KEY_OF.items()
        }

    def columns(self, block: Block) -> dict[str, list[Any]] | None:
        """Return the typed columns of a block, including its keys; None if any record in it is in doubt."""
        objects = block.objects
        if b"\\" in block.data or not set[str]().union(*objects) <= self._names:
            return None
        if (found := self._plain_columns(objects)) is None:
            return None
        texts = sum(len(found[name]) - found[name].count(None) for name in self._texts)
        # Each name and each text has two quotation marks; of two equal names, the parser has kept only one.
        if block.data.count(b'"') != 2 * (sum(map(len, objects)) + texts):
            return None
        return found

    def _plain_columns(self, objects: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]] | None:
        """Return the typed columns of parsed objects, including their keys; None if any value is in doubt."""
        found: dict[str, list[Any]] = {}
        for column in self._columns:
            values = _values(column.name, objects)
            if not _are_plain(column, values):
                return None
            found[column.name] = _held(column, values)
            if column.form in self._known_keys:
                # No longer text has a key, and none is to be kept.
                if max(map(len, values)) > LONGEST:
                    return None
                name, key_of = self._known_keys[column.form]
                found[name] = list(map(key_of, values))
                if None in found[name]:
                    return None
        return found

    def validate(self, record: Record, evidence: Evidence | None = None) -> dict[str, Any] | QuarantinedRecord:
        """Return the typed columns of a record, including its keys, or why it is not accepted.

        `evidence` is that of all of a record that is too large to be held.
        """
        if record.length > LARGEST_RECORD:
            evidence = evidence or self._evidence(record.raw)
            return QuarantinedRecord(("record_too_large",), evidence, find_mentions(record.raw))
        if not _is_utf8(record.raw):
            return self._quarantine(record.raw, "invalid_utf8")
        if not record.is_object:
            return self._quarantine(record.raw, "malformed_json")
        if record.value is not None and (row := self._from_object(record.raw, record.value)):
            return row
        return self._from_members(record.raw)

    def _from_object(self, raw: bytes, value: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the row of an object, or None if anything in it is in doubt."""
        unknown = value.keys() - self._names
        small = {name.lower() for name in unknown}
        if len(value) > MOST_FIELDS or len(small) < len(unknown) or small & self._by_small_name.keys():
            return None
        texts = sum(type(found) is str for found in value.values())
        unescaped = _ESCAPED.sub(b"", raw) if b"\\" in raw else raw
        if unescaped.count(b'"') != 2 * (len(value) + texts):
            return None  # a duplicate name; or a nested value, which may hold one
        if (row := self._plain_columns([value])) is None:
            return None
        self.unknown_fields.update(unknown)
        return {name: found for name, (found,) in row.items()}

    def _from_members(self, raw: bytes) -> dict[str, Any] | QuarantinedRecord:
        members = read_members(raw)
        if members is None:
            return self._quarantine(raw, "malformed_json")
        values = {name.lower(): value for name, value in members}
        if len(values) < len(members):
            return self._quarantine(raw, "duplicate_key")
        row: dict[str, Any] = {}
        reasons = set() if len(members) <= MOST_FIELDS else {"too_many_fields"}
        for column in self._columns:
            value = values.get(column.name.lower())
            try:
                row[column.name] = None if value is None else _typed(column, value)
                if column.form in _KEY_OF and value is not None:
                    name, key_of = _KEY_OF[column.form]
                    row[name] = _key(value, key_of)
            except _Refused as refused:
                reasons.add(str(refused))
            else:
                if value is None and column.required:
                    reasons.add(f"missing_{column.name}")
        if reasons:
            return self._quarantine(raw, *reasons, updated=row.get("lastUpdateDate"))
        self.unknown_fields.update(name for name, _ in members if name.lower() not in self._by_small_name)
        return row

    def _quarantine(self, raw: bytes, *reasons: str, updated: int | None = None) -> QuarantinedRecord:
        return QuarantinedRecord(tuple(sorted(reasons)), self._evidence(raw), find_mentions(raw), updated)

    def _evidence(self, raw: bytes) -> Evidence:
        return find_evidence(raw, of_customers=self._of_customers)


# The parser's types for values that are not in doubt.
_KINDS: dict[Form | None, set[type]] = {
    Form.EMAIL: {str},
    Form.SERIAL_NUMBER: {str},
    Form.TEXT_OR_NUMBER: {str},
    Form.INSTANT: {int},
    Form.SHARE_INSTANT: {int},
    Form.NUMBER: {int, float},
}


def _are_plain(column: Column, values: Sequence[Any]) -> bool:
    """Whether each parsed value of a column is valid for it, without any doubt."""
    kinds = set(map(type, values))
    if not kinds <= _KINDS[column.form] | (set() if column.required else {type(None)}):
        return False
    if column.form in _INSTANTS:
        known = [value for value in values if value is not None] if type(None) in kinds else values
        return not known or (min(known) >= FIRST_INSTANT and max(known) < END_OF_INSTANTS)
    if column.form is Form.NUMBER:
        return bool(min(values) > -_LARGEST_EXACT and max(values) < _LARGEST_EXACT)
    return True


def _values(name: str, objects: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return what objects have under a name, or None."""
    try:
        return list(map(itemgetter(name), objects))
    except KeyError:
        return [found.get(name) for found in objects]


def _held(column: Column, values: list[Any]) -> list[Any]:
    """Return plain values as a column holds them: a zero has no sign, because engines compare -0.0 differently."""
    return [value + 0.0 for value in values] if column.form is Form.NUMBER else values


class _Refused(Exception):
    """A value is not accepted. The message is the reason."""


def _typed(column: Column, value: Any) -> Any:
    """Return the value that a column gets; raise `_Refused` if there is none."""
    is_number, is_text = isinstance(value, Number), type(value) is str
    if column.form is Form.SHARE_INSTANT and (value is False or value == "" or (is_number and _is_zero(value))):
        return None  # the sources' ways of saying no
    if column.form in _INSTANTS or column.form is Form.NUMBER:
        if isinstance(value, str) and value in _NOT_FINITE:
            raise _Refused("not_finite")
        if not is_number:
            raise _Refused("wrong_type")
        number = float(value)
        if number in {float("inf"), float("-inf")}:
            raise _Refused("not_finite")
        return _held(column, [number])[0] if column.form is Form.NUMBER else _instant(value, number)
    if column.form is Form.TEXT_OR_NUMBER and is_number and value not in _NOT_FINITE:
        return str(value)
    if not is_text:
        raise _Refused("wrong_type")
    # Half a character is none, and UTF-8 cannot encode it.
    return value.encode("utf-8", "replace").decode()


def _key(text: str, key_of: Callable[[str], str | None]) -> str:
    key = key_of(text)
    if key is None:
        raise _Refused("invalid_email" if is_within(text) else "ambiguous_text")
    return key


def _instant(written: str, roughly: float) -> int:
    # Compare exactly, but only near the range: a Decimal cannot hold every exponent that JSON can spell.
    if FIRST_INSTANT - 1 <= roughly <= END_OF_INSTANTS:
        exact = Decimal(written)
        if exact == int(exact) and FIRST_INSTANT <= exact < END_OF_INSTANTS:
            return int(exact)
    raise _Refused("invalid_instant")


def _is_zero(written: str) -> bool:
    return re.fullmatch(r"-?0(\.0+)?([eE][+-]?[0-9]+)?", written) is not None


def _is_utf8(raw: bytes) -> bool:
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
