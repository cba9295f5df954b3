"""The raw files of a source: which there are, what each is, and whether it can be read.

Every directory entry has a fate: it is read, ignored, or named as a file error. Content decides whether a file is
gzip, not its name.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO, cast

from stedi_assets.lake.storage import Entry, Storage, is_hidden

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_BLOCK = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_LONGEST_MARK = 4
# Of a bucket, many objects can be looked at while one answers.
_AT_ONCE = max(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class LandingFile:
    """A raw file as it was listed and looked at, before its records are read.

    `path` is below the source's landing folder. `bytes` is the size of the content, decompressed. `fingerprint`
    changes whenever the file may have. `digest` is of the file as it lies, so that a renamed file is known again.
    """

    path: str
    size: int
    fingerprint: str
    bytes: int = 0
    digest: str = ""
    gzip: bool = False
    byte_order_mark: bool = False
    error: str | None = None

    @property
    def named_for_its_content(self) -> bool:
        """Whether Spark takes the file for what it is: it goes by the name to know what is gzip."""
        return self.gzip == self.path.lower().endswith(".gz")


@dataclass(frozen=True)
class Found:
    """What lies in a source's landing folder: what is to be read, in order of the paths, and what is passed over.

    A link to what is read already is passed over.
    """

    entries: tuple[Entry, ...]
    ignored: tuple[str, ...]
    hidden: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """The files to read, in order of their paths, and what was passed over.

    `unsettled` are those that somebody may still be writing, left as they were for a later time. `dated_ahead` are
    those that are dated in the future.
    """

    files: tuple[LandingFile, ...]
    ignored: tuple[str, ...]
    hidden: tuple[str, ...]
    unsettled: tuple[str, ...] = ()
    dated_ahead: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """How much there is to read, decompressed."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class FileReport:
    """What became of a raw file: one entry of a landing table's `_files.json`."""

    path: str
    size: int
    fingerprint: str
    bytes: int
    digest: str
    records: int = 0
    accepted: int = 0
    quarantined: int = 0
    suppressed: int = 0
    record_bytes: int = 0
    separator_bytes: int = 0
    gzip: bool = False
    byte_order_mark: bool = False
    error: str | None = None
    forgotten: bool = False
    unknown_fields: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON holds it."""
        return asdict(self)


def find_landing_files(entries: Iterable[Entry]) -> Found:
    """Sort what lies in a source's landing folder by what is to become of it, without opening anything."""
    hidden: list[str] = []
    ignored: list[str] = []
    read: list[Entry] = []
    for entry in entries:
        if any(is_hidden(part) for part in entry.path.split("/")):
            hidden.append(entry.path)
        elif entry.error or (entry.is_file and _is_record_file(entry.path)):
            read.append(entry)
        else:
            ignored.append(entry.path)
    files_first = sorted(read, key=lambda entry: (entry.leads_to is not None, entry.path))
    once: dict[str, Entry] = {}
    again = [entry.path for entry in files_first if once.setdefault(entry.leads_to or entry.path, entry) is not entry]
    entries = tuple(sorted(once.values(), key=lambda entry: entry.path))
    return Found(entries, tuple(sorted([*ignored, *again])), tuple(sorted(hidden)))


def list_landing_files(
    storage: Storage, folder: str, known: Mapping[str, FileReport], settled_before: int | None = None
) -> Listing:
    """List a source's raw files and look at each: size, content, whether it can be read.

    `known` are the reports of the last snapshot; a file whose fingerprint has not changed is not read again. Others
    that have changed since `settled_before`, in epoch milliseconds, are left alone: somebody may still be writing them.
    """
    found = find_landing_files(storage.entries(folder))
    fingerprints = {path: file.fingerprint for path, file in known.items()}
    read: list[Entry] = []
    unsettled: list[Entry] = []
    for entry in found.entries:
        is_known = fingerprints.get(entry.path) == entry.fingerprint
        settled = settled_before is None or entry.changed_at <= settled_before
        (read if is_known or settled else unsettled).append(entry)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        files = list(pool.map(lambda entry: _looked_at(storage, folder, entry, known.get(entry.path)), read))
    ahead = tuple(entry.path for entry in found.entries if entry.dated_ahead)
    return Listing(tuple(files), found.ignored, found.hidden, tuple(entry.path for entry in unsettled), ahead)


def changed_since(storage: Storage, folder: str, files: Iterable[LandingFile]) -> frozenset[str]:
    """Return the paths of files that are gone or may have another content than when they were listed."""
    now = {entry.path: entry.fingerprint for entry in storage.entries(folder) if entry.is_file}
    return frozenset(file.path for file in files if now.get(file.path) != file.fingerprint)


@contextmanager
def open_content(storage: Storage, folder: str, file: LandingFile) -> Iterator[BinaryIO]:
    """Open a file's content, decompressed."""
    with storage.open(f"{folder}/{file.path}") as opened:
        if not file.gzip:
            yield opened
            return
        with gzip.GzipFile(fileobj=opened) as content:
            yield cast("BinaryIO", content)


def _is_record_file(path: str) -> bool:
    return path.lower().removesuffix(".gz").endswith(_SUFFIXES)


def _is_text(path: str) -> bool:
    """Whether Spark and Parquet can hold a name: a file system can have any bytes for one."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _looked_at(storage: Storage, folder: str, entry: Entry, known: FileReport | None) -> LandingFile:
    file = LandingFile(entry.path, entry.size, entry.fingerprint, error=entry.error)
    if file.error:
        return file
    if not _is_text(entry.path):
        return replace(file, error="its name is no UTF-8; have it renamed")
    if known is not None and known.fingerprint == file.fingerprint and known.error is None:
        return replace(
            file, bytes=known.bytes, digest=known.digest, gzip=known.gzip, byte_order_mark=known.byte_order_mark
        )
    try:
        with storage.open(f"{folder}/{entry.path}") as stream:
            return _measured(file, stream)
    except PermissionError:
        return replace(file, error="no permission to read it")
    except OSError as error:
        return replace(file, error=f"it cannot be read: {error.strerror}")


def _measured(file: LandingFile, stream: BinaryIO) -> LandingFile:
    """Read a file once through: its digest, whether it is gzip, how long its content is, how that begins."""
    digest = hashlib.blake2b(digest_size=16)
    head, length, error = b"", 0, None
    unpack: _Gunzip | None = None
    for number, block in enumerate(iter(lambda: stream.read(_BLOCK), b"")):
        digest.update(block)
        if number == 0 and block.startswith(b"\x1f\x8b"):
            unpack = _Gunzip()
        if error is None:
            try:
                for content in unpack.feed(block) if unpack else [block]:
                    head = (head + content[:_LONGEST_MARK])[:_LONGEST_MARK]
                    length += len(content)
            except zlib.error:
                error = "its gzip data are damaged"
    if unpack and error is None and not unpack.complete:
        error = "its gzip data are cut off"
    if error is None and _is_wide(head):
        error = "it is UTF-16 or UTF-32; the sources deliver UTF-8"
    return replace(
        file,
        bytes=length,
        digest=digest.hexdigest(),
        gzip=unpack is not None,
        byte_order_mark=head.startswith(_UTF8_MARK),
        error=error,
    )


def _is_wide(head: bytes) -> bool:
    return head.startswith(_WIDE_MARKS) or (b"\0" in head[:2] and any(brace in head[:2] for brace in b"{["))


class _Gunzip:
    """Gunzip of blocks, any number of members, without keeping what was unpacked."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def feed(self, block: bytes) -> Iterator[bytes]:
        """Yield the content of one more block, a bounded piece at a time: blanks shrink to a thousandth."""
        while block:
            if self._member.eof:
                block = block.lstrip(b"\0")
                if not block:
                    return
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield self._member.decompress(block, _BLOCK)
            block = self._member.unconsumed_tail or self._member.unused_data

    @property
    def complete(self) -> bool:
        """Whether the last member is whole."""
        return self._member.eof
