# Are the invented deliveries what they claim to be? Their shape, each defect on its own, and the truth about them, held
# against what the independent reference implementation finds in the files. Nothing here runs the product or Spark.
"""Tests of the sample generator."""

import gzip
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stedi_assets.sample_data import (
    BROKEN_KINDS,
    Amount,
    SampleOptions,
    SampleRefused,
    SampleSummary,
    deliver_sample,
    main,
    write_sample,
)
from stedi_assets_tests.support.oracle import (
    SOURCES,
    Landing,
    Policy,
    Source,
    attributed,
    customer_trusted,
    person,
    read_landing,
)

Record = dict[str, Any]

AS_OF = 1_700_000_000_000

SMALL = SampleOptions(customers=40, readings_per_phone=12, readings_per_device=5)
EVERY_DEFECT = SampleOptions(
    customers=400,
    readings_per_phone=12,
    readings_per_device=5,
    repeated_emails=40,
    withdrawals=0.2,
    serials_shared_by=30,
    respelled_keys=20,
    late_deliveries=0.1,
    repeated_deliveries=2,
    broken={"all": 2, "huge_text": 0, "glued": 0.05},
)


SPLIT = replace(SMALL, records_per_file=50)


def files_of(lake: Path, source: str) -> list[Path]:
    return sorted(path for path in (lake / source / "landing").rglob("*") if path.is_file())


def lines_of(lake: Path, source: str) -> list[bytes]:
    return [line for path in files_of(lake, source) for line in path.read_bytes().splitlines(keepends=True)]


def records_of(lake: Path, source: str) -> list[Record]:
    return [json.loads(line) for line in lines_of(lake, source)]


def truth_of(folder: Path, name: str) -> list[Record]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def digest_of(folder: Path) -> str:
    """One digest of the names and bytes of all files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def landings_of(lake: Path) -> dict[Source, Landing]:
    return {source: read_landing(source, lake / source / "landing") for source in SOURCES}


def found(landing: Landing) -> dict[str, int]:
    """Return what is found in a landing folder, by the names of `SourceSummary`."""
    return {
        "files": len(landing.files) + len(landing.errors) + len(landing.ignored) + len(landing.hidden),
        "accepted": len(landing.accepted),
        "quarantined": len(landing.quarantined),
        "unreadable_files": len(landing.errors),
        "ignored_files": len(landing.ignored) + len(landing.hidden),
    }


def promised(summary: SampleSummary, source: Source) -> dict[str, int]:
    """Return the same as the summary has it."""
    numbers = asdict(summary.sources[source])
    return {name: numbers[name] for name in ("files", "accepted", "quarantined", "unreadable_files", "ignored_files")}


def assert_true(lake: Path, truth: Path, summary: SampleSummary) -> dict[Source, Landing]:
    """Assert that the truth is what the reference implementation makes of the files, and return its landings."""
    landings = landings_of(lake)
    for source, landing in landings.items():
        assert found(landing) == promised(summary, source)

    people = truth_of(truth, "people.jsonl")
    consenting = {person["person"] for person in people if person["consents"]}
    assert len(people) == len({person["person"] for person in people}) == summary.customers
    customers, phones, devices = (landings[source].accepted for source in SOURCES)
    in_doubt = landings["customer"].quarantined
    assert {row["email"] for row in customer_trusted(customers, in_doubt, Policy(), AS_OF)} == consenting
    assert len(consenting) == summary.consenting

    readings = truth_of(truth, "device_readings.jsonl")
    owners = attributed(devices, customers, in_doubt, phones)
    attributed_readings = {
        (owner, row["_device"], row["sensorReadingTime"], row["distanceFromObject"])
        for owner, row in zip(owners, devices, strict=True)
    }
    assert {tuple(reading.values()) for reading in readings} == attributed_readings
    assert len(readings) == len(attributed_readings) == summary.device_readings
    assert len({tuple(row.values()) for row in phones}) == summary.phone_readings
    assert json.loads((truth / "summary.json").read_text(encoding="utf-8")) == asdict(summary)
    return landings


# --- Without defects ------------------------------------------------------------------------------------------------


class CourseSize(NamedTuple):
    """The default sample."""

    lake: Path
    truth: Path
    summary: SampleSummary
    customers: list[Record]
    phones: list[Record]
    devices: list[Record]


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> CourseSize:
    folder = tmp_path_factory.mktemp("default")
    summary = write_sample(folder / "lake", truth=folder / "truth")
    customers, phones, devices = (records_of(folder / "lake", source) for source in SOURCES)
    return CourseSize(folder / "lake", folder / "truth", summary, customers, phones, devices)


def test_default_has_the_size_of_the_course_data(default: CourseSize) -> None:
    summary = default.summary

    assert (summary.customers, summary.consenting, summary.serial_numbers) == (956, 482, 956)
    assert len(default.customers) == 956
    assert len(default.phones) == summary.phone_readings == pytest.approx(81_273, rel=0.01)
    assert len(default.devices) == summary.device_readings == 28_680


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "customer",
            rb'\{"customerName": "[A-Z][a-z]+ [A-Z][a-z]+", "email": "[A-Z][a-z]+\.[A-Z][a-z]+@example\.com", '
            rb'"phone": "80155501\d\d", "birthDay": "(0?9\d\d|1\d{3})-01-01", '
            rb'"serialNumber": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", '
            rb'"registrationDate": \d{13}, "lastUpdateDate": \d{13}(, "shareWithResearchAsOfDate": \d{13})?'
            rb'(, "shareWithPublicAsOfDate": \d{13})?(, "shareWithFriendsAsOfDate": \d{13})?\}\n',
        ),
        (
            "accelerometer",
            rb'\{"user":"[A-Z][a-z]+\.[A-Z][a-z]+@example\.com","timestamp":\d{13},'
            rb'"x":(-1\.0|0\.0|1\.0),"y":(-1\.0|0\.0|1\.0),"z":(-1\.0|0\.0)\}\n',
        ),
        (
            "step_trainer",
            rb'\{"sensorReadingTime":\d{13},"serialNumber":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",'
            rb'"distanceFromObject":(20[1-9]|2[1-9]\d|300)\}\n',
        ),
    ],
)
def test_lines_are_written_as_the_source_writes_them(default: CourseSize, source: str, line: bytes) -> None:
    pattern = re.compile(line)

    assert [written for written in lines_of(default.lake, source) if not pattern.fullmatch(written)] == []


@pytest.mark.parametrize("source", SOURCES)
def test_files_hold_10_000_records_each_but_the_last(default: CourseSize, source: str) -> None:
    files = files_of(default.lake, source)
    sizes = [path.read_bytes().count(b"\n") for path in files]

    assert all(re.fullmatch(rf"{source}-\d{{13}}\.json", path.name) for path in files)
    assert len(files) == default.summary.sources[source].files
    assert all(size == 10_000 for size in sizes[:-1])
    assert 0 < sizes[-1] <= 10_000


def test_readings_of_one_person_are_spread_over_files_newest_first(default: CourseSize) -> None:
    files = defaultdict(set)
    for path in files_of(default.lake, "accelerometer"):
        readings = [json.loads(line) for line in path.read_bytes().splitlines()]
        for reading in readings:
            files[reading["user"]].add(path)
        assert all(a["user"] != b["user"] or a["timestamp"] >= b["timestamp"] for a, b in pairwise(readings))

    assert min(map(len, files.values())) > 3


def test_files_have_the_permissions_the_user_gives_to_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_sample(tmp_path, SMALL)
    finally:
        os.umask(before)

    assert {oct(path.stat().st_mode & 0o777) for path in files_of(tmp_path, "customer")} == {oct(0o640)}


def test_devices_and_phones_are_active_at_the_same_instants(default: CourseSize) -> None:
    owner = {customer["serialNumber"]: customer["email"] for customer in default.customers}
    device = {(owner[reading["serialNumber"]], reading["sensorReadingTime"]) for reading in default.devices}
    phone = Counter((reading["user"], reading["timestamp"]) for reading in default.phones)

    assert len(owner) == 956
    assert len(device) == 28_680
    assert device == phone.keys()
    assert set(phone.values()) == {2, 3}


def test_no_phone_reading_is_repeated(default: CourseSize) -> None:
    assert len({tuple(reading.values()) for reading in default.phones}) == len(default.phones)


def test_proportions_of_the_course_data(default: CourseSize) -> None:
    registered = {customer["email"]: customer["registrationDate"] for customer in default.customers}
    years = [int(customer["birthDay"].split("-")[0]) for customer in default.customers]

    before_registration = sum(reading["timestamp"] < registered[reading["user"]] for reading in default.phones)
    assert before_registration / len(default.phones) == pytest.approx(15_356 / 81_273, abs=0.02)
    assert sum("shareWithPublicAsOfDate" in customer for customer in default.customers) == 491
    assert sum("shareWithFriendsAsOfDate" in customer for customer in default.customers) == 508
    assert sum(year < 1000 for year in years) / 956 == pytest.approx(53 / 956, abs=0.03)
    assert any(customer["birthDay"].startswith("09") for customer in default.customers)
    assert any(customer["birthDay"].startswith("9") for customer in default.customers)


def consents_of(customers: list[Record]) -> dict[str, int]:
    key = "shareWithResearchAsOfDate"
    return {customer["email"]: customer[key] for customer in customers if key in customer}


def test_consents_of_the_course_data(default: CourseSize) -> None:
    registered = {customer["email"]: customer["registrationDate"] for customer in default.customers}
    consents = consents_of(default.customers)
    read_since = {r["user"] for r in default.phones if r["timestamp"] >= consents.get(r["user"], math.inf)}

    at_registration = sum(instant == registered[email] for email, instant in consents.items())
    assert at_registration == pytest.approx(459, abs=8)
    assert len(read_since) == pytest.approx(464, abs=8)  # who consents late has mostly stopped reading


def test_a_join_on_the_instant_alone_mixes_people_as_often_as_in_the_course_data(default: CourseSize) -> None:
    consents = consents_of(default.customers)
    owner = {customer["serialNumber"]: customer["email"] for customer in default.customers}
    at: dict[int, list[str]] = defaultdict(list)
    for reading in default.devices:
        if owner[reading["serialNumber"]] in consents:
            at[reading["sensorReadingTime"]].append(owner[reading["serialNumber"]])

    same_person = Counter(
        person == reading["user"]
        for reading in default.phones
        if reading["user"] in consents
        for person in at[reading["timestamp"]]
    )
    assert same_person[False] / same_person.total() == pytest.approx(2_700 / 43_681, abs=0.012)


def test_truth_of_the_default(default: CourseSize) -> None:
    # The serial numbers are not shared here, so that the owner is the one who holds it.
    owner = {customer["serialNumber"]: person(customer["email"]) for customer in default.customers}
    devices = {
        (owner[reading["serialNumber"]], reading["serialNumber"], reading["sensorReadingTime"], distance)
        for reading in default.devices
        for distance in [reading["distanceFromObject"]]
    }
    consents = consents_of(default.customers)
    people = {(person(customer["email"]), customer["email"] in consents) for customer in default.customers}

    assert {tuple(reading.values()) for reading in truth_of(default.truth, "device_readings.jsonl")} == devices
    assert {tuple(person.values()) for person in truth_of(default.truth, "people.jsonl")} == people


def test_some_people_meet_in_a_small_sample_too(tmp_path: Path) -> None:
    write_sample(tmp_path, replace(SMALL, customers=5))

    at: dict[int, set[str]] = defaultdict(set)
    for reading in records_of(tmp_path, "accelerometer"):
        at[reading["timestamp"]].add(reading["user"])
    assert any(len(people) > 1 for people in at.values())


def test_sizes_are_as_asked_for(tmp_path: Path) -> None:
    write_sample(tmp_path, SampleOptions(customers=12, readings_per_phone=40, readings_per_device=4))

    per_phone = Counter(reading["user"] for reading in records_of(tmp_path, "accelerometer"))
    per_device = Counter(reading["serialNumber"] for reading in records_of(tmp_path, "step_trainer"))
    assert len(records_of(tmp_path, "customer")) == 12
    assert list(per_phone.values()) == [40] * 12
    assert list(per_device.values()) == [4] * 12


def test_a_large_sample_is_written_in_several_batches(tmp_path: Path) -> None:
    summary = write_sample(tmp_path, SampleOptions(customers=1_300))

    lines = lines_of(tmp_path, "accelerometer")
    assert len(lines) == len(set(lines)) == summary.phone_readings > 100_000


def test_people_and_devices_are_unique_when_names_run_out(tmp_path: Path) -> None:
    write_sample(tmp_path, SampleOptions(customers=5_000, readings_per_phone=1, readings_per_device=1))

    customers = records_of(tmp_path, "customer")
    assert len({person(customer["email"]) for customer in customers}) == 5_000
    assert len({customer["serialNumber"] for customer in customers}) == 5_000
    assert len({customer["customerName"] for customer in customers}) < 5_000


# --- Determinism ----------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_bytes_in_every_process_and_python(tmp_path: Path) -> None:
    # Not even gzip gives the same bytes everywhere.
    not_packed = {"packed_named_json": 0, "truncated_gzip": 0}
    options = replace(EVERY_DEFECT, broken={**EVERY_DEFECT.broken, **not_packed})
    write_sample(tmp_path / "lake", options, tmp_path / "truth")

    # Written down once. It changes only with a sample that is meant to be another one.
    assert digest_of(tmp_path) == "dad2d175c9c53b00fb381fcffacaed01706f0ea92bbd67abb3f021a7c39706b4"


def test_another_seed_gives_other_people_and_readings(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_sample(tmp_path / str(seed), replace(SMALL, seed=seed))

    for source in SOURCES:
        assert not set(lines_of(tmp_path / "1", source)) & set(lines_of(tmp_path / "2", source))


# --- Each defect on its own -----------------------------------------------------------------------------------------


def with_and_without(folder: Path, **defects: Any) -> tuple[SampleSummary, dict[Source, Counter[bytes]]]:
    """Write a small sample with defects, and return its summary and which lines it has for them, by source and count.

    Lines that only the sample without defects has are counted negatively.
    """
    write_sample(folder / "without", SMALL)
    summary = write_sample(folder / "with", replace(SMALL, **defects), folder / "truth")
    difference = {}
    for source in SOURCES:
        difference[source] = Counter(lines_of(folder / "with", source))
        difference[source].subtract(lines_of(folder / "without", source))
        difference[source] = Counter({line: count for line, count in difference[source].items() if count})
    assert_true(folder / "with", folder / "truth", summary)
    return summary, difference


@pytest.mark.parametrize(("amount", "count"), [(4, 4), (0.25, 10), (1.0, 40), (1, 1), (0.0, 0)])
def test_repeated_emails(tmp_path: Path, amount: Amount, count: int) -> None:
    summary, changed = with_and_without(tmp_path, repeated_emails=amount)
    records = {record["email"]: record for record in records_of(tmp_path / "without", "customer")}
    by_person = {person(email): record for email, record in records.items()}

    assert summary.repeated_emails == count == sum(changed.pop("customer").values())
    assert changed == {"accelerometer": {}, "step_trainer": {}}
    added = [r for r in records_of(tmp_path / "with", "customer") if r["email"] not in records]
    assert len({person(record["email"]) for record in added}) == count
    for older in added:
        newer = by_person[person(older["email"])]
        assert older["lastUpdateDate"] < newer["registrationDate"]
        assert older["serialNumber"] == newer["serialNumber"]
        assert not any(key.startswith("shareWith") for key in older)


def test_repeated_emails_come_in_other_letter_case_and_with_blanks_around(tmp_path: Path) -> None:
    write_sample(tmp_path, replace(SMALL, repeated_emails=1.0))

    emails = [record["email"] for record in records_of(tmp_path, "customer")]
    assert {"upper", "lower", "blanks"} <= {
        "upper" if email.isupper() else "lower" if email.islower() else "blanks" if email != email.strip() else "plain"
        for email in emails
    }


@pytest.mark.parametrize(("amount", "count"), [(3, 3), (0.5, 10), (1.0, 20)])
def test_withdrawals(tmp_path: Path, amount: Amount, count: int) -> None:
    summary, changed = with_and_without(tmp_path, withdrawals=amount)
    consenting = {
        record["email"]: record
        for record in records_of(tmp_path / "without", "customer")
        if "shareWithResearchAsOfDate" in record
    }

    later = [json.loads(line) for line in changed.pop("customer").elements()]
    assert changed == {"accelerometer": {}, "step_trainer": {}}
    assert summary.withdrawals == count == len(later) == len({record["email"] for record in later})
    assert summary.consenting == len(consenting) - count
    for record in later:
        assert record["lastUpdateDate"] > consenting[record["email"]]["lastUpdateDate"]
        assert "shareWithResearchAsOfDate" not in record


@pytest.mark.parametrize("sharing", [2, 8, 40, 1_000])
def test_shared_serial_numbers(tmp_path: Path, sharing: int) -> None:
    summary, changed = with_and_without(tmp_path, serials_shared_by=sharing)

    holders: dict[str, set[str]] = defaultdict(set)
    for record in records_of(tmp_path / "with", "customer"):
        holders[record["serialNumber"]].add(record["email"])
    assert {len(people) for people in holders.values()} == {min(sharing, 40)}
    assert len(holders) == summary.serial_numbers
    assert changed["step_trainer"] != {}


def test_holders_of_a_serial_number_never_read_at_the_same_instant(tmp_path: Path) -> None:
    # As many people at once as can be: without care for it, hundreds of instants would be met by two of them.
    options = SampleOptions(customers=600, readings_per_phone=30, readings_per_device=30)
    for folder, sharing in (("alone", 1), ("together", 600)):
        write_sample(tmp_path / folder, replace(options, serials_shared_by=sharing), tmp_path / f"{folder} truth")

    def shared_instants(folder: str) -> int:
        instants = Counter(reading["timestamp"] for reading in records_of(tmp_path / folder, "accelerometer"))
        return sum(count > 1 for count in instants.values())

    assert shared_instants("alone") > 300
    assert shared_instants("together") == 0


@pytest.mark.parametrize(("amount", "count"), [(3, 3), (0.5, 20)])
def test_respelled_keys(tmp_path: Path, amount: Amount, count: int) -> None:
    summary, changed = with_and_without(tmp_path, respelled_keys=amount)
    respelled = [line for line, times in changed["accelerometer"].items() if times > 0]

    assert summary.respelled_phones == count == len({json.loads(line)["user"] for line in respelled})
    assert all(b'"timeStamp":' in line for line in respelled)
    assert {line.replace(b"timeStamp", b"timestamp") for line in respelled} == {
        line for line, times in changed["accelerometer"].items() if times < 0
    }
    assert changed["customer"] == changed["step_trainer"] == {}


@pytest.mark.parametrize(("amount", "count"), [(3, 3), (0.5, 20), (1.0, 40)])
def test_late_deliveries(tmp_path: Path, amount: Amount, count: int) -> None:
    summary, changed = with_and_without(tmp_path, late_deliveries=amount)
    assert not any(changed.values())
    assert summary.late_customers == count

    who: dict[Source, str] = {"customer": "email", "accelerometer": "user", "step_trainer": "serialNumber"}
    for source in SOURCES:
        late = [path for path in files_of(tmp_path / "with", source) if path.parent.name == "late"]
        on_time = [path for path in files_of(tmp_path / "with", source) if path not in late]
        assert len(late) == summary.sources[source].late_files == 1
        assert all(path.stat().st_mtime > late[0].stat().st_mtime + 86_400 for path in on_time)
        late_people, people = (
            {json.loads(line)[who[source]] for path in paths for line in path.read_bytes().splitlines()}
            for paths in (late, on_time)
        )
        assert (len(late_people), len(people)) == (count, 40 - count)


@pytest.mark.parametrize(("amount", "count"), [(1, 1), (3, 3), (1.0, 2)])
def test_repeated_deliveries(tmp_path: Path, amount: Amount, count: int) -> None:
    # Two files of each source: one of them late.
    options = replace(SMALL, late_deliveries=5, broken={"cut_off": 2, "glued": 2})
    once = write_sample(tmp_path / "once", options)
    summary = write_sample(tmp_path / "with", replace(options, repeated_deliveries=amount), tmp_path / "truth")

    assert_true(tmp_path / "with", tmp_path / "truth", summary)
    for source in SOURCES:
        contents = Counter(path.read_bytes() for path in files_of(tmp_path / "with", source))
        assert contents.keys() == {path.read_bytes() for path in files_of(tmp_path / "once", source)}
        assert contents.total() - len(contents) == count == summary.sources[source].repeated_files
        cut_off = sum(
            line.startswith(b"{") and not line.endswith(b"}\n") for line in lines_of(tmp_path / "with", source)
        )
        assert cut_off == summary.sources[source].broken["cut_off"] >= once.sources[source].broken["cut_off"]


def test_packed_files(tmp_path: Path) -> None:
    write_sample(tmp_path / "plain", SMALL)
    summary = write_sample(tmp_path / "packed", replace(SMALL, gzip=True), tmp_path / "truth")

    for source in SOURCES:
        packed = {path.name: gzip.decompress(path.read_bytes()) for path in files_of(tmp_path / "packed", source)}
        assert packed == {f"{path.name}.gz": path.read_bytes() for path in files_of(tmp_path / "plain", source)}
    assert_true(tmp_path / "packed", tmp_path / "truth", summary)


def test_every_defect_at_once(tmp_path: Path) -> None:
    summary = write_sample(tmp_path / "lake", replace(EVERY_DEFECT, gzip=True), tmp_path / "truth")

    assert_true(tmp_path / "lake", tmp_path / "truth", summary)


# --- Kinds of broken deliveries -------------------------------------------------------------------------------------

# What must be found in the bytes of a source's files, so that a kind is what its name says.
EVIDENCE = {
    "glued": rb"\}\{",
    "comma_between": rb"\},\{",
    "comma_at_end": rb"\},\n",
    "carriage_return_between": rb"\}\r\{",
    "line_separator_between": rb"\}\xe2\x80\xa8\{",
    "array_on_a_line": rb"\[\{.*\},\{.*\}\]\n",
    "array_over_lines": rb"\[\n\{.*\},\n\{.*\}\n\]\n",
    "windows_line_end": rb"\}\r\n",
    "blank_lines": rb"\n\n[ \t]*\n",
    "byte_order_mark": rb"\xef\xbb\xbf\{",
    "pretty_printed": rb"\{\n  \"",
    "unknown_key": rb"firmware",
    "other_key_case": rb'"(EMAIL|USER|SERIALNUMBER)"',
    "blanks_around": rb'"  [^"]+\\t"',
    "instant_with_point": rb"\d{13}\.0[,}]",
    "instant_with_exponent": rb":\s?1\.\d{12}E12[,}]",
    "phone_as_number": rb'"phone": 801\d{7},',
    "null_optional": rb'"phone": null',
    "share_zero": rb'AsOfDate": 0\}',
    "share_false": rb'AsOfDate": false\}',
    "share_empty_text": rb'AsOfDate": ""\}',
    "garbage_after": rb"\} and so on\n",
    "no_line_break_at_end": rb"[^\n]\Z",
    "packed_named_json": rb"\A\x1f\x8b",
}
# Why a kind must be quarantined; the rest are malformed JSON. "*" is the column.
REASONS = {
    "empty_object": "missing_*",
    "missing_key": "missing_*",
    "null_required": "missing_*",
    "blank_in_key": "missing_*",
    "invalid_utf8": "invalid_utf8",
    "key_twice": "duplicate_key",
    "key_twice_other_case": "duplicate_key",
    **dict.fromkeys(("nan", "infinity", "quoted_nan", "quoted_infinity", "too_large"), "not_finite"),
    **dict.fromkeys(("wrong_type", "number_as_text", "true_in_number", "empty_text_in_number"), "wrong_type"),
    **dict.fromkeys(("object_in_number", "number_in_text", "object_in_text", "array_in_text"), "wrong_type"),
    **dict.fromkeys(("instant_zero", "instant_not_whole", "instant_negative"), "invalid_instant"),
    **dict.fromkeys(("instant_in_seconds", "instant_in_microseconds", "instant_of_23_digits"), "invalid_instant"),
    **dict.fromkeys(("blank_in_email", "no_at_in_email", "two_ats_in_email"), "invalid_email"),
    "random_bytes": "invalid_utf8",
}


# The reference implementation takes its time for 20 MB; see below.
@pytest.mark.parametrize("kind", [kind for kind in BROKEN_KINDS if kind != "huge_text"])
def test_broken_kind(tmp_path: Path, kind: str) -> None:
    times = 3
    options = replace(SMALL, customers=10, broken={kind: times})
    summary = write_sample(tmp_path / "lake", options, tmp_path / "truth")

    broken = BROKEN_KINDS[kind]
    for source, landing in assert_true(tmp_path / "lake", tmp_path / "truth", summary).items():
        concerned = times if source in broken.sources else 0
        numbers = summary.sources[source]
        assert numbers.broken == ({kind: concerned} if concerned else {})
        assert numbers.quarantined == concerned * broken.quarantined
        assert numbers.unreadable_files == (concerned if broken.fate == "unreadable" else 0)
        assert numbers.ignored_files == (concerned if broken.fate == "ignored" else 0)
        assert numbers.files == 1 + (concerned if broken.file_name else 0)
        reasons = {re.sub("^missing_.*", "missing_*", r) for record in landing.quarantined for r in record.reasons}
        assert reasons - {"malformed_json"} == ({REASONS[kind]} if concerned and kind in REASONS else set())
        files = files_of(tmp_path / "lake", source)
        if concerned and broken.file_name:
            name = broken.file_name.format(f"{source}-*")
            assert sum(fnmatchcase(path.name, name) for path in files) == times + fnmatchcase(f"{source}-0.json", name)
        if concerned and kind in EVIDENCE:
            assert sum(len(re.findall(EVIDENCE[kind], path.read_bytes())) for path in files) == times


def test_a_huge_text(tmp_path: Path) -> None:
    summary = write_sample(tmp_path, replace(SMALL, broken={"huge_text": 1}))

    for source in SOURCES:
        lines = lines_of(tmp_path, source)
        assert [len(line) > 20_000_000 for line in lines].count(True) == summary.sources[source].quarantined == 1
        assert all(json.loads(line) for line in lines)


def test_broken_amounts(tmp_path: Path) -> None:
    write_sample(tmp_path / "without", SMALL)
    summary = write_sample(
        tmp_path / "with", replace(SMALL, broken={"all": 0, "cut_off": 0.05, "two_ats_in_email": 4, "glued": 0})
    )

    assert {source: numbers.broken for source, numbers in summary.sources.items()} == {
        "customer": {"cut_off": 2, "two_ats_in_email": 4},
        "accelerometer": {"cut_off": 24, "two_ats_in_email": 4},
        "step_trainer": {"cut_off": 10},
    }
    for source in SOURCES:
        assert set(lines_of(tmp_path / "without", source)) <= set(lines_of(tmp_path / "with", source))


def test_files_of_their_own_come_on_time_when_all_records_are_late(tmp_path: Path) -> None:
    write_sample(tmp_path, replace(SMALL, late_deliveries=1.0, broken={"empty_file": 2}))

    for source in SOURCES:
        files = [(path.parent.name, path.stat().st_size > 0) for path in files_of(tmp_path, source)]
        assert sorted(files) == [("landing", False), ("landing", False), ("late", True)]


def test_a_whole_delivery_can_be_glued(tmp_path: Path) -> None:
    options = replace(SMALL, readings_per_phone=10, broken={"glued": 0.5})
    summary = write_sample(tmp_path / "lake", options, tmp_path / "truth")

    assert_true(tmp_path / "lake", tmp_path / "truth", summary)
    assert [len(lines_of(tmp_path / "lake", source)) for source in SOURCES] == [20, 200, 100]


# --- Refusals -------------------------------------------------------------------------------------------------------


def refusal(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a refused command says."""
    assert main([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


@pytest.mark.parametrize("name", ["customer/landing/old.json", "step_trainer/landing/2022/06/old.txt"])
def test_a_used_landing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.touch()

    assert "already holds files" in refusal(tmp_path, capsys=capsys)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_hidden_files_are_no_reason_to_refuse(tmp_path: Path) -> None:
    for name in (".gitkeep", ".trash/old.json"):
        path = tmp_path / "customer" / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert write_sample(tmp_path, SMALL).customers == 40


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lake").touch()

    assert "is a file" in refusal(tmp_path / "lake", capsys=capsys)


@pytest.mark.parametrize("place", ["s3://bucket/lake", "S3A://bucket/lake", "file:///lake", Path("s3://bucket/lake")])
def test_only_local_folders_are_written_to(
    tmp_path: Path, place: str | Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "only local folders" in refusal(place, capsys=capsys)
    assert "only local folders" in refusal(tmp_path / "lake", "--truth", place, capsys=capsys)
    assert list(tmp_path.iterdir()) == []


def test_truth_inside_the_lake_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lake")

    for truth in ("lake", "lake/truth", "link/truth", "lake/../lake/truth"):
        assert "inside the lake" in refusal(tmp_path / "lake", "--truth", tmp_path / truth, capsys=capsys)
    assert list((tmp_path / "lake").iterdir()) == []


def test_a_used_truth_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "summary.json").touch()

    assert "already holds files" in refusal(tmp_path / "lake", "--truth", tmp_path / "truth", capsys=capsys)
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"customers": 0}, "customers must be at least 1"),
        ({"serials_shared_by": 0}, "serials_shared_by must be at least 1"),
        ({"readings_per_phone": 4}, "readings_per_phone"),
        ({"readings_per_phone": 91}, "readings_per_phone"),
        ({"repeated_emails": 41}, "repeated_emails=41 must be from 0 to 40"),
        ({"withdrawals": 21}, "withdrawals=21 must be from 0 to 20"),
        ({"respelled_keys": 1.5}, "respelled_keys=1.5 must be from 0 to 1.0"),
        ({"late_deliveries": -1}, "late_deliveries=-1"),
        ({"repeated_deliveries": float("nan")}, "repeated_deliveries=nan"),
        ({"broken": {"cutt_off": 1}}, "there is no kind cutt_off; there are glued"),
        ({"broken": {"glued": 21}}, "42 records of customer are needed that are not late, only 40"),
        ({"broken": {"comma_at_end": 31}, "late_deliveries": 10}, "31 records of customer"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SampleRefused, match=re.escape(message)):
        write_sample(tmp_path / "lake", replace(SMALL, **options))
    assert not (tmp_path / "lake").exists()


# --- Command line ---------------------------------------------------------------------------------------------------


def test_command_line_says_and_writes_what_the_function_writes(tmp_path: Path) -> None:
    write_sample(tmp_path / "function" / "lake", EVERY_DEFECT, tmp_path / "function" / "truth")
    arguments = [
        "--customers",
        "400",
        "--readings-per-phone",
        "12",
        "--readings-per-device",
        "5",
        "--seed",
        "7",
        "--repeated-emails",
        "40",
        "--withdrawals",
        "20%",
        "--serials-shared-by",
        "30",
        "--respelled-keys",
        "20",
        "--late-deliveries",
        "0.1",
        "--repeated-deliveries",
        "2",
        "--broken",
        "all=2",
        "--broken",
        "huge_text=0",
        "--broken",
        "glued=5%",
    ]
    (tmp_path / "command").mkdir()
    # Another process with another hash seed.
    done = subprocess.run(
        [sys.executable, "-m", "stedi_assets.sample_data", "lake", *arguments, "--truth", "truth"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path / "command",
        env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": str(Path(__file__).parents[1])},
    )

    assert digest_of(tmp_path / "command") == digest_of(tmp_path / "function")
    assert done.stdout.startswith("400 customers, 162 of them consent")


@pytest.mark.parametrize("text", ["many", "1.2.3", "x%", ""])
def test_an_amount_that_is_none_ends_the_command(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["lake", "--broken", f"cut_off={text}"])
    assert "neither a number of times (3) nor a share (0.03 or 3%)" in capsys.readouterr().err


# --- One file after the other -----------------------------------------------------------------------------------------


def test_what_arrives_file_by_file_is_the_same_sample(tmp_path: Path) -> None:
    write_sample(tmp_path / "at once", SPLIT)
    arrived = list(deliver_sample(tmp_path / "later", 0, SPLIT))
    assert digest_of(tmp_path / "later") == digest_of(tmp_path / "at once")
    assert sorted(arrived) == sorted(str(path) for source in SOURCES for path in files_of(tmp_path / "later", source))
    assert len(arrived) == 1 + 10 + 4
    sources = [Path(path).parts[-3] for path in arrived]
    assert sources[:4] == ["customer", "accelerometer", "step_trainer", "accelerometer"]


def test_of_what_is_to_come_nothing_can_be_seen(tmp_path: Path) -> None:
    files = deliver_sample(tmp_path, 0, SPLIT)
    first = next(files)
    seen = [path for path in tmp_path.rglob("*") if path.is_file() and ".arriving-" not in str(path)]
    assert seen == [Path(first)]
    files.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Path(first)]


def test_an_arriving_sample_is_refused_as_any_other(tmp_path: Path) -> None:
    with pytest.raises(SampleRefused, match="is inside the lake"):
        next(deliver_sample(tmp_path / "lake", 0, SPLIT, tmp_path / "lake" / "customer" / "landing" / "truth"))
    write_sample(tmp_path / "used", SMALL)
    with pytest.raises(SampleRefused, match="already holds files"):
        next(deliver_sample(tmp_path / "used", 0, SPLIT))


@pytest.mark.parametrize("pause", ["5 minutes", "-1s", "s", "nan"])
def test_a_pause_that_is_none_is_refused(pause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "lake"), f"--every={pause}"])
    assert "is no time such as 5s or 0.5s" in capsys.readouterr().err


def test_the_command_says_what_has_arrived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--customers", "5", "--records-per-file", "200", "--every", "0.01s"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3 + 1
