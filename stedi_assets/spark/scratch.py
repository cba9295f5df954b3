"""Private working folders: a process removes its own when it ends; if it is killed, the next process does."""

import fcntl
import os
import shutil
from pathlib import Path

_MARK = "_in_use"


class Scratch:
    """A folder that one living process is using. Its mark holds a lock that ends with the process."""

    def __init__(self, folder: Path) -> None:
        """Create the folder, and mark it."""
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True)
        self._mark = os.open(folder / _MARK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._mark)


def sweep(folder: Path) -> None:
    """Remove a scratch folder whose process is dead; leave any other folder alone, and those of other users."""
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
