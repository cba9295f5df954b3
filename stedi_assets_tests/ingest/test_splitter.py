"""The splitter against the oracle, on content glued from whatever a broken delivery can hold.

Belongs here: where records begin and end, that no byte is lost, and how much is held. What becomes of a record is for
the landing gate.
"""

import gzip
import hashlib
import io
import json
import random
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stedi_assets.ingest import splitter
from stedi_assets.ingest.evidence import Listener
from stedi_assets.ingest.splitter import Block, End, Record, split
from stedi_assets_tests.support import oracle
from stedi_assets_tests.support.malformed_cases import CASES, MalformedCase
from stedi_assets_tests.support.records import split_records

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

    def read(self, size: int, /) -> bytes:
        return self._content.read(min(size, self._at_once))

    def tell(self) -> int:
        return self._content.tell()


@contextmanager
def _sizes(**sizes: int) -> Iterator[None]:
    """Have the splitter work with other sizes than its own."""
    with ExitStack() as stack:
        for name, size in sizes.items():
            stack.enter_context(mock.patch.object(splitter, name, size))
        yield


def _records(content: bytes, *, at_once: int | None = None) -> list[Record]:
    """Return the records of content, checked: each has the bytes at its offset, and no byte is left out."""
    stream = _Trickle(content, at_once) if at_once else io.BytesIO(content)
    *records, end = split_records(stream)
    position = 0
    for record in records:
        position += record.separator_bytes
        assert record.offset == position
        assert record.raw
        if record.length <= splitter.LARGEST_RECORD:
            assert record.length == len(record.raw)
            assert record.digest is None
        assert content.startswith(record.raw, position)
        position += record.length
        if record.value is not None and record.raw.count(b"{") < 100:
            assert record.is_object
            assert record.value.keys() == json.loads(record.raw).keys()
    assert (end.raw, end.offset, end.offset) == (b"", position + end.separator_bytes, len(content))
    return records


def _extents(content: bytes, *, at_once: int | None = None) -> list[Extent]:
    """Return where the splitter finds records in content, as the oracle puts it."""
    found = _records(content, at_once=at_once)
    return [(record.offset, record.offset + record.length, record.is_object) for record in found]


def _content_of(case: MalformedCase) -> bytes:
    return gzip.decompress(case.content) if case.content.startswith(b"\x1f\x8b") else case.content


_CASES = [case for case in CASES if not case.file_error]


@settings(max_examples=800, deadline=None)
@given(_contents(12))
@example(b'{"a":1}{"a":2},{"a":3}\r{"a":4}\xe2\x80\xa8{"a":5}')
@example(b'{"a":\n{"a":1} x\n}{}]42{}')
@example(b"")
@example(b"\xef\xbb\xbf \n")
def test_the_splitter_finds_the_records_that_the_oracle_finds(content: bytes) -> None:
    assert _extents(content) == oracle.split_records(content)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.text('{}[]":,\n\r 01e-anul\u2028\u00a0', max_size=40).map(str.encode))
def test_the_splitter_finds_what_the_oracle_finds_in_content_that_was_never_json(content: bytes) -> None:
    assert _extents(content) == oracle.split_records(content)


@pytest.mark.parametrize("block", [100, splitter._BLOCK])
def test_every_broken_delivery_is_split_as_by_the_oracle(block: int) -> None:
    for case in _CASES:
        content = _content_of(case)
        if block < 1_000 and len(content) > 1_000_000:
            continue
        with _sizes(_BLOCK=block):
            assert _extents(content) == oracle.split_records(content), case.name


def test_two_broken_deliveries_in_one_file_are_split_as_by_the_oracle() -> None:
    rng = random.Random(3)
    contents = [content for case in _CASES if len(content := _content_of(case)) < 2_000]
    for _ in range(1_000):
        glued = rng.choice([b"", b"\n", b"\n\n", b" , "]).join(rng.choices(contents, k=2))
        with _sizes(_BLOCK=rng.choice([64, 300, 1 << 20]), _LOOK=rng.choice([32, 4 << 10])):
            assert _extents(glued) == oracle.split_records(glued), glued


def test_texts_of_marks_joined_at_random_are_split_as_by_the_oracle() -> None:
    """With so small a block that each edge of it falls on each mark."""
    marks = [b"{", b"}", b"[", b"]", b'"', b",", b":", b" ", b"\n", b"\r", b"\\", b"\xff", b"NaN", b"1", b'{"a":[\n']
    marks += ["\u2028".encode(), "\ufeff".encode(), b'{"a":1}', b'{"a":1}\n', b'{"a":{"b":[1]}}', b'"x"']
    rng = random.Random(4)
    for _ in range(6_000):
        content = b"".join(rng.choices(marks, k=rng.randint(1, 40)))
        with _sizes(_BLOCK=rng.choice([8, 16, 50, 1 << 20]), _LOOK=rng.choice([17, 32, 4 << 10])):
            assert _extents(content) == oracle.split_records(content), content


@settings(max_examples=100, deadline=None)
@given(_contents(12))
def test_a_record_neither_begins_nor_ends_with_a_separator(content: bytes) -> None:
    for record in _records(content):
        if record.raw[:1] != b"[":  # an empty array, which is a record
            assert not record.raw.startswith(tuple(_SEPARATORS))
            assert not record.raw.endswith(tuple(_SEPARATORS))


@settings(max_examples=300, deadline=None)
@given(_contents(60), st.integers(8, 200), st.integers(17, 100), st.integers(1, 50))
def test_the_records_do_not_depend_on_where_the_window_is_filled_again(
    content: bytes, block: int, look: int, at_once: int
) -> None:
    with _sizes(_BLOCK=block, _LOOK=look):
        found = _extents(content)
        trickled = _extents(content, at_once=at_once)
    assert found == _extents(content)
    assert trickled == found


@pytest.mark.parametrize("block", [64, 65, 66, 67, 100, 200])
def test_broken_records_of_many_blocks_are_one_record_each(block: int) -> None:
    cut_off = b'{"a":"' + "\u00e9\u2003".encode() * 500
    garbage = "caf\u00e9 ".encode() * 500 + b"x"
    content = cut_off + b'\n {"a":1}' + garbage + b'\n{"a":2}'
    with _sizes(_BLOCK=block, _LOOK=32):
        found = [record.raw for record in _records(content)]
    assert found == [cut_off, b'{"a":1}', garbage, b'{"a":2}']


@pytest.mark.parametrize("blank", [b" ", b"\n", "\u2028".encode(), "\u00a0".encode()])
def test_blanks_of_many_blocks_may_stand_around_objects(blank: bytes) -> None:
    for width in range(100):
        content = (blank * width).join([b"", b'{"a":1}', b'{"a":"' + b"x" * 40 + b'"}', b'{"a":', b'\n{"a":2}', b""])
        with _sizes(_BLOCK=64):
            assert _extents(content) == oracle.split_records(content)


@pytest.mark.parametrize("opening", [b'{"a":', b'{"a":[', b'{"a":{"a":[['])
def test_brackets_that_open_without_end_are_one_broken_record(opening: bytes) -> None:
    content = opening * 50_000 + b'\n{"a":1}'
    assert _extents(content) == oracle.split_records(content)
    assert [is_object for _, _, is_object in _extents(content)] == [False, True]


def test_lines_of_flat_objects_are_parsed_a_block_at_a_time() -> None:
    content = b"\xef\xbb\xbf[" + b'{"a":1},\r\n {"a":2}{"a":3}, {"a":"x,]"}\n\n' * 50 + b"]\n"
    with _sizes(_BLOCK=200):
        *found, end = split(io.BytesIO(content))
    assert len(found) > 1
    assert [type(part) for part in found] == [Block] * len(found)
    assert isinstance(end, End)
    assert (end.separator_bytes, end.offset) == (4, len(content))
    blocks = [part for part in found if isinstance(part, Block)]
    assert [value["a"] for block in blocks for value in block.objects] == [1, 2, 3, "x,]"] * 50
    assert _extents(content) == oracle.split_records(content)


def test_the_content_is_not_read_further_than_a_few_blocks_ahead() -> None:
    content = _Trickle(b'{"a":1}\n' * 1000, at_once=10_000)
    with _sizes(_BLOCK=100):
        for record in split_records(content):
            assert content.tell() <= record.offset + 300


# --- Larger than a record may be --------------------------------------------------------------------------------------

_SMALL = {"LARGEST_RECORD": 1_000, "HEAD": 100, "_BLOCK": 64, "_NEAR": 64, "_LOOK": 32}
_WHOLE = b'{"email":"' + b"x" * 1_500 + b'","more":{"user":"ada@example.com"}}'


@pytest.mark.parametrize(
    "large",
    [
        _WHOLE,
        _WHOLE[:-2],
        b'{"a":' * 500 + b'"serialNumber":"s-1"',
        b"<p>" * 500 + b'{"user":"ada@example.com"',
        b'"' + b"x" * 1_500,
        b"\xff" * 1_001,
    ],
    ids=["an object", "cut off", "brackets", "garbage", "a text", "one byte more than may be"],
)
@pytest.mark.parametrize("around", [b"\n", b"\n\n , \n"])
def test_of_a_record_that_is_too_large_a_head_is_kept_and_what_follows_is_found(large: bytes, around: bytes) -> None:
    content = b'{"a":1}' + around + large + around + b'{"a":2}\n{"a":{"b":3}}'
    with _sizes(**_SMALL):
        _, found, *after = _records(content)
    assert (found.raw, found.length, found.is_object) == (large[:100], len(large), False)
    assert found.digest == hashlib.blake2b(large, digest_size=16).hexdigest()
    assert [record.raw for record in after] == [b'{"a":2}', b'{"a":{"b":3}}']


def test_records_of_just_the_largest_size_are_whole() -> None:
    with _sizes(**_SMALL):
        for size in (999, 1_000):
            for content in (b'{"a":"' + b"x" * (size - 8) + b'"}', b"x" * size, b'{"a":"' + b"x" * (size - 6)):
                (record,) = _records(content + b"\n")
                assert (record.raw, record.digest) == (content, None)


class _Noting(Listener):
    """A listener that notes how large the parts are in which a record comes."""

    def __init__(self) -> None:
        super().__init__(of_customers=False)
        self.lengths: list[int] = []

    def __call__(self, part: bytes) -> None:
        self.lengths.append(len(part))
        super().__call__(part)


def test_whoever_is_named_anywhere_in_a_record_that_is_too_large_is_heard_of() -> None:
    named = b'"user" : "Ada@Example.com", "serialNumber":"S-1",'
    for place in range(0, 4_950, 15):
        large = b"{" + b"x" * place + named + b"y" * (5_000 - place)
        listener = _Noting()
        larger = mock.Mock(return_value=listener)
        with _sizes(**_SMALL):
            found = list(split(io.BytesIO(b'{"user":"ben@example.com"}\n' + large), larger))
        larger.assert_called_once_with()
        assert [part.length for part in found if isinstance(part, Record)] == [len(large)]
        evidence = listener.evidence
        assert (list(evidence.people), list(evidence.devices)) == (["ada@example.com"], ["s-1"]), place
        # It came in parts, with the names across their edges as well.
        assert len(listener.lengths) > 1
        assert sum(listener.lengths) == len(large)


class _Endless:
    """The same bytes again and again, which are never held together."""

    def __init__(self, begins: bytes, again: bytes, size: int) -> None:
        self._next, self._again, self._left = begins, again, size

    def read(self, size: int, /) -> bytes:
        if len(self._next) < size:
            self._next += self._again * (size // len(self._again) + 1)
        taken, self._next = self._next[: min(size, self._left)], self._next[min(size, self._left) :]
        self._left -= len(taken)
        return taken


@pytest.mark.parametrize(
    ("begins", "again"),
    [
        (b'{"a":"', b"x"),
        (b"", b'{"a":'),
        (b"", b"["),
        (b"", b"\0"),
        (b"", b" "),
        (b'{"a":[', b'{"b":"}"},'),
        (b'"', b"\\"),
        (b"", "\u2028x".encode()),
        (b"", b'{"a":1}\n'),
        (b'{"a":1,', b'{"a":1}'),
    ],
)
def test_what_is_held_does_not_grow_with_the_content(begins: bytes, again: bytes) -> None:
    peaks = []
    for size in (20_000, 80_000):
        tracemalloc.start()
        with _sizes(LARGEST_RECORD=2_000, HEAD=100, _BLOCK=500, _NEAR=500, _LOOK=100):
            length = sum(
                record.length + record.separator_bytes for record in split_records(_Endless(begins, again, size))
            )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert length == size
    assert peaks[1] < 1.2 * peaks[0], peaks


# --- Alone ------------------------------------------------------------------------------------------------------------


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
def test_separators_wider_than_a_block_change_nothing(content: bytes) -> None:
    with _sizes(_BLOCK=64):
        found = _extents(content)
    assert found == oracle.split_records(content)


def _deeper(frames: int, content: bytes) -> list[Extent]:
    return _deeper(frames - 1, content) if frames else _extents(content)


def test_how_deep_an_object_may_be_depends_neither_on_the_caller_nor_on_the_version_of_python() -> None:
    for depth in (oracle.DEEPEST_NESTING, oracle.DEEPEST_NESTING + 1):
        content = b'{"a":' * depth + b"1" + b"}" * depth + b' x {"b":1}'
        for frames in (0, 200):
            assert _deeper(frames, content) == oracle.split_records(content)
