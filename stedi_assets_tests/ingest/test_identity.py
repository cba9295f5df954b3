"""Who is who: one key for all spellings of an e-mail, the same in the tables and for `stedi hash-person`.

Without Spark: what is stored comes from the judge of the landing gate.
"""

import hashlib
import hmac
import io
import json
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Literal

import pytest

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest import validation
from stedi_assets.ingest.alphabet import is_within
from stedi_assets.ingest.evidence import Evidence
from stedi_assets.ingest.identity import device_of, person_of
from stedi_assets.ingest.splitter import Block, Record, split
from stedi_assets.ingest.validation import RecordValidator
from stedi_assets.privacy.suppression import person_hash
from stedi_assets.storage.errors import LakeError
from stedi_assets_tests.support import oracle

KEY = b"a suppression key for tests, 32 bytes and more"
ADA = "ada@example.com"
ALL = range(0x110000)
# The planes that are nearly empty, in steps; whatever has cases, widths or forms lies before them.
SLICE = [*range(0x600), *range(0x1E00, 0x2100), *range(0xFE00, 0x10000), *range(0x600, 0x110000, 113)]
INVISIBLE = [
    "\u00ad",
    "\u034f",
    "\u061c",
    "\u115f",
    "\u180e",
    "\u200b",
    "\u200d",
    "\u200f",
    "\u202e",
    "\u2060",
    "\u3164",
]
INVISIBLE += ["\ufe0f", "\ufeff", "\uffa0", "\U000e0041", "\U000e01ef"]
BLANKS = [" ", "\t", "\n", "\r\n", "\x00", "\x1f", "\x7f", "\x85", "\u00a0", "\u1680", "\u2003", "\u2028", "\u3000"]

each_code_point = pytest.mark.parametrize(
    "code_points",
    [pytest.param(SLICE, id="a slice"), pytest.param(ALL, id="every code point", marks=pytest.mark.matrix)],
)


@pytest.fixture(autouse=True)
def _no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom a quarantined record names is not asked here, and takes most of the time."""
    monkeypatch.setattr(validation, "find_evidence", lambda *_, **__: Evidence())
    monkeypatch.setattr(validation, "find_mentions", lambda _: None)


def stored(written: Iterable[str]) -> Iterator[str | None]:
    """Yield the key that the landing gate stores for each e-mail as JSON, None where it quarantines the record."""
    lines = "".join(f'{{"email":{email},"serialNumber":"s"}}\n' for email in written)
    judge = RecordValidator(SOURCES["customer"])
    for found in split(io.BytesIO(lines.encode())):
        if isinstance(found, Block) and (columns := judge.columns(found)):
            yield from columns["_person"]
        elif isinstance(found, Block | Record):
            for record in found.records() if isinstance(found, Block) else [found]:
                verdict = judge.validate(record)
                yield verdict["_person"] if isinstance(verdict, dict) else None


def hashed(text: str) -> str | None:
    """Return what `stedi hash-person` makes of an e-mail, None where it refuses."""
    try:
        return person_hash(text, KEY)
    except LakeError:
        return None


def different(texts: Iterable[str]) -> list[str]:
    """Return the e-mails whose stored key has another hash than `stedi hash-person` gives."""
    given = list(texts)
    keys = list(stored(map(json.dumps, given)))
    # Once more without what the gate looks at record by record: whole blocks are judged in another way.
    plain = [(text, key) for text, key in zip(given, keys, strict=True) if key and not re.search(r'["\\\0-\x1f]', text)]
    assert list(stored(json.dumps(text, ensure_ascii=False) for text, _ in plain)) == [key for _, key in plain]
    return [
        ascii(text)
        for text, key in zip(given, keys, strict=True)
        if hashed(text) != (None if key is None else hmac.digest(KEY, key.encode(), hashlib.sha256).hex())
    ]


@each_code_point
def test_whatever_stands_in_an_e_mail_its_hash_is_that_of_the_stored_key(code_points: Iterable[int]) -> None:
    assert different(f"x{chr(code)}y@example.com" for code in code_points) == []
    assert different(f"{chr(code)}xy@example.com{chr(code)}" for code in code_points) == []


def _random_texts(count: int) -> Iterator[str]:
    rng = random.Random("texts")
    plain = [
        "a",
        "B",
        "@",
        ".",
        "<",
        ">",
        "mailto:",
        "?",
        '"',
        "\\",
        "é",
        "e\u0301",
        "ß",
        "İ",
        "Σ",
        "ς",
        "ﬁ",
        "Ａ",
        "＠",
    ]
    signs = [*plain, *plain, "@example.com", *INVISIBLE, *BLANKS, "\ude00", "😀", "\u0378", "\U0001e900", "ǅ", "\u0345"]
    for _ in range(count):
        text = "".join(rng.choices(signs, k=rng.randint(0, 6)))
        yield text if rng.random() < 0.3 else f"{text}@{rng.choice(signs)}x"


def test_random_texts_have_the_hash_of_the_stored_key() -> None:
    assert different(_random_texts(100_000)) == []


def _spellings(text: str) -> Iterator[str]:
    forms: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
    for form, other in product(forms, forms):
        written = unicodedata.normalize(form, text)
        yield written
        for cased in (written.upper(), written.lower(), written.title(), written.swapcase()):
            yield unicodedata.normalize(other, cased)


def _folded(text: str) -> str:
    """Return a text as Unicode compares texts without regard to case (canonical caseless matching, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())


@each_code_point
def test_a_key_is_the_same_for_each_form_and_case(code_points: Iterable[int]) -> None:
    known = [chr(code) for code in code_points if is_within(chr(code))]
    compared = 0
    for character in known:
        text = f"x{character}y"
        key = device_of(text)
        assert key is not None
        assert device_of(key) == key, ascii(text)
        same = {spelling for spelling in _spellings(text) if _folded(spelling) == _folded(text)}
        assert {device_of(spelling) for spelling in same} <= {key}, ascii(text)
        compared += len(same) > 1
    assert compared > 1_000


def test_the_alphabet_is_the_same_in_every_python() -> None:
    """The digest is of what `unicodedata` of Python 3.10 has in a category but Cn and Cs, without U+FFFD."""
    accepted = bytes(is_within(chr(code)) for code in ALL)
    digest = hashlib.sha256(accepted).hexdigest()
    assert digest == "6cd399f72aa7600d203fa79b1729ed28958f9bda660042017c173e1fe2ad47b2"


@each_code_point
def test_keys_are_those_of_the_reference(code_points: Iterable[int]) -> None:
    """But for characters that this Python knows and Unicode 13.0 did not: those are in no alphabet yet."""
    for code in code_points:
        character = chr(code)
        text = f"x{character}y@example.com"
        if is_within(character) or unicodedata.category(character) in {"Cn", "Cs"}:
            assert (person_of(text), device_of(text)) == (oracle.person(text), oracle.device(text)), ascii(text)
        else:
            assert (person_of(text), device_of(text)) == (None, None)


def test_random_texts_have_the_keys_of_the_reference() -> None:
    for text in _random_texts(20_000):
        assert (person_of(text), device_of(text)) == (oracle.person(text), oracle.device(text)), ascii(text)


@pytest.mark.parametrize("email", [ADA, "Ada <ADA@example.com>", "mailto:ada@example.com"])
def test_what_nobody_sees_changes_nothing(email: str) -> None:
    for sign in INVISIBLE:
        assert {person_of(email[:place] + sign + email[place:]) for place in range(len(email) + 1)} == {ADA}, ascii(
            sign
        )
    for blank in BLANKS:
        assert person_of(blank + email + blank) == ADA, ascii(blank)


def test_full_width_forms_are_their_plain_ones() -> None:
    for code in range(0x21, 0x7F):
        wide = chr(code + 0xFEE0)
        assert device_of(wide) == device_of(chr(code)) == chr(code).lower()
        assert person_of(f"x{wide}@example.com") == person_of(f"x{chr(code)}@example.com")
    assert device_of("\uff76\uff9e") == device_of("\u30ab\u3099") == device_of("\u30ac")


def test_a_sigma_is_a_sigma_wherever_it_stands() -> None:
    texts = ["\u039d\u0399\u039a\u039f\u03a3@example.com", "\u03bd\u03b9\u03ba\u03bf\u03c2@example.com"]
    assert {person_of(text) for text in texts} == {"\u03bd\u03b9\u03ba\u03bf\u03c3@example.com"}
    assert hashed(texts[0]) == hashed(texts[1]) != hashed(ADA)


@pytest.mark.parametrize("text", ["", "ada", "@", "ada@", "a@b@c", "a@b, c@d", "a b@c", "\ud800a@b", "a\u0378@b"])
def test_what_is_not_one_address_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(LakeError, match=r"^That is not one e-mail address\. Write one, .*standard input\.$"):
        person_hash(text, KEY)


def test_the_keys_of_all_code_points_are_those_of_every_python() -> None:
    # As Python 3.10, 3.11, 3.12 and 3.13 have given it, whose Unicode is 13.0, 14.0, 15.0 and 15.1.
    digest = hashlib.sha256()
    for code in range(0x110000):
        digest.update((device_of(f"a{chr(code)}b") or "\0").encode() + b"\n")
    assert digest.hexdigest() == "9b5048ec044454b8795c997725405c277b8c15c8e5d4bf96e388fce77480c8bd"
