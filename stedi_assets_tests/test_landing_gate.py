"""Every kind of broken delivery, each in a file of its own and in pairs, through the real landing step.

The cases and their verdicts are in `malformed_cases.py`; all of them lie in one lake, so that Spark starts once.
"""

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import SOURCES, Form
from stedi_assets.lake import landing as landing_module
from stedi_assets.lake.errors import ContractBroken, LakeError
from stedi_assets.lake.landing import land
from stedi_assets.lake.landing_files import FileReport
from stedi_assets.lake.layout import Lake
from stedi_assets.transforms.records import judge, read_plain
from stedi_assets_tests import oracle
from stedi_assets_tests.lakes import local_lake, root_of
from stedi_assets_tests.malformed_cases import CASES, MalformedCase

GOOD = b'{"user":"a@example.com","timestamp":1655564376361,"x":1,"y":2,"z":3}\n'


@dataclass(frozen=True)
class Landed:
    """What became of the files of one source."""

    accepted: dict[str, list[tuple[Any, ...]]]
    quarantined: dict[str, list[tuple[tuple[str, ...], bytes]]]
    files: dict[str, FileReport]
    ignored: tuple[str, ...]
    hidden: tuple[str, ...]


def landed(spark: SparkSession, lake: Lake, source: str) -> Landed:
    """Land a source's files and return what came of each."""
    found = land(spark, lake, SOURCES[source])
    try:
        return Landed(
            _by_file(found.accepted, lambda row: tuple(row)[:-1]),
            _by_file(found.quarantined, lambda row: (tuple(row["reasons"]), bytes(row["raw"]))),
            {file.path: file for file in found.files},
            found.listing.ignored,
            found.listing.hidden,
        )
    finally:
        found.stage.discard()


def _by_file(rows: DataFrame | None, value: Any) -> dict[str, list[Any]]:
    grouped = defaultdict(list)
    for row in rows.collect() if rows is not None else []:
        grouped[row["_source_file"]].append(value(row))
    return grouped


def write(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files below a folder."""
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def each_case(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Landed]:
    """All cases landed, each in a folder of its own."""
    lake = local_lake(tmp_path_factory.mktemp("cases"))
    for number, case in enumerate(CASES):
        write(root_of(lake) / SOURCES[case.source].raw_path, [(f"{number}/{case.file_name}", case.content)])
    return {source: landed(spark, lake, source) for source in SOURCES}


@pytest.mark.parametrize(("number", "case"), list(enumerate(CASES)), ids=[case.name for case in CASES])
def test_a_broken_delivery_gets_its_verdict(number: int, case: MalformedCase, each_case: dict[str, Landed]) -> None:
    found = each_case[case.source]
    path = f"{number}/{case.file_name}"

    assert len(found.accepted.get(path, [])) == case.accepted
    assert sorted(reasons for reasons, _ in found.quarantined.get(path, [])) == sorted(case.reasons)
    report = found.files.get(path)
    assert bool(report and report.error) == case.file_error
    if report and not report.error:
        assert report.record_bytes + report.separator_bytes == report.bytes
        assert report.accepted + report.quarantined == report.records


@pytest.mark.parametrize("source", SOURCES)
def test_rows_and_raw_bytes_are_those_of_the_reference(source: str, each_case: dict[str, Landed]) -> None:
    contents = {
        f"{number}/{case.file_name}": case.content
        for number, case in enumerate(CASES)
        if case.source == source and not case.file_error
    }
    found = each_case[source]
    assert_as_the_reference(source, {p: c for p, c in contents.items() if p in found.files}, found)


def assert_as_the_reference(source: Any, contents: dict[str, bytes], found: Landed) -> None:
    """Assert that every file became what the oracle makes of it, to the row and to the byte."""
    columns = [column.name for column in SOURCES[source].record_columns]
    for path, content in contents.items():
        try:
            expected = oracle.read_file(source, content)
        except oracle.FileError:
            assert found.files[path].error, content
            continue
        rows = [_comparable(tuple(row[name] for name in columns)) for row in expected.accepted]
        assert sorted(map(_comparable, found.accepted.get(path, []))) == sorted(rows), content
        quarantined = sorted((record.reasons, record.raw) for record in expected.quarantined)
        assert sorted(found.quarantined.get(path, [])) == quarantined, content


def _comparable(row: tuple[Any, ...]) -> str:
    """Write a row so that rows can be sorted.

    A number kept as text may be spelled another way, `1.50` for `1.5`, and a zero has no sign.
    """
    number = r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?"
    values = (float(v) if isinstance(v, str) and re.fullmatch(number, v) else v for v in row)
    return repr([value + 0.0 if isinstance(value, float) else value for value in values])


@pytest.mark.parametrize("source", SOURCES)
def test_a_plain_record_is_what_judging_it_would_give(source: str, spark: SparkSession) -> None:
    """Whatever is taken for plain, the judge accepts with the same values."""
    texts = list(_nearly_plain(source, random.Random(20), 6_000))
    records = spark.createDataFrame(
        pa.table({"id": list(range(len(texts))), "text": texts, "blank": [False] * len(texts)})
    )
    columns = [column.name for column in SOURCES[source].record_columns]
    plain = read_plain(records, SOURCES[source]).where("not_plain IS NULL")
    judged = judge(records.selectExpr("id", "text", "false AS broken"), SOURCES[source], bare_nan=False)
    found = {row["id"]: repr(row[1:]) for row in plain.select("id", *columns).collect()}
    expected = {row["id"]: repr(row[1:]) for row in judged.where("reasons IS NULL").select("id", *columns).collect()}
    for place, row in found.items():
        assert row == expected.get(place), texts[place]
    assert 0.1 * len(texts) < len(found) < len(expected) < 0.9 * len(texts)


def _nearly_plain(source: str, random: random.Random, count: int) -> Iterator[str]:
    """Yield records of a source with something odd in some of their values, keys, order, blanks or ends."""
    odd = {
        Form.NUMBER: ["0", "-0", "-0.0", "0.0", "1", "-1.50", "007", "1.", ".5", "1e3", "12345678901234567.25", "NaN"],
        Form.INSTANT: ["1655564376361", "4099999999999", "4100000000000", "999999999999", "1655564376361.0", "null"],
        Form.EMAIL: ['"a@b.c"', '"A.B@C"', '" a@b"', '"a@b@c"', '"ab"', '"a\\u0040b"', '"é@b"', '"@"', '""', "1"],
        Form.TEXT: ['"x"', '"a b"', '""', '"\\n"', '"{"', '"é"', '"\x7f"', '"\x01"', '","', "1", "null", '"NaN"'],
    }
    odd |= {Form.SHARE_INSTANT: [*odd[Form.INSTANT], "0", "false"], Form.TEXT_OR_NUMBER: odd[Form.TEXT]}
    usual = {form: values[0] for form, values in odd.items()} | {Form.NUMBER: "-1.5"}
    for _ in range(count):
        columns = [c for c in SOURCES[source].record_columns if c.required or random.random() < 0.9]
        values = {
            c.name: random.choice(odd[c.form]) if random.random() < 0.15 else usual[c.form] for c in columns if c.form
        }
        members = [f'"{name}":{random.choice(["", " "])}{value}' for name, value in values.items()]
        if random.random() < 0.1:
            members.insert(random.randrange(len(members)), random.choice([members[0], members[-1], '"other": 1', ""]))
        separator = random.choice([",", ", ", ",", " ,\n"])
        text = "{" + separator.join(members) + random.choice(["}", "}", " }", ",}", "}\n", "}}"])
        yield text.replace('"email"', '"Email"') if random.random() < 0.02 else text


def test_pairs_of_cases_in_one_file_are_those_of_the_reference(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two broken deliveries after each other, with and without a line break between, every case with some others."""
    lake = local_lake(tmp_path_factory.mktemp("pairs"))
    contents: dict[str, dict[str, bytes]] = {source: {} for source in SOURCES}
    for source in SOURCES:
        cases = [c for c in CASES if c.source == source and not c.file_error and len(c.content) < 10_000]
        plain = [c for c in cases if not c.content.startswith(b"\x1f\x8b")]
        for (first, a), (second, b) in itertools.product(enumerate(plain), enumerate(plain)):
            # All neighbours, and a spread of the others.
            if (first * 7 + second) % 23 == 0 or second == first + 1:
                between = (b"\n", b"", b"\n\n")[(first + second) % 3]
                contents[source][f"{first}-{second}.json"] = a.content + between + b.content

    for source in SOURCES:
        write(root_of(lake) / SOURCES[source].raw_path, contents[source].items())
        assert_as_the_reference(source, contents[source], landed(spark, lake, source))
        assert len(contents[source]) > 200


def lose_one(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a step of the landing drop one of the records it is given."""
    original: Callable[..., DataFrame] = getattr(landing_module, step)

    def losing(records: DataFrame, *args: Any, **kwargs: Any) -> DataFrame:
        return original(records.where("place % 8589934592 != 1"), *args, **kwargs)

    monkeypatch.setattr(landing_module, step, losing)


def test_a_record_that_the_quick_way_loses_is_read_by_the_exact_one(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root_of(lake) / SOURCES["accelerometer"].raw_path, [("a.json", GOOD * 3)])
    lose_one("read_plain", monkeypatch)
    found = landed(spark, lake, "accelerometer")
    assert len(found.accepted["a.json"]) == found.files["a.json"].records == 3


def test_a_lost_record_is_found(spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop one candidate between splitting and judging, and the bytes do not add up."""
    write(root_of(lake) / SOURCES["accelerometer"].raw_path, [("a.json", GOOD * 3 + b"{broken\n")])
    lose_one("judge", monkeypatch)
    with pytest.raises(ContractBroken, match="rows_accounted_for"):
        land(spark, lake, SOURCES["accelerometer"])
    assert list((root_of(lake) / SOURCES["accelerometer"].landing.path).glob("_stage*")) == []


def test_no_landing_files_is_a_clear_error(spark: SparkSession, lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"No landing files in .*customer/landing"):
        land(spark, lake, SOURCES["customer"])
