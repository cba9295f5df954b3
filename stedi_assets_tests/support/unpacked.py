"""What stands in a file, as an intruder finds it: its bytes, and what is packed in those of Parquet and Avro."""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

_AVRO = b"Obj\x01"
_SYNC = 16
_RAW_DEFLATE = -15


def unpacked(file: Path) -> bytes:
    """Return the bytes of a file; of Parquet with its rows and its footer, of Avro with what its blocks hold."""
    content = file.read_bytes()
    if file.suffix == ".parquet":
        return content + repr(pq.read_table(file).to_pylist()).encode() + str(pq.ParquetFile(file).metadata).encode()
    if content.startswith(_AVRO):
        return content + b"".join(_blocks(content))
    return content


def _blocks(content: bytes) -> Iterator[bytes]:
    """Yield the blocks of an Avro file, unpacked."""
    read = io.BytesIO(content[len(_AVRO) :])
    codec = dict(_header(read)).get(b"avro.codec", b"null")
    read.seek(_SYNC, io.SEEK_CUR)
    while read.tell() < len(content) - len(_AVRO):
        _number(read)
        packed = read.read(_number(read))
        yield {b"null": bytes, b"deflate": lambda block: zlib.decompress(block, _RAW_DEFLATE)}[codec](packed)
        read.seek(_SYNC, io.SEEK_CUR)


def _header(read: io.BytesIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and values of an Avro file's header."""
    while count := _number(read):
        for _ in range(abs(count)):
            yield read.read(_number(read)), read.read(_number(read))


def _number(read: io.BytesIO) -> int:
    """Return the next number of variable length."""
    value = shift = 0
    while True:
        (byte,) = read.read(1)
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1)
