"""Landing files from run to run: gone, renamed, replaced, unreadable, and what the operator may say about them."""

import gzip
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import SOURCES, TABLES, Purpose, Severity, Source
from stedi_assets.contracts.rules import FILES_MATCH_MANIFESTS, Thresholds
from stedi_assets.ingest import landing as landing_module
from stedi_assets.ingest import manifests, reading
from stedi_assets.ingest.landing import Landing, LandingOptions, land
from stedi_assets.ingest.landing_files import list_landing_files
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.deliveries import publish_landing
from stedi_assets.storage.errors import CommitConflictError, CorruptTableError, VanishedFiles
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.local import LocalFolder
from stedi_assets.storage.names import no_key
from stedi_assets.tables.file_reports import read_file_reports
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import current, current_dataset, read_snapshot, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets.verification.findings import Audit, Finding
from stedi_assets_tests.support.lakes import INSTANTS, lines, materialise, phone_reading, root_of

CUSTOMER = SOURCES["customer"]
PHONES = SOURCES["accelerometer"]
RUN = RunContext("run-1", Purpose.PRODUCTION, as_of=1_700_000_000_000)


def record(name: str) -> bytes:
    return (
        f'{{"email":"{name}@example.com","serialNumber":"s-{name}","lastUpdateDate":1655564376361,'
        '"shareWithResearchAsOfDate":1655564376361}\n'
    ).encode()


@pytest.fixture
def folder(lake: Lake) -> Path:
    """The landing folder of the customers, with two files in it."""
    folder = root_of(lake) / CUSTOMER.raw_path
    (folder / "2022").mkdir(parents=True)
    (folder / "one.json").write_bytes(record("one"))
    (folder / "2022" / "two.json").write_bytes(record("two") + record("three"))
    return folder


def build(lake: Lake, spark: SparkResource, *forget: str) -> dg.ExecuteInProcessResult:
    """Materialise customer_landing and customer_trusted with their checks."""
    return materialise(
        lake, spark, tables=dg.AssetSelection.assets("customer_landing", "customer_trusted"), forget=forget
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return why customer_landing failed."""
    data = result.failure_data_for_node("customer_landing")
    assert data
    assert data.user_failure_data
    return data.user_failure_data.description or ""


def landed_files(lake: Lake, spark: SparkSession) -> dict[str, int]:
    rows = read_snapshot(spark, lake, CUSTOMER.landing, current(lake, CUSTOMER.landing).id)
    return {row["_source_file"]: row["count"] for row in rows.groupBy("_source_file").count().collect()}


def test_a_file_that_is_gone_stops_the_table_until_it_may_be_forgotten(
    folder: Path, lake: Lake, spark: SparkSession, spark_resource: SparkResource
) -> None:
    assert build(lake, spark_resource).success
    (folder / "2022" / "two.json").unlink()
    gone = build(lake, spark_resource)
    assert not gone.success
    assert "2022/two.json" in failure(gone)
    assert "forget_files" in failure(gone)
    assert landed_files(lake, spark) == {"one.json": 1, "2022/two.json": 2}

    assert build(lake, spark_resource, "2022/two.json").success
    assert landed_files(lake, spark) == {"one.json": 1}
    assert build(lake, spark_resource).success


def test_a_renamed_file_is_not_gone(
    folder: Path, lake: Lake, spark: SparkSession, spark_resource: SparkResource
) -> None:
    assert build(lake, spark_resource).success
    (folder / "one.json").rename(folder / "uno.json")
    assert build(lake, spark_resource).success
    assert landed_files(lake, spark) == {"uno.json": 1, "2022/two.json": 2}


def test_a_file_that_became_unreadable_is_as_good_as_gone(
    folder: Path, lake: Lake, spark: SparkSession, spark_resource: SparkResource
) -> None:
    assert build(lake, spark_resource).success
    (folder / "one.json").write_bytes(gzip.compress(record("one"))[:-4])
    broken = build(lake, spark_resource)
    assert not broken.success
    assert "one.json" in failure(broken)
    assert landed_files(lake, spark) == {"one.json": 1, "2022/two.json": 2}


def test_a_file_that_was_never_readable_lets_the_others_land_and_stops_what_depends(
    folder: Path, lake: Lake, spark: SparkSession, spark_resource: SparkResource
) -> None:
    (folder / "cut.json.gz").write_bytes(gzip.compress(record("cut"))[:-4])
    (folder / "ada@example.com.json").write_bytes(b"\xff\xfe{\x00}\x00")
    result = build(lake, spark_resource)
    assert not result.success
    assert landed_files(lake, spark) == {"one.json": 1, "2022/two.json": 2}
    assert read_snapshot_of(lake, TABLES["customer_trusted"]) is None
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "files_readable")
    assert not check.passed
    assert check.blocking
    shown = {name: value.value for name, value in check.metadata.items()}
    assert shown["failing"] == 2
    assert shown["file 2"] == "cut.json.gz: its gzip data are cut off"
    assert re.fullmatch(r"\*\*\*[0-9a-f]{12}\.json: it is UTF-16.*", str(shown["file 1"]))

    assert build(lake, spark_resource, "cut.json.gz", "ada@example.com.json").success
    # It stays forgotten for as long as it does not change.
    assert build(lake, spark_resource).success
    (folder / "cut.json.gz").write_bytes(gzip.compress(record("cut")))
    assert build(lake, spark_resource).success
    assert landed_files(lake, spark) == {"one.json": 1, "2022/two.json": 2, "cut.json.gz": 1}


@pytest.mark.parametrize("change", ["replaced", "cut", "removed"])
def test_a_file_that_changes_while_it_is_read_is_left_out_and_named(
    change: str,
    folder: Path,
    lake: Lake,
    spark: SparkSession,
    spark_resource: SparkResource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def then_change(*arguments: Any, **named: Any) -> Any:
        listing = list_landing_files(*arguments, **named)
        file = folder / "one.json"
        if change == "removed":
            file.unlink()
        elif change == "cut":
            file.write_bytes(record("one")[:-20])
        else:
            file.write_bytes(record("two"))
        return listing

    monkeypatch.setattr(landing_module, "list_landing_files", then_change)
    assert not build(lake, spark_resource).success
    snapshot = current(lake, CUSTOMER.landing)
    assert landed_files(lake, spark) == {"2022/two.json": 2}
    errors = {file.path: file.error for file in read_file_reports(lake, CUSTOMER, snapshot) if file.error}
    assert errors == {"one.json": "it was replaced, cut or removed while it was being read"}


def findings(lake: Lake, source: Source) -> Finding:
    """Return what the check on manifests finds in what is stored."""
    audit = Audit(lake, source.landing, "another run", Thresholds(), no_key)
    (finding,) = audit.findings(["files_match_manifests"])
    return finding


def test_files_are_held_against_manifests_whenever_these_change_and_only_then_read(
    lake: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that arrives, changes or goes is no reason to read a file again, except for a hash once."""
    folder = root_of(lake) / PHONES.raw_path
    folder.mkdir(parents=True)
    # Of a file of several parts, the hash of the whole is not known from reading it.
    monkeypatch.setattr(reading, "_LARGEST_PIECE", 100)
    content = lines(*(phone_reading("ada", INSTANTS[0] + number) for number in range(8)))
    (folder / "one.json").write_bytes(content)
    (folder / "two.json").write_bytes(content[:-9])
    assert len(land_a_bite(lake, spark, 1_000_000).read) == 2
    assert findings(lake, PHONES).looked_at == 0

    def never() -> SparkSession:
        pytest.fail("Spark was asked for")

    def land_again() -> Finding:
        landing = land(never, lake, PHONES)
        publish_landing(never, lake, PHONES, landing, RUN, Retention())
        assert (landing.read, landing.is_unchanged) == (frozenset(), True)
        return findings(lake, PHONES)

    manifest = folder / "manifest.json"
    listed = {"bytes": len(content), "records": 8, "sha256": hashlib.sha256(content).hexdigest()}
    entries = [{"path": name, **listed} for name in ("one.json", "two.json", "three.json")]
    manifest.write_text(json.dumps({"files": entries}), encoding="utf-8")
    found = land_again()
    assert (found.passed, found.severity, found.looked_at, found.failing) == (False, Severity.WARN, 3, 2)
    assert [*found.details.values()] == [
        "three.json: missing (listed in manifest.json)",
        f"two.json: {len(content) - 9} bytes instead of {len(content)}, another SHA-256 (listed in manifest.json)",
    ]
    assert found.what_to_do == FILES_MATCH_MANIFESTS.what_to_do
    (one,) = (
        file for file in read_file_reports(lake, PHONES, current(lake, PHONES.landing)) if file.path == "one.json"
    )
    assert ("-" in one.digest, one.sha256) == (True, listed["sha256"])

    monkeypatch.setattr(manifests, "_hash", lambda *_: pytest.fail("hashed once more"))
    manifest.write_bytes(b'{"user": "ada@example.com"}')
    found = land_again()
    assert [*found.details.values()] == [
        'manifest.json: not a usable manifest: it is not an object with a list "files"'
    ]
    assert found.what_to_do.startswith("Have unusable manifests corrected")
    manifest.write_text(json.dumps({"files": entries[:1]}), encoding="utf-8")
    assert (land_again().passed, findings(lake, PHONES).looked_at) == (True, 1)
    manifest.unlink()
    assert (land_again().passed, findings(lake, PHONES).looked_at) == (True, 0)


def test_a_file_that_is_being_written_is_read_by_the_code_of_now_once_it_is_whole(
    lake: Lake, folder: Path, spark: SparkSession
) -> None:
    """Until then its rows stay as another version of the code made them, and the table says so."""

    def land_with(code: str, settled_before: int | None = None) -> Landing:
        options = LandingOptions(code=code, settled_before=settled_before)
        landing = land(lambda: spark, lake, CUSTOMER, options)
        publish_landing(lambda: spark, lake, CUSTOMER, landing, replace(RUN, code=code), Retention())
        landing.stage.discard()
        return landing

    land_with("old")
    touched = folder / "one.json"
    settled_before = touched.stat().st_ctime_ns // 1_000_000 + 1_000
    while touched.stat().st_ctime_ns // 1_000_000 <= settled_before:
        touched.write_bytes(touched.read_bytes())
    assert land_with("new", settled_before).read == {"2022/two.json"}
    assert current(lake, CUSTOMER.landing).code == "old"
    # Even if none can be read yet, and nothing is unchanged by it.
    (folder / "2022" / "two.json").write_bytes(record("two") + record("three"))
    waiting = land_with("new", 1)
    assert (waiting.read, waiting.is_unchanged, current(lake, CUSTOMER.landing).code) == (frozenset(), False, "old")
    assert current(lake, CUSTOMER.landing).rows == 3
    assert land_with("new").read == {"2022/two.json", "one.json"}
    assert current(lake, CUSTOMER.landing).code == "new"
    assert land_with("new").read == frozenset()


# --- A backlog --------------------------------------------------------------------------------------------------------


def land_a_bite(
    lake: Lake,
    spark: SparkSession,
    most_bytes: int,
    *,
    forget: frozenset[str] = frozenset(),
    full: bool = False,
    **how: Any,
) -> Landing:
    """Land phone readings of so many bytes at the most, and publish them."""
    options = LandingOptions(forget=forget, most_bytes=most_bytes, full=full)
    landing = land(lambda: spark, lake, PHONES, options, **how)
    try:
        publish_landing(lambda: spark, lake, PHONES, landing, RUN, Retention())
    finally:
        landing.stage.discard()
    return landing


def readings_of(lake: Lake) -> list[int]:
    return sorted(current_dataset(lake, PHONES.landing.name).to_table()["timestamp"].to_pylist())


def test_a_backlog_of_readings_is_landed_in_bites(lake: Lake, spark: SparkSession) -> None:
    folder = root_of(lake) / PHONES.raw_path
    folder.mkdir(parents=True)
    reading = [lines(phone_reading("ada", INSTANTS[0] + number)) for number in range(7)]
    for number in range(5):
        (folder / f"{number}.json").write_bytes(reading[number])
    size = len(reading[0])

    # As many whole files as there is room for, or one.
    for most, landed, left in ((2 * size, 2, 3), (2 * size + 1, 4, 1), (1, 5, 0)):
        landing = land_a_bite(lake, spark, most)
        assert (len(readings_of(lake)), len(landing.listing.unsettled)) == (landed, left)
    assert land_a_bite(lake, spark, 1).is_unchanged

    # What has changed and must wait keeps its rows.
    (folder / "1.json").write_bytes(reading[5])
    (folder / "3.json").write_bytes(reading[6])
    land_a_bite(lake, spark, 1)
    assert readings_of(lake) == [INSTANTS[0] + number for number in (0, 2, 3, 4, 5)]
    land_a_bite(lake, spark, 1)
    assert readings_of(lake) == [INSTANTS[0] + number for number in (0, 2, 4, 5, 6)]

    # A file that is gone, and may be, changes nothing in that.
    (folder / "2.json").unlink()
    for number in range(5, 8):
        (folder / f"{number}.json").write_bytes(reading[2] * (number - 3))
    assert len(land_a_bite(lake, spark, 1, forget=frozenset({"2.json"})).read) == 1
    assert land_a_bite(lake, spark, 2 * size + 1).listing.unsettled
    for number in range(5, 8):
        (folder / f"{number}.json").unlink()
    with pytest.raises(VanishedFiles):
        land_a_bite(lake, spark, 1)
    (folder / "2.json").write_bytes(reading[2])
    land_a_bite(lake, spark, 1_000_000, forget=frozenset({"5.json", "6.json", "7.json"}))
    assert readings_of(lake) == [INSTANTS[0] + number for number in (0, 2, 4, 5, 6)]

    # A renamed file is not taken for a lost one, and what is made from scratch is made whole.
    (folder / "0.json").rename(folder / "9.json")
    (folder / "4.json").rename(folder / "8.json")
    assert land_a_bite(lake, spark, 1).gone == ()
    assert land_a_bite(lake, spark, 1, full=True).listing.unsettled == ()
    assert readings_of(lake) == [INSTANTS[0] + number for number in (0, 2, 4, 5, 6)]


def test_files_that_cannot_be_read_hold_up_no_backlog(lake: Lake, spark: SparkSession) -> None:
    folder = root_of(lake) / PHONES.raw_path
    folder.mkdir(parents=True)
    (folder / "0.json.gz").write_bytes(gzip.compress(b"{}" * 100)[:-4])
    for number in range(1, 4):
        (folder / f"{number}.json").write_bytes(lines(phone_reading("ada", INSTANTS[0] + number)))
    for landed in (0, 1, 2, 3):
        land_a_bite(lake, spark, 1)
        assert len(readings_of(lake)) == landed
    assert land_a_bite(lake, spark, 1).read == {"0.json.gz"}


def test_a_file_that_was_refused_and_forgotten_lands_once_it_can_be_read(
    lake: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content has not changed, and a rebuild would land it too. One whose content is at fault stays forgotten."""
    folder = root_of(lake) / PHONES.raw_path
    folder.mkdir(parents=True)
    for name in ("good", "refused"):
        (folder / f"{name}.json").write_bytes(lines(phone_reading(name, INSTANTS[0])))
    (folder / "cut.json.gz").write_bytes(gzip.compress(b"{}" * 100)[:-4])
    forget = frozenset({"refused.json", "cut.json.gz"})
    opened = LocalFolder.open

    def refuse(folder: LocalFolder, path: str, start: int = 0) -> BinaryIO:
        if path.endswith("refused.json"):
            raise OSError(5, "Input/output error")
        return opened(folder, path, start)

    with monkeypatch.context() as refusing:
        refusing.setattr(LocalFolder, "open", refuse)
        for _ in range(2):
            assert len(land_a_bite(lake, spark, 1_000_000, forget=forget).listing.files) == 3
            assert len(readings_of(lake)) == 1
        assert land_a_bite(lake, spark, 1_000_000).is_unchanged
    assert land_a_bite(lake, spark, 1_000_000).read == {"refused.json"}
    assert len(readings_of(lake)) == 2
    assert land_a_bite(lake, spark, 1_000_000).is_unchanged


def test_what_is_read_again_although_it_has_not_changed_does_not_wait(lake: Lake, spark: SparkSession) -> None:
    """Such as records of somebody who has come back after an erasure: the next run would not know of it."""
    folder = root_of(lake) / PHONES.raw_path
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.json").write_bytes(lines(phone_reading("ada", INSTANTS[0] + number)))
    land_a_bite(lake, spark, 1_000_000)
    (folder / "3.json").write_bytes(lines(phone_reading("ada", INSTANTS[0] + 3)))
    (folder / "4.json").write_bytes(lines(phone_reading("ada", INSTANTS[0] + 4)))
    landing = land_a_bite(lake, spark, 1, read_again=lambda _, file: file.path != "1.json")
    assert landing.read == {"0.json", "2.json", "3.json"}
    assert landing.listing.unsettled == ("4.json",)
    assert readings_of(lake) == [INSTANTS[0] + number for number in range(4)]


def test_who_has_lost_to_another_run_says_so_whatever_is_gone(
    lake: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root_of(lake) / PHONES.raw_path
    folder.mkdir(parents=True)
    (folder / "one.json").write_bytes(lines(phone_reading("ada", INSTANTS[0])))
    land_a_bite(lake, spark, 1)
    (folder / "two.json").write_bytes(lines(phone_reading("ada", INSTANTS[1])))
    slow = land(lambda: spark, lake, PHONES)

    def removed(*_: Any, **__: Any) -> NoReturn:
        monkeypatch.undo()
        land_a_bite(lake, spark, 1_000_000)
        raise CorruptTableError("a file of the quarantine is gone")

    monkeypatch.setattr("stedi_assets.privacy.deliveries.stage_companion", removed)
    with pytest.raises(CommitConflictError, match="another run has published accelerometer_landing"):
        publish_landing(lambda: spark, lake, PHONES, slow, RUN, Retention())
    slow.stage.discard()
    assert readings_of(lake) == INSTANTS


def test_no_file_of_customers_has_to_wait(lake: Lake, spark: SparkSession, folder: Path) -> None:
    landing = land(lambda: spark, lake, CUSTOMER, LandingOptions(most_bytes=1))
    landing.stage.discard()
    assert len(landing.read) == len(list(folder.rglob("*.json"))) == 2
