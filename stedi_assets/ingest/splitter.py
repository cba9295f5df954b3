"""The splitter: from a stream of bytes to records, in one pass, in bounded memory and linear time.

Nothing is validated or changed here: every byte comes out as part of a record or as a separator between two. Separators
are white space, commas, brackets around records, and byte-order marks.

Nearly every file is lines of flat objects. A few counts recognise a block of those, and it is parsed at once (`Block`).
In any other block, records are found one by one:

- at a `{` that begins a whole JSON object of at most `LARGEST_RECORD` bytes, the record is that object;
- at any other `{` it is broken, and runs to the next restart: a `{` that begins a line, or that follows a `}` with only
  separators between;
- anything else is a record to the end of its line or to a restart, or by itself if it is a lone JSON value.

At most twice `LARGEST_RECORD` and a few blocks are held; of a larger record, its first `HEAD` bytes. With what the
parser needs for a record of a million fields, that is less than 256 MiB. Each bracket is looked at once, however many
of them never close.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import orjson

from stedi_assets.ingest.json_text import DEEPEST_NESTING, end_of_string, is_too_deep, read_object, with_all_the_stack

# A larger record is not accepted. This is some 40,000 times the size of a customer's.
LARGEST_RECORD = 16_000_000
# How much is kept of a record that is too large.
HEAD = 64 << 10

_BLOCK = 1 << 20
# How far separators are looked for, back or ahead, and how long a lone value may be.
_NEAR = 64 << 10

_NARROW = b" \t\n\x0b\f\r,[]"
_WIDE = (b"\xef\xbb\xbf", b"\xc2\x85", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
_WIDEST = 3
_NARROW_BUT_OPENING = re.compile(rb"[ \t\n\x0b\f\r,\]]*")
# All but the last bracket of a run.
_OPENINGS = re.compile(rb"\[+(?=\[)")
_BRACKETED = re.compile(rb"\[([ \t\n\x0b\f\r\xef\xbb\xbf\xc2\x85\xa0\xe2\x80\xa8\xa9]*)\]")
_LINE_BREAK = re.compile(rb"[\n\r]|\xe2\x80[\xa8\xa9]")
# The bytes that separators consist of; a match need not be a separator.
_LIKE_SEPARATORS = rb"[ \t\n\x0b\f\r,\[\]\xef\xbb\xbf\xc2\x85\xa0\xe2\x80\xa8\xa9]*"
_NEXT_OBJECT = rb"\}(" + _LIKE_SEPARATORS + rb")(?=\{)"
_RESTART = re.compile(rb"(?:[\n\r]|\xe2\x80[\xa8\xa9])[ \t]*(?=\{)|" + _NEXT_OBJECT)
_LINE_END_OR_RESTART = re.compile(rb"(?=[\n\r]|\xe2\x80[\xa8\xa9])|" + _NEXT_OBJECT)
_SEPARATORS_OR_LIKE = re.compile(_LIKE_SEPARATORS)
_SCALAR = re.compile(
    rb"(?:null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
    rb'|"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")'
)
_STRUCTURE = re.compile(rb'["{}\[\]]')
# Strict, except for NaN and Infinity; nothing that it reads is kept.
_PARSER = json.JSONDecoder(object_pairs_hook=bool, parse_int=bool, parse_float=bool, parse_constant=bool)
# `-Infinity`, or an escape: text that is cut off within it looks wrong, not unfinished.
_LONGEST_TOKEN = 16
# How far to look ahead for the end of an object at first.
_LOOK = 4 << 10

Listener = Callable[[bytes], None]


class Stream(Protocol):
    """A source of bytes: at most so many at a time, none at the end."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""


@dataclass(frozen=True)
class Record:
    """One record.

    `raw` are its bytes; if it is larger than `LARGEST_RECORD`, the first `HEAD`. `offset` is where it begins in the
    stream, `length` how long it is, `separator_bytes` how many bytes precede it. `is_object`: it is one JSON object;
    `value` is that object, unless there is a doubt about it. `digest` is the BLAKE2b hash of all of a larger record.
    `larger_object` are the first `HEAD` bytes of an object that begins here and is larger than any record may be, so
    that it counts as broken.
    """

    raw: bytes
    offset: int
    length: int
    separator_bytes: int
    is_object: bool = False
    value: dict[str, Any] | None = None
    digest: str | None = None
    larger_object: bytes = b""

    @property
    def is_cut_off(self) -> bool:
        """Whether this may be the beginning of an object that was cut off."""
        return not self.is_object and self.raw.startswith(b"{") and not self.raw.endswith(b"}")


@dataclass(frozen=True)
class Block:
    """Lines that are one flat object each, parsed.

    `lines` are their bytes, and `data` those of the whole block, which begins with the first line. `separator_bytes` is
    how many bytes precede it.
    """

    data: bytes
    offset: int
    separator_bytes: int
    lines: Sequence[bytes]
    objects: Sequence[dict[str, Any]]

    def records(self) -> Iterator[Record]:
        """Yield the records one by one."""
        position, before = 0, self.separator_bytes
        for line, value in zip(self.lines, self.objects, strict=True):
            # Each line has one opening brace, and there is none between two lines.
            start = self.data.index(b"{", position)
            separators = before + start - position
            yield Record(line, self.offset + start, len(line), separators, is_object=True, value=value)
            position, before = start + len(line), 0


@dataclass(frozen=True)
class End:
    """The end of the stream: the separators before it, and how many bytes there were in all.

    `within_object`: an object has begun and not ended, so it may go on in another stream.
    """

    separator_bytes: int
    offset: int
    within_object: bool = False


def split(content: Stream, larger: Callable[[], Listener] | None = None) -> Iterator[Block | Record | End]:
    """Yield the content of a stream in order, its end last.

    For a record that is too large to be held, `larger` returns a listener, which gets all of its bytes.
    """
    window = _Window(content)
    objects = _Objects(window)
    one_by_one_until = line_tried_until = 0
    while True:
        separators = window.skip_separators()
        if window.at_end:
            yield End(separators, window.offset, objects.are_open_at_end)
            return
        if window.offset >= one_by_one_until:
            data, one_by_one_until = window.lines_ahead()
            if block := _flat_lines(data, window.offset, separators):
                yield block
                window.take(len(data))
                continue
        if window.offset >= line_tried_until:
            line, line_tried_until = window.line_ahead()
            value = read_object(line) if line.startswith(b"{") and line.endswith(b"}") else None
            if value is not None:
                yield Record(line, window.offset, len(line), separators, is_object=True, value=value)
                window.take(len(line))
                continue
        yield _next_record(window, objects, separators, larger)


def _flat_lines(data: bytes, offset: int, separator_bytes: int) -> Block | None:
    """Return a block of lines that are one flat object each; None if they may be anything else.

    JSON strings have no line breaks, so each line begins outside of one. It begins with its only opening brace, so no
    object holds another. It ends with a brace, so its object ends there.
    """
    # What may separate two objects on one line. Within a string, the new line break would make the text invalid.
    text = data.replace(b"}{", b"}\n{").replace(b"},{", b"}\n{").replace(b"}, {", b"}\n{")
    lines = [*filter(None, text.split(b"\n"))]
    if not (joined := _joined(lines)):
        lines = [line for line in (line.strip(b" \t\r,]") for line in lines) if line]
        joined = _joined(lines)
    if not joined:
        return None
    if data.count(b"{") != len(lines) or data.count(b"[") > DEEPEST_NESTING:
        return None
    try:
        objects = orjson.loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    return Block(data, offset, separator_bytes, lines, objects) if len(objects) == len(lines) else None


def _joined(lines: Sequence[bytes]) -> bytes:
    """Return lines as the elements of an array, if each begins and ends with a brace; else nothing."""
    joined = b",\n".join(lines)
    are_objects = joined.startswith(b"{") and joined.endswith(b"}") and joined.count(b"},\n{") == len(lines) - 1
    return joined if are_objects else b""


def _next_record(
    window: "_Window", objects: "_Objects", separators: int, larger: Callable[[], Listener] | None
) -> Record:
    """Take the record that begins here, found without guessing."""
    offset = window.offset
    begins_object = window.starts_with(b"{")
    if begins_object and (end := objects.end_of(offset)):
        raw = window.take(end - offset)
        return Record(raw, offset, len(raw), separators, is_object=True, value=read_object(raw))
    larger_object = window.look(HEAD) if objects.larger_at == offset else b""
    length = None if begins_object else window.length_of_lone_value()
    length = length or window.length_of_fragment(to_line_end=not begins_object)
    if length <= LARGEST_RECORD:
        return Record(window.take(length), offset, length, separators, larger_object=larger_object)
    head, length, digest = _take_larger(window, larger() if larger else lambda _: None, to_line_end=not begins_object)
    return Record(head, offset, length, separators, digest=digest, larger_object=larger_object)


def _take_larger(window: "_Window", listener: Listener, *, to_line_end: bool) -> tuple[bytes, int, str]:
    """Take a record that is too large to be held; return its head, length and digest."""
    head, digest, length = window.look(HEAD), hashlib.blake2b(digest_size=16), 0
    while True:
        found = window.length_in_sight(to_line_end=to_line_end)
        part = window.take(window.ahead - _NEAR if found is None else found)
        digest.update(part)
        listener(part)
        length += len(part)
        if found is not None:
            return head, length, digest.hexdigest()
        window.read_on()


class _Window:
    """The bytes around a position in a stream, and what they alone can tell."""

    def __init__(self, content: Stream) -> None:
        self._content = content
        self.bytes = b""
        self.start = 0
        self.position = 0
        self.all_read = False

    @property
    def offset(self) -> int:
        """The position in the stream."""
        return self.start + self.position

    @property
    def ahead(self) -> int:
        """How many bytes are in sight."""
        return len(self.bytes) - self.position

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.all_read and not self.ahead

    def read_on(self) -> None:
        """Drop what has been taken, and bring twice as much in sight, so that bytes are rarely copied."""
        kept = self.bytes[self.position :]
        wanted = max(_BLOCK, len(kept))
        blocks = []
        while wanted > 0 and (block := self._content.read(wanted)):
            blocks.append(block)
            wanted -= len(block)
        self.all_read = wanted > 0
        self.start += self.position
        self.bytes, self.position = b"".join([kept, *blocks]), 0

    def have(self, count: int) -> None:
        """Bring so many bytes in sight, or all that are left."""
        while self.ahead < count and not self.all_read:
            self.read_on()

    def look(self, count: int) -> bytes:
        """Return the next bytes in sight."""
        return self.bytes[self.position : self.position + count]

    def take(self, count: int) -> bytes:
        """Return the next bytes in sight, and move past them."""
        taken = self.look(count)
        self.position += len(taken)
        return taken

    def starts_with(self, start: bytes) -> bool:
        """Whether these bytes are next."""
        return self.bytes.startswith(start, self.position)

    def skip_separators(self) -> int:
        """Move to the next record, and return how many bytes were skipped."""
        began = self.offset
        while True:
            self.have(_WIDEST)
            passed = _NARROW_BUT_OPENING.match(self.bytes, self.position)
            self.position = passed.end() if passed else self.position
            if not self.ahead and not self.all_read:
                continue
            self.have(_WIDEST)
            if wide := next((s for s in _WIDE if self.starts_with(s)), None):
                self.position += len(wide)
            elif self.starts_with(b"["):
                self.have(_NEAR)
                if run := _OPENINGS.match(self.bytes, self.position):
                    self.position = run.end()
                # An empty array is a record, and is quarantined.
                if _end_of_empty_array(self.bytes, self.position):
                    return self.offset - began
                self.position += 1
            else:
                return self.offset - began

    def lines_ahead(self) -> tuple[bytes, int]:
        """Return a block of whole lines, as far as can be told, without separators after them; and where it ends."""
        self.have(_BLOCK)
        data = self.look(_BLOCK)
        if len(data) == _BLOCK:
            end = data.rfind(b"\n")
            whole = data[: end if end > 0 else data.rfind(b"}") + 1]
            data = whole or data
        return data.rstrip(_NARROW), self.offset + len(data)

    def line_ahead(self) -> tuple[bytes, int]:
        """Return the rest of the line, or nothing if it is long; and the offset before which no other line begins."""
        self.have(_BLOCK)
        end = self.bytes.find(b"\n", self.position, self.position + _BLOCK)
        if end < 0:
            end = self.position + min(self.ahead, _BLOCK)
            if not self.all_read or self.ahead > _BLOCK:
                return b"", self.start + end
        return self.bytes[self.position : end].rstrip(_NARROW), self.start + end

    def length_of_lone_value(self) -> int | None:
        """Return the length of an empty array or JSON value that stands alone here; None if there is none."""
        self.have(_NEAR)
        if array := _end_of_empty_array(self.bytes, self.position):
            return array - self.position
        last = min(self.position + _NEAR, len(self.bytes))
        if not (scalar := _SCALAR.match(self.bytes, self.position, last)):
            return None
        after = _SEPARATORS_OR_LIKE.match(self.bytes, scalar.end(), last)
        between = after.group() if after else b""
        follows = scalar.end() + len(between)
        ends = self.all_read and follows == len(self.bytes)
        is_alone = ends or self.bytes.startswith(b"{", follows) or _LINE_BREAK.search(between)
        return scalar.end() - self.position if is_alone and _are_separators(between) else None

    def length_of_fragment(self, *, to_line_end: bool) -> int:
        """Return the length of what begins here, if it is no object; more than `LARGEST_RECORD` if it may be longer."""
        looked_at = 0
        while (length := self.length_in_sight(looked_at, to_line_end=to_line_end)) is None:
            if self.ahead > LARGEST_RECORD:
                return LARGEST_RECORD + 1
            looked_at = max(0, self.ahead - _NEAR)
            self.read_on()
        return length

    def length_in_sight(self, looked_at: int = 0, *, to_line_end: bool) -> int | None:
        """Return the length of a fragment without the separators after it; None if its end is not in sight."""
        end = _end_of_fragment(self.bytes, self.position + looked_at, to_line_end=to_line_end)
        if end is None and not self.all_read:
            return None
        end = len(self.bytes) if end is None else end
        return max(1, len(_without_separators_behind(self.bytes[self.position : end])))


class _Objects:
    """Where the objects of a stream end.

    A parser finds out, which stops at the first thing that is not JSON. Every object that was open there is broken too.
    That is remembered, so that nothing is parsed again from each brace before it. If an object is too large or too
    deep, a count of brackets goes on from where the parser stopped, for the objects that began within it.
    """

    def __init__(self, window: _Window) -> None:
        self._window = window
        self._broken: set[int] = set()
        # Objects that began and have not ended before the frontier: where, and how many brackets were open around each.
        self._open: dict[int, int] = {}
        self._depth = self._frontier = 0
        # Where the last object that was too large began.
        self.larger_at: int | None = None
        self.are_open_at_end = False

    def end_of(self, offset: int) -> int | None:
        """Return where the object ends that begins at an offset; None if it is broken, too large or too deep."""
        if offset in self._broken:
            return None
        if offset in self._open:
            for outer in [outer for outer in self._open if outer < offset]:
                del self._open[outer]
            return self._parse(offset) if self._closes(offset) else None
        return self._parse(offset)

    def _parse(self, offset: int) -> int | None:
        window, size = self._window, _LOOK
        while True:
            window.have(size)
            text = window.look(size).decode("latin-1")
            found = _end_of_json(text)
            if isinstance(found, json.JSONDecodeError) and not _is_unfinished(found, text):
                self._give_up(offset, offset + found.pos)
                return None
            length = found if isinstance(found, int) else len(text)
            if length > LARGEST_RECORD:
                self.larger_at = offset
            elif isinstance(found, int) and not is_too_deep(window.look(length)):
                return offset + length
            if isinstance(found, json.JSONDecodeError):
                if window.all_read and length == window.ahead:
                    self.are_open_at_end = True
                    self._give_up(offset, offset + length)
                    return None
                if length <= LARGEST_RECORD:
                    # In steps, because an error takes as long as the text before it.
                    size *= 8
                    continue
            # Too large or too deep.
            self._begin(offset)
            self._closes(offset)
            return None

    def _give_up(self, offset: int, until: int) -> None:
        """Remember that no object ends that began here and is still open at `until`."""
        self._begin(offset)
        self._closes(offset, until)
        self._broken, self._open = set(self._open), {}

    def _begin(self, offset: int) -> None:
        self._open, self._depth, self._frontier = {}, 0, offset

    def _closes(self, offset: int, until: int | None = None) -> bool:
        """Count brackets until an object ends, or is too large or too deep, or `until` is reached; say if it ends."""
        window = self._window
        while self._depth - self._open.get(offset, 0) <= DEEPEST_NESTING:
            at = self._frontier - window.start
            found = _STRUCTURE.search(window.bytes, at, until - window.start if until else len(window.bytes))
            end = found and (end_of_string(window.bytes, found.end()) if found.group() == b'"' else found.end())
            if found is None or end is None:
                if until or window.all_read or window.ahead > LARGEST_RECORD:
                    self.are_open_at_end |= window.all_read and not until
                    return False
                window.read_on()
                continue
            self._frontier = window.start + end
            mark, begins = found.group(), window.start + found.start()
            if mark == b"{":
                self._open[begins] = self._depth
            if mark in b"{[":
                self._depth += 1
            elif mark in b"}]":
                self._depth -= 1
                if mark == b"}" and self._open:
                    ended, _ = self._open.popitem()
                    if ended == offset:
                        return True
        return False


def _end_of_json(text: str) -> int | json.JSONDecodeError | None:
    """Return where the JSON value ends that a text begins with, or the error; None if it is too deep to tell."""
    try:
        return with_all_the_stack(partial(_PARSER.raw_decode, text))[1]
    except json.JSONDecodeError as error:
        return error
    except RecursionError:
        return None


def _is_unfinished(error: json.JSONDecodeError, text: str) -> bool:
    """Whether what the parser stopped at could be valid with more text."""
    return error.msg.startswith("Unterminated") or error.pos > len(text) - _LONGEST_TOKEN


def _end_of_fragment(text: bytes, position: int, *, to_line_end: bool) -> int | None:
    """Return where a fragment ends: at a restart, or at its line's end; None if neither is in sight."""
    pattern = _LINE_END_OR_RESTART if to_line_end else _RESTART
    while match := pattern.search(text, position):
        between = match[1] or b""
        if _are_separators(between):
            line_end = _LINE_BREAK.search(between) if to_line_end else None
            return match.start(1) + line_end.start() if line_end else match.end()
        position = match.start() + 1
    return None


def _end_of_empty_array(text: bytes, position: int) -> int | None:
    found = _BRACKETED.match(text, position, position + _NEAR)
    return found.end() if found and _are_separators(found[1]) else None


def _are_separators(text: bytes) -> bool:
    return not _without_separators_behind(text)


def _without_separators_behind(text: bytes) -> bytes:
    while True:
        text = text.rstrip(_NARROW)
        wide = next((s for s in _WIDE if text.endswith(s)), None)
        if wide is None:
            return text
        text = text[: -len(wide)]
