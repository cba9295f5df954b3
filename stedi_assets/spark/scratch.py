"""Private working folders: a process removes its own when it ends; if it is killed, the next process does."""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

_PREFIX, _MARK = "stedi-", "_in_use"


def begin_scratch(name: str) -> "Scratch":
    """Create a private working folder in TMPDIR."""
    return Scratch(Path(tempfile.gettempdir()) / f"{_PREFIX}{name}-{secrets.token_hex(8)}")


def sweep_all() -> None:
    """Remove the working folders in TMPDIR whose processes are dead: they can hold rows of anybody."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        sweep(folder)


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
    with contextlib.suppress(PermissionError):
        if (folder / _MARK).exists() and not is_used(folder):
            shutil.rmtree(folder, ignore_errors=True)


def is_used(folder: Path) -> bool:
    """Whether the process that made a scratch folder is alive."""
    return is_locked(folder / _MARK)


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock of a file, or the file is another user's."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
