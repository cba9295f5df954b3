"""The raw files of a source: which there are, what each is, and whether it can be read.

Every directory entry has a fate: it is read, ignored, or named as a file error. Content decides whether a file is
gzip, not its name.
"""

import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_BLOCK = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_LONGEST_MARK = 4


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
class Listing:
    """The files to read, in order of their paths, and what was passed over."""

    files: tuple[LandingFile, ...]
    ignored: tuple[str, ...]
    hidden: tuple[str, ...]


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


def list_landing_files(folder: Path, known: dict[str, FileReport]) -> Listing:
    """List a source's raw files and look at each: size, content, whether it can be read.

    `known` are the reports of the last snapshot; a file whose fingerprint has not changed is not read again.
    """
    by_fate: dict[str, list[str]] = {"read": [], "ignored": [], "hidden": [], "error": []}
    for path, fate in _entries(folder):
        by_fate[fate].append(path)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        files = list(pool.map(lambda path: _looked_at(folder, path, known.get(path)), sorted(by_fate["read"])))
    files += [LandingFile(path, 0, "", error="the folder cannot be listed: no permission") for path in by_fate["error"]]
    return Listing(tuple(files), tuple(sorted(by_fate["ignored"])), tuple(sorted(by_fate["hidden"])))


def changed_since(folder: Path, file: LandingFile) -> bool:
    """Whether a file is gone or may have another content than when it was listed."""
    try:
        return fingerprint_of(os.stat(folder / file.path)) != file.fingerprint
    except OSError:
        return True


def fingerprint_of(status: os.stat_result) -> str:
    """Return what changes whenever a local file may have: its writer can set every one of these but ctime."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def open_content(folder: Path, file: LandingFile) -> BinaryIO:
    """Open a file's content, decompressed."""
    path = folder / file.path
    return cast("BinaryIO", gzip.open(path, "rb")) if file.gzip else path.open("rb")


def _entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every entry below the folder with its fate: 'read', 'ignored', 'hidden', or 'error'."""
    unlistable: list[str] = []

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            unlistable.append(os.path.relpath(error.filename, folder))

    for parent, folders, names in os.walk(folder, onerror=note):
        below = os.path.relpath(parent, folder)
        for name in [*folders, *names]:
            path = name if below == "." else f"{below}/{name}"
            if name.startswith(("_", ".")):
                yield path, "hidden"
            elif name in folders:
                if os.path.islink(os.path.join(parent, name)):
                    yield path, "ignored"
            elif _is_record_file(name) and _may_be_file(os.path.join(parent, name)):
                yield path, "read"
            else:
                yield path, "ignored"
        folders[:] = sorted(name for name in folders if not name.startswith(("_", ".")))
    for path in unlistable:
        yield path, "error"


def _may_be_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError:
        return True  # looking at it will say so
    except OSError:
        return False


def _is_record_file(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def _looked_at(folder: Path, path: str, known: FileReport | None) -> LandingFile:
    try:
        status = os.stat(folder / path)
        file = LandingFile(path, status.st_size, fingerprint_of(status))
        if known is not None and known.fingerprint == file.fingerprint and known.error is None:
            return replace(
                file,
                bytes=known.bytes,
                digest=known.digest,
                gzip=known.gzip,
                byte_order_mark=known.byte_order_mark,
            )
        with (folder / path).open("rb") as stream:
            return _measured(file, stream)
    except PermissionError:
        return LandingFile(path, 0, "", error="no permission to read it")
    except OSError as error:
        return LandingFile(path, 0, "", error=f"it cannot be read: {error.strerror}")


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
