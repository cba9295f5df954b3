"""The exact splitter against the oracle, on content glued from whatever a broken delivery can hold.

Belongs here: where records begin and end, and that no byte is lost. What becomes of a record is for the landing gate.
"""

import io
import re
from typing import BinaryIO, cast
from unittest import mock

import pytest
from hypothesis import example, given, settings
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
# No backslash: it would make texts with unknown escapes, which have a test of their own.
_STRAY = [b"{", b"}", b'"', b"'", b":", b"\0", b"\xff", b"\xc2", b"\xe2\x80", b"\xf0\x9f\x98", b"\xed\xa0\x80"]
_WORDS = [b"garbage", b"NaN", b"nul", b"01", b"1.", b"'abc'", b"<html>", b"x=1;", "caf\u00e9".encode()]
_RUNS_OF_SEPARATORS = [b"\r\n", b", ", b",\n", b"\n\n", b"],\n["]

_pieces = st.one_of(
    st.sampled_from(_GOOD_OBJECTS),
    st.sampled_from(_GOOD_OBJECTS + _BROKEN_OBJECTS + _SCALARS + _EMPTY_ARRAYS),
    st.sampled_from(_STRAY + _WORDS),
    st.sampled_from(_SEPARATORS + _RUNS_OF_SEPARATORS),
    st.sampled_from(_SEPARATORS + _RUNS_OF_SEPARATORS),
)


def _contents(most_pieces: int) -> st.SearchStrategy[bytes]:
    return st.lists(_pieces, max_size=most_pieces).map(b"".join)


class _Trickle:
    """Content that comes a few bytes at a time, as from a pipe, so that characters are cut in two."""

    def __init__(self, content: bytes, at_once: int) -> None:
        self._content = io.BytesIO(content)
        self._at_once = at_once

    def read(self, size: int) -> bytes:
        return self._content.read(min(size, self._at_once))

    def tell(self) -> int:
        return self._content.tell()


def _extents(content: bytes, *, at_once: int | None = None) -> list[Extent]:
    """Return where the product finds records in content, as the oracle puts it."""
    stream = _Trickle(content, at_once) if at_once else io.BytesIO(content)
    position, extents = 0, []
    for record in splitter.split_records(cast("BinaryIO", stream)):
        start = position + record.separator_bytes
        position = start + len(record.raw)
        if record.raw:
            extents.append((start, position, record.is_object))
    return extents


def _smallest_window(content: bytes) -> int:
    """Return how far the splitter must see: over the separators before a record, itself, and to what follows it."""
    edges = [(0, 0), *((start, end) for start, end, _ in _extents(content)), (len(content), len(content))]
    behind = [following for _, following in edges[2:]] + [len(content)]
    return max(end - before for (_, before), end in zip(edges[:-1], behind, strict=True)) + 1


@settings(max_examples=1500, deadline=None)
@given(_contents(12))
@example(b'{"a":1}{"a":2},{"a":3}\r{"a":4}\xe2\x80\xa8{"a":5}')
@example(b'{"a":\n{"a":1} x\n}{}]42{}')
def test_the_splitter_finds_the_records_that_the_oracle_finds(content: bytes) -> None:
    assert _extents(content) == oracle.split_records(content)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | st.text('{}[]":,\n\r 01e-anul\u2028\u00a0', max_size=40).map(str.encode))
def test_the_splitter_finds_what_the_oracle_finds_in_content_that_was_never_json(content: bytes) -> None:
    assert _extents(content) == oracle.split_records(content)


@settings(max_examples=300, deadline=None)
@given(_contents(12))
@example(b"")
@example(b"\xef\xbb\xbf \n")
def test_every_byte_is_in_one_record_or_separator_and_in_its_order(content: bytes) -> None:
    records = list(splitter.split_records(io.BytesIO(content)))
    assert sum(len(record.raw) + record.separator_bytes for record in records) == len(content)

    left = content
    for record in records:
        gap, left = left[: record.separator_bytes], left[record.separator_bytes :]
        assert _ONLY_SEPARATORS.fullmatch(gap)
        assert left.startswith(record.raw)
        left = left[len(record.raw) :]
    assert left == b""
    assert [record for record in records if not record.raw] == records[-1:], "only the last record is empty"


@settings(max_examples=300, deadline=None)
@given(_contents(12))
def test_a_record_neither_begins_nor_ends_with_a_separator(content: bytes) -> None:
    for start, end, _ in _extents(content):
        raw = content[start:end]
        if raw[:1] != b"[":  # an empty array, which is a record
            assert not raw.startswith(tuple(_SEPARATORS))
            assert not raw.endswith(tuple(_SEPARATORS))


@settings(max_examples=1000, deadline=None)
@given(_contents(60), st.integers(0, 140), st.integers(1, 50))
def test_the_records_do_not_depend_on_where_the_window_is_filled_again(
    content: bytes, larger: int, at_once: int
) -> None:
    window = max(64, _smallest_window(content)) + larger
    with mock.patch.object(splitter, "_LOOKAHEAD", window):
        found = _extents(content)
        trickled = _extents(content, at_once=at_once)
    assert found == _extents(content)
    assert trickled == found


@pytest.mark.parametrize("window", [64, 65, 66, 67, 100, 200])
def test_broken_records_of_many_windows_are_one_record_each(window: int) -> None:
    cut_off = b'{"a":"' + "\u00e9\u2003".encode() * 500
    garbage = "caf\u00e9 ".encode() * 500 + b"x"
    content = cut_off + b'\n {"a":1}' + garbage + b'\n{"a":2}'
    with mock.patch.object(splitter, "_LOOKAHEAD", window):
        found = [content[start:end] for start, end, _ in _extents(content)]
    assert found == [cut_off, b'{"a":1}', garbage, b'{"a":2}']


@pytest.mark.parametrize("blank", [b" ", b"\n", "\u2028".encode(), "\u00a0".encode()])
def test_blanks_of_many_windows_may_stand_around_objects(blank: bytes) -> None:
    for width in range(200):
        content = (blank * width).join([b"", b'{"a":1}', b'{"a":"' + b"x" * 40 + b'"}', b'{"a":', b'\n{"a":2}', b""])
        with mock.patch.object(splitter, "_LOOKAHEAD", 64):
            assert _extents(content) == oracle.split_records(content)


@pytest.mark.parametrize("opening", [b'{"a":', b'{"a":[', b'{"a":{"a":[['])
def test_brackets_that_open_without_end_are_one_broken_record(opening: bytes) -> None:
    content = opening * 100_000 + b'\n{"a":1}'
    assert _extents(content) == oracle.split_records(content)
    assert [is_object for _, _, is_object in _extents(content)] == [False, True]


def test_the_content_is_not_read_further_than_two_windows_ahead() -> None:
    content = _Trickle(b'{"a":1}\n' * 1000, at_once=10_000)
    with mock.patch.object(splitter, "_LOOKAHEAD", 100):
        position = 0
        for record in splitter.split_records(cast("BinaryIO", content)):
            position += record.separator_bytes + len(record.raw)
            assert content.tell() <= position + 200


@pytest.mark.parametrize(
    "content", [b'"\\x" {"a":1}', b'"\\}"{', b'"\\\r"', '"\\\u2028{}"'.encode(), b'"\\\x01",{"a":1}']
)
def test_a_text_with_an_escape_that_json_does_not_know_is_no_lone_value(content: bytes) -> None:
    assert _extents(content) == oracle.split_records(content)


@pytest.mark.parametrize(
    "content",
    [b" " * 63 + b"[]", b"[" + b" " * 200 + b"]", b"42" + b" " * 200 + b"x\n"],
    ids=["an empty array across the edge", "a wide empty array", "a number, then blanks, then more"],
)
def test_separators_wider_than_the_window_change_nothing(content: bytes) -> None:
    with mock.patch.object(splitter, "_LOOKAHEAD", 64):
        found = _extents(content)
    assert found == oracle.split_records(content)


def _deeper(frames: int, content: bytes) -> list[Extent]:
    return _deeper(frames - 1, content) if frames else _extents(content)


def test_how_deep_an_object_may_be_depends_neither_on_the_caller_nor_on_the_version_of_python() -> None:
    for depth in (oracle.DEEPEST_NESTING, oracle.DEEPEST_NESTING + 1):
        content = b'{"a":' * depth + b"1" + b"}" * depth + b' x {"b":1}'
        for frames in (0, 200):
            assert _deeper(frames, content) == oracle.split_records(content)
