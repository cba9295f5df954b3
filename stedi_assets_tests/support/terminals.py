"""A terminal to run a command on."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(
    command: Sequence[str],
    variables: Mapping[str, str] = MappingProxyType({}),
    columns: int = 80,
    folder: Path | None = None,
) -> str:
    """Return what a command writes to a terminal that many columns wide, its codes included. It must succeed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    unwanted = {"NO_COLOR", "COLUMNS", "LINES"}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment |= {"TERM": "xterm-256color", **variables}
    written = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal open any more
            while piece := os.read(ours, 1 << 16):
                written += piece
    os.close(ours)
    text = written.decode().replace("\r\n", "\n")
    assert process.returncode == 0, text
    return text


def without_codes(text: str) -> str:
    """Return a terminal's text without the codes that colour it."""
    return _CODES.sub("", text)
