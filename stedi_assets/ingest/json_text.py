"""JSON objects, read strictly: fast if nothing is in doubt, and to the letter otherwise.

`read_object` is for nearly every record: a native parser, which keeps the last of two equal keys. `read_members` keeps
every member and how its number was written, and is some ten times slower.
"""

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson

# More than any record needs, and less than either parser can handle.
DEEPEST_NESTING = 900

_BRACKET_OR_QUOTE = re.compile(rb'["{}\[\]]')
_QUOTE_OR_ESCAPE = re.compile(rb'["\\]')
_T = TypeVar("_T")


class Number(str):
    """A number as it is written. `NaN`, `Infinity` and `-Infinity` are not JSON, but their meaning is clear."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """The members of an object, in their order."""


def read_object(raw: bytes) -> dict[str, Any] | None:
    """Return an object; None if the bytes are not exactly one, or a doubt needs `read_members`."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and not is_too_deep(raw) else None


def read_members(raw: bytes) -> Sequence[tuple[str, Any]] | None:
    """Return the members of an object with numbers as `Number`; None if the bytes are not exactly one object.

    Bare `NaN` and `Infinity` pass, and so do bytes that are not UTF-8.
    """
    if is_too_deep(raw):
        return None
    try:
        found = with_all_the_stack(lambda: _READER.decode(raw.decode("utf-8", "surrogateescape")))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, _Members) else None


def with_all_the_stack(parse: Callable[[], _T]) -> _T:
    """Call a recursive parser. How deep it can go does not depend on the caller.

    Raises `RecursionError` if it goes deeper than any record needs.
    """
    try:
        return parse()
    except RecursionError:
        # The caller has used up a part of Python's limit; a new thread has all of it.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(parse).result()


def is_too_deep(raw: bytes) -> bool:
    """Whether brackets are nested deeper than any record needs."""
    if raw.count(b"{") + raw.count(b"[") <= DEEPEST_NESTING:
        return False
    depth = 0
    position: int | None = 0
    while position is not None and (found := _BRACKET_OR_QUOTE.search(raw, position)):
        mark, position = found.group(), found.end()
        if mark == b'"':
            position = end_of_string(raw, position)
        else:
            depth += 1 if mark in b"{[" else -1
        if depth > DEEPEST_NESTING:
            return True
    return False


def end_of_string(raw: bytes, position: int) -> int | None:
    """Return where a string ends, given the position after its opening quotation mark; None if it does not end."""
    while found := _QUOTE_OR_ESCAPE.search(raw, position):
        if found.group() == b'"':
            return found.end()
        position = found.end() + 1
    return None


_READER = json.JSONDecoder(object_pairs_hook=_Members, parse_int=Number, parse_float=Number, parse_constant=Number)
