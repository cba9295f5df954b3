"""Folders that are being written: private, marked while their writer lives, gone when it fails or dies."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MARK = "_writing"


class Draft:
    """A folder that one living process is writing. Its mark carries a lock that dies with the process."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, and mark it."""
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True)
        self._mark = os.open(folder / _MARK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def keep(self) -> None:
        """Take the mark away: the folder is finished."""
        (self.folder / _MARK).unlink()
        os.close(self._mark)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._mark)


def sweep(folder: Path) -> None:
    """Remove a draft whose writer is dead; leave any other folder alone, and other users' too."""
    mark = folder / _MARK
    try:
        descriptor = os.open(mark, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def is_draft(folder: Path) -> bool:
    """Whether a folder is marked as being written, by a living writer or a dead one."""
    return (folder / _MARK).exists()


def finish(folder: Path) -> None:
    """Take the mark of a dead writer away from a folder that was published all the same."""
    (folder / _MARK).unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes on a file, which stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
