"""Envelopes: an object around the records, such as `{"exportedAt": …, "customers": […]}`.

The text around the records is no record, and each element of the array is a record of its own.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stedi_assets.ingest.content import FileError

# Where the records begin in an envelope that is too large to be held.
_NAME = rb'"[^"\\]{0,200}"\s*:\s*'
_SCALAR = rb'(?:"[^"\\]{0,1000}"|[\w.+-]{1,40})\s*,\s*'
_BEGINS = re.compile(rb"\{\s*(?:" + _NAME + _SCALAR + rb"){0,50}" + _NAME + rb"\[\s*\{")
_SPACE = re.compile(r"[ \t\n\r]*")
_TWO_PARTS = "its records stand in an envelope of several parts; have them delivered one per line"
_TOO_LARGE = "its records stand in an envelope of more than 16 MB; have them delivered one per line"
_PARSER = json.JSONDecoder(parse_int=str, parse_float=str)


def elements_within(raw: bytes, names: Iterable[str]) -> Sequence[tuple[int, int]]:
    """Return where each record within an object begins and ends; nothing if the object is no envelope.

    `raw` is a whole JSON object, `names` are the names of a record's fields, in lower case.

    Raises `FileError` if more than one part of it holds records.
    """
    known, found = frozenset(names), []
    text = raw.decode("latin-1")  # one character per byte, so that positions are the same
    position = 1
    while text[position := _end_of_space(text, position)] != "}":
        name, position = _PARSER.raw_decode(text, position)
        if name.lower() in known:
            return []
        start = _end_of_space(text, _end_of_space(text, position) + 1)
        value, position = _PARSER.raw_decode(text, start)
        if isinstance(value, list) and any(_is_record(element, known) for element in value):
            found.append(list(_elements(text, start + 1)))
        elif _is_record(value, known) or (isinstance(value, dict) and any(map(_holds(known), value.values()))):
            raise FileError(_TWO_PARTS)
        position = _end_of_space(text, position)
        if text[position] == ",":
            position += 1
    if len(found) > 1:
        raise FileError(_TWO_PARTS)
    return found[0] if found else []


def _elements(text: str, position: int) -> Iterator[tuple[int, int]]:
    position = _end_of_space(text, position)
    while text[position] != "]":
        _, end = _PARSER.raw_decode(text, position)
        yield position, end
        position = _end_of_space(text, end)
        if text[position] == ",":
            position = _end_of_space(text, position + 1)


def require_no_envelope(head: bytes, names: Iterable[str]) -> None:
    """Raise `FileError` if a record that is too large begins like an envelope around records."""
    begins = _BEGINS.match(head)
    known = "|".join(re.escape(name) for name in names).encode()
    if begins and re.compile(rb'"(?:' + known + rb')"\s*:', re.IGNORECASE).search(head, begins.end()):
        raise FileError(_TOO_LARGE)


def _holds(known: frozenset[str]) -> Any:
    return lambda value: isinstance(value, list) and any(_is_record(element, known) for element in value)


def _is_record(value: Any, known: frozenset[str]) -> bool:
    return isinstance(value, dict) and any(name.lower() in known for name in value)


def _end_of_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
