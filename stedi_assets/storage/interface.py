"""What the lake needs from the place it lies in. A local folder and an S3 bucket offer the same.

Paths are text, below the lake, with `/` between their parts. Both raise an `OSError` for what the place refuses.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


# How often a request over the network is tried.
ATTEMPTS = 10


@dataclass(frozen=True)
class Small:
    """A small file as it was read. `version` changes with its content."""

    content: bytes
    version: str


@dataclass(frozen=True)
class Entry:
    """Something that lies in a folder, at any depth.

    `fingerprint` changes whenever the content may have changed. `changed_at` is when that was last, in epoch
    milliseconds by the clock of the place; 0 where files appear whole, or if it cannot be told. `error` says why it
    cannot be looked into. `leads_to` is the target of a link, as a path from the same folder. `dated_ahead`: one of its
    dates lies in the future.
    """

    path: str
    is_file: bool
    size: int = 0
    fingerprint: str = ""
    changed_at: int = 0
    error: str | None = None
    leads_to: str | None = None
    dated_ahead: bool = False


class RawFiles(Protocol):
    """A place for raw files."""

    def shown(self, path: str) -> str:
        """Return a file's or folder's name, for people."""

    def open(self, path: str, start: int = 0) -> BinaryIO:
        """Open a file of any size for reading, from a byte on.

        Links are followed as in `entries`, and never out of the lake.
        """

    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield what lies in a folder, at any depth. Nothing that is hidden, or lies in a hidden folder, is a file.

        A link is followed if it stays below the lake. A folder that is met twice is listed once.
        """


class Storage(RawFiles, Protocol):
    """A place for a lake."""

    @property
    def location(self) -> str:
        """The place's name, for people."""

    def url(self, path: str) -> str:
        """Return Spark's name for a file or folder. `snapshots.reader_of` takes it literally."""

    def arrow(self) -> "FileSystem":
        """Return the place as a file system of Arrow; `arrow_path` names its files."""

    def arrow_path(self, path: str) -> str:
        """Return Arrow's name for a file."""

    def require_writable(self) -> None:
        """Raise `LakeError` or `OSError` if it is clear at once that no lake can be written here."""

    def read(self, path: str) -> Small | None:
        """Return a small file, or None if there is none."""

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all, readable by its owner only."""

    def replace(self, path: str, content: bytes, seen: str | None) -> str | None:
        """Write a small file if it still has the version that was seen (None: if there is none).

        Return its new version, or None if it was not written. If several processes have seen the same one, one
        succeeds.
        """

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, or None if there is none."""

    def delete(self, path: str) -> None:
        """Remove a small file, if there is one."""

    def writing(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Write a file of any size, readable by its owner only."""

    def files(self, folder: str) -> Mapping[str, int]:
        """Return the files below a folder: the path below the lake of each, and its size in bytes."""

    def below(self, folder: str) -> Mapping[str, int]:
        """Return the same as `files`, and files of which only invisible parts are left.

        Those are deleted versions and unfinished uploads.
        """

    def unchanged_since(self, folder: str, instant: int) -> frozenset[str]:
        """Return the files of `below` that have not changed since an instant, given in epoch milliseconds."""

    def fsync(self, paths: Iterable[str]) -> None:
        """Make files survive a loss of power."""

    def delete_permanently(self, folder: str, paths: Collection[str] | None = None) -> None:
        """Remove a folder, or the given files below it, so that nothing can bring back their content."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not data. Spark and Athena have the same rule."""
    return name.startswith(("_", "."))
