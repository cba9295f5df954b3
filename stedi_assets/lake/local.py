"""A lake in a local folder: private files, written whole, on the disk before anything says so."""

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.storage import Entry, Small, is_hidden

if TYPE_CHECKING:
    from pyarrow.fs import LocalFileSystem

_LOCK = "_lock"
# Whoever writes into a folder while it is being removed loses in the end, but not at once.
_TRIES = 5


@dataclass(frozen=True)
class LocalFolder:
    """A local folder as the place of a lake. See `stedi_assets.lake.storage.Storage` for what each method does."""

    root: Path

    @property
    def location(self) -> str:
        return str(self.root)

    def url(self, path: str) -> str:
        return str(self.root / path)

    shown = arrow_path = url

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
        # Of a writer that died, the next one writes over it.
        draft = file.with_name(f"{file.name}.tmp")
        with self.writing(str(draft.relative_to(self.root))) as opened:
            opened.write(content)
        _sync(draft)
        draft.replace(file)
        _sync(file.parent)

    def replace(self, path: str, content: bytes, seen: str | None) -> str | None:
        with _locked((self.root / path).with_name(_LOCK)):
            found = self.read(path)
            if (found.version if found else None) != seen:
                return None
            self.write(path, content)
        return _version(content)

    def delete(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        file = self.root / path
        _make_private(file.parent)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as opened:
            yield opened

    def open(self, path: str) -> BinaryIO:
        return (self.root / path).open("rb")

    def entries(self, folder: str) -> Iterator[Entry]:
        top = self.root / folder
        unlistable: list[str] = []

        def note(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                unlistable.append(os.path.relpath(error.filename, top))

        for parent, folders, names in os.walk(top, onerror=note):
            below = os.path.relpath(parent, top)
            for name in [*folders, *names]:
                path, place = name if below == "." else f"{below}/{name}", os.path.join(parent, name)
                if name not in folders:
                    yield _entry(path, place)
                elif is_hidden(name) or os.path.islink(place):
                    yield Entry(path, is_file=False)
            folders[:] = sorted(name for name in folders if not is_hidden(name))
        for path in unlistable:
            yield Entry(path, is_file=False, error="the folder cannot be listed: no permission")

    def files(self, folder: str) -> Mapping[str, int]:
        try:
            return {file.name: file.stat().st_size for file in os.scandir(self.root / folder) if file.is_file()}
        except FileNotFoundError:
            return {}

    def folders(self, folder: str) -> frozenset[str]:
        try:
            return frozenset(entry.name for entry in os.scandir(self.root / folder) if entry.is_dir())
        except FileNotFoundError:
            return frozenset()

    def settle(self, folder: str) -> None:
        place = self.root / folder
        for path in [*place.iterdir(), place, place.parent]:
            _sync(path)

    def purge(self, folder: str) -> None:
        place = self.root / folder
        for left in reversed(range(_TRIES)):
            try:
                shutil.rmtree(place)
            except FileNotFoundError:
                # Another run removes the same.
                if not place.exists():
                    return
            except OSError:
                if not left:
                    raise
            else:
                return


def _version(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _entry(path: str, place: str) -> Entry:
    try:
        status = os.stat(place)
    except PermissionError:
        return Entry(path, is_file=True, error="no permission to read it")
    except OSError:
        return Entry(path, is_file=False)
    changed_at = status.st_ctime_ns // 1_000_000
    return Entry(path, stat.S_ISREG(status.st_mode), status.st_size, fingerprint_of(status), changed_at)


def fingerprint_of(status: os.stat_result) -> str:
    """Return what changes whenever a file may have: its writer can set every one of these but ctime."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes on a file, which stays."""
    _make_private(path.parent)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter, and so those above it that are missing."""
    if not folder.exists():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
