"""Envelopes: an object around the records, such as `{"exportedAt": …, "customers": […]}`.

The text around the records is no record, and each element of the array is a record of its own.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from stedi_assets.contracts import Source
from stedi_assets.ingest.content import FileError
from stedi_assets.ingest.identity import plain_forms

# The members before the records in an envelope that is too large to be held, and where the records begin.
_NAME = rb'"([^"\\]{0,200})"\s*:\s*'
_SMALL = rb'(?:"[^"\\]{0,1000}"|[\w.+-]{1,40}|\{[^{}]{0,1000}\}|\[[^\[\]{}]{0,1000}\])\s*,\s*'
_OPENS, _MEMBER = re.compile(rb"\{\s*"), re.compile(_NAME + _SMALL)
_BEGINS, _BEGINS_ARRAY = re.compile(_NAME + rb"(?:\[\s*\{|\{)"), re.compile(_NAME + rb"\[\s*\{")
_SPACE = re.compile(r"[ \t\n\r]*")
_TWO_PARTS = "its records stand in an envelope of several parts; have them delivered one per line"
_TOO_LARGE = "its records stand in an envelope of more than 16 MB; have them delivered one per line"


class _Object(tuple[tuple[str, Any], ...]):
    """The names and values of an object: a name may stand there twice."""

    __slots__ = ()


_PARSER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=str, parse_float=str)


def elements_within(raw: bytes, source: Source) -> Sequence[tuple[int, int]]:
    """Return where each record within an object begins and ends; nothing if the object is no envelope.

    `raw` is a whole JSON object.

    Raises `FileError` if the object is no record and has records elsewhere than in one array, or what could be some.
    """
    names = source.field_names
    text = raw.decode("latin-1")  # one character per byte, so that positions are the same
    own: set[str] = set()
    arrays: list[tuple[int, list[Any]]] = []
    beside: list[Any] = []
    for name, start, value in _members(text):
        own.add(name.lower())
        if isinstance(value, list) and any(_names_in(element) & names for element in value):
            arrays.append((start, value))
        else:
            beside.extend((name, *_parts(value)))
    if is_record(own, source):
        return []
    is_clear = not any(_names_in(part) & names or _is_doubtful(part, source) for part in beside)
    if len(arrays) == 1 and is_clear and not own & names:
        return list(_elements(text, arrays[0][0] + 1))
    parts = [*beside, *(part for _, array in arrays for part in _parts(array))]
    if own & names:
        # Of readings by person or device, what is the same for all of them stands beside them.
        named = own.union(*(_names_in(element) for _, array in arrays for element in array))
    else:
        named = set().union(*map(_names_in, parts))
    # Several people can be several withdrawals.
    if source.required_names <= named or (source.name == "customer" and _people_in_lists(parts) > 1):
        raise FileError(_TWO_PARTS)
    # Something else, which becomes one record in quarantine.
    return []


def is_record(names: AbstractSet[str], source: Source) -> bool:
    """Whether an object with these names, in lower case, is one record, whatever else it holds.

    A reading has all fields that it must have. A customer's record may lack some: it counts against everybody it names.
    """
    return bool(names & source.field_names) if source.name == "customer" else source.required_names <= names


def _members(text: str) -> Iterator[tuple[str, int, Any]]:
    """Yield the members of an object: the name, where the value begins, and the value."""
    position = 1
    while text[position := _end_of_space(text, position)] != "}":
        name, position = _PARSER.raw_decode(text, position)
        start = _end_of_space(text, _end_of_space(text, position) + 1)
        value, position = _PARSER.raw_decode(text, start)
        yield name, start, value
        position = _end_of_space(text, position)
        if text[position] == ",":
            position += 1


def _elements(text: str, position: int) -> Iterator[tuple[int, int]]:
    position = _end_of_space(text, position)
    while text[position] != "]":
        _, end = _PARSER.raw_decode(text, position)
        yield position, end
        position = _end_of_space(text, end)
        if text[position] == ",":
            position = _end_of_space(text, position + 1)


def require_no_envelope(head: bytes, source: Source) -> None:
    """Raise `FileError` if a record that is too large begins like an envelope around records."""
    names = {name.encode() for name in source.field_names}
    opens = _OPENS.match(head)
    position = opens.end() if opens else len(head)
    is_record = False
    while member := _MEMBER.match(head, position):
        is_record |= member[1].lower() in names
        position = member.end()
    begins = (_BEGINS_ARRAY if is_record else _BEGINS).match(head, position)
    if begins is None or begins[1].lower() in names:
        return
    if re.compile(rb'"(?:' + b"|".join(map(re.escape, names)) + rb')"\s*:', re.IGNORECASE).search(head, begins.end()):
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


def _is_doubtful(part: Any, source: Source) -> bool:
    """Whether what stands beside an array of records could be more of them: an address could be a withdrawal."""
    if isinstance(part, list):
        return any(isinstance(element, list | _Object) for element in part)
    if source.name != "customer" or not isinstance(part, str):
        return False
    # As it was written, or escaped: the text was decoded byte by byte.
    return any("@" in plain_forms(text) for text in (part, part.encode("latin-1", "replace").decode(errors="replace")))


def _people_in_lists(parts: Iterable[Any]) -> int:
    lists = (part for part in parts if isinstance(part, list))
    return sum("email" in _names_in(element) for found in lists for element in found)


def _names_in(value: Any) -> frozenset[str]:
    """Return the names in an object, in lower case; none if the value is no object."""
    return frozenset(name.lower() for name, _ in value) if isinstance(value, _Object) else frozenset()


def _end_of_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
