"""Small files that are private, and written whole or not at all."""

import os
from pathlib import Path
from typing import BinaryIO


def replace_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never a part."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    write_private(draft, text)
    sync(draft)
    draft.replace(path)
    sync(path.parent)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    with private_file(path) as file:
        file.write(text.encode())


def private_file(path: Path) -> BinaryIO:
    """Open a file to write that only its owner can read."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb")


def sync(path: Path) -> None:
    """Have the disk hold a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
