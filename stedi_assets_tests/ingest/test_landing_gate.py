"""Every kind of broken delivery, each in a file of its own, through the real landing step; and files in pieces.

The cases and their verdicts are in `malformed_cases.py`; all of them lie in one lake, so that Spark reads once.
"""

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest import reading
from stedi_assets.ingest.gate import Piece, Report
from stedi_assets.ingest.landing import land
from stedi_assets.storage.errors import ContractBroken, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.file_reports import FileReport
from stedi_assets_tests.support import oracle
from stedi_assets_tests.support.lakes import local_lake, root_of
from stedi_assets_tests.support.malformed_cases import CASES, MalformedCase

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
    found = land(lambda: spark, lake, SOURCES[source])
    try:
        return Landed(
            _by_file(found.accepted, lambda row: _values(source, row.asDict())),
            _by_file(found.quarantined, lambda row: (tuple(row["reasons"]), bytes(row["raw"]))),
            {file.path: file for file in found.files},
            found.listing.ignored,
            found.listing.hidden,
        )
    finally:
        found.stage.discard()


def _values(source: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values of an accepted record, its keys among them."""
    columns = oracle.COLUMNS[f"{source}_landing"]
    return tuple(row[name] for name in columns if name not in {"_superseded", "_source_file"})


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


@pytest.fixture(autouse=True, scope="module")
def _by_tasks() -> Iterator[None]:
    """Have Spark's tasks read, however little there is."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(reading, "_LITTLE", -1)
        yield


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
        assert report.accepted_bytes + report.quarantined_bytes + report.separator_bytes == report.bytes
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
    for path, content in contents.items():
        try:
            expected = oracle.read_file(source, content)
        except oracle.FileError:
            assert found.files[path].error, content
            continue
        rows = [_comparable(_values(source, row)) for row in expected.accepted]
        assert sorted(map(_comparable, found.accepted.get(path, []))) == sorted(rows), content
        quarantined = sorted((record.reasons, _kept(record.raw)) for record in expected.quarantined)
        assert sorted(found.quarantined.get(path, [])) == quarantined, content


def _kept(raw: bytes) -> bytes:
    return raw if len(raw) <= oracle.LONGEST_RECORD else raw[: oracle.HEAD]


def _comparable(row: tuple[Any, ...]) -> str:
    """Write a row so that rows can be sorted; a zero has no sign."""
    return repr([value + 0.0 if isinstance(value, float) else value for value in row])


# --- Files in pieces --------------------------------------------------------------------------------------------------

_LINES = GOOD * 30 + b'{"user":1}\n' + GOOD * 30 + b"garbage\n" + GOOD[:-1]
_PRETTY = json.dumps(json.loads(GOOD), indent=100).encode() + b"\n"
_WITH_LINES_IN_IT = GOOD.replace(b"}", b',"more":[\n' + b'{"a":1},\n' * 300 + b"{}]}")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> list[Piece]:
    """Have files cut after some thousand bytes; the pieces that tasks were given, in the end."""
    read: list[Piece] = []
    original = reading._read

    def noting(spark: Any, storage: Any, source: Any, pieces: Any, folder: str) -> Any:
        read.extend(pieces)
        return original(spark, storage, source, pieces, folder)

    monkeypatch.setattr(reading, "_LARGEST_PIECE", 1_000)
    monkeypatch.setattr(reading, "_read", noting)
    return read


@pytest.mark.parametrize(
    ("content", "read_again"),
    [
        (_LINES, False),
        (_LINES + b"\n" + _LINES[:-9], False),
        (_PRETTY * 20, True),
        (GOOD * 10 + _WITH_LINES_IN_IT + GOOD * 10, True),
        (GOOD * 14 + b'{"user":\n' + b"garbage\n" * 10 + GOOD, True),
    ],
    ids=["lines", "the last one cut off", "a record a page", "objects in an object", "broken"],
)
def test_a_file_in_pieces_is_what_it_is_as_a_whole(
    content: bytes, *, read_again: bool, spark: SparkSession, lake: Lake, small_pieces: list[Piece]
) -> None:
    folder = root_of(lake) / SOURCES["accelerometer"].raw_path
    write(folder, [("a.json", content), ("b.json", GOOD * 3)])
    found = landed(spark, lake, "accelerometer")
    of_a = [(piece.start, piece.end) for piece in small_pieces if piece.name == "a.json"]
    assert len(of_a) > 2
    assert (of_a[-1] == (0, len(content))) == read_again
    assert [piece.name for piece in small_pieces if piece.name == "b.json"] == ["b.json"]
    assert_as_the_reference("accelerometer", {"a.json": content, "b.json": GOOD * 3}, found)
    report = found.files["a.json"]
    assert (report.bytes, report.gzip, report.error) == (len(content), False, None)
    assert report.cut_off == (content[-2:] not in {b"}\n", GOOD[-3:-1]})


def test_a_packed_file_is_read_as_one_piece(spark: SparkSession, lake: Lake, small_pieces: list[Piece]) -> None:
    # In a gzip that packs nothing there are lines to cut at.
    content = gzip.compress(GOOD * 100, 0)
    write(root_of(lake) / SOURCES["accelerometer"].raw_path, [("a.json", content)])
    found = landed(spark, lake, "accelerometer")
    assert len(small_pieces) > 2
    assert_as_the_reference("accelerometer", {"a.json": content}, found)
    report = found.files["a.json"]
    assert (report.size, report.bytes, report.gzip) == (len(content), 100 * len(GOOD), True)
    assert report.digest == hashlib.sha256(content).hexdigest()


# --- What must not happen ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        {"accepted_bytes": -70},
        {"quarantined_bytes": -8},
        {"separator_bytes": -1},
        {"bytes": 1},
        {"records": 1},
        {"bytes": -70, "accepted_bytes": -70},
    ],
    ids=str,
)
def test_a_lost_record_is_found(
    loss: dict[str, int], spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have a task count less than there is, and the bytes do not add up to the size of the file."""
    write(root_of(lake) / SOURCES["accelerometer"].raw_path, [("a.json", GOOD * 3 + b"{broken\n")])
    original = reading._file_report

    def with_a_loss(source: Any, file: Any, pieces: Sequence[Report]) -> FileReport:
        lossy = {name: getattr(pieces[0], name) + change for name, change in loss.items()}
        return original(source, file, [replace(pieces[0], **lossy)])

    monkeypatch.setattr(reading, "_file_report", with_a_loss)
    with pytest.raises(ContractBroken, match="rows_accounted_for"):
        land(lambda: spark, lake, SOURCES["accelerometer"])
    assert list((root_of(lake) / SOURCES["accelerometer"].landing.path).glob("_stage*")) == []


def test_no_landing_files_is_a_clear_error(spark: SparkSession, lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"No landing files in .*customer/landing\. Put .json files there"):
        land(lambda: spark, lake, SOURCES["customer"])
    write(root_of(lake) / SOURCES["customer"].raw_path, [("manifest.json", GOOD)])
    with pytest.raises(
        LakeError, match=r"No landing files in .*customer/landing\. Files called manifest\.json .* rename"
    ):
        land(lambda: spark, lake, SOURCES["customer"])
