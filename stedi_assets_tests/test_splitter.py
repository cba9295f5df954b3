"""The exact splitter against the oracle, on content glued from whatever a broken delivery can hold.

Belongs here: where records begin and end, and that no byte is lost. What becomes of a record is for the landing gate.
"""

import io
import re
from collections.abc import Callable
from itertools import chain, pairwise
from unittest import mock

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from stedi_assets.lake import splitter
from stedi_assets_tests import oracle

Extent = tuple[int, int, bool]

_SEPARATORS = [
    *(bytes([character]) for character in b" \t\n\v\f\r,[]"),
    *(character.encode() for character in "\ufeff\u0085\u00a0\u2028\u2029"),
]
_ONLY_SEPARATORS = re.compile(rb"(?:" + b"|".join(re.escape(separator) for separator in _SEPARATORS) + rb")*")

_GOOD_OBJECTS = [
    b'{"a":1}',
    b"{}",
    b'{"a":{"b":[1,{"c":2}]},"d":null}',
    b'{\n  "a": 1,\n  "b": [\n    2\n  ]\n}',
    b'{"a":"}"}',
    b'{"a":"{"}',
    b'{"a":"}{"}',
    b'{"a":"]["}',
    b'{"a":"\\"}"}',
    b'{"a":"\\\\"}',
    b'{"a":NaN,"b":-Infinity}',
    b'{"a":"\xff"}',
    b'{"a":"\xe2\x80"}',
    '{"\u2028":"\u0085\u00a0\ufeff"}'.encode(),
    '{"a":"\U0001f600"}'.encode(),
]
_BROKEN_OBJECTS = [
    b'{"a":',
    b'{"a":1',
    b'{"a":"x',
    b'{"a":{"b":1}',
    b'{"a":[1,',
    b'{"a":1,}',
    b"{'a':1}",
    b"{a:1}",
    b'{"a":01}',
    b'{"a":1.}',
    b'{"a":"\x01"}',
    b'{"a":"\n"}',
    b'{"a":"\\x"}',
    b'{"a":\0}',
    '{"a"\u00a0:1}'.encode(),
    b'{"a":1 "b":2}',
]
_SCALARS = [b"null", b"true", b"false", b"42", b"-1.5e3", b"0", b'"abc"', b'""', b'"}{"', b'"a\\"b"', b'"\\u00e9"']
_EMPTY_ARRAYS = [b"[]", b"[ \n]", "[\u2028\ufeff]".encode()]
_STRAY = [b"{", b"}", b'"', b"'", b":", b"\\", b"\0", b"\xff", b"\xc2", b"\xe2\x80", b"\xf0\x9f\x98", b"\xed\xa0\x80"]
_WORDS = [b"garbage", b"NaN", b"nul", b"01", b"1.", b"'abc'", b"<html>", b"x=1;", "caf\u00e9".encode()]
_RUNS_OF_SEPARATORS = [b"\r\n", b", ", b",\n", b"\n\n", b"],\n["]

# A backslash that is glued to what follows can make a text with an unknown escape: see the last tests of this file.
_UNKNOWN_ESCAPE = re.compile(rb'"[^"]*\\(?!["\\/bfnrtu])')

_pieces = st.one_of(
    st.sampled_from(_GOOD_OBJECTS),
    st.sampled_from(_GOOD_OBJECTS + _BROKEN_OBJECTS + _SCALARS + _EMPTY_ARRAYS),
    st.sampled_from(_STRAY + _WORDS),
    st.sampled_from(_SEPARATORS + _RUNS_OF_SEPARATORS),
    st.sampled_from(_SEPARATORS + _RUNS_OF_SEPARATORS),
)


def _contents(most_pieces: int) -> st.SearchStrategy[bytes]:
    return st.lists(_pieces, max_size=most_pieces).map(b"".join)


def _whole(content: bytes) -> list[Extent]:
    """Return the extents of the records that the product finds in one piece of content."""
    return _extents(io.BytesIO(content))


def _extents(content: io.BytesIO) -> list[Extent]:
    position, extents = 0, []
    for record in splitter.split_records(content):
        start = position + record.separator_bytes
        position = start + len(record.raw)
        if record.raw:
            extents.append((start, position, record.is_object))
    return extents
