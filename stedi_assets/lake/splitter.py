"""The exact splitter: the records of a file that cutting at `}` alone would get wrong.

Almost every file is a run of flat objects, and Spark splits those at `}` in parallel. A file with anything else in it
(a nested object, a `}` in a text, a cut-off record, garbage) is split again here, in one pass with bounded memory.
Nothing is judged or changed: every byte comes out as part of a record or as a separator.
"""

import codecs
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from stedi_assets.transforms.records import SEPARATORS

# More than the largest record that can be accepted, so that an object that does not end within is broken.
_LOOKAHEAD = 32 << 20

# Java's JSON parser goes to 1,000, Python's to what is left of its recursion limit.
DEEPEST_NESTING = 900

_BREAKS = "\n\r\u2028\u2029"
_ANY = f"[{re.escape(SEPARATORS)}]"
_BLANK = f"[{re.escape(''.join(c for c in SEPARATORS if c not in ',[]'))}]"
_IN_LINE = f"[{re.escape(''.join(c for c in SEPARATORS if c not in _BREAKS))}]"
_NOT_OPENING = f"[{re.escape(SEPARATORS.replace('[', ''))}]"

# An array with nothing in it is a record, and a quarantined one; any other bracket is a separator.
_GAP = re.compile(rf"(?:{_NOT_OPENING}|\[(?!{_BLANK}*\]))*")
_EMPTY_ARRAY = re.compile(rf"\[{_BLANK}*\]")
_RESTART = re.compile(rf"(?:[{_BREAKS}][ \t]*|\}}{_ANY}*)(\{{)")
_OPEN_AT_END = re.compile(rf"\[{_BLANK}*\Z")
_ALL_SEPARATORS = re.compile(rf"{_ANY}*\Z")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_BREAK = re.compile(f"[{_BREAKS}]")
_SCALAR = re.compile(
    r"(?:null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
    r'|"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    rf"(?={_ANY}*\{{|{_IN_LINE}*(?:[{_BREAKS}]|\Z))"
)
# Numbers stay text: they are not looked at here, and Python refuses to convert very long ones.
_OBJECTS = json.JSONDecoder(parse_int=str, parse_float=str)


@dataclass(frozen=True)
class Record:
    """The bytes of one record, whether they are one JSON object, and how many separator bytes stood before."""

    raw: bytes
    is_object: bool
    separator_bytes: int


def split_records(content: BinaryIO) -> Iterator[Record]:
    """Yield the records of a file's content in order; the last one is empty and carries the separators at the end.

    At a `{` that begins a whole JSON object, the record is that object. Otherwise it is broken, and runs to the next
    restart: a `{` that begins a line, or that follows a `}` with only separators between. Anything else is a record
    to the end of its line or a restart, or by itself where it is a lone JSON value.
    """
    window = _Window(content)
    while True:
        window.look_ahead()
        gap = window.skip_separators()
        if window.at_end:
            yield Record(b"", is_object=False, separator_bytes=gap)
            return
        end = _end_of_object(window)
        raw = window.take(end or _end_of_fragment(window))
        yield Record(raw, is_object=end is not None, separator_bytes=gap)


class _Window:
    """The text around a position in the content. Bytes that are not UTF-8 pass through it unchanged."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = ""
        self.position = 0
        self.all_read = False

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.all_read and self.position == len(self.text)

    def look_ahead(self) -> None:
        """Have at least `_LOOKAHEAD` characters from here on, or all that is left."""
        while not self.all_read and len(self.text) - self.position < _LOOKAHEAD:
            self.read_on()

    def read_on(self) -> None:
        """Let go of what has been taken, and have as much again of what follows."""
        kept = self.text[self.position :]
        block = self._content.read(max(_LOOKAHEAD, len(kept)))
        self.all_read = not block
        self.text = kept + self._decoder.decode(block, final=not block)
        self.position = 0

    def skip_separators(self) -> int:
        """Go to the next record, and return how many bytes were passed over."""
        passed = 0
        while True:
            gap = _GAP.match(self.text, self.position)
            end = gap.end() if gap else self.position
            if end < len(self.text) or self.all_read:
                passed += len(self.take(end))
                self.look_ahead()
                return passed
            # What follows is not in sight, and decides whether a bracket at the end is that of an empty array.
            open_bracket = _OPEN_AT_END.search(self.text, self.position)
            passed += len(self.take(open_bracket.start() if open_bracket else end))
            self.read_on()

    def take(self, end: int) -> bytes:
        """Return the bytes up to a position in the text, and go there."""
        taken = self.text[self.position : end]
        self.position = end
        return taken.encode("utf-8", "surrogateescape")


def _end_of_object(window: _Window) -> int | None:
    """Return where the JSON object that begins here ends; None if there is none, or it is broken."""
    if not window.text.startswith("{", window.position):
        return None
    try:
        end = _decoded_end(window.text, window.position)
    except ValueError:
        return None
    return end if end and _depth(window.text, window.position, end) <= DEEPEST_NESTING else None


def _decoded_end(text: str, position: int) -> int | None:
    try:
        return _OBJECTS.raw_decode(text, position)[1]
    except RecursionError:
        pass
    # How much is left of Python's limit depends on the caller; a thread has all of it.
    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            return pool.submit(_OBJECTS.raw_decode, text, position).result()[1]
        except RecursionError:
            return None


def _depth(text: str, start: int, end: int) -> int:
    """Return how deep a JSON object is nested; at most as deep as it has brackets, which is nearly always enough."""
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets <= DEEPEST_NESTING:
        return brackets
    depth = deepest = 0
    for token in _STRING_OR_BRACKET.finditer(text, start, end):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token.group(), 0)
        deepest = max(deepest, depth)
    return deepest


def _end_of_fragment(window: _Window) -> int:
    """Return where something that is not an object ends, the separators behind it left out."""
    broken = window.text.startswith("{", window.position)
    if not broken:
        alone = _EMPTY_ARRAY.match(window.text, window.position) or _SCALAR.match(window.text, window.position)
        if alone and (window.all_read or not _ALL_SEPARATORS.match(window.text, alone.end())):
            return alone.end()
        if alone:  # whether it is alone is not in sight
            window.read_on()
            return _end_of_fragment(window)
    while True:
        restart = _RESTART.search(window.text, window.position)
        stops = [restart.start(1)] if restart else []
        if not broken:
            line_end = _BREAK.search(window.text, window.position)
            stops += [line_end.start()] if line_end else []
        if stops or window.all_read:
            end = min(stops, default=len(window.text))
            length = len(window.text[window.position : end].rstrip(SEPARATORS))
            return window.position + length
        window.read_on()
