# Is the oracle itself right? Every broken delivery, the meaning of each table on a handful of rows whose result was
# worked out by hand, and the published answers on the real course data. Nothing here runs the product.
"""Tests of the independent reference implementation."""

import gzip
import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stedi_assets_tests.support.malformed_cases import CASES, MalformedCase
from stedi_assets_tests.support.oracle import (
    DEEPEST_NESTING,
    LONGEST_RECORD,
    SOURCES,
    FileError,
    Landing,
    Policy,
    Source,
    attributed,
    device,
    lakehouse,
    person,
    read_file,
    read_lake,
    read_landing,
    split_records,
    subject_id,
    tables,
)

COURSE_DATA = Path(os.environ.get("COURSE_DATA") or Path(__file__).parents[2] / "shared" / "stedi-data")

AS_OF = 1_700_000_000_000
DAY = 86_400_000
MILLISECOND = 1 / DAY
ADA, BOB = "ada@example.com", "bob@example.com"

DEFAULT = Policy()
SINCE_CONSENT = Policy(readings="since_consent")
PUBLISHED = Policy(consent_record="any", match_on="timestamp")
PUBLISHED_SINCE_CONSENT = Policy(consent_record="any", readings="since_consent", match_on="timestamp")


# --- Reading --------------------------------------------------------------------------------------------------------


def test_names_of_cases_are_unique() -> None:
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_broken_delivery(case: MalformedCase, tmp_path: Path) -> None:
    path = tmp_path / case.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.content)

    landing = read_landing(case.source, tmp_path)

    assert len(landing.accepted) == case.accepted
    assert [record.reasons for record in landing.quarantined] == case.reasons
    assert bool(landing.errors) == case.file_error
    assert landing.files.keys() | landing.errors.keys() | {*landing.ignored, *landing.hidden} == {case.file_name}


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.file_error and "envelope" not in case.name], ids=lambda case: case.name
)
def test_records_and_separators_make_up_the_file(case: MalformedCase) -> None:
    content = gzip.decompress(case.content) if case.content.startswith(b"\x1f\x8b") else case.content
    position, between = 0, b""
    for start, end, _ in split_records(content):
        assert position <= start < end
        between += content[position:start]
        position = end
    between += content[position:]
    assert re.sub("[ \t\n\v\f\r,\\[\\]\ufeff\u0085\u00a0\u2028\u2029]", "", between.decode()) == ""


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b'{"a": {"b": "}{"}} , {"c":1}', [(b'{"a": {"b": "}{"}}', True), (b'{"c":1}', True)]),
        (b'{"a": [{"b":1},{"b"\n{"c":1}', [(b'{"a": [{"b":1}', False), (b'{"b"', False), (b'{"c":1}', True)]),
        (b'{"a" \t, ] \n {"c":NaN}', [(b'{"a"', False), (b'{"c":NaN}', True)]),
        (b'{"a":1} x}, {"c":1}', [(b'{"a":1}', True), (b"x}", False), (b'{"c":1}', True)]),
        (b'{"a":1} x {"c":1} \n{}', [(b'{"a":1}', True), (b'x {"c":1}', False), (b"{}", True)]),
        (b'12 , {"c":1}', [(b"12", False), (b'{"c":1}', True)]),
        (b'012 {"c":1}', [(b'012 {"c":1}', False)]),
        (b"[ ], [1]", [(b"[ ]", False), (b"1", False)]),
        (b'{"a":"\xff"}', [(b'{"a":"\xff"}', True)]),
    ],
)
def test_extents(content: bytes, records: list[tuple[bytes, bool]]) -> None:
    assert [(content[start:end], is_json) for start, end, is_json in split_records(content)] == records


def test_nesting_counts_the_object_itself() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert [is_json for _, _, is_json in split_records(nested(DEEPEST_NESTING))] == [True]
    assert [is_json for _, _, is_json in split_records(nested(DEEPEST_NESTING + 1))] == [False]


def test_values_land_as_their_types() -> None:
    content = rb"""{"EMAIL":" \u0041da@Example.com\t", "serialnumber":"S-1 ", "customerName":"\ud83d\ude00 \"A\"",
        "phone":8015550100, "birthDay":0.50, "registrationDate":1.6E12, "lastUpdateDate":1655564376361.0,
        "shareWithResearchAsOfDate":0, "shareWithPublicAsOfDate":false, "nickname":[], "\u0078":null}"""
    landed = read_file("customer", content)
    assert landed.quarantined == []
    assert landed.unknown_fields == {"nickname", "x"}
    assert [list(row.items()) for row in landed.accepted] == [
        [
            ("customerName", '\U0001f600 "A"'),
            ("email", " Ada@Example.com\t"),
            ("_person", ADA),
            ("phone", "8015550100"),
            ("birthDay", "0.50"),
            ("serialNumber", "S-1 "),
            ("_device", "s-1"),
            ("registrationDate", 1_600_000_000_000),
            ("lastUpdateDate", 1_655_564_376_361),
            ("shareWithResearchAsOfDate", None),
            ("shareWithPublicAsOfDate", None),
            ("shareWithFriendsAsOfDate", None),
        ]
    ]


def test_quarantine_holds_the_bytes_as_they_came() -> None:
    landed = read_file("customer", b'\n  {"email":"Ren\xe9@ \r\n{"email":"ada@exam \t')
    assert [record.raw for record in landed.quarantined] == [b'{"email":"Ren\xe9@', b'{"email":"ada@exam']


def test_a_file_error_quotes_nothing() -> None:
    with pytest.raises(FileError, match=r"^truncated or corrupt gzip$"):
        read_file("customer", gzip.compress(b"secret")[:-1])


def test_the_other_files_land(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe{\0")
    (tmp_path / "good.json").write_bytes(
        b'{"sensorReadingTime":1655564444103,"serialNumber":"s","distanceFromObject":1}'
    )
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    landing = read_landing("step_trainer", tmp_path)
    assert [*landing.files] == ["good.json"]
    assert landing.errors == {"bad.json": "UTF-16 or UTF-32"}
    assert (landing.ignored, landing.hidden) == (["notes.txt"], ["_SUCCESS"])


# --- Meaning --------------------------------------------------------------------------------------------------------


def customer(email: str = ADA, serial: str = "s-1", **values: Any) -> bytes:
    """A customer record; ``updated``, ``registered`` and ``consent`` are days before AS_OF."""
    names = {"updated": "lastUpdateDate", "registered": "registrationDate", "consent": "shareWithResearchAsOfDate"}
    dates = {names[name]: AS_OF - round(values.pop(name) * DAY) for name in names if name in values}
    return json.dumps({"email": email, "serialNumber": serial, **dates, **values}).encode()


def reading(user: str = ADA, days: float = 1, x: float = 0) -> bytes:
    return json.dumps({"user": user, "timestamp": AS_OF - round(days * DAY), "x": x, "y": 0, "z": 0}).encode()


def step(serial: str = "s-1", days: float = 1, distance: float = 200) -> bytes:
    time = AS_OF - round(days * DAY)
    return json.dumps({"sensorReadingTime": time, "serialNumber": serial, "distanceFromObject": distance}).encode()


class Lake:
    """A lake folder with one file per source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def deliver(
        self,
        customers: list[bytes],
        readings: list[bytes] | None = None,
        steps: list[bytes] | None = None,
        policy: Policy = DEFAULT,
    ) -> dict[str, list[tuple[Any, ...]]]:
        """Every table of a lake that these records were delivered to."""
        delivered: dict[Source, list[bytes]] = {
            "customer": customers,
            "accelerometer": readings or [],
            "step_trainer": steps or [],
        }
        for source, records in delivered.items():
            landing = self.folder / source / "landing"
            landing.mkdir(parents=True, exist_ok=True)
            (landing / "records.json").write_bytes(b"\n".join(records))
        return lakehouse(self.folder, policy, AS_OF)

    def trusted_names(self, *customers: bytes, policy: Policy = DEFAULT) -> list[str]:
        """The customerName of each row of customer_trusted."""
        return [row[0] for row in self.deliver(list(customers), policy=policy)["customer_trusted"]]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_trusted_customers_are_normalised(lake: Lake) -> None:
    found = lake.deliver([customer(" ADA@Example.com\t", " S-1\u00a0", customerName=" A ", updated=2, consent=2)])
    then = AS_OF - 2 * DAY
    assert found["customer_trusted"] == [(" A ", ADA, None, None, "s-1", None, then, then, None, None)]


@pytest.mark.parametrize(
    ("records", "deciding"),
    [
        pytest.param([{"updated": 2, "consent": 2}, {"updated": 1, "consent": 1}], [1], id="the newer record"),
        pytest.param([{"updated": 2, "consent": 2}, {"updated": 1}], [], id="a later record without consent"),
        pytest.param([{"updated": 1, "consent": 1}, {"updated": 2}], [0], id="an earlier record without consent"),
        pytest.param([{"updated": 1, "consent": 1}, {"updated": 1}], [], id="at one time, without consent first"),
        pytest.param([{"updated": 1, "consent": 1}, {}], [], id="no date, no consent: newest"),
        pytest.param([{"updated": 1}, {"consent": 1}], [], id="no date, consent: oldest"),
        pytest.param([{"consent": 1}], [0], id="no date, consent: enough on its own"),
        pytest.param([{"updated": 1, "consent": 0}], [0], id="consent at as_of"),
        pytest.param([{"updated": 1, "consent": -MILLISECOND}], [], id="consent after as_of"),
        pytest.param([{"updated": -MILLISECOND, "consent": 1}], [], id="an update after as_of"),
        pytest.param(
            [{"updated": 1, "consent": 1, "registered": 3}, {"updated": 1, "consent": 2, "registered": 2}],
            [1],
            id="then the later registration",
        ),
        pytest.param(
            [{"updated": 1, "consent": 1}, {"updated": 1, "consent": 2, "registered": 9}],
            [1],
            id="no registration comes last",
        ),
    ],
)
def test_latest_record(lake: Lake, records: list[dict[str, Any]], deciding: list[int]) -> None:
    names = [str(index) for index in range(len(records))]
    customers = [customer(customerName=name, **record) for name, record in zip(names, records, strict=True)]
    assert lake.trusted_names(*customers) == [names[index] for index in deciding]
    assert lake.trusted_names(*reversed(customers)) == [names[index] for index in deciding]


def test_records_alike_in_dates_are_told_apart_by_their_columns(lake: Lake) -> None:
    def trusted(*records: dict[str, Any]) -> list[tuple[Any, ...]]:
        rows = lake.deliver([customer(updated=1, consent=1, **record) for record in records])["customer_trusted"]
        return [(row[0], row[2], row[4]) for row in rows]

    assert trusted({"customerName": "B", "phone": "1"}, {"customerName": "A", "phone": "2"}) == [("A", "2", "s-1")]
    assert trusted({"customerName": "A"}, {"phone": "2"}) == [(None, "2", "s-1")]
    # As landed, not as normalised: "Ada@..." sorts before "ada@...", whatever the serial number says.
    assert trusted({"serial": "s-1"}, {"email": "Ada@example.com", "serial": "s-2"}) == [(None, None, "s-2")]


def test_the_other_share_flags_never_count(lake: Lake) -> None:
    shared: dict[str, Any] = {"shareWithPublicAsOfDate": AS_OF - DAY, "shareWithFriendsAsOfDate": AS_OF - DAY}
    assert lake.trusted_names(customer(updated=1, **shared)) == []


def test_any_takes_the_latest_consenting_record(lake: Lake) -> None:
    records = [
        customer(customerName="old", updated=3, consent=3),
        customer(customerName="new", updated=2, consent=2),
        customer(customerName="withdrawn", updated=1),
        customer(phone=True),
    ]
    assert lake.trusted_names(*records) == []
    assert lake.trusted_names(*records, policy=Policy(consent_record="any")) == ["new"]


@pytest.mark.parametrize(
    ("doubtful", "stays"),
    [
        pytest.param(customer(updated=1, phone=True), False, id="newer"),
        pytest.param(customer(updated=2, phone=True), False, id="of the same time"),
        pytest.param(customer(updated=3, phone=True), True, id="older"),
        pytest.param(customer(phone=True), False, id="without a date"),
        pytest.param(customer(phone=True, lastUpdateDate=7), False, id="with an unusable date"),
        pytest.param(customer(updated=3)[:-1], False, id="older, but broken"),
        pytest.param(customer(updated=3, LASTUPDATEDATE=1), False, id="older, but with a key twice"),
        pytest.param(customer(updated=3, phone="?").replace(b"?", b"\xff"), False, id="older, but not UTF-8"),
        pytest.param(
            customer(updated=3, phone=True, lastupdatedate=None), False, id="with two dates, one of them null"
        ),
        pytest.param(b'x "EMAIL"\t: "\\u0041DA@example.com " x', False, id="any text with the pair"),
        pytest.param(b'{"\\u0065mail": "ada@example.com"}', False, id="an object with an escaped key"),
        pytest.param(b'{"email": "ada@example.com', True, id="an e-mail that is cut off"),
        pytest.param(customer(BOB, phone=True), True, id="about another person"),
        pytest.param(b'{"email": 1, "contact": {"email": "ada@example.com"}}', False, id="at any depth"),
    ],
)
def test_in_doubt_no(lake: Lake, doubtful: bytes, *, stays: bool) -> None:
    found = lake.deliver([customer(customerName="Ada", updated=2, consent=2), doubtful])
    assert len(found["customer_quarantine"]) == 1
    assert [row[1] for row in found["customer_trusted"]] == [ADA] * stays


def test_accelerometer_trusted(lake: Lake) -> None:
    found = lake.deliver(
        [customer(updated=2, consent=2), customer(BOB, updated=2)],
        [reading("ADA@example.com ", x=0.0), reading(x=-0.0), reading(x=1), reading(BOB), reading("eve@example.com")],
    )
    then = AS_OF - DAY
    assert sorted(found["accelerometer_trusted"]) == [(ADA, then, 0.0, 0.0, 0.0), (ADA, then, 1.0, 0.0, 0.0)]


def test_customers_curated_have_trusted_readings(lake: Lake) -> None:
    customers = [customer(updated=2, consent=2), customer(BOB, "s-2", updated=2, consent=2)]
    found = lake.deliver(customers, [reading()])
    assert [row[1] for row in found["customers_curated"]] == [ADA]
    before_consent = lake.deliver(customers, [reading(days=2 + MILLISECOND)], policy=SINCE_CONSENT)
    assert before_consent["customers_curated"] == []


@pytest.mark.parametrize(
    ("others", "readings", "owner"),
    [
        pytest.param([], [reading()], ADA, id="one holder, whose phone was active"),
        pytest.param([], [reading(days=1 + MILLISECOND)], None, id="phone active a millisecond off"),
        pytest.param([], [reading(BOB)], None, id="only a stranger's phone active"),
        pytest.param([customer(BOB)], [reading()], ADA, id="two holders, one active"),
        pytest.param([customer(BOB)], [reading(), reading(BOB)], None, id="two holders, both active"),
        pytest.param([customer(BOB)], [reading(BOB)], BOB, id="the holder who does not consent"),
        pytest.param([customer(BOB, phone=True)], [reading(), reading(BOB)], None, id="a quarantined holder, active"),
        pytest.param([customer(BOB, " S-1", phone=True)[:-1]], [reading(), reading(BOB)], None, id="a broken one"),
        pytest.param([customer(serial="s-2")], [reading()], ADA, id="a person with two devices"),
        pytest.param([customer(BOB, updated=-5)], [reading(), reading(BOB)], None, id="a holder of whatever date"),
    ],
)
def test_attribution(lake: Lake, others: list[bytes], readings: list[bytes], owner: str | None) -> None:
    lake.deliver([customer(updated=2, consent=2), *others], readings, [step(" S-1")])
    customers, phone, steps = (read_landing(source, lake.folder / source / "landing") for source in SOURCES)
    assert attributed(steps.accepted, customers.accepted, customers.quarantined, phone.accepted) == [owner]


def test_step_trainer_trusted(lake: Lake) -> None:
    customers = [customer(updated=2, consent=2), customer(BOB, "s-2", updated=2)]
    steps = [step("S-1", distance=200), step("s-1", distance=200.0), step("s-1", distance=7), step("s-2"), step("s-3")]
    found = lake.deliver(customers, [reading(), reading(BOB)], steps)
    then = AS_OF - DAY
    assert sorted(found["step_trainer_trusted"]) == [(then, "s-1", 7.0, ADA), (then, "s-1", 200.0, ADA)]


def test_machine_learning_pairs_one_person_at_one_instant_and_keeps_repeats(lake: Lake) -> None:
    customers = [customer(updated=2, consent=2), customer(BOB, "s-2", updated=2, consent=2)]
    # Ada wears two devices that measure the same: two rows that are alike, both real.
    customers.append(customer(serial="s-3", updated=3))
    readings = [reading(x=1), reading(x=2), reading(BOB, x=3)]
    steps = [step("s-1"), step("s-3"), step("s-2", distance=7)]
    then = AS_OF - DAY
    found = lake.deliver(customers, readings, steps)
    assert Counter(found["machine_learning_curated"]) == {
        (ADA, then, 200.0, 1.0, 0.0, 0.0): 2,
        (ADA, then, 200.0, 2.0, 0.0, 0.0): 2,
        (BOB, then, 7.0, 3.0, 0.0, 0.0): 1,
    }
    # On the instant alone everyone's steps meet everyone's phone; s-3 is not the device of Ada's latest record.
    published = lake.deliver(customers, readings, steps, PUBLISHED)
    assert {row[3] for row in published["step_trainer_trusted"]} == {None}
    assert Counter(published["machine_learning_curated"]) == {
        (person, then, distance, x, 0.0, 0.0): 1
        for person, x in ((ADA, 1.0), (ADA, 2.0), (BOB, 3.0))
        for distance in (200.0, 7.0)
    }


def test_since_consent_keeps_the_instant_of_consent_itself(lake: Lake) -> None:
    customers = [customer(updated=2, consent=2), customer(BOB, "s-2", updated=9, consent=9)]
    days = [2 + MILLISECOND, 2, 1]
    readings, steps = [reading(days=day) for day in days], [step(days=day) for day in days]

    def instants(policy: Policy) -> tuple[list[int], list[int], list[int]]:
        found = lake.deliver(customers, readings, steps, policy)
        return (
            sorted(row[1] for row in found["accelerometer_trusted"]),
            sorted(row[0] for row in found["step_trainer_trusted"]),
            sorted(row[1] for row in found["machine_learning_curated"]),
        )

    before, at, after = AS_OF - 2 * DAY - 1, AS_OF - 2 * DAY, AS_OF - DAY
    assert instants(DEFAULT) == ([before, at, after],) * 3
    assert instants(SINCE_CONSENT) == ([at, after],) * 3
    assert instants(PUBLISHED_SINCE_CONSENT) == ([at, after], [before, at, after], [at, after])


def test_since_consent_never_filters_the_evidence(lake: Lake) -> None:
    # Bob's reading is older than his consent, and still he was there: the step belongs to nobody.
    customers = [customer(updated=2, consent=2), customer(BOB, updated=0, consent=0)]
    found = lake.deliver(customers, [reading(), reading(BOB)], [step()], SINCE_CONSENT)
    assert [row[1] for row in found["customers_curated"]] == [ADA]
    assert found["step_trainer_trusted"] == []


def test_landing_and_quarantine_rows_name_their_file(lake: Lake) -> None:
    doubtful = customer(" \uff21DA@example.com", updated=3, phone=True)
    found = lake.deliver([customer(), b"null", doubtful], [reading("mailto:ADA@example.com")], [step("S-1 ")])
    then, start = AS_OF - DAY, len(customer()) + len(b"\nnull\n")
    assert found["customer_landing"] == [(None, ADA, None, None, "s-1", *[None] * 5, ADA, "s-1", False, "records.json")]
    assert found["customer_quarantine"] == [
        ("records.json", ("malformed_json",), b"null", start - 5, 4, None, (), (), None, False),
        (
            *("records.json", ("wrong_type",), doubtful, start, len(doubtful), None),
            *((ADA,), ("s-1",), AS_OF - 3 * DAY, False),
        ),
    ]
    assert found["accelerometer_landing"] == [("mailto:ADA@example.com", then, 0.0, 0.0, 0.0, ADA, "records.json")]
    assert found["step_trainer_landing"] == [(then, "S-1 ", 200.0, "s-1", "records.json")]


def test_of_a_record_that_is_too_large_the_head_stays() -> None:
    record = b'{"email":"ada@example.com","a":"' + b"x" * LONGEST_RECORD + b'","serialNumber":7}'
    landing = Landing(files={"one.json": read_file("customer", b" " + record)})
    nothing = {source: Landing() for source in SOURCES}
    digest = hashlib.blake2b(record, digest_size=16).hexdigest()
    assert tables({**nothing, "customer": landing}, DEFAULT, AS_OF)["customer_quarantine"] == [
        (*("one.json", ("record_too_large",), record[:65_536], 1, len(record), digest), *((ADA,), ("7",), None, False))
    ]


@pytest.mark.parametrize(
    ("texts", "key"),
    [
        ([" ADA@Example.com\t", "\uff21da\uff20example\uff0ecom", "a\u200bda@exam\u00adple.com\ufeff"], ADA),
        (
            [
                "Ada <ADA@example.com>",
                "<ada@example.com>",
                "mailto:ada@example.com?subject=x",
                "MAILTO: ada@example.com",
            ],
            ADA,
        ),
        (["Ada \uff1cmailto:ada@example.com >"], ADA),
        (["jos\u00e9@x", "jose\u0301@x", "JOS\u00c9@X"], "jos\u00e9@x"),
        (["\u03bd\u03af\u03ba\u03bf\u03c2@x", "\u039d\u038a\u039a\u039f\u03a3@x"], "\u03bd\u03af\u03ba\u03bf\u03c3@x"),
        (["stra\u00dfe@x", "STRASSE@x"], "strasse@x"),
        (["\u0130da@x", "i\u0307da@x"], "i\u0307da@x"),
        (
            ["ada", "@x", "ada@", "a@b@c", "a b@c", "a<b>@c", "<a@b> x", "Ada <a@b> <c@d>", "", "\ud800@x", "\u0378@x"],
            None,
        ),
    ],
    ids=ascii,
)
def test_spellings_of_one_person(texts: list[str], key: str | None) -> None:
    assert [person(text) for text in texts] == [key] * len(texts)


def test_a_serial_number_is_compared_like_an_e_mail_and_needs_no_sign() -> None:
    assert [device(text) for text in (" S-1\u200b", "\uff33-1", "Ada <a@b>", "\u2003")] == [
        "s-1",
        "s-1",
        "ada <a@b>",
        "",
    ]
    assert [device(text) for text in ("\udfff", "a\U000e0fff\U0001fbff")] == [None, None]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b'{"at": 1, "customers": [{"email":"a@b"}, {"x":1}] }', [b'{"email":"a@b"}', b'{"x":1}']),
        (
            b'{"customers":[\n {"EMAIL":"a@b"},\n 5, [6], null]} {"c":1}',
            [b'{"EMAIL":"a@b"}', b"5", b"[6]", b"null", b'{"c":1}'],
        ),
        (b'{"m":{}, "more":[{"email":"c@d"}]}', [b'{"email":"c@d"}']),
        (b'{"one":[{"email":"c@d"}], "two":[]}', [b'{"email":"c@d"}']),
        # A record itself: a key of the contract, no record inside, cut off.
        (b'{"email":"a@b", "more":[{"email":"c@d"}]}', [b'{"email":"a@b", "more":[{"email":"c@d"}]}']),
        (b'{"more":[{"user":"c@d"}]}', [b'{"more":[{"user":"c@d"}]}']),
        (b'{"more":[]}', [b'{"more":[]}']),
        (b'{"more":[{"email":"c@d"}', [b'{"more":[{"email":"c@d"}']),
    ],
)
def test_an_envelope_is_no_record(content: bytes, records: list[bytes]) -> None:
    landed = read_file("customer", content)
    found = [record.raw for record in landed.quarantined]
    assert found == [raw for raw in records if raw in found]
    assert len(landed.accepted) + len(found) == len(records)


def test_subject_id_is_hmac_sha256() -> None:
    # RFC 4231, test case 2
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert subject_id("what do ya want for nothing?", b"Jefe") == expected
    assert subject_id(ADA, b"key") != hashlib.sha256(ADA.encode()).hexdigest()


# --- The real course data -------------------------------------------------------------------------------------------

ANSWERED = (
    "customer_trusted",
    "accelerometer_trusted",
    "customers_curated",
    "step_trainer_trusted",
    "machine_learning_curated",
)
ANSWERS = {
    DEFAULT: (482, 40_981, 482, 14_460, 40_981),
    SINCE_CONSENT: (482, 32_025, 464, 11_297, 32_025),
    PUBLISHED: (482, 40_981, 482, 14_460, 43_681),
    PUBLISHED_SINCE_CONSENT: (482, 32_025, 464, 13_920, 34_437),
}


@pytest.fixture(scope="module")
def course_landings() -> dict[Source, Landing]:
    if not COURSE_DATA.is_dir():
        pytest.skip(f"no course data in {COURSE_DATA}: set COURSE_DATA to its folder")
    return read_lake(COURSE_DATA)


def test_course_data_lands_whole(course_landings: dict[Source, Landing]) -> None:
    assert [len(course_landings[source].accepted) for source in SOURCES] == [956, 81_273, 28_680]
    assert [len(course_landings[source].quarantined) for source in SOURCES] == [0, 0, 0]


@pytest.mark.parametrize("policy", ANSWERS, ids=["default", "since consent", "published", "published, since consent"])
def test_known_answers(course_landings: dict[Source, Landing], policy: Policy) -> None:
    found = tables(course_landings, policy, AS_OF)
    assert {table: len(found[table]) for table in ANSWERED} == dict(zip(ANSWERED, ANSWERS[policy], strict=True))


def test_published_rows_pair_different_people(course_landings: dict[Source, Landing]) -> None:
    published, default = (
        Counter(tables(course_landings, policy, AS_OF)["machine_learning_curated"]) for policy in (PUBLISHED, DEFAULT)
    )
    assert (published - default).total() == 2_700
    assert default <= published
