"""Each defect on its own changes what it is about and nothing else; all of them work at once."""

import gzip
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stedi_assets.sample_data import Amount, SampleOptions, SampleSummary, write_sample
from stedi_assets_tests.support.oracle import SOURCES, Source, person
from stedi_assets_tests.support.samples import EVERY_DEFECT, SMALL, assert_true, files_of, lines_of, records_of


def with_and_without(folder: Path, **defects: Any) -> tuple[SampleSummary, dict[Source, Counter[bytes]]]:
    """Write a small sample with and without defects. Return the summary of the former, and the lines that differ.

    A line counts as often as the sample with defects has more of it, negatively if it has fewer.
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
    # As many people at the same time as possible: by chance alone, two of them would share hundreds of instants.
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
    # Two files of each source, one of them late.
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
