# What a source may deliver and no promise may break on. Data only, all of it invented.
"""Deliveries by the name of their case: what is there first, and what comes before each later run.

Each case has people and a folder of its own, so that any number of them lie in one lake. Most have a victim: somebody
who consents at first, and whom the last delivery withdraws, beside something that could hold the withdrawal up.
"""

import bz2
import gzip
import io
import json
import lzma
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stedi_assets.storage.lake import Lake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    customer,
    device_reading,
    lines,
    phone_reading,
    root_of,
)

WITHDREW = 1_650_000_000_000
RUN = 150_000
"""How long a run of one character is: far too long for whatever looks at each position again."""
DEEP = 100_000
KEYS = 1_000_000
LARGE = 200_000_000
RATHER_LARGE = 20_000_000
ZEROS = 100_000_000
SMALL_RECORDS = 2_000_000

CROWD = 200
ERASED_BEFORE = "erased-before"
LOYAL = 25
ENVELOPED = 40
CUT_AT = 9_000
WITHOUT_SUFFIX = 7


@dataclass(frozen=True)
class Link:
    """A symbolic link, by where it leads."""

    target: str


Delivery = Mapping[str, bytes | Link]
"""Files by `source/name`."""
Case = Callable[[str], Iterator[Delivery]]

CASES: dict[str, Case] = {}
"""The cases that the project's own specification names. Each is given the name of its victim."""
NEIGHBOURS: dict[str, Case] = {}
"""Others of their kinds."""


def _case(delivers: Case) -> Case:
    CASES[delivers.__name__.removeprefix("_").replace("_", "-")] = delivers
    return delivers


def _neighbour(delivers: Case) -> Case:
    NEIGHBOURS[delivers.__name__.removeprefix("_").replace("_", "-")] = delivers
    return delivers


def victim_of(case: str) -> str:
    """Return the name of a case's victim."""
    return f"victim.{case}"


def deliveries_of(case: str) -> Iterator[Delivery]:
    """Yield what a case delivers before each run."""
    return {**CASES, **NEIGHBOURS}[case](victim_of(case))


def deliver(lake: Lake, case: str, delivery: Delivery) -> None:
    """Write files into the folder that a case has below each source's landing folder."""
    for path, content in delivery.items():
        source, name = path.split("/", maxsplit=1)
        file = root_of(lake) / source / "landing" / case / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            file.symlink_to(content.target)
        else:
            file.write_bytes(content)


def consenting(*names: str) -> dict[str, bytes | Link]:
    """Return what is delivered of people who consent, each with two readings of the phone and of the device."""
    return {
        "customer/people.json": lines(*(customer(name, CONSENTED, CONSENTED) for name in names)),
        "accelerometer/people.json": lines(*(phone_reading(name, t) for name in names for t in INSTANTS)),
        "step_trainer/people.json": lines(
            *(device_reading(f"device-of-{name}", t) for name in names for t in INSTANTS)
        ),
    }


def withdrawal(name: str, **changed: object) -> dict[str, object]:
    """Return the record by which somebody withdraws, with other values or further ones."""
    return customer(name, WITHDREW, None) | changed


def _withdraw(*names: str) -> dict[str, bytes | Link]:
    return {"customer/withdrawals.json": lines(*(withdrawal(name) for name in names))}


def crowd() -> Delivery:
    """Return people with whom nothing is wrong. Some records have a field that nobody knows, one has a rare one."""
    people = [*(f"one-of-the-crowd-{number}" for number in range(CROWD)), ERASED_BEFORE]
    records = [customer(name, CONSENTED, CONSENTED) for name in people]
    for record in records[:LOYAL]:
        record.update({"loyaltyPoints": 1, "Vera Unknown 1970-02-03": 1})
    records[0]["rareField"] = 1
    return {**consenting(*people), "customer/people.json": lines(*records)}


# --- A withdrawal is held up by nothing -------------------------------------------------------------------------------


@_case
def _one_long_line_of_another_source(victim: str) -> Iterator[Delivery]:
    """Where somebody has been erased, quarantined text of every source is searched."""
    yield consenting(victim)
    yield {"accelerometer/base64.json": b"A" * RUN, **_withdraw(victim)}


@_case
def _blanks_inside_an_email(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    blanks = {"email": "a" + " " * RUN + "b"}
    yield {"customer/blanks.json": lines(withdrawal("nobody", **blanks), withdrawal(victim))}


@_case
def _zeros_in_a_gzip(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    yield {"accelerometer/z.json.gz": gzip.compress(bytes(ZEROS), 1), **_withdraw(victim)}


@_case
def _a_line_of_200_megabytes(victim: str) -> Iterator[Delivery]:
    """Of the large file nothing is accepted, which is an error of its own."""
    yield consenting(victim)
    yield {}
    yield {"customer/huge.json": b'{"email":"large@example.com","pad":"' + b"x" * LARGE + b'"}\n', **_withdraw(victim)}


BEFORE_THE_LARGE_ONE = lines(withdrawal("nobody"))


@_neighbour
def _a_large_line_with_its_person_at_the_end(victim: str) -> Iterator[Delivery]:
    """The large record is all that says of the victim, behind what is kept of it."""
    yield consenting(victim)
    large = b'{"pad":"' + b"x" * RATHER_LARGE + f'","email":"{victim}@example.com"}}'.encode()
    yield {"customer/large.json": BEFORE_THE_LARGE_ONE + large + b"\n"}


@_case
def _replaced_file_that_held_a_withdrawal(victim: str) -> Iterator[Delivery]:
    yield {**consenting(victim), "customer/daily.json": lines(withdrawal(victim))}
    yield {"customer/daily.json": lines(customer(f"new.{victim}", CONSENTED, CONSENTED))}


@_neighbour
def _replaced_by_less_and_less(victim: str) -> Iterator[Delivery]:
    """The withdrawal's file is replaced by another one, and that by nothing that can be accepted."""
    yield {**consenting(victim), "customer/daily.json": lines(withdrawal(victim))}
    yield {"customer/daily.json": lines(customer(f"new.{victim}", CONSENTED, CONSENTED))}
    yield {"customer/daily.json": b"<html>\n"}


def hostile(run: int, deep: int, keys: int) -> dict[str, bytes]:
    """Return records that stop whoever looks at each position again, or goes down at each level; all in quarantine."""
    return {
        "a-run-of-letters": b"A" * run,
        "a-run-of-digits": b"9" * run,
        "a-run-of-quotes": b'"' * run,
        "a-run-of-brackets": b"[" * run,
        "a-run-of-closed-brackets": b"]" * run + b"x",
        "a-run-of-braces": b"}" * run,
        "a-run-of-at-signs": b"@" * run,
        "a-run-of-percent-signs": b"%" * run,
        "a-run-of-ampersands": b"&#" * run,
        "a-run-of-nul": b"\0" * run,
        "a-run-of-opened-objects": b'{"a":' * run,
        "nested-deeply": b'{"a":' + b"[" * deep + b"]" * deep + b"}",
        "objects-nested-deeply": b'{"a":' * deep + b"1" + b"}" * deep,
        "a-million-keys": b"{" + b",".join(b'"k%d":0' % number for number in range(keys)) + b"}",
        "one-key-a-million-times": b"{" + b",".join([b'"email":0'] * keys) + b"}",
        "backslashes-in-a-text": b'{"email":"' + b"\\" * run,
        "escapes-that-are-cut-off": b'{"email":"' + b"\\u00" * run + b'"}',
        "escaped-quotes-in-a-text": b'{"email":"' + b'\\"' * run + b'"}',
        "blanks-after-a-key": b'{"email"' + b" " * run + b":5}",
        "blanks-after-a-colon": b'{"email":' + b" " * run + b"5}",
        "blanks-in-an-address": b'{"serialNumber":"s","email":"a' + b" " * run + b'b@example"}',
        "dots-in-an-address": b'{"serialNumber":"s","email":"a@' + b"a." * run + b'@"}',
        "at-signs-in-an-address": b'{"serialNumber":"s","email":"' + b"a@" * run + b'"}',
        "angles-in-an-address": b'{"serialNumber":"s","email":"' + b"<" * run + b'"}',
        "nothing-to-be-seen-in-an-address": '{{"serialNumber":"s","email":"{}"}}'.format("\u200b" * run).encode(),
        "a-letter-with-many-accents": '{{"serialNumber":"s","email":"a{}"}}'.format("\u0301\u0323" * run).encode(),
        "digits-in-a-date": b'{"lastUpdateDate":' + b"9" * run + b"}",
        "a-serial-number-of-many-digits": b'{"serialNumber":1' + b"0" * run + b"}",
    }


HOSTILE = hostile(RUN, DEEP, KEYS)
ONLY_SEPARATORS = {"a-run-of-brackets"}


def _between_withdrawals(record: bytes) -> Case:
    """Return the case of a hostile record in a file of withdrawals, one before it and one after it."""

    def delivers(victim: str) -> Iterator[Delivery]:
        yield consenting(f"before.{victim}", f"after.{victim}")
        before, after = (lines(withdrawal(f"{when}.{victim}")) for when in ("before", "after"))
        yield {"customer/withdrawals.json": before + record + b"\n" + after}

    return delivers


NEIGHBOURS |= {name: _between_withdrawals(record) for name, record in HOSTILE.items()}


@_neighbour
def _nul_in_a_plain_file(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    yield {"step_trainer/nul.json": bytes(RATHER_LARGE), **_withdraw(victim)}


@_neighbour
def _a_gzip_with_a_name_in_capitals(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    yield {"step_trainer/Z.JSON.GZ": gzip.compress(b"A" * RUN), **_withdraw(victim)}


# --- Who is who -------------------------------------------------------------------------------------------------------

_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}

SPELLINGS: dict[str, tuple[str, Callable[[str], str]]] = {
    "withdrawal-in-another-unicode-form": ("jos\u00e9", lambda email: unicodedata.normalize("NFD", email)),
    "withdrawal-with-a-display-name": ("vic", "Vic <{}>".format),
    "withdrawal-in-full-width": ("wide", lambda email: email.translate(_WIDE)),
    "withdrawal-in-capitals": ("caps", str.upper),
    "withdrawal-in-greek-capitals": ("\u03bd\u03af\u03ba\u03bf\u03c2", str.upper),
    "withdrawal-with-another-sigma": ("\u03bd\u03b9\u03ba\u03bf\u03c2", lambda e: e.replace("\u03c2", "\u03c3")),
    "withdrawal-with-a-dotted-capital-i": ("\u0130pek", lambda email: email.replace("\u0130", "i\u0307")),
    "withdrawal-with-a-capital-sharp-s": ("stra\u00dfe", lambda email: email.replace("\u00df", "\u1e9e")),
    "withdrawal-with-a-kelvin-sign": ("kim", lambda email: email.replace("k", "\u212a")),
    "withdrawal-in-cherokee": ("\u13a0\u13a1", lambda email: email.replace("\u13a0", "\uab70")),
    "withdrawal-with-zero-width-characters": ("zero", lambda email: email.replace("zero", "ze\u200br\u200do")),
    "withdrawal-between-invisible-characters": ("edges", "\ufeff\u200b{}\u2060\u00ad".format),
    "withdrawal-between-blanks": ("blanks", "\u3000\t{}\u00a0\r\n".format),
    "withdrawal-with-mailto": ("mail", "mailto:{}".format),
    "withdrawal-with-mailto-in-capitals": ("mail", "MAILTO:{}".format),
    "withdrawal-with-a-display-name-in-quotes": ("vic", '"Vic, T. (home)" <{}>'.format),
    "withdrawal-with-nothing-but-angles": ("vic", "<{}>".format),
}
"""How a victim's address ends before the `@`, and how the withdrawal spells the whole of it."""
ACCEPTED_SPELLINGS = ("withdrawal-with-a-display-name", "withdrawal-with-mailto", "withdrawal-in-full-width")


def _spelled(ending: str, spell: Callable[[str], str]) -> Case:
    """Return the case of somebody whose withdrawal spells the address in another way."""

    def delivers(victim: str) -> Iterator[Delivery]:
        name = f"{victim}.{ending}"
        yield consenting(name)
        spelled = spell(f"{name}@example.com")
        yield {"customer/withdrawals.json": json.dumps(withdrawal(name, email=spelled), ensure_ascii=False).encode()}

    return delivers


_SPELLED = {name: _spelled(*spelling) for name, spelling in SPELLINGS.items()}
CASES |= {name: case for name, case in _SPELLED.items() if name in list(SPELLINGS)[:2]}
NEIGHBOURS |= {name: case for name, case in _SPELLED.items() if name not in CASES}


def _text(record: Mapping[str, object]) -> str:
    return json.dumps(record)


BROKEN: dict[str, Callable[[dict[str, object]], str]] = {
    "a-key-written-with-an-escape": lambda r: _text(r).replace('"email"', '"E\\u006dail"'),
    "blanks-before-the-address": lambda r: _text(r | {"serialNumber": 5}).replace('"email":', '"email":' + " " * RUN),
    "an-address-in-a-record-that-is-cut-off": lambda r: _text(r)[: _text(r).index("serialNumber")],
    "a-display-name-in-a-broken-record": lambda r: _text(r | {"email": f"V <{r['email']}>", "serialNumber": 5}),
    "an-escaped-address-in-a-broken-record": lambda r: _text(r | {"serialNumber": 5}).replace("@", "\\u0040"),
    "two-addresses-in-one-record": lambda r: _text(r)[:-1] + ', "EMAIL": "somebody.else@example.com"}',
}
"""Withdrawals that could not be accepted, or hardly, but whose person can be read."""


def _broken(spell: Callable[[dict[str, object]], str]) -> Case:
    def delivers(victim: str) -> Iterator[Delivery]:
        yield consenting(victim)
        yield {"customer/withdrawals.json": lines(withdrawal("nobody")) + spell(withdrawal(victim)).encode() + b"\n"}

    return delivers


NEIGHBOURS |= {name: _broken(spell) for name, spell in BROKEN.items()}

SIGMA = "\u039d\u0399\u039a\u039f\u03a3_\u03a0\u0391\u03a0\u0391\u03a3"


@_case
def _final_sigma(victim: str) -> Iterator[Delivery]:
    yield consenting(victim, SIGMA)


@_case
def _holder_whose_serial_is_a_number(victim: str) -> Iterator[Delivery]:
    yield _held_by_two(victim, "777", 777)


@_neighbour
def _holder_whose_serial_is_another_number(victim: str) -> Iterator[Delivery]:
    """A number counts like the text it is written as: 888.0 is not "888"."""
    yield _held_by_two(victim, "888", 888.0)


def _held_by_two(name: str, text: str, number: float) -> Delivery:
    """Return a device held by somebody, and as a number by somebody else whose phone has the first instant too."""
    other = customer(f"other.{name}", CONSENTED, None) | {"serialNumber": number}
    readings = [(name, INSTANTS[0]), (f"other.{name}", INSTANTS[0]), (name, INSTANTS[1])]
    return {
        "customer/people.json": lines(customer(name, CONSENTED, CONSENTED, text), other),
        "accelerometer/people.json": lines(*(phone_reading(*reading) for reading in readings)),
        "step_trainer/people.json": lines(*(device_reading(text, instant) for instant in INSTANTS)),
    }


@_case
def _odd_values_that_are_one_device(victim: str) -> Iterator[Delivery]:
    instant = INSTANTS[-1] + 1
    odd = phone_reading(victim, instant) | {"user": f" {victim}@Example.com\u00a0".upper()}
    yield {
        **consenting(victim),
        "accelerometer/odd.json": lines(odd),
        "step_trainer/odd.json": lines(device_reading(f"\u200bDEVICE-OF-{victim} ", instant)),
    }


@_case
def _consent_of_the_far_future(victim: str) -> Iterator[Delivery]:
    """In the year 2096, which is an instant that can be accepted."""
    yield {
        **consenting(victim),
        "customer/future.json": lines(customer(f"later.{victim}", CONSENTED, 4_000_000_000_000)),
    }


UNREAD = ("n/a", "", "none", 5)
"""What stands for an e-mail in withdrawals of nobody knows whom."""


@_case
def _withdrawal_nobody_can_read(victim: str) -> Iterator[Delivery]:
    """Of 20 people one is withdrawn by a record that cannot be accepted, which is 5 %; then two at once."""
    people = [f"{number}.{victim}" for number in range(20)]
    yield consenting(*people)
    broken = [withdrawal(name, serialNumber=5) for name in people]
    # Of each file something is accepted, or another rule would stop the run.
    other = customer(f"other.{victim}", CONSENTED, None)
    yield {"customer/unread.json": lines(*(withdrawal("nobody", email=email) for email in UNREAD), broken[0], other)}
    yield {"customer/more.json": lines(*broken[1:3], other)}


# --- Files ------------------------------------------------------------------------------------------------------------


@_case
def _envelope_of_customers(victim: str) -> Iterator[Delivery]:
    names = [f"{number}.{victim}" for number in range(ENVELOPED)]
    yield consenting(*names)
    again = [customer(name, WITHDREW, CONSENTED) for name in names]
    yield {"customer/export.json": json.dumps({"exportedAt": WITHDREW, "customers": again}).encode()}


@_neighbour
def _envelope_of_withdrawals(victim: str) -> Iterator[Delivery]:
    """Over several lines, packed, and with a key after the records."""
    yield consenting(victim)
    envelope = {"customers": [withdrawal(victim), customer("nobody", CONSENTED, None)], "count": 2}
    yield {"customer/export.json.gz": gzip.compress(json.dumps(envelope, indent=2).encode())}


@_neighbour
def _envelope_of_readings(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    readings = [phone_reading(victim, INSTANTS[-1] + number) for number in range(1, 4)]
    yield {"accelerometer/export.json": json.dumps({"device": {"os": "x"}, "readings": readings}).encode()}


@_neighbour
def _no_envelope_but_a_list_in_a_record(victim: str) -> Iterator[Delivery]:
    """A record with a list of records in a field that nobody knows is one record."""
    yield consenting(victim)
    household = [customer(f"{number}.of.{victim}", CONSENTED, CONSENTED) for number in range(2)]
    yield {"customer/one.json": lines(customer(victim, WITHDREW, CONSENTED) | {"household": household})}


def _packed_readings(victim: str) -> bytes:
    return lines(*(phone_reading(victim, INSTANTS[-1] + number) for number in range(5_000)))


def _in_a_zip(content: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("more.json", content)
        return file.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "packed-by-zip": _in_a_zip,
    "packed-by-xz": lzma.compress,
    # Of a zstd frame Python reads the beginning only in its newest versions; that is all there is to go by.
    "packed-by-zstd": lambda content: b"\x28\xb5\x2f\xfd" + bz2.compress(content),
}


@_case
def _packed_file(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    yield {}
    yield {"accelerometer/more.json": bz2.compress(_packed_readings(victim)), **_withdraw(victim)}


def _packed(pack: Callable[[bytes], bytes]) -> Case:
    def delivers(victim: str) -> Iterator[Delivery]:
        yield consenting(victim)
        yield {}
        content = pack(lines(*(withdrawal(f"{number}.packed") for number in range(500))))
        yield {"customer/more.json": content, **_withdraw(victim)}

    return delivers


NEIGHBOURS |= {name: _packed(pack) for name, pack in PACKED.items()}


def _cut_readings(victim: str) -> bytes:
    return lines(*(phone_reading(victim, INSTANTS[-1] + 1 + number) for number in range(150)))[:CUT_AT]


def whole_readings(victim: str) -> int:
    """Return how many readings a cut file gives."""
    return _cut_readings(victim).count(b"\n")


@_case
def _truncated_file(victim: str) -> Iterator[Delivery]:
    """Beside it a file that ends without a line break, which is no sign of anything."""
    yield {
        **consenting(victim),
        "accelerometer/cut.json": _cut_readings(victim),
        "accelerometer/whole.json": lines(phone_reading(victim, INSTANTS[-1] + 1_000)).rstrip(),
    }


@_neighbour
def _truncated_before_it_was_packed(victim: str) -> Iterator[Delivery]:
    yield {**consenting(victim), "accelerometer/cut.json.gz": gzip.compress(_cut_readings(victim))}


NAMES_OF_HADOOP = ("[2026-01-01T10:00:00].json", "{a:b}.json", "a\\:b.json")


@_case
def _names_that_hadoop_reads_otherwise(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    yield {}
    yield {
        f"step_trainer/{name}": lines(device_reading(f"device-of-{victim}", INSTANTS[-1] + 1 + number))
        for number, name in enumerate(NAMES_OF_HADOOP)
    }


@_neighbour
def _names_with_stars_and_percents(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
    names = ("*.json", "a?.json", "a%20b.json", "a b.json", "s3:a.json", "~a.json", "a\\b.json")
    yield {
        f"accelerometer/{name}": lines(phone_reading(victim, INSTANTS[-1] + 1 + number))
        for number, name in enumerate(names)
    }


FORGED = ("x\nFORGED LINE run succeeded\x1b[2J.json", "FORGED\u202enosj.json", "FORGED\u2028\x9b.json", "FORGED\r.txt")


@_case
def _names_that_forge_a_log_line(victim: str) -> Iterator[Delivery]:
    yield {
        **consenting(victim),
        **{
            f"accelerometer/{name}": lines(phone_reading(victim, INSTANTS[-1] + 1 + number) | {"k\nFORGED": 1})
            for number, name in enumerate(FORGED)
        },
    }


OUTSIDE = "outside.json"
"""A file beside the lake, which somebody else has put there."""


@_case
def _links(victim: str) -> Iterator[Delivery]:
    """One leaves the lake, one leads nowhere, one to itself; two lead to a file that is read anyway."""
    yield consenting(victim)
    yield {}
    yield {
        "accelerometer/outside.json": Link(f"../../../../{OUTSIDE}"),
        "accelerometer/dangling.json": Link("nowhere.json"),
        "step_trainer/round.json": Link("round.json"),
        "accelerometer/real/r.json": lines(phone_reading(victim, INSTANTS[-1] + 1)),
        "accelerometer/inside.json": Link("real/r.json"),
        "accelerometer/inside-too.json": Link("inside.json"),
    }


@_case
def _only_names_without_a_suffix(victim: str) -> Iterator[Delivery]:
    reading = lines(phone_reading(victim, INSTANTS[0]))
    yield {f"accelerometer/stream-2026-01-01-00-00-00-{part}": reading for part in range(WITHOUT_SUFFIX)}


# --- Erasure ----------------------------------------------------------------------------------------------------------

APOSTROPHE = "o'brannigan"


@_case
def _erase_from_quarantined_text(victim: str) -> Iterator[Delivery]:
    """Every line of junk holds the victim's address, some in such a way that it must be made out first."""
    email = f"{victim}@example.com"
    junk = [
        f"GET /x?user={email}&x=1",
        f"GET /x?user={email.replace('@', '%40')}&x=1",
        f"GET /x?user={email.replace('@', '%2540')}&x=1",
        f"<a href='mailto:{email}'>",
        f"<p>{email.replace('@', '&#64;')}, {email.replace('@', '&#x40;')}; {email.replace('@', '&commat;')}</p>",
        f"Written to {email}.",
        f"Written to {email.upper()}, and to others",
        f"'{email}'",
        f"({email})",
        f"a:{email};b",
        f"{email}/{email}",
        email.translate(_WIDE),
        json.dumps({"login": email, "timestamp": 1}).replace("@", "\\u0040"),
        json.dumps({"login": json.dumps({"of": email}).replace("@", "\\u0040"), "timestamp": 1}),
        json.dumps({"mail": f"<mailto:{email}>", "timestamp": 2}),
        json.dumps({email: 1}),
        json.dumps({"user": email})[:-3],
    ]
    apostrophe = f'{{"customerName":"Sean","phone":"5","email":"{APOSTROPHE}@example.com\n'
    yield {
        **consenting(victim, APOSTROPHE),
        "accelerometer/junk.json": "\n".join(junk).encode(),
        "customer/cut.json": lines(customer("nobody", CONSENTED, None)) + apostrophe.encode(),
        "step_trainer/quoted.json": f"mail='{APOSTROPHE}@example.com'\n".encode(),
    }


NAMED = ("Vasili Unnamed", "5550199")


@_case
def _erase_what_stands_in_names(victim: str) -> Iterator[Delivery]:
    email = f"{victim}@example.com"
    names: dict[str, Any] = {email: "alias", f"{NAMED[0]} 1970-02-03": 1, f"+49 170 {NAMED[1]}": 2}
    yield {
        **consenting(victim),
        "customer/fields.json": lines(customer("somebody", CONSENTED, CONSENTED) | names),
        f"customer/{email}.json": lines(customer(victim, CONSENTED, CONSENTED)),
        f"accelerometer/{NAMED[0]} {NAMED[1]}/{NAMED[0]}.json": lines(phone_reading(victim, INSTANTS[0])),
        f"step_trainer/{NAMED[0]}.txt": b"",
    }


@_case
def _erase_when_the_quarantine_is_empty_again(victim: str) -> Iterator[Delivery]:
    broken = withdrawal(victim, serialNumber=12)
    yield {"customer/broken.json": lines(customer("somebody", CONSENTED, CONSENTED), broken)}
    yield {"customer/broken.json": lines(customer("somebody", CONSENTED, CONSENTED), withdrawal(victim))}


@_case
def _erase_nobody(victim: str) -> Iterator[Delivery]:
    """Nobody of that name was ever delivered."""
    yield {"customer/somebody.json": lines(customer("somebody", CONSENTED, CONSENTED))}


@_case
def _lost_list_of_the_erased(victim: str) -> Iterator[Delivery]:
    yield {"customer/people.json": lines(*(customer(name, CONSENTED, CONSENTED) for name in (victim, "somebody")))}


@_case
def _another_pseudonym_key(victim: str) -> Iterator[Delivery]:
    yield consenting(victim)
