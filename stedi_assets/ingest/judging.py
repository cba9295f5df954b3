"""Judging: one record in, its typed columns or the reasons for its quarantine out.

A block of plain records is judged column by column (`Judge.columns`), a record that holds nothing in doubt by its
parsed object, and any other by its members as they are written (`_from_members`), which is the rule; the other two are
short cuts to the same verdict.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from stedi_assets.contracts import Column, Form, Source
from stedi_assets.contracts.rules import END_OF_INSTANTS, FIRST_INSTANT
from stedi_assets.ingest.alphabet import is_within
from stedi_assets.ingest.evidence import Evidence, find_evidence, find_mentions
from stedi_assets.ingest.identity import device_of, person_of
from stedi_assets.ingest.json_text import Number, read_members
from stedi_assets.ingest.splitter import LARGEST_RECORD, Block, Record

# A record of the contract has at most ten.
MOST_FIELDS = 1_000
_NOT_FINITE = {"NaN", "Infinity", "-Infinity", "+Infinity", "INF", "-INF", "+INF"}
_KEY_OF = {Form.EMAIL: ("_person", person_of), Form.SERIAL_NUMBER: ("_device", device_of)}
_TEXTS = (Form.EMAIL, Form.SERIAL_NUMBER)
_INSTANTS = (Form.INSTANT, Form.SHARE_INSTANT)
_QUOTED_OR_ESCAPED = re.compile(rb"\\.", re.DOTALL)


@dataclass(frozen=True)
class Doubt:
    """A record that is not accepted: why, and whom it may concern.

    `updated` is its `lastUpdateDate` in epoch milliseconds, None if that cannot be read without doubt. `mentions` is
    None where it may concern anybody.
    """

    reasons: tuple[str, ...]
    evidence: Evidence
    mentions: Sequence[str] | None
    updated: int | None = None


@dataclass
class Judge:
    """Judges the records of a source, and counts the fields that the contract does not know."""

    source: Source
    unknown_fields: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._columns = self.source.record_columns
        self._names = {column.name for column in self._columns}
        self._by_small_name = {column.name.lower(): column for column in self._columns}
        self._keys: dict[str, dict[str, str]] = {name: {} for name, _ in _KEY_OF.values()}

    def columns(self, block: Block) -> dict[str, list[Any]] | None:
        """Return the typed columns of a block, its keys among them; None where a record of it is in any doubt."""
        objects, found = block.objects, dict[str, list[Any]]()
        if not self._names.issuperset(*objects) or b"\\" in block.data:
            return None
        texts = 0
        for column in self._columns:
            name = column.name
            values = [record.get(name) for record in objects]
            kinds = set(map(type, values))
            if column.required and type(None) in kinds or not kinds <= _KINDS[column.form]:
                return None
            if column.form in _INSTANTS:
                known = [value for value in values if value is not None] if type(None) in kinds else values
                if known and not (FIRST_INSTANT <= min(known) and max(known) < END_OF_INSTANTS):
                    return None
            elif column.form is not Form.NUMBER:
                texts += sum(map(str.__instancecheck__, values)) if False else sum(type(v) is str for v in values)
            found[name] = values
            if column.form in _KEY_OF:
                key, _ = _KEY_OF[column.form]
                keys = self._keys_of(column.form, values)
                if keys is None:
                    return None
                found[key] = keys
        # Each name and each text has two quotation marks, and the parser has kept each name once.
        if block.data.count(b'"') != 2 * (sum(map(len, objects)) + texts):
            return None
        return found

    def _keys_of(self, form: Form, values: Sequence[str]) -> list[str] | None:
        name, key_of = _KEY_OF[form]
        known = self._keys[name]
        for text in set(values) - known.keys():
            if (key := key_of(text)) is None:
                return None
            if len(known) > 100_000:
                known.clear()
                return self._keys_of(form, values)
            known[text] = key
        return list(map(known.__getitem__, values))

    def verdict(self, record: Record) -> dict[str, Any] | Doubt:
        """Return the typed columns of a record, its keys among them, or why it is not accepted."""
        if not _is_utf8(record.raw) and record.digest is None:
            return _doubt(record.raw, "invalid_utf8")
        if record.length > LARGEST_RECORD:
            return _doubt(record.raw, "record_too_large")
        if not record.is_object:
            return _doubt(record.raw, "malformed_json")
        if record.value is not None and (row := self._from_object(record.raw, record.value)):
            return row
        return self._from_members(record.raw)

    def _from_object(self, raw: bytes, value: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the row of an object without anything in doubt."""
        unknown = value.keys() - self._names
        if len(value) > MOST_FIELDS or any(name.lower() in self._by_small_name for name in unknown):
            return None
        if unknown and (any(isinstance(value[name], (dict, list)) for name in unknown)):
            return None
        plain = _QUOTED_OR_ESCAPED.sub(b"", raw) if b"\\" in raw else raw
        if plain.count(b'"') != 2 * (len(value) + sum(type(found) is str for found in value.values())):
            return None
        row: dict[str, Any] = {}
        for column in self._columns:
            found = value.get(column.name)
            row[column.name] = found
            if type(found) not in _KINDS[column.form] or (found is None and column.required):
                return None
            if column.form in _INSTANTS and found is not None and not FIRST_INSTANT <= found < END_OF_INSTANTS:
                return None
            if column.form is Form.NUMBER and not abs(found) < 2**53:
                return None
            if column.form in _KEY_OF:
                name, key_of = _KEY_OF[column.form]
                row[name] = key_of(found)
                if row[name] is None:
                    return None
        self.unknown_fields.update(unknown)
        return row

    def _from_members(self, raw: bytes) -> dict[str, Any] | Doubt:
        members = read_members(raw)
        if members is None:
            return _doubt(raw, "malformed_json")
        values: dict[str, Any] = {}
        for name, value in members:
            values[name.lower()] = value
        updated = None
        if len(values) < len(members):
            return _doubt(raw, "duplicate_key")
        if len(members) > MOST_FIELDS:
            return _doubt(raw, "too_many_fields")
        row: dict[str, Any] = {}
        reasons = set()
        for column in self._columns:
            value = values.get(column.name.lower())
            try:
                row[column.name] = None if value is None else _typed(column, value)
                if column.form in _KEY_OF and value is not None:
                    name, key_of = _KEY_OF[column.form]
                    row[name] = _key(value, key_of)
            except _Refused as refused:
                reasons.add(refused.reason)
            else:
                if value is None and column.required:
                    reasons.add(f"missing_{column.name}")
        if reasons:
            if "lastupdatedate" in values and "lastupdatedate" not in self._by_small_name:
                updated = None
            elif "lastupdatedate" in self._by_small_name:
                updated = row.get("lastUpdateDate")
            return _doubt(raw, *reasons, updated=updated)
        self.unknown_fields.update(name for name, _ in members if name.lower() not in self._by_small_name)
        return row


# The types of a value that leave no doubt, as the parser gives them.
_KINDS: dict[Form | None, set[type]] = {
    Form.EMAIL: {str},
    Form.SERIAL_NUMBER: {str},
    Form.TEXT_OR_NUMBER: {str, type(None)},
    Form.INSTANT: {int, type(None)},
    Form.SHARE_INSTANT: {int, type(None)},
    Form.NUMBER: {int, float},
}


class _Refused(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _typed(column: Column, value: Any) -> Any:
    """Return the value that a column gets; raise why there is none."""
    is_number, is_text = isinstance(value, Number), type(value) is str
    if column.form is Form.SHARE_INSTANT and (value is False or value == "" or (is_number and _is_zero(value))):
        return None  # the sources' ways to say no
    if column.form in _INSTANTS or column.form is Form.NUMBER:
        if value in _NOT_FINITE if isinstance(value, str) else False:
            raise _Refused("not_finite")
        if not is_number:
            raise _Refused("wrong_type")
        number = float(value)
        if number in {float("inf"), float("-inf")}:
            raise _Refused("not_finite")
        # Without the sign of a zero, which engines compare in their own ways.
        return number + 0.0 if column.form is Form.NUMBER else _instant(value, number)
    if column.form is Form.TEXT_OR_NUMBER and is_number and value not in _NOT_FINITE:
        return str(value)
    if not is_text:
        raise _Refused("wrong_type")
    # Half of a character is none, and no UTF-8 can hold it.
    return value.encode("utf-8", "replace").decode()


def _key(text: str, key_of: Callable[[str], str | None]) -> str:
    key = key_of(text)
    if key is None:
        raise _Refused("invalid_email" if is_within(text) else "ambiguous_text")
    return key


def _instant(written: str, roughly: float) -> int:
    # Exactly, but only near the range: a Decimal cannot hold every exponent that JSON can spell.
    if FIRST_INSTANT - 1 <= roughly <= END_OF_INSTANTS:
        exact = Decimal(written)
        if exact == int(exact) and FIRST_INSTANT <= exact < END_OF_INSTANTS:
            return int(exact)
    raise _Refused("invalid_instant")


def _is_zero(written: str) -> bool:
    return re.fullmatch(r"-?0(\.0+)?([eE][+-]?[0-9]+)?", written) is not None


def _doubt(raw: bytes, *reasons: str, updated: int | None = None) -> Doubt:
    return Doubt(tuple(sorted(reasons)), find_evidence(raw), find_mentions(raw), updated)


def _is_utf8(raw: bytes) -> bool:
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
