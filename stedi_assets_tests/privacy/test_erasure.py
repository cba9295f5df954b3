"""Erasure: a person is gone from every byte below the lake but the raw files, and stays out of every later run."""

import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.cli.main import main
from stedi_assets.contracts import SOURCES, TABLES, Purpose, Source
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy import deliveries, erasure
from stedi_assets.privacy.deliveries import land_without_erased, publish_landing
from stedi_assets.privacy.erasure import Receipt
from stedi_assets.privacy.known_keys import suppression_check
from stedi_assets.privacy.suppression import Erased, SuppressionList, change_suppressed, person_hash, read_suppressed
from stedi_assets.storage.errors import CommitConflictError, LakeError, VanishedFiles
from stedi_assets.storage.lake import CHECKS, Lake
from stedi_assets.tables.catalog import forget
from stedi_assets.tables.file_reports import read_file_reports
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import current, current_dataset, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support.dying import living
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    TRACES_OF_ADA,
    check,
    customer,
    device_reading,
    failed_checks,
    land_customers,
    lines,
    local_lake,
    materialise,
    messages,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.unpacked import unpacked

KEY = b"a suppression key for tests, 32 bytes and more"
PSEUDONYM_KEY = b"a pseudonym key for tests, 32 bytes and more"
ADA = person_hash("ada@example.com", KEY)
ADAS, BENS = "ada@example.com", "ben@example.com"
NOBODY = person_hash("nobody@example.com", KEY)
SHARED = "device-of-both"
RUN = RunContext("a run", Purpose.PRODUCTION, CONSENTED + 1, key=lambda: PSEUDONYM_KEY)
ENTRY = {"erased_at": CONSENTED, "back_since": None, "devices": (), "readings": ()}


@pytest.fixture(autouse=True, scope="module")
def _keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_SUPPRESSION_KEY", KEY.decode())
        environment.setenv("STEDI_PSEUDONYM_KEY", PSEUDONYM_KEY.decode())
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake with ada in every table and, in several ways, in the quarantine; ben and she have shared a device."""
    lake = local_lake(tmp_path_factory.mktemp("first") / "lake")
    write_ada_and_ben(lake)
    more = root_of(lake) / "customer" / "landing" / "more.json"
    shared = [customer(person, CONSENTED - 1, None, SHARED) for person in ("ada", "ben")]
    more.write_bytes(
        lines(*shared)
        + b'{"email": " ADA@Example.com", "serialNumber": 5, "lastUpdateDate": 1500000000000}\n'
        + b'{"e\\u006dail": "ben@example.com", "serialNumber": 6, "lastUpdateDate": 1500000000000}\n'
        + b'{"name": "ada lovelace" "contact" ada@example.com\n'
    )
    broken = b'{"user": "ada@example.com", "timestamp": "yesterday"}\n'
    (root_of(lake) / "accelerometer" / "landing" / "more.json").write_bytes(broken)
    together = lines(*(device_reading(SHARED, instant) for instant in (*INSTANTS, INSTANTS[1] + 500)))
    (root_of(lake) / "step_trainer" / "landing" / "more.json").write_bytes(together)
    # Twice, so that old snapshots are kept.
    for _ in range(2):
        assert materialise(lake, spark_resource, checks=False).success
    return KeptLake.of(lake)


@pytest.fixture
def built(first: KeptLake) -> Lake:
    """That lake, as it was built."""
    return first.restored()


@pytest.fixture(scope="module")
def without_ada(first: KeptLake, spark_resource: SparkResource, tmp_path_factory: pytest.TempPathFactory) -> KeptLake:
    """That lake, once ada was erased."""
    lake = first.restored()
    assert erase(lake, spark_resource, ADA, tmp_path_factory.mktemp("dagster")).success
    return KeptLake.of(lake)


@pytest.fixture
def erased(without_ada: KeptLake) -> Lake:
    """The lake from which ada was erased."""
    return without_ada.restored()


def erase(lake: Lake, spark: SparkResource, person: str, home: Path, **config: bool) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        return erase_person.execute_in_process(
            run_config={"ops": {"erase_from_lake": {"config": {"person": person, **config}}}},
            resources={name: found for name, found in resources(lake, spark).items() if name in {"lake", "spark"}},
            instance=instance,
            raise_on_error=False,
        )


def content_of(lake: Lake) -> dict[str, bytes]:
    """Return every file of a lake, except check results, and the file that SQLite's readers use."""
    files = (path for path in root_of(lake).rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path): path.read_bytes() for path in files if path.parent.name != CHECKS}


def people_on_the_list(lake: Lake) -> set[str]:
    return {*json.loads((root_of(lake) / "_suppressed.json").read_text())["people"]}


def places_of_ada(*roots: Path) -> list[str]:
    """Return the files that hold a trace of ada outside the raw files."""
    subject = hmac.new(PSEUDONYM_KEY, b"ada@example.com", hashlib.sha256).hexdigest().encode()
    found = []
    for file in (path for root in roots for path in root.rglob("*") if path.is_file()):
        if "/landing/" in str(file):
            continue
        content = unpacked(file)
        if TRACES_OF_ADA.search(content + str(file).encode()) or subject in content:
            found.append(str(file))
    return found


def test_an_erased_person_is_in_no_byte_and_stays_out(
    built: Lake, spark_resource: SparkResource, tmp_path: Path
) -> None:
    before = {name: current(built, table).rows for name, table in TABLES.items()}
    assert places_of_ada(root_of(built))
    home = tmp_path / "dagster"
    home.mkdir()
    result = erase(built, spark_resource, ADA, home)
    assert result.success
    assert places_of_ada(root_of(built), home) == []

    removed = {name: rows - current(built, TABLES[name]).rows for name, rows in before.items()}
    assert removed == {
        "customer_landing": 2,
        "accelerometer_landing": 2,
        # Two of her own device; of the shared one those two at which her phone was active too.
        "step_trainer_landing": 4,
        "customer_trusted": 1,
        "accelerometer_trusted": 2,
        "customers_curated": 1,
        "step_trainer_trusted": 2,
        "machine_learning_curated": 2,
    }
    receipt = json.loads(next((root_of(built) / "_erasures").iterdir()).read_text())
    assert {name: receipt["removed"][name] for name in TABLES} == removed
    assert receipt["removed"]["customer_quarantine"] == 2
    assert receipt["removed"]["accelerometer_quarantine"] == 1
    assert receipt["raw_files"] == [
        f"{source}/landing/{name}.json"
        for source in ("accelerometer", "customer", "step_trainer")
        for name in ("more", "one")
    ]
    assert (receipt["erased_before"], receipt["people_on_the_list"]) == (False, 1)
    assert ADA not in json.dumps(receipt)

    checked = check(built, spark_resource, quarantine_rate=1)
    assert checked.success
    # Warnings, until the tables are computed again.
    names = {name for _, name in failed_checks(checked)}
    assert names == {"row_count_change", "unattributed_share", "agrees_with_second_engine", "files_whole"}

    # The sources still deliver her.
    assert materialise(built, spark_resource, checks=False).success
    assert places_of_ada(root_of(built)) == []
    suppressed = {
        source.name: sum(f.suppressed for f in read_file_reports(built, source, current(built, source.landing)))
        for source in SOURCES.values()
    }
    assert suppressed == {"customer": 4, "accelerometer": 3, "step_trainer": 4}
    assert check(built, spark_resource).success
    assert current(built, TABLES["machine_learning_curated"]).rows == 2


@pytest.mark.matrix
def test_the_way_back_is_a_consent_from_after_the_erasure(
    built: Lake, spark_resource: SparkResource, tmp_path: Path
) -> None:
    assert erase(built, spark_resource, ADA, tmp_path).success
    erased_at = json.loads((root_of(built) / "_suppressed.json").read_text())["people"][ADA]["erased_at"]

    def delivers(source: str, name: str, *records: dict[str, object]) -> None:
        (root_of(built) / source / "landing" / f"{name}.json").write_bytes(lines(*records))

    # Later records alone, whatever they consent to, are no way back.
    delivers("customer", "later", customer("ada", erased_at + 1, CONSENTED))
    delivers("accelerometer", "later", phone_reading("ada", erased_at + 1), phone_reading("ada", erased_at + 2))
    delivers("step_trainer", "later", device_reading("device-of-ada", erased_at + 2))
    assert materialise(built, spark_resource).success
    assert places_of_ada(root_of(built)) == []

    delivers("customer", "back", customer("ada", erased_at + 2, erased_at + 2))
    # The customers are landed last, so that the others know of it a run later.
    for _ in range(2):
        assert materialise(built, spark_resource).success
    landed = {name: current(built, TABLES[name]).rows for name in ("accelerometer_landing", "machine_learning_curated")}
    assert landed == {"accelerometer_landing": 3, "machine_learning_curated": 3}


_HOLDER = (
    "_person STRING, _device STRING, registrationDate BIGINT, lastUpdateDate BIGINT, shareWithResearchAsOfDate BIGINT"
)
_DEVICE_READING = "_device STRING, sensorReadingTime BIGINT"
_ERASED_AT, _KNOWN, _NOW = CONSENTED, CONSENTED + 100, CONSENTED + 1_000


@pytest.mark.parametrize(
    ("recorded", "consent", "back_since"),
    [
        pytest.param(_ERASED_AT - 1, _ERASED_AT + 10, None, id="recorded before, dated ahead"),
        pytest.param(_ERASED_AT + 1, _ERASED_AT - 1, None, id="consented before, recorded again"),
        pytest.param(_ERASED_AT + 1, _KNOWN, None, id="known at the erasure, recorded again"),
        pytest.param(None, _KNOWN, None, id="known at the erasure, without a date"),
        pytest.param(_ERASED_AT + 1, None, None, id="no consent"),
        pytest.param(_ERASED_AT + 1, _NOW + 1, None, id="not yet in force"),
        pytest.param(_NOW + 1, _KNOWN + 1, None, id="recorded in the future"),
        pytest.param(_ERASED_AT + 1, _KNOWN + 1, _ERASED_AT + 1, id="recorded and in force since"),
        pytest.param(None, _KNOWN + 1, _KNOWN + 1, id="in force since, without a date"),
    ],
)
def test_only_a_consent_from_after_the_erasure_brings_somebody_back(
    recorded: int | None, consent: int | None, back_since: int | None, spark: SparkSession
) -> None:
    record = ("ada@example.com", recorded, consent)
    customers = spark.createDataFrame(
        [record], "_person STRING, lastUpdateDate BIGINT, shareWithResearchAsOfDate BIGINT"
    )
    listed = SuppressionList({ADA: Erased(_ERASED_AT, known_consent=_KNOWN)}, KEY)
    assert listed.with_those_back(customers, _NOW).people[ADA].back_since == back_since


def test_a_consent_that_lies_ahead_at_the_erasure_is_remembered(built: Lake, spark: SparkSession) -> None:
    ahead = 4_000_000_000_000
    (root_of(built) / "customer" / "landing" / "ahead.json").write_bytes(lines(customer("ada", CONSENTED + 1, ahead)))
    land_customers(built, spark, RUN, KEY)
    erase_directly(built, spark)
    assert json.loads((root_of(built) / "_suppressed.json").read_text())["people"][ADA]["known_consent"] == ahead


def test_a_consent_that_the_list_itself_kept_out_is_remembered(erased: Lake, spark: SparkSession) -> None:
    """It lies ahead. The landing table does not have it, and another erasure means it too."""
    ahead = 4_000_000_000_000
    (root_of(erased) / "customer" / "landing" / "ahead.json").write_bytes(lines(customer("ada", None, ahead)))
    land_customers(erased, spark, RUN, KEY)
    erase_directly(erased, spark)
    listed = read_suppressed(erased, lambda: KEY)
    assert listed
    assert listed.people[ADA].known_consent == ahead


def test_what_arrives_after_an_erasure_is_nobody_elses(erased: Lake, spark_resource: SparkResource) -> None:
    """A device that ada and ben share, one that she gets later, and one of hers that carl buys."""
    first, another_day = INSTANTS[1], 172_800_000
    # Its checks come at the end.
    tables = dg.AssetSelection.assets("step_trainer_trusted").upstream().without_checks()

    def delivers(name: str, **records: list[dict[str, object]]) -> None:
        for source, content in records.items():
            (root_of(erased) / source / "landing" / f"{name}.json").write_bytes(lines(*content))
        assert materialise(erased, spark_resource, tables=tables).success

    def device_readings(table: str) -> set[tuple[object, ...]]:
        rows = current_dataset(erased, table).to_table().to_pylist()
        return {
            (row["serialNumber"], row["sensorReadingTime"] - first, row.get("user"))
            for row in rows
            if row["sensorReadingTime"] > first + 500
        }

    delivers(
        "later",
        customer=[customer("ada", CONSENTED + 5, CONSENTED, "a-new-device")],
        accelerometer=[
            *(phone_reading("ada", first + after) for after in (1_000, 2_000, 3_000)),
            *(phone_reading("ben", first + after) for after in (2_000, 4_000)),
        ],
        step_trainer=[
            *(device_reading(SHARED, first + after) for after in (1_000, 2_000, 4_000)),
            device_reading("a-new-device", first + 3_000),
        ],
    )
    # At 2,000 both were active: before the erasure, that was nobody's reading.
    assert device_readings("step_trainer_landing") == {(SHARED, 4_000, None)}
    assert device_readings("step_trainer_trusted") == {(SHARED, 4_000, "ben@example.com")}

    # What tells that a reading may be hers arrives after it, and its file is not read again.
    delivers(
        "bens",
        accelerometer=[phone_reading("ben", first + another_day)],
        step_trainer=[device_reading(SHARED, first + another_day)],
    )
    assert (SHARED, another_day, "ben@example.com") in device_readings("step_trainer_trusted")
    delivers("late", accelerometer=[phone_reading("ada", first + another_day)])
    assert device_readings("step_trainer_trusted") == {(SHARED, 4_000, "ben@example.com")}
    assert places_of_ada(root_of(erased)) == []

    delivers(
        "carl",
        customer=[customer("carl", first + 7_000, CONSENTED, "device-of-ada")],
        accelerometer=[phone_reading("carl", first + 9_000), phone_reading("ada", first + 8_000)],
        # Some are from before anybody but ada had it.
        step_trainer=[device_reading("device-of-ada", first + after) for after in (600, 8_000, 9_000, 9_500)],
    )
    assert device_readings("step_trainer_landing") == {
        (SHARED, 4_000, None),
        ("device-of-ada", 9_000, None),
        ("device-of-ada", 9_500, None),
    }
    assert device_readings("step_trainer_trusted") == {
        (SHARED, 4_000, "ben@example.com"),
        ("device-of-ada", 9_000, "carl@example.com"),
    }
    # What ada had before carl stays out, however often her records come again.
    landed = device_readings("step_trainer_landing")
    for _ in range(2):
        assert materialise(erased, spark_resource, checks=False).success
    assert device_readings("step_trainer_landing") == landed
    of_this_lake = {"files_whole", "quarantine_rate", "unattributed_share", "row_count_change"}
    assert {name for _, name in failed_checks(check(erased, spark_resource))} <= of_this_lake


def test_a_record_that_names_others_too_goes_on_counting_against_them(
    built: Lake, spark: SparkSession, spark_resource: SparkResource
) -> None:
    """Ben withdraws in a record that is quarantined with others, or that may be anybody's. Ada is erased."""
    together = b'{"email": "ada@example.com", "email": "ben@example.com", "lastUpdateDate": %d}' % (CONSENTED + 9)
    anybody = b'{"email": "ben@example.com", "a": "' + b"<." * 200 + b"@" + b".>" * 200 + b'"' + b" @" * 9_000
    for content, name in ((together, "together"), (anybody, "anybody")):
        (root_of(built) / "customer" / "landing" / f"{name}.json").write_bytes(content + b"\n")
    land_customers(built, spark, RUN, KEY)
    receipt = erase_directly(built, spark)
    assert "customer/landing/together.json" in receipt.raw_files
    assert places_of_ada(root_of(built)) == []

    quarantine = current_dataset(built, "customer_quarantine").to_table().to_pylist()
    kept = {row["_source_file"]: row for row in quarantine if row["_source_file"] in {"together.json", "anybody.json"}}
    assert {(row["raw"], *row["_people"]) for row in kept.values()} == {(b"", BENS)}
    assert len(kept) == 2
    materialise(built, spark_resource, checks=False)
    assert current_dataset(built, "customer_trusted").count_rows() == 0
    failed = {name for _, name in failed_checks(check(built, spark_resource))}
    assert not failed & {"rows_accounted_for", "as_published"}


def customers_quarantine(spark: SparkSession, *records: Mapping[str, object]) -> DataFrame:
    """Return a quarantine of customers' records."""
    unsaid = {"reasons": ["malformed_json"], "raw": b"raw", "_people": [], "_devices": [], "_mentions": []}
    columns = ", ".join(f"`{c.name}` {c.type.value}" for c in SOURCES["customer"].quarantine.columns)
    names = SOURCES["customer"].quarantine.column_names
    return spark.createDataFrame([[{**unsaid, **record}.get(name) for name in names] for record in records], columns)


def test_who_is_back_can_withdraw_in_a_record_without_a_date(spark: SparkSession) -> None:
    """In doubt, it counts against them, as against anybody; and against nobody who is not back."""
    record = {"_people": [ADAS], "_mentions": [ADAS]}
    old = {"_people": [ADAS], "_mentions": [ADAS], "_updated": _ERASED_AT - 1}
    quarantined = customers_quarantine(spark, record, old)
    columns = "_person STRING, lastUpdateDate BIGINT, shareWithResearchAsOfDate BIGINT"
    accepted = spark.createDataFrame([(ADAS, None, None), (ADAS, _ERASED_AT - 1, None)], columns)
    for back_since, kept in ((None, []), (_ERASED_AT + 1, [None])):
        listed = SuppressionList({ADA: Erased(_ERASED_AT, back_since)}, KEY)
        rows = listed.quarantined(quarantined, SOURCES["customer"]).collect()
        assert [(row["_updated"], row["_people"], bytes(row["raw"])) for row in rows] == [
            (d, [ADAS], b"") for d in kept
        ]
        assert [row[1] for row in listed.accepted(accepted, SOURCES["customer"]).collect()] == kept


@pytest.mark.parametrize(
    ("reason", "people", "mentions", "kept"),
    [
        pytest.param(
            "invalid_utf8", ["jürgen@x.de", "j³rgen@x.de"], None, ["jürgen@x.de", "j³rgen@x.de"], id="anybody's"
        ),
        pytest.param("invalid_utf8", [ADAS, "jürgen@x.de"], [], ["jürgen@x.de"], id="with another"),
        pytest.param("invalid_utf8", ["\u00e5da@x.de", "\u03c3da@x.de", BENS], [], [BENS], id="in several ways"),
        pytest.param("invalid_utf8", ["\u00e5da@x.de", "jürgen@x.de"], [], ["jürgen@x.de"], id="two in no UTF-8"),
        pytest.param("record_too_large", ["\u00e5da@x.de", "\u03c3da@x.de"], [], None, id="very large"),
        pytest.param("malformed_json", ["\u00e5da@x.de", "jürgen@x.de"], [], ["jürgen@x.de"], id="UTF-8"),
    ],
)
def test_of_a_record_that_names_somebody_erased_the_others_stay(
    reason: str, people: list[str], mentions: list[str] | None, kept: list[str] | None, spark: SparkSession
) -> None:
    erased = {person_hash(email, KEY): Erased(_ERASED_AT) for email in (ADAS, "\u00e5da@x.de")}
    quarantined = customers_quarantine(spark, {"reasons": [reason], "_people": people, "_mentions": mentions})
    rows = SuppressionList(erased, KEY).quarantined(quarantined, SOURCES["customer"]).collect()
    assert [row["_people"] for row in rows] == ([] if kept is None else [kept])


def test_readings_that_arrive_when_the_owner_has_cleaned_the_files_stay_out(erased: Lake, spark: SparkSession) -> None:
    """The erasure itself keeps in mind when her phone was active."""
    listed = read_suppressed(erased, lambda: KEY)
    assert listed
    # As many as she had phone readings, for the device that she shares.
    assert len(listed.people[ADA].readings) == 2
    assert {*listed.people[ADA].shared.values()} == {0}
    # For the device that was hers alone, until when.
    assert listed.people[ADA].active_until == max(INSTANTS)


@pytest.mark.parametrize(
    ("dates", "since"),
    [
        pytest.param({"registrationDate": 1, "lastUpdateDate": 2}, 2, id="a customer long before"),
        pytest.param({"registrationDate": 3}, 3, id="registered"),
        pytest.param({"lastUpdateDate": 4}, 4, id="updated"),
        pytest.param({"shareWithResearchAsOfDate": 5}, 5, id="consented"),
        pytest.param({}, 2**62, id="no date"),
    ],
)
def test_a_device_is_somebody_elses_from_the_date_of_the_record_that_says_so(
    dates: dict[str, int], since: int, spark: SparkSession
) -> None:
    ada = (ADAS, "d", None, 1, None)
    ben = (BENS, "d", *map(dates.get, ("registrationDate", "lastUpdateDate", "shareWithResearchAsOfDate")))
    before = SuppressionList({ADA: Erased(_ERASED_AT)}, KEY).with_devices(spark.createDataFrame([ada], _HOLDER), None)
    assert len(before.people[ADA].devices) == 1
    customers = spark.createDataFrame([ada, ben], _HOLDER)
    for _ in range(2):
        before = before.with_devices(customers, None)
        assert (before.people[ADA].devices, [*before.people[ADA].shared.values()]) == ((), [since])


def test_a_device_is_nobody_elses_while_an_erased_persons_phone_was_active(spark: SparkSession) -> None:
    """A record that says otherwise comes late, when no file tells of the phone any more."""
    listed = SuppressionList({ADA: Erased(_ERASED_AT, active_until=50)}, KEY)
    for rows, shared in (([(ADAS, "d", None, 1, None)], []), ([(BENS, "d", None, 10, None)], [51])):
        listed = listed.with_devices(spark.createDataFrame(rows, _HOLDER), None)
        assert [*listed.people[ADA].shared.values()] == shared


def test_what_a_phone_takes_once_its_person_is_back_is_not_listed(spark: SparkSession) -> None:
    erased = Erased(_ERASED_AT, back_since=_ERASED_AT + 10, devices=("d",), active_until=_ERASED_AT - 1)
    readings = [(ADAS, _ERASED_AT + after) for after in (-1, 5, 10, 20)]
    phones = spark.createDataFrame(readings, "_person STRING, timestamp BIGINT")
    assert len(SuppressionList({ADA: erased}, KEY).with_readings(phones).people[ADA].readings) == 1


def test_a_phone_reading_that_is_dated_ahead_closes_no_device(built: Lake, spark: SparkSession) -> None:
    """A clock was wrong. The device is free once ada's real readings end; what it took at that instant stays hers."""
    ahead = 4_000_000_000_000
    (root_of(built) / "accelerometer" / "landing" / "ahead.json").write_bytes(lines(phone_reading("ada", ahead)))
    land_source(built, spark, SOURCES["accelerometer"])
    erase_directly(built, spark)
    listed = read_suppressed(built, lambda: KEY)
    assert listed
    assert listed.people[ADA].active_until == max(INSTANTS)
    readings = spark.createDataFrame([("device-of-ada", ahead), ("device-of-ada", ahead + 1)], _DEVICE_READING)
    bens = spark.createDataFrame([(BENS, "device-of-ada", None, 10, None)], _HOLDER)
    kept = listed.with_devices(bens, None).accepted(readings, SOURCES["step_trainer"]).collect()
    assert [row["sensorReadingTime"] for row in kept] == [ahead + 1]


def test_what_an_erasure_emptied_counts_against_whoever_is_back(erased: Lake, spark: SparkSession) -> None:
    """As after a rebuild: ada is back, and records that name her with ben came in between."""
    landing, now = root_of(erased) / "customer" / "landing", int(time.time() * 1000)
    both = b'{"email": "ada@example.com", "serialNumber": 5, "lastUpdateDate": %d, "a": {"email": "ben@example.com"}}\n'
    (landing / "dated.json").write_bytes(both % (now - 1))
    (landing / "undated.json").write_bytes(b'{"email": "ada@example.com", "email": "ben@example.com"}\n')

    def quarantined(code: str = "") -> dict[str, tuple[bytes, list[str]]]:
        land_customers(erased, spark, RUN, KEY, code)
        rows = current_dataset(erased, "customer_quarantine").to_table().to_pylist()
        return {
            row["_source_file"]: (row["raw"], sorted(row["_people"])) for row in rows if "dated" in row["_source_file"]
        }

    assert quarantined() == {"dated.json": (b"", [BENS]), "undated.json": (b"", [BENS])}
    (landing / "back.json").write_bytes(lines(customer("ada", now - 2, now - 2)))
    updated = quarantined()
    assert [people for _, people in updated.values()] == [[ADAS, BENS], [ADAS, BENS]]
    assert quarantined("of another version of the code") == updated


def test_a_customers_file_that_is_gone_for_a_while_changes_nothing_on_the_list(
    erased: Lake, spark: SparkSession
) -> None:
    """Without it, the device that both have is ada's alone."""
    file = root_of(erased) / "customer" / "landing" / "more.json"

    def shared() -> dict[str, int]:
        listed = read_suppressed(erased, lambda: KEY)
        assert listed
        return listed.people[ADA].shared

    before, content = shared(), file.read_bytes()
    assert before
    file.unlink()
    # What else the delivery tells is learned: a device that ada has got meanwhile.
    new = lines(customer("ada", CONSENTED + 5, CONSENTED, "a-new-device"))
    (file.parent / "new.json").write_bytes(new)
    with pytest.raises(VanishedFiles):
        land_customers(erased, spark, RUN, KEY)
    assert shared() == before
    readings = lines(device_reading("a-new-device", INSTANTS[0]))
    (root_of(erased) / "step_trainer" / "landing" / "new.json").write_bytes(readings)
    land_source(erased, spark, SOURCES["step_trainer"])
    landed = current_dataset(erased, "step_trainer_landing").to_table().to_pylist()
    assert "a-new-device" not in {row["serialNumber"] for row in landed}
    file.write_bytes(content)
    land_customers(erased, spark, RUN, KEY)
    assert shared() == before


def test_an_erasure_removes_nobody_who_comes_back_meanwhile(
    erased: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ben's takes minutes. Ada consents again, and her readings land, before it reaches the landing tables."""
    listed = read_suppressed(erased, lambda: KEY)
    assert listed
    back = listed.people[ADA].erased_at + 1
    adas = [phone_reading("ada", back + 1), phone_reading("ada", back + 2)]
    (root_of(erased) / "accelerometer" / "landing" / "back.json").write_bytes(lines(*adas))
    leave, phones = erasure._leave_trusted_and_curated, SOURCES["accelerometer"]

    def while_she_comes_back(*given: Any) -> dict[str, int]:
        (root_of(erased) / "customer" / "landing" / "back.json").write_bytes(lines(customer("ada", back, back)))
        land_customers(erased, spark, RUN, KEY)
        land_source(erased, spark, phones)
        return leave(*given)

    monkeypatch.setattr(erasure, "_leave_trusted_and_curated", while_she_comes_back)
    erasure.erase(spark, erased, person_hash(BENS, KEY), key=lambda: KEY, run=RUN)
    land_source(erased, spark, phones)
    rows = current_dataset(erased, phones.landing.name).to_table().to_pylist()
    assert [(row["user"], row["timestamp"]) for row in rows] == [(ADAS, back + 1), (ADAS, back + 2)]


def test_when_a_phone_was_active_is_learned_although_the_customers_cannot_be_published(
    erased: Lake, spark: SparkSession
) -> None:
    """Carl has a device that was ada's alone; the list knows, the table does not yet."""
    start, device = INSTANTS[1] + 1_000, "device-of-ada"
    carls = lines(customer("carl", start, CONSENTED, device))
    (root_of(erased) / "customer" / "landing" / "carl.json").write_bytes(carls)
    land_without_erased(lambda: spark, erased, SOURCES["customer"], suppression_key=lambda: KEY).stage.discard()
    (root_of(erased) / "accelerometer" / "landing" / "late.json").write_bytes(lines(phone_reading("ada", start + 1)))
    readings = lines(device_reading(device, start + 1), device_reading(device, start + 2))
    (root_of(erased) / "step_trainer" / "landing" / "late.json").write_bytes(readings)
    for source in ("accelerometer", "step_trainer"):
        land_source(erased, spark, SOURCES[source])
    rows = current_dataset(erased, "step_trainer_landing").to_table().to_pylist()
    assert [row["sensorReadingTime"] for row in rows if row["serialNumber"] == device] == [start + 2]


def test_a_quarantined_record_of_an_erased_person_makes_nobody_else_a_holder(spark: SparkSession) -> None:
    """One that is not UTF-8 names its person in several ways."""
    customers = spark.createDataFrame([], _HOLDER)
    schema = "_people ARRAY<STRING>, _devices ARRAY<STRING>, _updated BIGINT"
    quarantined = spark.createDataFrame([([ADAS, "\u00e5da@example.com"], ["d"], 1)], schema)
    listed = SuppressionList({ADA: Erased(_ERASED_AT)}, KEY).with_devices(customers, quarantined)
    assert (len(listed.people[ADA].devices), listed.people[ADA].shared) == (1, {})


# An erasure in the UI runs on Spark Connect, which refuses some of what a session of one's own takes.
_ON_CONNECT = """
from pyspark.sql import SparkSession
from stedi_assets.contracts import SOURCES
from stedi_assets.privacy.suppression import Erased, SuppressionList, person_hash
spark, key = SparkSession.builder.remote("local[1]").getOrCreate(), b"k" * 32
ada, ben = "ada@example.com", "ben@example.com"
columns = "_person STRING, _device STRING, registrationDate BIGINT, lastUpdateDate BIGINT, "
columns += "shareWithResearchAsOfDate BIGINT"
people = spark.createDataFrame([(ada, "d", None, 1, 5), (ben, "d", 2, 3, 5)], columns)
phones = spark.createDataFrame([(ada, 7), (ben, 8)], "_person STRING, timestamp BIGINT")
devices = spark.createDataFrame([("d", 7), ("d", 8)], "_device STRING, sensorReadingTime BIGINT")
table = SOURCES["customer"].quarantine
both = {"reasons": [], "raw": b"raw", "_people": [ada, ben], "_devices": ["d"], "_mentions": None}
columns = ", ".join(f"`{column.name}` {column.type.value}" for column in table.columns)
unread = spark.createDataFrame([[both.get(name) for name in table.column_names]], columns)
listed = SuppressionList({person_hash(ada, key): Erased(10)}, key).with_those_back(people, 100)
listed = listed.with_devices(people, unread).with_readings(phones)
print([row["timestamp"] for row in listed.accepted(phones, SOURCES["accelerometer"]).collect()])
print([row["sensorReadingTime"] for row in listed.accepted(devices, SOURCES["step_trainer"]).collect()])
print([row["_people"] for row in listed.quarantined(unread, SOURCES["customer"]).collect()])
print(listed.quarantined_of_erased(unread, SOURCES["customer"]).isEmpty())
print([row["instant"] for row in listed.instants(devices, SOURCES["step_trainer"]).collect()])
"""


@pytest.mark.matrix
def test_an_erasure_needs_nothing_that_spark_connect_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", _ON_CONNECT], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[8]", "[8]", "[['ben@example.com']]", "False", "[7]"], done.stderr[-2000:]


def test_a_first_publication_does_not_overtake_an_erasure(
    lake: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is read, then ada is erased, then the table is published, which no erasure could find."""
    write_ada_and_ben(lake)
    spark, source = spark_resource.spark_session, SOURCES["accelerometer"]
    land_customers(lake, spark, RUN, KEY)

    def session() -> SparkSession:
        erase_directly(lake, spark)
        return spark

    landing = land_without_erased(session, lake, source, suppression_key=lambda: KEY)
    with pytest.raises(CommitConflictError, match="accelerometer_landing was not published: the list of erased people"):
        publish_landing(lambda: spark, lake, source, landing, RUN, Retention())
    assert read_snapshot_of(lake, source.landing) is None

    # Even if the erasure comes between that look and the commit, the next run mends it.
    monkeypatch.setattr(deliveries, "_require_same_list", lambda *_: None)
    publish_landing(lambda: spark, lake, source, landing, RUN, Retention())
    landing.stage.discard()
    assert {row["user"] for row in current_dataset(lake, source.landing.name).to_table().to_pylist()} > {ADAS}
    land_source(lake, spark, source)
    assert {row["user"] for row in current_dataset(lake, source.landing.name).to_table().to_pylist()} == {BENS}


def test_an_erasure_that_died_is_finished_by_that_of_somebody_else(
    built: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(erasure, "_leave_trusted_and_curated", lambda *_: (_ for _ in ()).throw(OSError(5, "died")))
        with pytest.raises(OSError, match="died"):
            erase_directly(built, spark)
    assert places_of_ada(root_of(built))
    erasure.erase(spark, built, person_hash(BENS, KEY), key=lambda: KEY, run=RUN)
    assert places_of_ada(root_of(built)) == []


@pytest.mark.parametrize("of_an_earlier_version", [False, True])
def test_another_suppression_key_is_refused(
    of_an_earlier_version: bool,  # noqa: FBT001  # a case
    erased: Lake,
    spark_resource: SparkResource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also in a lake that does not know its keys: the list knows its own."""
    if of_an_earlier_version:
        (root_of(erased) / "_keys.json").unlink()
    before = content_of(erased)
    monkeypatch.setenv("STEDI_LAKE", erased.location)
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", "x" * 40)
    landed = materialise(erased, spark_resource, tables=dg.AssetSelection.assets("customer_landing"))
    for refused in (landed, erase(erased, spark_resource, "0" * 64, tmp_path, expect_nobody=True)):
        assert not refused.success
        assert "The suppression key is not the one" in messages(refused)
        assert "can never be rotated" in messages(refused)
    assert main(["hash-person"]) == 1
    assert "The suppression key is not the one" in capsys.readouterr().err
    if of_an_earlier_version:
        # The pseudonym key is taken down before anything else.
        (root_of(erased) / "_keys.json").unlink()
    assert content_of(erased) == before


def test_an_erasure_that_finds_nobody_fails_and_changes_nothing(
    built: Lake, spark_resource: SparkResource, tmp_path: Path
) -> None:
    before = content_of(built)
    found_nobody = erase(built, spark_resource, NOBODY, tmp_path)
    assert not found_nobody.success
    assert re.search(
        "Nobody with that hash is in .* nothing was removed.* mistyped.* another suppression key.* expect_nobody: true",
        messages(found_nobody),
    )
    assert NOBODY not in messages(found_nobody)
    assert content_of(built) == before


def test_somebody_who_has_not_come_yet_is_kept_out_when_that_is_said(
    lake: Lake, spark_resource: SparkResource, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert erase(lake, spark_resource, NOBODY, tmp_path, expect_nobody=True).success
    assert "Nobody with that hash is in a current table" in capfd.readouterr().err
    assert people_on_the_list(lake) == {NOBODY}
    # Once on the list, it need not be said again.
    assert erase(lake, spark_resource, NOBODY, tmp_path).success
    assert "Erased already: nothing of the person was left." in capfd.readouterr().err
    # Another one who is nobody is no less a mistake.
    assert not erase(lake, spark_resource, ADA, tmp_path).success
    assert people_on_the_list(lake) == {NOBODY}


def test_erasing_again_finishes_what_a_run_that_died_has_left(
    built: Lake, spark_resource: SparkResource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead once the person is on the list, and once nothing but the quarantines and landing tables hold the person."""
    for step in ("_leave_trusted_and_curated", "_leave_landing"):
        with monkeypatch.context() as dying:
            dying.setattr(erasure, step, lambda *_: (_ for _ in ()).throw(OSError(5, "died", "here")))
            assert not erase(built, spark_resource, ADA, tmp_path).success
        assert people_on_the_list(built) == {ADA}
        assert places_of_ada(root_of(built))
    assert not (root_of(built) / "_erasures").exists()
    assert erase(built, spark_resource, ADA, tmp_path).success
    assert places_of_ada(root_of(built)) == []
    assert json.loads(next((root_of(built) / "_erasures").iterdir()).read_text())["erased_before"]


@pytest.mark.parametrize(
    "step", ["_leave_trusted_and_curated", pytest.param("_leave_landing", marks=pytest.mark.matrix)]
)
def test_a_delivery_between_an_erasure_that_died_and_the_next_is_accounted_for(
    step: str, built: Lake, spark_resource: SparkResource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person is on the list, and still in the landing tables. The delivery replaces some of what is there."""
    # The restored files are new to it. Afterwards a delivery leaves those alone that it does not change.
    assert materialise(built, spark_resource, checks=False).success
    with monkeypatch.context() as dying:
        dying.setattr(erasure, step, lambda *_: (_ for _ in ()).throw(OSError(5, "died", "here")))
        assert not erase(built, spark_resource, ADA, tmp_path).success
    landing = {name: root_of(built) / name / "landing" for name in SOURCES}
    again = [customer(person, CONSENTED + 1, CONSENTED) for person in ("ada", "ben")]
    (landing["customer"] / "again.json").write_bytes(lines(*again))
    for name, reading in (
        ("accelerometer", phone_reading("ben", INSTANTS[0] + 1)),
        ("step_trainer", device_reading(SHARED, INSTANTS[0] + 1)),
    ):
        changed = landing[name] / "more.json"
        changed.write_bytes(changed.read_bytes() + lines(reading))

    delivered = materialise(built, spark_resource, checks=False)
    assert delivered.success, messages(delivered)
    of_this_lake = {"files_whole", "quarantine_rate", "unattributed_share"}
    assert {name for _, name in failed_checks(check(built, spark_resource))} <= of_this_lake
    assert erase(built, spark_resource, ADA, tmp_path).success
    assert places_of_ada(root_of(built)) == []
    assert materialise(built, spark_resource, checks=False).success
    assert {name for _, name in failed_checks(check(built, spark_resource))} <= of_this_lake


def land_source(lake: Lake, spark: SparkSession, source: Source) -> None:
    """Land a source's files, without Dagster."""
    landing = land_without_erased(lambda: spark, lake, source, suppression_key=lambda: KEY)
    try:
        publish_landing(lambda: spark, lake, source, landing, RUN, Retention())
    finally:
        landing.stage.discard()


def erase_directly(lake: Lake, spark: SparkSession) -> Receipt:
    return erasure.erase(spark, lake, ADA, key=lambda: KEY, run=RUN)


@pytest.fixture(scope="module")
def commits_of_an_erasure(first: KeptLake, spark: SparkSession) -> int:
    """How many commits the erasure of ada takes."""
    with living() as life:
        erase_directly(first.restored(), spark)
    assert life.commits > 50
    return life.commits


def assert_an_erasure_is_finished(after: int, lake: Lake, spark: SparkSession) -> None:
    with living(last=after) as life:
        erase_directly(lake, spark)
    assert life.is_over
    assert places_of_ada(root_of(lake))
    erase_directly(lake, spark)
    assert places_of_ada(root_of(lake)) == [], f"killed after commit {after}"
    assert current(lake, TABLES["machine_learning_curated"]).rows == 2


@pytest.mark.parametrize(
    "share", [pytest.param(0.1, marks=pytest.mark.matrix), 0.5, pytest.param(0.9, marks=pytest.mark.matrix)]
)
def test_an_erasure_that_was_killed_is_finished_by_the_next(
    share: float, commits_of_an_erasure: int, built: Lake, spark: SparkSession
) -> None:
    assert_an_erasure_is_finished(round(share * commits_of_an_erasure), built, spark)


@pytest.mark.matrix
def test_an_erasure_that_was_killed_after_any_commit_is_finished_by_the_next(
    commits_of_an_erasure: int, first: KeptLake, spark: SparkSession
) -> None:
    for after in range(1, commits_of_an_erasure):
        assert_an_erasure_is_finished(after, first.restored(), spark)


@pytest.fixture(scope="module")
def of_ben(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake with a customer who is not ada."""
    lake = local_lake(tmp_path_factory.mktemp("of ben") / "lake")
    deliver(lake, "ben")
    assert materialise(lake, spark_resource, tables=dg.AssetSelection.assets("customer_landing")).success
    return KeptLake.of(lake)


def deliver(lake: Lake, person: str) -> None:
    file = root_of(lake) / "customer" / "landing" / f"{person}@example.com.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    broken = customer(person, CONSENTED, CONSENTED) | {"phone": 5, "name of an unknown field": f"{person} lovelace"}
    file.write_bytes(lines(customer(person, CONSENTED, CONSENTED), broken))


@pytest.mark.parametrize(
    ("is_first", "stride"),
    [(True, 5), pytest.param(True, 1, marks=pytest.mark.matrix), pytest.param(False, 1, marks=pytest.mark.matrix)],
)
def test_who_stands_only_in_what_a_dead_run_has_left_is_found_and_gone(
    is_first: bool,  # noqa: FBT001  # a case
    stride: int,
    lake: Lake,
    of_ben: KeptLake,
    spark: SparkSession,
) -> None:
    """In its stage, on a branch, in what is tagged for a snapshot that never came, in a table never published."""
    after, found = 0, 0
    while True:
        if is_first:
            shutil.rmtree(root_of(lake), ignore_errors=True)
            lake = local_lake(root_of(lake).with_name(f"lake-{after}"))
        else:
            lake = of_ben.restored()
        deliver(lake, "ada")
        after += stride
        with living(last=after) as life:
            land_customers(lake, spark, RUN, KEY)
        if not life.is_over:
            break
        found += bool(places_of_ada(root_of(lake)))
        erase_directly(lake, spark)
        # Nor does it hinder the next run.
        land_customers(lake, spark, RUN, KEY)
        assert places_of_ada(root_of(lake)) == [], f"killed after commit {after}"
    assert after > found * stride > 10


def test_no_file_beside_the_rows_names_anybody(first: KeptLake) -> None:
    """Not the manifests, nor the metadata, the catalog, or what files are called."""
    beside = [place for place in places_of_ada(root_of(first.restored())) if not place.endswith(".parquet")]
    assert beside == []


def test_a_table_that_the_catalog_does_not_know_holds_an_erasure_up(
    built: Lake, spark_resource: SparkResource, tmp_path: Path
) -> None:
    """Nobody could be found in it, nor removed from it."""
    forget(built, TABLES["accelerometer_landing"])
    before = content_of(built)
    refused = erase(built, spark_resource, ADA, tmp_path)
    assert not refused.success
    assert re.search("accelerometer_landing lies in .* does not know it.* `stedi repair`", messages(refused))
    assert content_of(built) == before


def test_what_was_made_of_people_whom_nobody_knows_any_more_goes_whole(built: Lake, spark: SparkSession) -> None:
    people = TABLES["customer_trusted"]
    forget(built, people)
    shutil.rmtree(root_of(built) / people.path)
    erase_directly(built, spark)
    assert places_of_ada(root_of(built)) == []
    assert not (root_of(built) / "step_trainer" / "curated").exists()


def test_somebody_in_nothing_but_an_old_snapshot_is_found(
    lake: Lake, spark_resource: SparkResource, tmp_path: Path
) -> None:
    folder = root_of(lake) / "accelerometer" / "landing"
    folder.mkdir(parents=True)
    for person in ("ada", "ben"):
        (folder / "one.json").write_bytes(lines(phone_reading(person, INSTANTS[0])))
        assert materialise(lake, spark_resource, tables=dg.AssetSelection.assets("accelerometer_landing")).success
    assert places_of_ada(root_of(lake))
    assert erase(lake, spark_resource, ADA, tmp_path).success
    assert places_of_ada(root_of(lake)) == []


def test_without_the_list_of_the_erased_nothing_is_landed_and_nobody_erased(
    erased: Lake,
    spark_resource: SparkResource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = root_of(erased) / "_suppressed.json"
    kept.rename(tmp_path / "backup")
    before = content_of(erased)
    ran = [
        materialise(erased, spark_resource, tables=dg.AssetSelection.groups("landing")),
        erase(erased, spark_resource, ADA, tmp_path),
        check(erased, spark_resource, quarantine_rate=1),
    ]
    for refused in ran:
        assert not refused.success
        told = {message for message in messages(refused).splitlines() if message}
        assert len(told) == 1
        assert re.search(f"{kept}, is missing: .* know of 1, and it names 0.* Restore the newest", told.pop())
    failed = {event.step_key for event in ran[0].all_events if event.is_step_failure}
    assert failed == {source.landing.name for source in SOURCES.values()}
    monkeypatch.setenv("STEDI_LAKE", erased.location)
    assert main(["hash-person"]) == 1
    assert f"{kept}, is missing" in capsys.readouterr().err
    assert content_of(erased) == before

    shutil.copy(tmp_path / "backup", kept)
    assert check(erased, spark_resource, quarantine_rate=1).success


@pytest.mark.parametrize(
    ("receipts", "known"),
    [
        ([], 0),
        # Of an earlier version, which did not count; cut off.
        ([{}], 1),
        ([None], 1),
        ([{"people_on_the_list": 3}], 3),
        ([{"people_on_the_list": 1}, {"people_on_the_list": 2}], 2),
    ],
)
def test_a_list_with_fewer_people_than_the_newest_receipt_is_an_old_one(
    receipts: list[dict[str, int] | None], known: int, lake: Lake
) -> None:
    for number, receipt in enumerate(receipts):
        content = b'{"erased' if receipt is None else json.dumps(receipt).encode()
        lake.storage.write(f"_erasures/2026010{number}T000000Z-0000.json", content)
    # What somebody has put away there is no receipt of this lake.
    lake.storage.write("_erasures/archive/20250101T000000Z-0000.json", json.dumps({"people_on_the_list": 9}).encode())
    for people in range(5):
        listed = {"check": suppression_check(KEY), "people": {f"{n:064}": ENTRY for n in range(people)}}
        lake.storage.write("_suppressed.json", json.dumps(listed).encode())
        if people >= known:
            found = read_suppressed(lake, lambda: KEY)
            assert found
            assert len(found.people) == people
        else:
            with pytest.raises(LakeError, match=f"is an old one.* know of {known}, and it names {people}.* Restore"):
                read_suppressed(lake, lambda: KEY)
            # Nor is anybody put on it, by which it would seem to be a newer one.
            with pytest.raises(LakeError, match="is an old one"):
                change_suppressed(lake, lambda: KEY, lambda listed: listed)


def test_a_list_from_before_the_newest_erasure_of_somebody_is_an_old_one(lake: Lake) -> None:
    for number, instant in enumerate((CONSENTED, CONSENTED + 1)):
        at = datetime.fromtimestamp(instant / 1000, timezone.utc)
        receipt = {"people_on_the_list": 1, "erased_at": at.replace(microsecond=at.microsecond + 7).isoformat()}
        lake.storage.write(f"_erasures/2026010{number}T000000Z-0000.json", json.dumps(receipt).encode())
    for instant, is_old in ((CONSENTED, True), (CONSENTED + 1, False), (CONSENTED + 2, False)):
        listed = {"check": suppression_check(KEY), "people": {ADA: {"erased_at": instant}}}
        lake.storage.write("_suppressed.json", json.dumps(listed).encode())
        with pytest.raises(LakeError, match="know of an erasure that it lacks") if is_old else nullcontext():
            assert read_suppressed(lake, lambda: KEY)


@pytest.mark.parametrize("person", ["ada@example.com", ADA.upper(), ADA[:-1], ""])
def test_only_a_hash_is_taken(person: str, lake: Lake, spark_resource: SparkResource, tmp_path: Path) -> None:
    refused = erase(lake, spark_resource, person, tmp_path)
    assert not refused.success
    assert not (root_of(lake) / "_suppressed.json").exists()


def test_the_command_prints_the_hash_of_what_it_reads(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "stedi"), "hash-person"]
    environment = {**os.environ, "STEDI_SUPPRESSION_KEY": KEY.decode(), "HOME": str(tmp_path)}

    def answer(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=text, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    printed = answer("\u00a0 Ada@Example.COM\t\n").stdout
    assert printed == f'ops: {{erase_from_lake: {{config: {{person: "{ADA}"}}}}}}\n'
    assert answer("nobody\n").returncode == 1
    assert list(tmp_path.iterdir()) == []
