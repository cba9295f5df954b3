"""Samples that tests write: their options, their files read back, and the truth about them checked."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stedi_assets.sample_data import SampleOptions, SampleSummary
from stedi_assets_tests.support.oracle import (
    SOURCES,
    Landing,
    Policy,
    Source,
    attributed,
    customer_trusted,
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


def files_of(lake: Path, source: str) -> list[Path]:
    return sorted(path for path in (lake / source / "landing").rglob("*") if path.is_file())


def lines_of(lake: Path, source: str) -> list[bytes]:
    return [line for path in files_of(lake, source) for line in path.read_bytes().splitlines(keepends=True)]


def records_of(lake: Path, source: str) -> list[Record]:
    return [json.loads(line) for line in lines_of(lake, source)]


def truth_of(folder: Path, name: str) -> list[Record]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def digest_of(folder: Path) -> str:
    """Return one digest of the names and bytes of all files."""
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
    """Return what the summary says of the same."""
    numbers = asdict(summary.sources[source])
    return {name: numbers[name] for name in ("files", "accepted", "quarantined", "unreadable_files", "ignored_files")}


def assert_true(lake: Path, truth: Path, summary: SampleSummary) -> dict[Source, Landing]:
    """Assert that the reference implementation finds the truth in the files, and return what it reads."""
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
