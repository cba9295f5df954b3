"""What the lake asks of the place it lies in: the same of a local folder and of an S3 bucket.

Paths are text, below the lake, with `/` between their parts. What is refused comes as an `OSError` from either.
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

    `fingerprint` changes whenever the content may have. `changed_at` is when that was last, in epoch milliseconds by
    the clock of the place; 0 where files appear whole, and where that cannot be told. `error` says why it cannot be
    looked into. `leads_to` is the path, from the same folder, of what a link leads to. `dated_ahead` is whether a date
    of it lies in the future.
    """

    path: str
    is_file: bool
    size: int = 0
    fingerprint: str = ""
    changed_at: int = 0
    error: str | None = None
    leads_to: str | None = None
    dated_ahead: bool = False


class Storage(Protocol):
    """A place for a lake."""

    @property
    def location(self) -> str:
        """How people name the place."""

    def url(self, path: str) -> str:
        """Return how Spark names a file or folder: to the letter, when it is read by `snapshots.reader_of`."""

    def shown(self, path: str) -> str:
        """Return how people name a file or folder."""

    def arrow(self) -> "FileSystem":
        """Return the place as Arrow reads it; files are named by `arrow_path`."""

    def arrow_path(self, path: str) -> str:
        """Return how Arrow names a file."""

    def require_writable(self) -> None:
        """Raise `LakeError` where it can be seen at once that no lake can be written here."""

    def read(self, path: str) -> Small | None:
        """Return a small file, None if there is none."""

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all, so that only its owner can read it."""

    def replace(self, path: str, content: bytes, seen: str | None) -> str | None:
        """Write a small file if it still has the version that was seen (None: if there is none).

        Return its new version, None where it was not written. Of several who have seen the same one, one succeeds.
        """

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has, None if there is none."""

    def delete(self, path: str) -> None:
        """Remove a small file, if there is one."""

    def writing(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Write a file of any size, so that only its owner can read it."""

    def open(self, path: str, start: int = 0) -> BinaryIO:
        """Open a file of any size to read, from a byte on.

        A link is followed as `entries` does, and never out of the lake.
        """

    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield what lies in a folder, at any depth; nothing of what lies in hidden folders but those.

        A link is followed if it stays below the lake. A folder that is met twice is listed once.
        """

    def files(self, folder: str) -> Mapping[str, int]:
        """Return the files that lie directly in a folder, by name, with their sizes in bytes."""

    def folders(self, folder: str) -> frozenset[str]:
        """Return the names of the folders directly in a folder; also of those that only hold what was deleted."""

    def below(self, folder: str) -> Mapping[str, int]:
        """Return every file below a folder, hidden or not, by its path below the lake, with its size in bytes.

        Also files of which something is left that is not to be seen: deleted versions, unfinished uploads.
        """

    def fsync(self, paths: Iterable[str]) -> None:
        """Have files outlive a loss of power."""

    def delete_permanently(self, folder: str, paths: Collection[str] | None = None) -> None:
        """Remove a folder, or those files below it, so that nothing can bring back what was in them."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data, as for Spark and Athena."""
    return name.startswith(("_", "."))
