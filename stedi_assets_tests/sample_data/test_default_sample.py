"""Without defects, the files have the size, the shape and the proportions of the course data."""

import json
import math
import os
import re
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from stedi_assets.sample_data import SampleOptions, SampleSummary, write_sample
from stedi_assets_tests.support.oracle import SOURCES, person
from stedi_assets_tests.support.samples import SMALL, Record, files_of, lines_of, records_of, truth_of


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
    # Serial numbers are not shared here: the owner is whoever holds one.
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
