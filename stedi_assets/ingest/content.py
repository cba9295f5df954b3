"""The content of a raw file as a stream. Its first bytes tell its format, not its name; gzip is unpacked."""

import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
# So many of the first bytes tell a format.
_TELLING = 16
_PACKED = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x1f\x9d": "compress",
    b"LZIP": "lzip",
    b"\xff\x06\0\0sNaPpY": "snappy",
    b"PAR1": "Parquet",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    _GZIP: "gzip",
}


class FileError(Exception):
    """A raw file cannot be read. The message says why, and quotes nothing of the file."""


class Content:
    """The content of a raw file, unpacked, as it is read; and afterwards what was read.

    `packed`: the file is gzip. `bytes_read` is how many bytes of it have been read, and `digest` is their hash.
    """

    def __init__(self, raw: BinaryIO, limit: int | None = None, *, is_beginning: bool = True) -> None:
        """Read a raw stream, from the beginning of its file or not; if it is not packed, `limit` bytes at most.

        Raises `FileError` if its format cannot be read here.
        """
        self._raw, self._limit = raw, limit
        self._digest = hashlib.sha256()
        self.bytes_read = 0
        first = self._next_block()
        self.packed = is_beginning and first.startswith(_GZIP)
        if self.packed:
            self._limit = None
        self._pieces = self._unpacked(first) if self.packed else self._plain(first)
        self._left = b""
        while len(self._left) < _TELLING and (piece := next(self._pieces, b"")):
            self._left += piece
        if is_beginning:
            _require_text(self._left)

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end. Raises `FileError` if gzip data are cut off or damaged."""
        if not self._left:
            self._left = next(self._pieces, b"")
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    @property
    def digest(self) -> str:
        """The SHA-256 hash of what was read, as the file lies."""
        return self._digest.hexdigest()

    def _next_block(self) -> bytes:
        wanted = _BLOCK if self._limit is None else min(_BLOCK, self._limit - self.bytes_read)
        block = self._raw.read(wanted) if wanted else b""
        self._digest.update(block)
        self.bytes_read += len(block)
        return block

    def _plain(self, block: bytes) -> Iterator[bytes]:
        while block:
            yield block
            block = self._next_block()

    def _unpacked(self, block: bytes) -> Iterator[bytes]:
        """Yield the content of any number of gzip members, in bounded pieces: gzip shrinks blanks to a thousandth."""
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            while block:
                if member.eof:
                    # There may be zeros between two members, and after the last one.
                    block = block.lstrip(b"\0")
                    if not block:
                        block = self._next_block()
                        continue
                    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                if piece := member.decompress(block, _BLOCK):
                    yield piece
                block = member.unconsumed_tail or member.unused_data or self._next_block()
        except zlib.error:
            raise FileError("its gzip data are damaged") from None
        if not member.eof:
            raise FileError("its gzip data are cut off")


def is_packed(raw: BinaryIO) -> bool:
    """Whether a raw stream begins like gzip."""
    return raw.read(len(_GZIP)) == _GZIP


def _require_text(head: bytes) -> None:
    if head.startswith(_BYTE_ORDER_MARKS) or (b"\0" in head[:2] and any(brace in head[:2] for brace in b"{[")):
        raise FileError("it is UTF-16 or UTF-32; the sources deliver UTF-8")
    kind = next((kind for begins, kind in _PACKED.items() if head.startswith(begins)), None)
    if kind:
        raise FileError(f"it is a {kind} file; have it delivered as JSON, plain or gzipped")
