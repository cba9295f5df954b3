"""The content of a raw file: what it is by its first bytes, unpacked, in bounded memory.

Belongs here: from the bytes as they lie to the text of the records. Where a record begins is for the splitter.
"""

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import tracemalloc
import zipfile
from collections.abc import Iterator
from unittest import mock

import pytest

from stedi_assets.ingest import content as content_module
from stedi_assets.ingest.content import Content, FileError, is_packed

_RECORD = b'{"user":"ada@example.com","x":1.5}\n'
_CUT_OFF = "its gzip data are cut off"
_DAMAGED = "its gzip data are damaged"
_WIDE = "it is UTF-16 or UTF-32; the sources deliver UTF-8"


def pieces(content: Content) -> Iterator[bytes]:
    """Yield what a content is read in."""
    return iter(lambda: content.read(1 << 30), b"")


def read(raw: bytes, block: int = 1 << 20, limit: int | None = None) -> tuple[bytes, Content]:
    """Return all of a content, read so many bytes of the file at a time, and what there is to know of it then."""
    with mock.patch.object(content_module, "_BLOCK", block):
        content = Content(io.BytesIO(raw), limit)
        return b"".join(pieces(content)), content


def error_of(raw: bytes, block: int = 1 << 20) -> str | None:
    """Return why a content cannot be read; None if it can."""
    try:
        read(raw, block)
    except FileError as error:
        return str(error)
    return None


def digest_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


# One byte at once: so every part of a file falls on an edge between two blocks.
@pytest.mark.parametrize("block", [2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    "raw", [b"", b"{", _RECORD, _RECORD * 100, b"\xef\xbb\xbf" + _RECORD, b"\n\n", b"\0", b"\xef\xbb"]
)
def test_what_is_not_packed_is_read_as_it_lies(raw: bytes, block: int) -> None:
    found, content = read(raw, block)
    assert (found, content.packed, content.bytes_read, content.digest) == (raw, False, len(raw), digest_of(raw))


@pytest.mark.parametrize("block", [2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    "raw",
    [
        gzip.compress(_RECORD),
        gzip.compress(b""),
        gzip.compress(_RECORD) + gzip.compress(_RECORD * 50) + gzip.compress(b"") + gzip.compress(_RECORD, 0),
        gzip.compress(_RECORD) + bytes(512),
        gzip.compress(_RECORD) + bytes(5) + gzip.compress(_RECORD),
    ],
    ids=["one member", "nothing packed", "four members", "zeros at the end", "zeros between"],
)
def test_gzip_of_any_number_of_members_is_whole(raw: bytes, block: int) -> None:
    found, content = read(raw, block)
    assert found == gzip.decompress(raw)
    assert (content.packed, content.bytes_read, content.digest) == (True, len(raw), digest_of(raw))


@pytest.mark.parametrize("block", [2, 7, 1 << 20])
def test_gzip_that_is_cut_off_anywhere_is_an_error(block: int) -> None:
    first, second = gzip.compress(_RECORD), gzip.compress(_RECORD * 2)
    whole = first + second
    for length in range(2, len(whole)):
        expected = None if length == len(first) else _CUT_OFF
        assert error_of(whole[:length], block) == expected, length


@pytest.mark.parametrize("block", [2, 7, 1 << 20])
@pytest.mark.parametrize(
    "raw",
    [
        gzip.compress(_RECORD * 9)[:-8] + b"\0\0\0\0" + gzip.compress(_RECORD * 9)[-4:],
        gzip.compress(_RECORD)[:-4] + b"\xff\0\0\0",
        gzip.compress(_RECORD)[:12] + b"\xff" * 12 + gzip.compress(_RECORD)[24:],
        gzip.compress(_RECORD) + b"garbage",
        gzip.compress(_RECORD) + _RECORD,
        b"\x1f\x8b" + _RECORD,
        b"\x1f\x8b\x07" + gzip.compress(_RECORD)[3:],
    ],
    ids=["checksum", "length", "packed data", "garbage after it", "text after it", "two bytes of it", "other method"],
)
def test_gzip_that_is_damaged_is_an_error(raw: bytes, block: int) -> None:
    assert error_of(raw, block) == _DAMAGED


@pytest.mark.parametrize("size", [1, 10, 1 << 20])
def test_no_more_is_given_than_is_asked_for(size: int) -> None:
    for raw in (_RECORD * 5, gzip.compress(_RECORD * 5)):
        content = Content(io.BytesIO(raw))
        found = list(iter(lambda: content.read(size), b""))  # noqa: B023  # called at once
        assert b"".join(found) == _RECORD * 5
        assert max(map(len, found)) <= size
        assert content.read(size) == b""


@pytest.mark.parametrize("limit", [0, 1, 20, len(_RECORD), len(_RECORD) * 5 - 1, len(_RECORD) * 5, 1_000])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_of_what_is_not_packed_a_part_can_be_read(limit: int, block: int) -> None:
    found, content = read(_RECORD * 5, block, limit)
    assert found == (_RECORD * 5)[:limit]
    assert (content.bytes_read, content.digest) == (len(found), digest_of(found))


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_what_is_packed_is_read_whole_whatever_the_part(block: int) -> None:
    raw = gzip.compress(_RECORD * 5)
    found, content = read(raw, block, limit=10)
    assert (found, content.bytes_read) == (_RECORD * 5, len(raw))


def test_zeros_that_are_packed_small_are_unpacked_a_bounded_piece_at_a_time() -> None:
    size = 100 << 20
    raw = gzip.compress(bytes(size))
    assert len(raw) < 200_000
    tracemalloc.start()
    try:
        content = Content(io.BytesIO(raw))
        lengths = [len(piece) for piece in pieces(content)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(lengths) == size
    assert max(lengths) <= 2 << 20
    assert peak < 10 << 20


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8", "utf-8-sig", "latin-1"]
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("opening", ["{", "["])
@pytest.mark.parametrize("block", [2, 1 << 20])
def test_wide_characters_are_an_error_and_other_encodings_are_for_the_records(
    encoding: str, opening: str, block: int, *, packed: bool
) -> None:
    text = f'{opening}"a":"\u00e9"'.encode(encoding)
    raw = gzip.compress(text) if packed else text
    assert error_of(raw, block) == (_WIDE if encoding.startswith(("utf-16", "utf-32")) else None)


def test_utf_32_of_the_other_byte_order_is_an_error_with_its_mark() -> None:
    assert error_of("\ufeff{}".encode("utf-32-be")) == _WIDE


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", _RECORD)
    return packed.getvalue()


@pytest.mark.parametrize("block", [2, 1 << 20])
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("zip", _zip()),
        ("zip", b"PK\x05\x06" + bytes(18)),
        ("bzip2", bz2.compress(_RECORD)),
        ("xz", lzma.compress(_RECORD)),
        ("zstd", b"\x28\xb5\x2f\xfd" + bytes(20)),
        ("lz4", b"\x04\x22\x4d\x18" + bytes(20)),
        ("7z", b"7z\xbc\xaf\x27\x1c" + bytes(20)),
        ("rar", b"Rar!\x1a\x07" + bytes(20)),
        ("Parquet", b"PAR1" + bytes(20)),
        ("Avro", b"Obj\x01" + bytes(20)),
    ],
)
def test_what_is_packed_another_way_is_an_error_that_names_it(
    kind: str, raw: bytes, block: int, *, within: bool
) -> None:
    error = error_of(gzip.compress(raw) if within else raw, block)
    assert error == f"it is a {kind} file; have it delivered as JSON, plain or gzipped"


@pytest.mark.parametrize("raw", [b"PK", b"BZ", b"{PK\x03\x04", b"\n\x28\xb5\x2f\xfd", b"PAR", b"7zip"])
def test_only_the_first_bytes_tell_and_all_of_them(raw: bytes) -> None:
    assert error_of(raw) is None


def test_gzip_within_gzip_is_an_error() -> None:
    raw = gzip.compress(gzip.compress(_RECORD))
    assert error_of(raw) == "it is a gzip file; have it delivered as JSON, plain or gzipped"


def test_only_what_begins_like_gzip_is_gzip() -> None:
    raw = b'{"a":"' + gzip.compress(_RECORD)
    found, content = read(raw, 2)
    assert (found, content.packed) == (raw, False)
    assert is_packed(io.BytesIO(gzip.compress(b"")))
    assert not any(is_packed(io.BytesIO(raw)) for raw in (b"", b"\x1f", b"{\x1f\x8b"))


def test_the_digest_tells_files_apart_as_they_lie() -> None:
    digests = [read(raw)[1].digest for raw in (_RECORD, _RECORD[:-1], gzip.compress(_RECORD), b"")]
    assert all(one != other for one, other in itertools.combinations(digests, 2))
    assert read(_RECORD, block=3)[1].digest == digests[0]
