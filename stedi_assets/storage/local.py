"""A lake in a local folder: private files, written whole, and on the disk before anything refers to them."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from stedi_assets.contracts import SOURCES
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.interface import Entry, Small, is_hidden

if TYPE_CHECKING:
    from pyarrow.fs import LocalFileSystem

_LOCK = "_lock"
# A process that writes into a folder while it is being removed loses in the end, but not at once.
_TRIES = 5
# Clocks that are set right differ by less.
_CLOCKS_DIFFER_SECONDS = 60
_LEAVES = "it is a link that leaves the lake, and is not followed; put the file itself there"
_DANGLES = "it is a link to something that does not exist"


@dataclass(frozen=True)
class LocalFolder:
    """A local folder as the place of a lake. `storage.interface.Storage` says what each method does."""

    root: Path

    def __post_init__(self) -> None:
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            msg = f"STEDI_LAKE={str(self.root)!a} is not UTF-8, so no engine could name it. Rename the folder."
            raise LakeError(msg) from None

    @property
    def location(self) -> str:
        return str(self.root)

    def shown(self, path: str) -> str:
        return str(self.root / path)

    arrow_path = shown

    def url(self, path: str) -> str:
        # With its scheme: without one, a cluster's Hadoop looks in its own file system.
        return f"file:{self.root / path}"

    def arrow(self) -> "LocalFileSystem":
        from pyarrow.fs import LocalFileSystem  # noqa: PLC0415  (loads Arrow, which the command does before it needs it)

        return LocalFileSystem()

    def require_writable(self) -> None:
        existing = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            msg = f"No permission to write to the lake {self.root}. Change its owner or mode, or set STEDI_LAKE."
            raise LakeError(msg)

    def read(self, path: str) -> Small | None:
        try:
            content = (self.root / path).read_bytes()
        except FileNotFoundError:
            return None
        return Small(content, _version(content))

    def write(self, path: str, content: bytes) -> None:
        file = self.root / path
        # If a writer dies, the next one overwrites its draft.
        draft = file.with_name(f"{file.name}.tmp")
        with self.writing(str(draft.relative_to(self.root))) as opened:
            opened.write(content)
        _sync(draft)
        draft.replace(file)
        _sync(file.parent)

    def replace(self, path: str, content: bytes, seen: str | None) -> str | None:
        lock = (self.root / path).with_name(_LOCK)
        _make_private(lock.parent)
        with locked(lock):
            found = self.read(path)
            if (found.version if found else None) != seen:
                return None
            self.write(path, content)
        return _version(content)

    def size(self, path: str) -> int | None:
        try:
            return (self.root / path).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        file = self.root / path
        _make_private(file.parent)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as opened:
            yield opened

    def open(self, path: str, start: int = 0) -> BinaryIO:
        place = os.path.realpath(self.root / path)
        for top in self._tops(path):
            if _is_below(place, top):
                opened = _open_below(top, place)
                if start:  # pipes cannot seek
                    opened.seek(start)
                return opened
        raise OSError(errno.ELOOP, _LEAVES, self.shown(path))

    def entries(self, folder: str) -> Iterator[Entry]:
        tops = self._tops(folder)
        top = os.path.realpath(self.root / folder)
        links: list[str] = []
        yield from _walk(top, "", links)
        walked = [top]
        # The list grows during the loop: a linked folder can hold links.
        for link in links:
            place = os.path.realpath(os.path.join(top, link))
            if not any(_is_below(place, allowed) for allowed in tops):
                yield Entry(link, is_file=True, error=_LEAVES)
            elif os.path.islink(place) or not os.path.lexists(place):
                yield Entry(link, is_file=True, error=_DANGLES)
            elif not os.path.isdir(place):
                yield _entry(link, place, os.path.relpath(place, top))
            elif any(_is_below(place, seen) or _is_below(seen, place) for seen in walked):
                yield Entry(link, is_file=False)
            else:
                walked.append(place)
                yield from _walk(place, link, links, os.path.relpath(place, top))

    def _tops(self, path: str) -> list[str]:
        """Return the real folders that a link may lead into, the nearest first.

        If a whole landing folder is a link to elsewhere, its operator made it, not a delivery.
        """
        landing = [source.raw_path for source in SOURCES.values() if f"{path}/".startswith(f"{source.raw_path}/")]
        return [os.path.realpath(self.root / top) for top in (*landing, "")]

    def files(self, folder: str) -> Mapping[str, int]:
        return {path: status.st_size for path, status in self._statuses(folder)}

    def below(self, folder: str) -> Mapping[str, int]:
        return self.files(folder)

    def unchanged_since(self, folder: str, instant: int) -> frozenset[str]:
        statuses = self._statuses(folder)
        return frozenset(path for path, status in statuses if status.st_ctime_ns <= instant * 1_000_000)

    def _statuses(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        for parent, _, names in os.walk(self.root / folder, onerror=_raise_unless_gone):
            for name in names:
                file = os.path.join(parent, name)
                with contextlib.suppress(FileNotFoundError):
                    yield os.path.relpath(file, self.root), os.lstat(file)

    def fsync(self, paths: Iterable[str]) -> None:
        files = {self.root / path for path in paths}
        for path in [*files, *{file.parent for file in files}]:
            _sync(path)

    def delete_permanently(self, folder: str, paths: Collection[str] | None = None) -> None:
        if paths is None:
            _remove_tree(self.root / folder)
            return
        for path in paths:
            (self.root / path).unlink(missing_ok=True)
        top = self.root / folder
        held = {parent for path in paths for parent in (self.root / path).parents if top in parent.parents}
        for parent in sorted(held, reverse=True):
            # A folder that another run writes into is not empty.
            with contextlib.suppress(OSError):
                parent.rmdir()


def _remove_tree(place: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(place)
        except FileNotFoundError:
            # Another run removes the same folder.
            if not place.exists():
                return
        except OSError:
            if not left:
                raise
        else:
            return


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _version(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _walk(place: str, path: str, links: list[str], leads_to: str | None = None) -> Iterator[Entry]:
    """Yield what lies in a folder, known below the landing folder as `path`, and note the links in it.

    `leads_to` is the folder's real place, if it was reached by a link.
    """
    unlistable: list[str] = []

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            unlistable.append(os.path.relpath(error.filename, place))

    for parent, folders, names in os.walk(place, onerror=note):
        below = os.path.relpath(parent, place)
        for name in sorted([*folders, *names]):
            found, inside = os.path.join(parent, name), os.path.normpath(os.path.join(below, name))
            known = os.path.join(path, inside)
            if is_hidden(name):
                yield Entry(known, is_file=name not in folders)
            elif os.path.islink(found):
                links.append(known)
            elif name not in folders:
                yield _entry(known, found, os.path.join(leads_to, inside) if leads_to else None)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
    for inside in unlistable:
        known = os.path.normpath(os.path.join(path, inside))
        yield Entry(known, is_file=False, error="the folder cannot be listed: no permission")


def _is_below(place: str, top: str) -> bool:
    return os.path.join(place, "").startswith(os.path.join(top, ""))


def _open_below(top: str, place: str) -> BinaryIO:
    """Open a file below a folder by its real path. A link that was put there since is not followed."""
    *folders, name = os.path.relpath(place, top).split(os.sep)
    at = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        # A pipe would block until another process opens its other end.
        strictly = os.O_NOFOLLOW | os.O_NONBLOCK
        return open(name, "rb", opener=lambda path, flags: os.open(path, flags | strictly, dir_fd=at))
    finally:
        os.close(at)


def _entry(path: str, place: str, leads_to: str | None) -> Entry:
    try:
        status = os.lstat(place)
    except PermissionError:
        return Entry(path, is_file=True, error="no permission to read it")
    except OSError:
        return Entry(path, is_file=False)
    by_our_clock = time.time() + _CLOCKS_DIFFER_SECONDS
    return Entry(
        path,
        stat.S_ISREG(status.st_mode),
        status.st_size,
        fingerprint_of(status),
        # A date in the future does not say how long the file has been unchanged.
        status.st_ctime_ns // 1_000_000 if status.st_ctime < by_our_clock else 0,
        leads_to=leads_to,
        dated_ahead=max(status.st_mtime, status.st_ctime) >= by_our_clock,
    )


def fingerprint_of(status: os.stat_result) -> str:
    """Return what changes whenever a file may have changed: its writer can set every part of it but ctime."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Hold the lock of a file, once no other process does, and yield its descriptor. The file stays.

    A process that inherits the descriptor goes on holding the lock.
    """
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter, and likewise any missing folders above it."""
    if not folder.exists():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
