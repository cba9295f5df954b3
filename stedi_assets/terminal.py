"""What people see on a terminal: colours, tables and progress, drawn by rich. Everything else gets plain text.

Belongs here: how something is shown. Does not: what is said.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn
from rich.table import Column, Table
from rich.text import Text
from rich.theme import Theme

# No line is longer, so nothing is wrapped.
_UNLIMITED = 1 << 20
_STYLES = Theme(
    {
        "outcome.passed": "green",
        "outcome.warned": "yellow",
        "outcome.failed": "bold red",
        # Rich's own is red.
        "bar.complete": "cyan",
    }
)


class _Outcomes(RegexHighlighter):
    """Colours the outcomes of checks: where a line begins with one, and where they are counted."""

    base_style = "outcome."
    highlights = (
        r"(?m)^ *(?P<passed>passed) ",
        r"(?m)^ *(?P<warned>WARN) ",
        r"(?m)^ *(?P<failed>ERROR) ",
        r"(?P<passed>\b[1-9]\d* passed\b)",
        r"(?P<warned>\b[1-9]\d* WARN\b)",
        r"(?P<failed>\b[1-9]\d* ERROR\b)",
    )


def _takes_colours(stream: TextIO | None) -> bool:
    refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") in {"dumb", "unknown"}
    return stream is not None and stream.isatty() and not refused


def _terminal() -> Console:
    """Return the one console, because what is printed and what is in progress must know of each other."""
    # A file of its own: during a step of a run, Dagster leads standard output into a log of its own.
    file = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    return Console(file=file, force_terminal=True, markup=False, emoji=False, highlighter=_Outcomes(), theme=_STYLES)


_STDOUT = sys.stdout
_TERMINAL = _terminal() if _takes_colours(_STDOUT) else None
# What goes to standard error must appear above the progress.
_TAKES_PROGRESS = _takes_colours(sys.stderr)


def say(text: str | Text) -> None:
    """Print text on standard output, line by line as it is: a command or a path can be copied whole."""
    if console := _console():
        console.print(text, soft_wrap=True)
    else:
        print(text)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print rows below the columns' headers, two blanks apart.

    On a narrow terminal, cells take several lines, except in columns with `no_wrap`. Nothing is cut.
    """
    cells = zip(*rows, strict=True)
    shown = [_uncut(column, values) for column, values in zip(columns, cells, strict=True)]
    table = Table(*shown, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*row)
    if console := _console():
        least = sum((column.min_width or 0) + 2 for column in shown) - 2
        table.width = least if least > console.width else None
        console.print(table, crop=False)
        return
    plain = Console(color_system=None, force_terminal=False, width=_UNLIMITED, markup=False, emoji=False)
    with plain.capture() as captured:
        plain.print(table)
    for line in captured.get().rstrip("\n").split("\n"):
        print(line.rstrip())


def _uncut(column: Column, values: Sequence[str | Text]) -> Column:
    """Return a column in which rich cuts nothing. By itself it would put … into cells, or leave a column out."""
    whole = [str(column.header), *(values if column.no_wrap else ())]
    return replace(column, overflow="fold", min_width=max(column.min_width or 0, *map(len, whole)))


def progress(*columns: str | ProgressColumn, vanishes: bool, hidden: bool = False) -> Progress:
    """Return a display of progress, which stays below what is printed meanwhile. It is `disable`d if nobody sees it.

    `vanishes`: nothing of it is left at the end. One begun while another is shown appears below it.
    """
    console = _console() if _TAKES_PROGRESS and not hidden else None
    return Progress(*columns, console=console, transient=vanishes, disable=console is None)


def downloads() -> Progress:
    """Return a display of downloads, which stays to be seen."""
    return progress("{task.description}", BarColumn(bar_width=20), DownloadColumn(), vanishes=False)


def _console() -> Console | None:
    """Return the terminal, if standard output is still what it was, or what rich puts before it during progress."""
    return _TERMINAL if getattr(sys.stdout, "rich_proxied_file", sys.stdout) is _STDOUT else None
