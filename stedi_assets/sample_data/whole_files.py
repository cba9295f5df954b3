"""Files that appear whole, and gzip that has the same bytes each time."""

import gzip
import io
import os
from pathlib import Path


def write_whole(path: Path, content: bytes, modified: int | None = None) -> None:
    """Write a file that nobody can see half-written, with a modification time in seconds if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden until it is whole: another process may be watching the folder.
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    if modified is not None:
        os.utime(unfinished, (modified, modified))
    unfinished.replace(path)


def packed(content: bytes) -> bytes:
    """Return the content packed by gzip, without a name or a time."""
    # gzip.compress writes different headers in Python 3.11 and 3.12.
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()
