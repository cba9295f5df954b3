"""Whom a quarantined record concerns, read from text that may be broken anywhere.

There are two answers. `Evidence` counts against a person, and for who holds a device: it reads the texts under the keys
that name them. `mentions` is for erasure, and goes as far as it can: it finds everything that looks like an address,
however it is escaped and whatever surrounds it.
"""

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from stedi_assets.ingest.identity import BLANKS, device_of, person_of, plain_forms

# An address has at most 254 characters (RFC 5321), and six times as many if written in escapes.
_LONGEST_VALUE = 4_000
# What programs write that do not write UTF-8. Each gives some text for any bytes.
_OTHER_ENCODINGS = ("cp1252", "latin-1", "cp1250", "cp850", "mac_roman")
_LONGEST_PART = 320
# With more addresses than these in one record, they are not told apart: it may concern anybody.
_MOST_MENTIONS = 10_000
# A text of signs around each `@` has as many places to cut it. Some seconds are spent on it, not hours.
_MOST_TRIED = 500_000


def _under(key: str) -> re.Pattern[str]:
    r"""Return a pattern for a key and its colon. Any letter of the key may be written as a `\u` escape."""
    letters = "".join(rf"(?:{c}|\\u00(?:{ord(c.lower()):02x}|{ord(c.upper()):02x}))" for c in key)
    return re.compile(rf'"{letters}"\s*:\s*', re.IGNORECASE)


_EMAIL, _USER, _DEVICE = _under("email"), _under("user"), _under("serialNumber")
_TEXT = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*")
_CONTROLS = re.compile(r"[\x00-\x1f]")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/])|[bfnrt])')
_EDGE = re.compile(f"[{re.escape(BLANKS)}]")


@dataclass
class Evidence:
    """The keys of people and devices that a record names, in their order.

    A customer's record names its person only under `email`, a reading also under `user`.
    """

    of_customers: bool = True
    people: dict[str, None] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)

    def read(self, text: str) -> None:
        """Add the people and devices that a text names."""
        for under in (_EMAIL,) if self.of_customers else (_EMAIL, _USER):
            for value in _texts(text, under):
                if person := person_of(value):
                    self.people[person] = None
        for value in _texts(text, _DEVICE, numbers=True):
            if (device := device_of(value)) is not None:
                self.devices[device] = None


class Listener:
    """Reads evidence from a record that comes in parts of any size."""

    def __init__(self, *, of_customers: bool = True) -> None:
        self.evidence = Evidence(of_customers)
        self._before = b""

    def __call__(self, part: bytes) -> None:
        """Read one more part."""
        text = self._before + part
        for decoded in _decoded(text):
            self.evidence.read(decoded)
        # A key and its value may span two parts.
        self._before = text[-2 * _LONGEST_VALUE :]


def find_evidence(raw: bytes, *, of_customers: bool = True) -> Evidence:
    """Return the people and devices that a record names."""
    found = Evidence(of_customers)
    for decoded in _decoded(raw):
        found.read(decoded)
    return found


def find_mentions(raw: bytes) -> list[str] | None:
    """Return the keys of all people whom a record may name anywhere; None if it may be anybody.

    These may be too many, but never too few: around each `@`, the text before and after is cut at every sign in it.
    """
    if _ends_within_an_address(raw):
        return None
    found: dict[str, None] = {}
    texts = (text for decoded in _decoded(raw) for text in _readings(decoded))
    for tried, address in enumerate(address for text in texts for address in _addresses(text)):
        if person := person_of(address):
            found[person] = None
        if len(found) > _MOST_MENTIONS or tried > _MOST_TRIED:
            return None
    return list(found)


def _decoded(raw: bytes) -> list[str]:
    """Return a text, and what else it may be if it is not UTF-8: in doubt, it names everybody whom it may name."""
    try:
        return [raw.decode()]
    except UnicodeDecodeError:
        return [raw.decode(encoding, "replace") for encoding in ("utf-8", *_OTHER_ENCODINGS)]


def _ends_within_an_address(raw: bytes) -> bool:
    """Whether an object is cut off in a text that holds an `@`, so that nobody can tell whose address it is."""
    before, quote, tail = raw.rpartition(b'"')
    is_text = quote and raw.startswith(b"{") and not before.endswith(b"\\")
    return bool(is_text) and b"@" in tail and not any(sign in tail for sign in b":,}]")


def _texts(text: str, under: re.Pattern[str], *, numbers: bool = False) -> Iterator[str]:
    # The value is not passed over: in a broken record it can hold the next key.
    for key in under.finditer(text):
        value = _TEXT.match(text, key.end(), key.end() + _LONGEST_VALUE)
        if value:
            yield _unescaped(value[1])
        elif numbers and (number := _NUMBER.match(text, key.end(), key.end() + _LONGEST_VALUE)):
            yield number.group()


def _signs(text: str) -> Iterator[int]:
    """Yield the position of each sign that may end what is before it: no letter, no digit, and no accent of one."""
    return (place for place, sign in enumerate(text) if not (sign.isalnum() or unicodedata.combining(sign)))


def _unescaped(text: str) -> str:
    """Resolve the escapes of a JSON text. Control characters, which only a broken text has, become blanks."""
    try:
        return str(json.loads(f'"{_CONTROLS.sub(" ", text)}"'))
    except ValueError:
        return text


def _readings(text: str) -> Iterator[str]:
    """Yield a text as written, and as it reads with the escapes of JSON, URLs and HTML resolved."""
    seen = set()
    for _ in range(2):
        for read in (plain_forms, _without_json_escapes, unquote, html.unescape):
            text = read(text)
            if text not in seen:
                seen.add(text)
                yield text


def _without_json_escapes(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2] or " ", text)


def _addresses(text: str) -> Iterator[str]:
    at = text.find("@")
    while at >= 0:
        before = _EDGE.split(text[max(0, at - _LONGEST_PART) : at])[-1].rpartition("@")[2]
        behind = _EDGE.split(text[at + 1 : at + 1 + _LONGEST_PART], maxsplit=1)[0].partition("@")[0]
        starts = [0, *(place + 1 for place in _signs(before))]
        ends = [len(behind), *_signs(behind)]
        yield from (f"{before[start:]}@{behind[:end]}" for start in starts for end in ends)
        at = text.find("@", at + 1)
