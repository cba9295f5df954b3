"""Envelopes: an object around the records, such as `{"exportedAt": …, "customers": […]}`.

The text around the records is no record, and each element of the array is a record of its own.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stedi_assets.ingest.content import FileError

# Where the records begin in an envelope that is too large to be held.
_NAME = rb'"[^"\\]{0,200}"\s*:\s*'
_SMALL = rb'(?:"[^"\\]{0,1000}"|[\w.+-]{1,40}|\{[^{}]{0,1000}\}|\[[^\[\]{}]{0,1000}\])\s*,\s*'
_BEGINS = re.compile(rb"\{\s*(?:" + _NAME + _SMALL + rb"){0,50}" + _NAME + rb"(?:\[\s*\{|\{)")
_SPACE = re.compile(r"[ \t\n\r]*")
_TWO_PARTS = "its records stand in an envelope of several parts; have them delivered one per line"
_TOO_LARGE = "its records stand in an envelope of more than 16 MB; have them delivered one per line"


class _Object(tuple[tuple[str, Any], ...]):
    """The names and values of an object: a name may stand there twice."""

    __slots__ = ()


_PARSER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=str, parse_float=str)


def elements_within(raw: bytes, names: Iterable[str]) -> Sequence[tuple[int, int]]:
    """Return where each record within an object begins and ends; nothing if the object is no envelope.

    `raw` is a whole JSON object, `names` are the names of a record's fields, in lower case.

    Raises `FileError` if anything outside one array could be a record, or could tell of a customer.
    """
    known = frozenset(names)
    found: list[list[tuple[int, int]]] = []
    parts: list[Any] = []
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
        else:
            parts.extend(_parts(_Object([(name, value)])))
        position = _end_of_space(text, position)
        if text[position] == ",":
            position += 1
    if len(found) > 1 or any(_is_record(part, known) or (found and _is_doubtful(part, known)) for part in parts):
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


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value, and all values and names in it."""
    waiting = [value]
    while waiting:
        yield (part := waiting.pop())
        if isinstance(part, _Object):
            waiting.extend(itertools.chain(*part))
        elif isinstance(part, list):
            waiting.extend(part)


def _is_doubtful(part: Any, known: frozenset[str]) -> bool:
    """Whether what stands beside an array of records could be more of them: an address could be a withdrawal."""
    return bool(part) and (isinstance(part, list) or ("email" in known and isinstance(part, str) and "@" in part))


def _is_record(value: Any, known: frozenset[str]) -> bool:
    return isinstance(value, _Object) and any(name.lower() in known for name, _ in value)


def _end_of_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
