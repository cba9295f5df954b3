"""PyIceberg's access to the lake's files. It uses the lake's own storage, so that they are as private and encrypted."""

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from functools import lru_cache
from types import TracebackType
from typing import cast

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from typing_extensions import Self

from stedi_assets.storage.errors import ElsewhereError
from stedi_assets.storage.interface import Storage
from stedi_assets.storage.lake import Lake, is_on_s3

# So many of the last files of Iceberg's metadata that were read from S3 are kept, most of some 10 to 100 kB.
_KEPT = 256


def plain(location: str) -> str:
    """Return a location as the lake itself writes it: without a scheme, or with `s3://`."""
    return location.removeprefix("file://").removeprefix("file:").replace("s3a://", "s3://", 1)


def path_of(lake: Lake, location: str) -> str:
    """Return the path, below the lake, of a location in Iceberg's metadata.

    Raises `ElsewhereError` if it is not in the lake, for example because the lake was moved by hand.
    """
    top = lake.storage.shown("").rstrip("/") + "/"
    path = plain(location)
    if not path.startswith(top):
        msg = (
            f"The tables of {lake.location} name files that lie elsewhere. If the lake was moved, copied or restored, "
            f"run `stedi relocate`; if another lake has the same namespace, {lake.namespace}, in the same catalog, set "
            "STEDI_NAMESPACE to another name."
        )
        raise ElsewhereError(msg, location)
    return path.removeprefix(top)


def cannot_be_reached(error: Exception) -> bool:
    """Whether a file could not be reached at all. Arrow gives no error number for one that it finds but cannot read."""
    if isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, OSError) and (error.errno is not None or "AWS Error" in str(error))


class LakeFileIO(FileIO):
    """The files of a lake, by their locations in Iceberg's metadata."""

    def __init__(self, lake: Lake) -> None:
        super().__init__({})
        self.lake = lake

    def new_input(self, location: str) -> "_File":
        """Return a file to read."""
        return _File(self, location)

    def new_output(self, location: str) -> "_File":
        """Return a file to write."""
        return _File(self, location)

    def read(self, path: str) -> bytes:
        """Return a file of metadata by its path; one on S3 as it was read last, as Iceberg never changes a file."""
        return _read_once(self, path) if is_on_s3(self.lake.location) else self.read_again(path)

    def read_again(self, path: str) -> bytes:
        """Return a file as it is now. Raises `FileNotFoundError` if there is none."""
        if (found := self.lake.storage.read(path)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.lake.storage.shown(path))
        return found.content

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file."""
        place = location if isinstance(location, str) else location.location
        self.lake.storage.delete(path_of(self.lake, place))


class _File(InputFile, OutputFile):
    def __init__(self, io: LakeFileIO, location: str) -> None:
        super().__init__(location)
        self._io, self._storage, self._path = io, io.lake.storage, path_of(io.lake, location)

    def __len__(self) -> int:
        if (size := self._storage.size(self._path)) is None:
            raise FileNotFoundError(self.location)
        return size

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._storage.size(self._path) is not None

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002, FBT001, FBT002  (as PyIceberg has it)
        """Open the file. Iceberg's metadata is small, and read whole: on S3 that is one request."""
        return cast("InputStream", io.BytesIO(self._io.read(self._path)))

    def to_input_file(self) -> "_File":
        """Return the file, to read."""
        return self

    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: ARG002, FBT001, FBT002  (as PyIceberg has it)
        """Open the file to write. Iceberg never uses a name twice."""
        return cast("OutputStream", _Stream(self._storage, self._path))


@lru_cache(maxsize=_KEPT)
def _read_once(io: LakeFileIO, path: str) -> bytes:
    return io.read_again(path)


def forget_read() -> None:
    """Read all metadata again: what is damaged may be restored."""
    _read_once.cache_clear()


class _Stream:
    """A file being written. It can be closed as a stream or used as a context."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._left = contextlib.ExitStack()
        # Sync the file once it is written, and before anything names it.
        self._left.callback(storage.fsync, [path])
        self._file = self._left.enter_context(storage.writing(path))

    @property
    def closed(self) -> bool:
        return self._file.closed

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def write(self, content: bytes) -> int:
        return self._file.write(content)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._left.close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.__exit__(kind, error, trace)
