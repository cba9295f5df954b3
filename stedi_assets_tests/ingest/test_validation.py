"""What the landing gate says of single records, held against the oracle: rows, reasons, and whom the others concern.

Without Spark, and without files: the splitter and the validator alone.
"""

import io
import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest.evidence import find_mentions
from stedi_assets.ingest.validation import QuarantinedRecord, RecordValidator
from stedi_assets_tests.support import oracle
from stedi_assets_tests.support.malformed_cases import CASES, MalformedCase
from stedi_assets_tests.support.records import split_records

AS_OF = 1_700_000_000_000
ADA, BEN = "ada@example.com", "ben@example.com"
OLDER, CONSENTED, NEWER = AS_OF - 3_000, AS_OF - 2_000, AS_OF - 1_000


@dataclass
class Judged:
    """The rows of accepted records, and of each other its bytes, reasons, people, devices and date."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    doubts: list[tuple[Any, ...]] = field(default_factory=list)


def by_the_product(source: oracle.Source, content: bytes) -> Judged:
    validator, found = RecordValidator(SOURCES[source]), Judged()
    for record in split_records(io.BytesIO(content)):
        verdict = validator.validate(record) if record.length else None
        if isinstance(verdict, QuarantinedRecord):
            people, devices = frozenset(verdict.evidence.people), frozenset(verdict.evidence.devices)
            found.doubts.append((record.raw, verdict.reasons, record.offset, people, devices, verdict.updated))
            # Whoever is named is mentioned, too: an erasure goes further than evidence.
            assert verdict.mentions is None or people <= set(verdict.mentions)
        elif verdict is not None:
            found.rows.append(verdict)
    return found


def by_the_oracle(source: oracle.Source, content: bytes) -> Judged:
    landed = oracle.read_file(source, content)
    doubts = [(r.raw, r.reasons, r.offset, r.people, r.devices, r.updated) for r in landed.quarantined]
    return Judged(landed.accepted, doubts)


@pytest.mark.parametrize(
    "case",
    # Envelopes are for the gate to open.
    [
        c
        for c in CASES
        if not (
            c.file_error or c.name.startswith("named ") or c.content.startswith(b"\x1f\x8b") or "envelope" in c.name
        )
    ],
    ids=lambda case: case.name,
)
def test_every_broken_delivery_is_judged_as_the_oracle_does(case: MalformedCase) -> None:
    found, expected = by_the_product(case.source, case.content), by_the_oracle(case.source, case.content)
    if ("record_too_large",) in case.reasons:
        # Only the head of such a record is here; who it names is read while it passes by.
        found.doubts = [(*rest, None, None, None) for *rest, _, _, _ in found.doubts]
        expected.doubts = [(raw[: oracle.HEAD], *rest, None, None, None) for raw, *rest, _, _, _ in expected.doubts]
    assert found == expected


# --- Whom a broken customer record names ------------------------------------------------------------------------------

SPELLINGS = [
    "ADA@Example.COM",
    " ada@example.com\t",
    "ada@example.com\n",
    "\rada@example.com\r\n",
    "\u00a0\u2003ada@example.com\u200b\ufeff",
    "\u0000\u001f\u0085ada@example.com\u2028\u00ad",
    "Ada <ada@example.com>",
    "mailto:ada@example.com",
    "\uff21da@exam\u200bple\uff0ecom",
]
PAIRS_OF_SPELLINGS = [
    *((spelling, ADA) for spelling in SPELLINGS),
    ("\u0130da@example.com", "i\u0307da@example.com"),
    ("\u039d\u0399\u039a\u039f\u03a3@example.com", "\u03bd\u03b9\u03ba\u03bf\u03c2@example.com"),
    ("\u039d\u03a3.\u0391\u03a3@example.com", "\u03bd\u03c3.\u03b1\u03c2@example.com"),
    ("\u03a3@example.com", "\u03c3@example.com"),
    ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
]


def line(**members: Any) -> bytes:
    """Return a JSON record, characters beyond ASCII as they are."""
    return json.dumps(members, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Doubt:
    """A quarantined record, and whether it counts against a person who consented: by default, Ada."""

    about: str
    raw: bytes
    counts: bool
    person: str = ADA


def broken(**members: Any) -> bytes:
    """Return a whole object that ends in quarantine for a date."""
    return line(registrationDate="yesterday", **members)


DOUBTS = [
    # The date.
    Doubt("no date", broken(email=ADA), counts=True),
    Doubt("older", broken(email=ADA, lastUpdateDate=OLDER), counts=False),
    Doubt("newer", broken(email=ADA, lastUpdateDate=NEWER), counts=True),
    Doubt("at the same instant", broken(email=ADA, lastUpdateDate=CONSENTED), counts=True),
    Doubt("older, written with a fraction", broken(email=ADA, lastUpdateDate=float(OLDER)), counts=False),
    Doubt(
        "older, written with an exponent",
        broken(email=ADA, lastUpdateDate="E").replace(b'"E"', b"1.699999997E+12"),
        counts=False,
    ),
    Doubt("between two instants", broken(email=ADA, lastUpdateDate=OLDER + 0.5), counts=True),
    Doubt("date in seconds", broken(email=ADA, lastUpdateDate=OLDER // 1000), counts=True),
    Doubt("date as text", broken(email=ADA, lastUpdateDate=str(OLDER)), counts=True),
    Doubt("older, name in capitals", broken(email=ADA, LASTUPDATEDATE=OLDER), counts=False),
    Doubt(
        "older, name escaped", broken(email=ADA, lastUpdateDate=OLDER).replace(b"Up", rb"\u0055\u0070"), counts=False
    ),
    Doubt("older, blanks around", broken(email=ADA, lastUpdateDate=OLDER).replace(b": 1", b"\t:\n1"), counts=False),
    Doubt("date of something inside", broken(email=ADA, before={"lastUpdateDate": OLDER}), counts=True),
    Doubt("older, after brackets", broken(email=ADA, a={"b": ["}", [1]]}, lastUpdateDate=OLDER), counts=False),
    Doubt("older, after a backslash", broken(email=ADA, a="\\", b="{", lastUpdateDate=OLDER), counts=False),
    Doubt("older, after a quotation mark", broken(email=ADA, a='"', b="{", lastUpdateDate=OLDER), counts=False),
    Doubt("older, its name also a value", broken(email=ADA, a="lastUpdateDate", lastUpdateDate=OLDER), counts=False),
    Doubt("date quoted in a text", broken(email=ADA, a=f'"lastUpdateDate": {OLDER}'), counts=True),
    Doubt("older, with NaN", broken(email=ADA, a=float("nan"), lastUpdateDate=OLDER), counts=False),
    Doubt("older and newer", broken(email=ADA, lastUpdateDate=OLDER, lastupdatedate=NEWER), counts=True),
    Doubt("older, cut off", broken(email=ADA, lastUpdateDate=OLDER)[:-1], counts=True),
    Doubt("older, not UTF-8", broken(email=ADA, a="?", lastUpdateDate=OLDER).replace(b"?", b"\xff"), counts=True),
    # The e-mail.
    Doubt("somebody else", broken(email=BEN), counts=False),
    Doubt("nobody", b'{"email": ', counts=False),
    Doubt("no text", broken(email=5), counts=False),
    *(Doubt(f"spelled {spelling!a}", broken(email=spelling), counts=True) for spelling in SPELLINGS),
    *(
        Doubt(f"spelled {one!a} for {other!a}", broken(email=one), counts=True, person=other)
        for one, other in PAIRS_OF_SPELLINGS
    ),
    *(
        Doubt(f"no address: {text!a}", broken(email=text), counts=False)
        for text in ("ada", "@example.com", "ada@", "ada@example.com, ben@example.com", "\u0378ada@example.com")
    ),
    Doubt("half of a character", broken(email=ADA).replace(b"ada@", rb"ada\ud800@"), counts=False),
    Doubt(
        "older, very many fields",
        broken(email=ADA, lastUpdateDate=OLDER, **{f"a{n}": n for n in range(998)}),
        counts=False,
    ),
    Doubt("name in capitals", broken(EMAIL=ADA), counts=True),
    Doubt("name escaped", broken(email=ADA).replace(b"email", rb"\u0065m\u0041il"), counts=True),
    Doubt("value escaped", broken(email=ADA).replace(b"@", rb"\u0040"), counts=True),
    Doubt("value escaped, cut off", broken(email=ADA).replace(b"@", rb"\u0040")[:-1], counts=True),
    Doubt(
        "value escaped, with a tab", broken(email=ADA).replace(b"@", rb"\u0040").replace(b'm"', b'm\t"'), counts=True
    ),
    Doubt("blanks around the colon", b'{"email"\t \r\x0b\x0c:\n"ada@example.com"', counts=True),
    Doubt("cut off inside", b'{"email": "ada@example.com', counts=False),
    Doubt("cut off behind", b'{"email": "ada@example.com"', counts=True),
    Doubt("cut off inside, then a whole one", b'{"email": "ben@exa{"email": "ada@example.com"}', counts=True),
    Doubt("twice its name", b'{"email": "email": "ada@example.com"}', counts=True),
    Doubt("two people", b'{"email": "ben@example.com", "email": "ada@example.com"}', counts=True),
    Doubt("something inside", broken(customer={"email": ADA}), counts=True),
    Doubt("quoted in a text", broken(email=5, a=f'"email": "{ADA}"'), counts=False),
    Doubt("behind an escaped quotation mark", rb'{"a": "b \"email": "ada@example.com"', counts=True),
    Doubt("behind a backslash at the end of a text", b'{"a": "b\\\\", "email": "ada@example.com"', counts=True),
    Doubt("behind an escape that is none", rb'{"a": "\q", "email": "ada@example.com"}', counts=True),
    Doubt("not as a name", b'email": "ada@example.com"', counts=False),
    Doubt("name is longer", b'{"her email": "ada@example.com"', counts=False),
    Doubt("quotation marks in it", broken(email='"a"@example.com'), counts=True, person='"a"@example.com'),
    Doubt(
        "quotation marks in it, cut off", broken(email='"a"@example.com')[:-1], counts=True, person='"a"@example.com'
    ),
    Doubt("bytes around that are no UTF-8", b'{"a": "\xff\xfe", "email": "ada@example.com", "\xc3": 1}', counts=True),
    Doubt("bytes within that are no UTF-8", b'{"email": "ada\xff@example.com"}', counts=False),
    *(
        Doubt(f"in {encoding}", f'{{"email": "{person}"}}'.encode(encoding), counts=True, person=person)
        for encoding, person in (
            ("cp1252", "jürgen@example.com"),
            ("latin-1", "jürgen@example.com"),
            ("cp1250", "łukasz@example.com"),
            ("cp850", "jürgen@example.com"),
            ("mac_roman", "jürgen@example.com"),
        )
    ),
    Doubt("a lost character", line(email="j\ufffdrgen@example.com"), counts=False, person="jürgen@example.com"),
    Doubt("NUL around", b'{"a": "\x00", "email": "ada@example.com"}', counts=True),
]


@pytest.mark.parametrize("doubt", DOUBTS, ids=lambda doubt: doubt.about)
def test_a_broken_record_counts_against_whom_it_names(doubt: Doubt) -> None:
    found = by_the_product("customer", doubt.raw)
    ((*_, people, _, updated),) = found.doubts
    person = oracle.person(doubt.person)
    assert (person in people and (updated is None or updated >= CONSENTED)) == doubt.counts
    assert found == by_the_oracle("customer", doubt.raw)


@pytest.mark.parametrize(
    ("quarantined", "devices"),
    [
        (broken(serialNumber="\u2003DEVICE "), ["device"]),
        (broken(serialNumber="device").replace(b"vice", rb"v\u0049ce"), ["device"]),
        (broken(SerialNumber="device")[:-1], ["device"]),
        (broken(customer={"email": BEN}, device={"serialNumber": "device"}), ["device"]),
        (b'{"serialNumber": "other", "email": "ben@example.com", "serialNumber": "device"}', ["device", "other"]),
        (broken(serialNumber=42), ["42"]),
        (broken(serialNumber=-4.5), ["-4.5"]),
        (b'{"serialNumber": 1E3, ', ["1e3"]),
        (b'{"\\u0073erialNumber"\n:\t007', ["007"]),
        (broken(serialNumber=["device"]), []),
        (broken(serialNumber=None), []),
        (broken(serialNumber=True), []),
        (broken(number="device"), []),
    ],
    ids=ascii,
)
def test_a_broken_record_names_devices_by_texts_and_numbers(quarantined: bytes, devices: list[str]) -> None:
    found = by_the_product("customer", quarantined)
    ((*_, named, _),) = found.doubts
    assert named == {*devices}
    assert found == by_the_oracle("customer", quarantined)


def test_a_text_with_too_many_places_to_cut_may_concern_anybody() -> None:
    """A hostile one would keep a run busy for hours."""
    around = b"<." * 160 + b"@" + b".>" * 160
    assert ADA in (find_mentions(b"ada@example.com " + around) or ())
    assert find_mentions(b"ada@example.com " + around * 10_000) is None


@pytest.mark.parametrize("more", [{}, {"bar": ["x"]}, {"bar": "x"}, {"phone": 5}], ids=ascii)
def test_an_unknown_name_that_occurs_twice_is_a_duplicate_whatever_else_a_record_holds(more: dict[str, Any]) -> None:
    content = line(email=ADA, serialNumber="device", foo=1, Foo=2, **more)
    found = by_the_product("customer", content)
    assert found == by_the_oracle("customer", content)
    assert [reasons for _, reasons, *_ in found.doubts] == [("duplicate_key",)]


# `§` becomes the number of a record, so that each has people and a device of its own.
_NAMES = ['"email"', '"EMAIL"', '"serialNumber"', '"lastUpdateDate"', '"LASTUPDATEDATE"', '"registrationDate"', '"a"']
_VALUES = [
    *('"p§@example.com"', '" P§@EXAMPLE.COM\\t"', '"p§\\u0040example.com"', '"\u2003p§@example.com\x0b"', '"p§@exa'),
    *('"s§"', '"\\u0073§\\n"', '"S§\u00a0"', '"\\"s§\\""', '"\\\\"', '"\\q"', '"email"', '""'),
    *(
        f"{OLDER}",
        f"{OLDER}.0",
        "1.6E12",
        f"{NEWER}",
        "12",
        "null",
        "NaN",
        "{}",
        "§",
        "-§.5",
        '{"email": "p§@example.com"}',
        "[[1]]",
    ),
]
_ACCIDENTS = [": ", ":", ", ", "}", "{", "]", '"', "\\", '"email": ', '"p§@example.com"', "\x00", "\udcff"]


def _record(rng: random.Random) -> str:
    """Return a customer record, mostly a broken one: something put in somewhere, or cut off."""
    members = (f"{rng.choice(_NAMES)}: {rng.choice(_VALUES)}" for _ in range(rng.randint(1, 5)))
    text = "{" + ", ".join(members) + "}"
    for _ in range(rng.choice((0, 1, 1, 2))):
        place = rng.randrange(len(text) + 1)
        text = text[:place] + (rng.choice(_ACCIDENTS) + text[place:] if rng.random() < 0.8 else "")
    return text


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_record_holds_is_read_as_the_oracle_reads_it(seed: int) -> None:
    rng = random.Random(seed)
    for number in range(3_000):
        # A line break, or a NUL might make a file of it that is not UTF-8.
        record = b"\n" + _record(rng).replace("§", str(number)).encode(errors="surrogateescape")
        assert by_the_product("customer", record) == by_the_oracle("customer", record), record
