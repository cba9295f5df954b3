"""Every kind of broken delivery through the landing gate, as a task runs it, without Spark.

The cases and their verdicts are in `malformed_cases.py`; rows and raw bytes are held to the oracle's.
"""

import errno
import gzip
import hashlib
import io
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pytest

from stedi_assets.contracts import SOURCES, Form
from stedi_assets.ingest import gate, splitter, validation
from stedi_assets.ingest.gate import Piece, Report, read_piece
from stedi_assets.ingest.splitter import Block, Record, split
from stedi_assets.ingest.validation import MOST_FIELDS, QuarantinedRecord, RecordValidator
from stedi_assets_tests.support import oracle
from stedi_assets_tests.support.malformed_cases import CASES, MalformedCase, Source

GOOD = b'{"user":"a@example.com","timestamp":1655564376361,"x":1,"y":2,"z":3}\n'
STEP = b'{"sensorReadingTime":1655564444103,"serialNumber":"s-1","distanceFromObject":218}\n'
CUSTOMER = b'{"email":"ada@example.com","serialNumber":"s-1"}\n'
TOO_LARGE = "its records stand in an envelope of more than 16 MB; have them delivered one per line"
TWO_PARTS = "its records stand in an envelope of several parts; have them delivered one per line"


@dataclass(frozen=True)
class Judged:
    """What became of a piece: its rows of both kinds in the order of their batches, and its report."""

    accepted: list[dict[str, Any]]
    quarantined: list[dict[str, Any]]
    report: Report


def opener(content: bytes) -> Callable[[str, int], BinaryIO]:
    """Return what opens any path, and finds the same content there."""
    return lambda _, start: io.BytesIO(content[start:])


def unexpected(_: pa.RecordBatch) -> None:
    """Take rows where there are none."""
    raise AssertionError


def rows_of(batches: Sequence[pa.RecordBatch]) -> list[dict[str, Any]]:
    """Return the rows of batches."""
    return [row for batch in batches for row in batch.to_pylist()]


def judged(source: str, content: bytes, start: int = 0, end: int | None = None) -> Judged:
    """Have a piece of a file read, the whole file if no other is named."""
    piece = Piece("folder/a.json", "a.json", start, len(content) if end is None else end)
    accepted: list[pa.RecordBatch] = []
    quarantined: list[pa.RecordBatch] = []
    report = read_piece(opener(content), SOURCES[source], piece, accepted.append, quarantined.append)
    found = Judged(rows_of(accepted), rows_of(quarantined), report)
    assert {row["_source_file"] for row in [*found.accepted, *found.quarantined]} <= {"a.json"}
    if report.error is None:
        assert (len(found.accepted), len(found.quarantined)) == (report.accepted, report.quarantined)
        assert report.accepted + report.quarantined == report.records
        assert report.accepted_bytes + report.quarantined_bytes + report.separator_bytes == report.bytes
        assert report.quarantined_bytes == sum(row["_length"] for row in found.quarantined)
    return found


def assert_as_the_reference(source: Source, content: bytes) -> None:
    """Assert that a file became what the oracle makes of it, to the row and to the byte."""
    found = judged(source, content)
    try:
        expected = oracle.read_file(source, content)
    except oracle.FileError:
        assert found.report.error, content
        return
    assert found.report.error is None, content
    columns = [name for name in oracle.COLUMNS[f"{source}_landing"] if name not in {"_source_file", "_superseded"}]
    rows, wanted = ([[row[name] for name in columns] for row in rows] for rows in (found.accepted, expected.accepted))
    assert repr(rows) == repr([[_unsigned(value) for value in row] for row in wanted]), content
    quarantined = [
        (row["_offset"], row["_length"], row["raw"], tuple(row["reasons"]), row["_updated"])
        for row in found.quarantined
    ]
    assert quarantined == [
        (record.offset, len(record.raw), _kept(record.raw), record.reasons, record.updated)
        for record in expected.quarantined
    ], content
    assert [(frozenset(row["_people"]), frozenset(row["_devices"])) for row in found.quarantined] == [
        (record.people, record.devices) for record in expected.quarantined
    ], content
    report = found.report
    assert len(report.unknown_fields) + report.other_names == len(expected.unknown_fields)
    assert report.unknown_fields.keys() <= expected.unknown_fields


def _unsigned(value: Any) -> Any:
    """Return a value without the sign of a zero, which the tables do not keep."""
    return value + 0.0 if isinstance(value, float) else value


def _kept(raw: bytes) -> bytes:
    return raw if len(raw) <= oracle.LONGEST_RECORD else raw[: oracle.HEAD]


# --- Verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_broken_delivery_gets_its_verdict(case: MalformedCase) -> None:
    found = judged(case.source, case.content)
    assert bool(found.report.error) == case.file_error
    if not case.file_error and not _is_passed_over(case):
        assert [tuple(row["reasons"]) for row in found.quarantined] == case.reasons
        assert len(found.accepted) == case.accepted
    assert_as_the_reference(case.source, case.content)


def _is_passed_over(case: MalformedCase) -> bool:
    """Whether it is a case for the listing: a good record under a name that is not read."""
    return case.accepted == 0 and not case.reasons and b'"distanceFromObject"' in case.content


@pytest.mark.parametrize("source", SOURCES)
def test_pairs_of_cases_in_one_file_are_those_of_the_reference(source: Source) -> None:
    """Two broken deliveries after each other, with and without a line break between, every case with some others."""
    cases = [case.content for case in CASES if case.source == source and not case.file_error]
    plain = [content for content in cases if len(content) < 10_000 and not content.startswith(b"\x1f\x8b")]
    tried = 0
    for (first, a), (second, b) in itertools.product(enumerate(plain), enumerate(plain)):
        # All neighbours, and a spread of the others.
        if (first * 7 + second) % 23 == 0 or second == first + 1:
            between = (b"\n", b"", b"\n\n")[(first + second) % 3]
            assert_as_the_reference(source, a + between + b)
            tried += 1
    assert tried > 200


@pytest.mark.parametrize("source", SOURCES)
def test_nearly_plain_records_are_those_of_the_reference_alone_and_in_blocks(source: Source) -> None:
    texts = [text.encode() for text in _nearly_plain(source, random.Random(20), 2_000)]
    assert_as_the_reference(source, b"\n".join(texts))
    for text in texts[:500]:
        assert_as_the_reference(source, text)


@pytest.mark.parametrize("source", SOURCES)
def test_the_quick_ways_of_judging_give_the_verdict_of_the_rule(source: Source) -> None:
    """Whatever a block or an object is taken for, its members by themselves give as well."""
    rng = random.Random(21)
    texts = [text.encode() for text in _nearly_plain(source, rng, 3_000)]
    texts += [text.encode() for text in _nearly_plain(source, rng, 500, odd=0.01)]
    by_column = by_object = 0
    for size in (1, 3):
        for start in range(0, len(texts), size):
            for part in split(io.BytesIO(b"\n".join(texts[start : start + size]))):
                records = part.records() if isinstance(part, Block) else [part] if isinstance(part, Record) else []
                expected = [_by_the_rule(source, record) for record in records]
                if isinstance(part, Block) and (columns := RecordValidator(SOURCES[source]).columns(part)):
                    by_column += 1
                    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
                    assert list(map(_comparable, rows)) == list(map(_comparable, expected)), part.data
                for record, verdict in zip(
                    part.records() if isinstance(part, Block) else records, expected, strict=True
                ):
                    judge = RecordValidator(SOURCES[source])
                    assert _comparable(judge.validate(record)) == _comparable(verdict), record.raw
                    if record.value is not None and (row := judge._from_object(record.raw, record.value)):
                        by_object += 1
                        assert _comparable(row) == _comparable(verdict), record.raw
    assert by_column > 300
    assert by_object > 1_000


def _by_the_rule(source: str, record: Record) -> dict[str, Any] | QuarantinedRecord:
    if not record.is_object:
        return RecordValidator(SOURCES[source]).validate(record)
    return RecordValidator(SOURCES[source])._from_members(record.raw)


def _comparable(verdict: dict[str, Any] | QuarantinedRecord) -> str:
    """Write a verdict so that 1 and 1.0 are the same, which a column of numbers holds as one."""
    if isinstance(verdict, QuarantinedRecord):
        return repr(verdict)
    numbers = {name: float(found) if type(found) is int else found for name, found in verdict.items()}
    return repr(sorted((name, found) for name, found in numbers.items() if found is not None))


def _nearly_plain(source: str, random: random.Random, count: int, odd: float = 0.15) -> Iterator[str]:
    """Yield records of a source with something odd in some of their values, keys, order, blanks or ends."""
    serial_numbers = [
        '"x"',
        '"a b"',
        '""',
        '"\\n"',
        '"{"',
        '"é"',
        '"\x7f"',
        '"\x01"',
        '","',
        "1",
        "null",
        '"NaN"',
        '"\u0378"',
    ]
    values = {
        Form.NUMBER: ["0", "-0", "-0.0", "0.0", "1", "-1.50", "007", "1.", ".5", "1e3", "12345678901234567.25", "NaN"],
        Form.INSTANT: ["1655564376361", "4099999999999", "4100000000000", "999999999999", "1655564376361.0", "null"],
        Form.EMAIL: ['"a@b.c"', '"A.B@C"', '" a@b"', '"a@b@c"', '"ab"', '"a\\u0040b"', '"é@b"', '"@"', '""', "1"],
        Form.SERIAL_NUMBER: serial_numbers,
        Form.TEXT_OR_NUMBER: [*serial_numbers, "1.50", "1e400", "-0", "[]", '"\\ud800"'],
    }
    values |= {Form.SHARE_INSTANT: [*values[Form.INSTANT], "0", "false", "-0", '""']}
    usual = {form: found[0] for form, found in values.items()} | {Form.NUMBER: "-1.5"}
    for _ in range(count):
        columns = [c for c in SOURCES[source].record_columns if c.required or random.random() < 0.9]
        record = {
            c.name: random.choice(values[c.form]) if random.random() < odd else usual[c.form] for c in columns if c.form
        }
        members = [f'"{name}":{random.choice(["", " "])}{value}' for name, value in record.items()]
        if random.random() < odd:
            others = [
                members[0],
                members[-1],
                '"other": 1',
                "",
                '"other":{"a":1,"a":[]}',
                '"User":1',
                '"x\\u0079":"\\""',
            ]
            members.insert(random.randrange(len(members)), random.choice(others))
        separator = random.choice([",", ", ", ",", " ,\t"])
        end = random.choice([" }", ",}", "}\n", "}}", "},", "}{}"]) if random.random() < odd else "}"
        text = "{" + separator.join(members) + end
        yield text.replace('"email"', '"Email"') if random.random() < odd / 10 else text


def test_the_sign_of_a_zero_is_kept_nowhere() -> None:
    """Engines compare the two zeros in their own ways."""
    record = b'{"user":"a@example.com","timestamp":1655564376361,"x":-0.0,"y":-0,"z":-0e5}\n'
    for content in (record, record * 3, record.replace(b'"x"', b'"X"'), record[:-2] + b',"more":1}'):
        for row in judged("accelerometer", content).accepted:
            assert repr([row[name] for name in "xyz"]) == "[0.0, 0.0, 0.0]"


def test_more_fields_than_a_record_may_have_are_too_many() -> None:
    for more, reasons in ((MOST_FIELDS - 5, []), (MOST_FIELDS - 4, ["too_many_fields"])):
        fields = "".join(f',"f{number}":{number}' for number in range(more))
        content = GOOD.replace(b"}", fields.encode() + b"}")
        assert [reason for row in judged("accelerometer", content).quarantined for reason in row["reasons"]] == reasons
        assert_as_the_reference("accelerometer", content)


def test_names_that_the_contract_does_not_know_are_counted_and_shown_only_if_like_identifiers() -> None:
    record = GOOD.replace(b"}", b',"battery":1}')
    content = record * 3 + GOOD.replace(b"}", b',"ada@example.com":1,"b c":2,"battery":3}') + b'{"secret":1}\n'
    found = judged("accelerometer", content)
    assert (found.report.unknown_fields, found.report.other_names) == ({"battery": 4}, 2)


# --- Larger than a record may be --------------------------------------------------------------------------------------


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have records be too large from a thousand bytes on."""
    for module in (splitter, validation):
        monkeypatch.setattr(module, "LARGEST_RECORD", 1_000)
    for name, size in {"HEAD": 100, "_BLOCK": 64, "_NEAR": 64, "_LOOK": 32}.items():
        monkeypatch.setattr(splitter, name, size)


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize("end", [b"}", b"", b'"', b"\xff"])
def test_of_a_record_that_is_too_large_a_head_is_kept_and_all_of_it_is_evidence(end: bytes) -> None:
    large = b'{"customerName":"' + b"x" * 1_500 + b'","email":"Ada@Example.com","serialNumber":"S-1"' + end
    found = judged("customer", CUSTOMER + large + b"\n" + CUSTOMER)
    assert len(found.accepted) == 2
    (row,) = found.quarantined
    assert (row["reasons"], row["raw"]) == (["record_too_large"], large[:100])
    assert (row["_offset"], row["_length"]) == (len(CUSTOMER), len(large))
    assert row["_digest"] == hashlib.blake2b(large, digest_size=16).hexdigest()
    assert (row["_people"], row["_devices"]) == (["ada@example.com"], ["s-1"])
    assert row["_updated"] is None


@pytest.mark.usefixtures("small_records")
def test_evidence_of_one_record_is_not_that_of_the_next() -> None:
    large = [b'{"user":"%s@example.com","a":"' % name + b"x" * 1_500 + b'"}' for name in (b"ada", b"ben")]
    found = judged("accelerometer", b"\n".join([large[0], b'{"user":"cy@example.com"', large[1], GOOD, b"x" * 2_000]))
    people = [["ada@example.com"], ["cy@example.com"], ["ben@example.com"], []]
    assert [row["_people"] for row in found.quarantined] == people


# --- Envelopes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b'{"exportedAt":"now","customers":[' + CUSTOMER + b"," + CUSTOMER + b"]}",
        b'{"customers":[' + CUSTOMER + b',{},null,{"email":1},' + CUSTOMER + b'],"count":2}\n' + CUSTOMER,
        b'{"customers":[null,7,' + CUSTOMER + b',[],"x",[1],' + CUSTOMER + b"]}",
        b'{ "a" : [ ' + CUSTOMER + b" ] } " * 2,
        b'{"a":[1,2,{"b":1}]}',
        b'{"a":"[","b":[{"\\u0065mail":"x"}]}',
        b'{"email":"a@b","serialNumber":"s","more":[' + CUSTOMER + b"]}",
    ],
    ids=[
        "alone",
        "with others in it",
        "with scalars",
        "blanks",
        "no records",
        "an escaped key",
        "a record with records in it",
    ],
)
def test_each_record_in_an_envelope_is_judged_by_itself(content: bytes) -> None:
    assert_as_the_reference("customer", content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":[' + CUSTOMER + b'],"b":[' + CUSTOMER + b"]}",
        b'{"a":{"b":[' + CUSTOMER + b"]}}",
        b'{"a":' + CUSTOMER + b"}",
    ],
)
def test_an_envelope_that_cannot_be_opened_is_an_error_of_the_file(content: bytes) -> None:
    assert judged("customer", CUSTOMER + content).report.error == TWO_PARTS


def _something(rng: random.Random, depth: int, record: str) -> str:
    """Return random JSON that can hold records, whole ones and others."""
    some = (
        record,
        '{"email":"b@x.de"}',
        '{"mail":"c@x.de"}',
        '{"serialNumber":"s"}',
        "[]",
        "{}",
        "1",
        '"a"',
        '"d@x.de"',
        "null",
    )
    if not depth or rng.random() < 0.4:
        return rng.choice(some)
    parts = [_something(rng, depth - 1, record) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.5:
        return f"[{','.join(parts)}]"
    return "{" + ",".join(f'"{rng.choice(("a", "b", "c", "email", "items"))}":{part}' for part in parts) + "}"


@pytest.mark.parametrize("seed", range(3))
def test_no_record_is_lost_wherever_it_stands(seed: int) -> None:
    rng = random.Random(seed)
    for number in range(1_000):
        record = f'{{"email":"ada{number}@example.com","serialNumber":"s"}}'
        content = "\n".join(_something(rng, 4, record) for _ in range(2)).encode()
        assert_as_the_reference("customer", content)
        found = judged("customer", content)
        rows = repr([found.accepted, found.quarantined])
        unknown = found.report.unknown_fields
        assert found.report.error or unknown or rows.count(f"ada{number}") >= content.count(b"ada"), content


@pytest.mark.usefixtures("small_records")
def test_an_envelope_that_is_too_large_is_an_error_of_the_file() -> None:
    assert judged("customer", b'{"customers":[{"email":"' + b"x" * 1_000).report.error == TOO_LARGE
    for around in (b'"more":[],"meta":{"a":{}},"customers":[{"a":1,', b'"customers":{"1":{'):
        assert judged("customer", b"{" + around + b'"email":"' + b"x" * 1_000).report.error == TOO_LARGE
    for source, around in (
        ("customer", b'"phone":"1","customers":[{"email":"'),
        ("accelerometer", b'"timestamp":1,"readings":[{"x":1,"user":"'),
    ):
        assert judged(source, b"{" + around + b"x" * 1_000).report.error == TOO_LARGE
    for around in (b'"others":[{"a":1,' + b'"b":1,' * 300, b'"email":"a@b","a":{"b":1},"serialNumber":"s","photo":"'):
        record = b"{" + around + b"x" * 1_000
        assert judged("customer", record).report.error is None, record
    for around in (b'"email":[{"email":"', b'"meta":{"v":1},"email":{"a":1},"c":"'):
        assert judged("customer", b"{" + around + b"x" * 1_000).report.error is None


# --- Pieces -----------------------------------------------------------------------------------------------------------


def test_pieces_that_are_cut_where_lines_begin_give_what_the_whole_file_gives() -> None:
    lines = [GOOD, b'{"user":1}\n', GOOD.replace(b"}\n", b"},\n"), b"\n", b"garbage\n", b"  \n", GOOD[:-1] + GOOD]
    rng = random.Random(5)
    for _ in range(50):
        chosen = rng.choices(lines, k=30)
        content = b"".join(chosen)
        whole = judged("accelerometer", content)
        edges = [0, *sorted(rng.sample(list(itertools.accumulate(map(len, chosen)))[:-1], 3)), len(content)]
        parts = [judged("accelerometer", content, *edge) for edge in itertools.pairwise(edges)]
        assert [row for part in parts for row in part.accepted] == whole.accepted
        assert [row for part in parts for row in part.quarantined] == whole.quarantined
        for name in ("bytes", "records", "accepted_bytes", "quarantined_bytes", "separator_bytes"):
            assert sum(getattr(part.report, name) for part in parts) == getattr(whole.report, name), name
        assert [part.report.start for part in parts] == edges[:-1]


@pytest.mark.parametrize("begins", [b"ORC", b"BZh", b"PAR1", b"\xff\xfe", b"\x1f\x8b"])
def test_the_beginning_of_a_file_alone_tells_its_format(begins: bytes) -> None:
    content, cut = GOOD * 2 + begins + b"\n" + GOOD, len(GOOD * 2)
    assert judged("accelerometer", content[cut:]).report.error
    parts = [judged("accelerometer", content, *edge).report for edge in ((0, cut), (cut, len(content)))]
    assert [(part.error, part.accepted, part.quarantined) for part in parts] == [(None, 2, 0), (None, 1, 1)]


@pytest.mark.parametrize(
    ("content", "cut_off", "ends_within"),
    [
        (GOOD, False, False),
        (GOOD * 3, False, False),
        (GOOD + b'{"user":"a\n', True, True),
        (GOOD + GOOD[:-9], True, True),
        (GOOD + b'{"a":1,}\n', False, True),
        (b'{"user":"a\n' + GOOD, False, False),
        (GOOD + b"garbage\n", False, False),
        (GOOD + b'{"x":\n' + GOOD + GOOD, False, False),
        (GOOD + b'{"x":[\n{},\n{}\n', False, True),
        (GOOD + b'{"x":[\n' + GOOD, False, True),
        (GOOD + b'{"x":[\n{"y":[\n' + GOOD, False, True),
        (GOOD + b'{"x":[1,\n{},\n{}}\n' + GOOD, False, False),
        (b"", False, False),
    ],
)
def test_a_report_tells_whether_the_last_record_may_go_on(content: bytes, *, cut_off: bool, ends_within: bool) -> None:
    report = judged("accelerometer", content).report
    assert (report.cut_off, report.ends_within) == (cut_off, ends_within)


def test_of_a_packed_file_the_piece_that_begins_it_reads_all() -> None:
    content = gzip.compress(GOOD * 1_000, 0)
    first, second = judged("accelerometer", content, 0, 100), judged("accelerometer", content, 100)
    assert (first.report.records, first.report.packed) == (1_000, True)
    assert (first.report.bytes, first.report.digest) == (len(GOOD) * 1_000, hashlib.sha256(content).hexdigest())
    assert (second.report.records, second.report.bytes, second.report.digest) == (0, 0, "")


@pytest.mark.parametrize("rows", [1, 7])
def test_rows_come_in_batches_of_bounded_size_and_in_order(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_ROWS_AT_ONCE", rows)
    content = b"".join(b"broken %d\n" % number for number in range(50))
    piece = Piece("a", "a", 0, len(content))
    batches: list[pa.RecordBatch] = []
    read_piece(opener(content), SOURCES["customer"], piece, unexpected, batches.append)
    assert max(batch.num_rows for batch in batches) == rows
    assert [row["raw"] for row in rows_of(batches)] == content.split(b"\n")[:-1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/secret/path"), "no permission to read it"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/secret/path"), "it cannot be read: No such"),
        (OSError(errno.EIO, "Input/output error"), "it cannot be read: Input/output error"),
    ],
)
def test_a_file_that_cannot_be_opened_or_read_to_its_end_is_an_error_of_its_own(error: OSError, said: str) -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if not (found := super().read(size)):
                raise error
            return found

    def fails(_: str, __: int) -> BinaryIO:
        raise error

    opened: Sequence[Callable[[str, int], BinaryIO]] = [fails, lambda _, __: Breaks(GOOD)]
    for open_it in opened:
        piece = Piece("a.json", "a.json", 0, 1_000)
        report = read_piece(open_it, SOURCES["accelerometer"], piece, lambda _: None, unexpected)
        assert report.error
        assert report.error.startswith(said)


def test_a_small_block_gives_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitter, "_BLOCK", 200)
    for case in CASES:
        if len(case.content) < 10_000:
            assert_as_the_reference(case.source, case.content)
