"""Erasure: a person is gone from every byte below the lake but the raw files, and stays out of every later run."""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from stedi_assets.contracts import SOURCES, TABLES
from stedi_assets.lake.landing import read_file_reports
from stedi_assets.lake.layout import Lake
from stedi_assets.lake.snapshots import current
from stedi_assets.lake.suppression import person_hash
from stedi_assets.plumbing.erasure import erase_person
from stedi_assets.plumbing.spark import SparkResource
from stedi_assets_tests.lakes import (
    CONSENTED,
    INSTANTS,
    TRACES_OF_ADA,
    check,
    customer,
    device_reading,
    failed_checks,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)

KEY = b"a suppression key for tests, 32 bytes and more"
PSEUDONYM_KEY = b"a pseudonym key for tests, 32 bytes and more"
ADA = person_hash("ada@example.com", KEY)
SHARED = "device-of-both"


@pytest.fixture(autouse=True, scope="module")
def _keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_SUPPRESSION_KEY", KEY.decode())
        environment.setenv("STEDI_PSEUDONYM_KEY", PSEUDONYM_KEY.decode())
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Lake:
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
        assert materialise(lake, spark_resource).success
    return lake


@pytest.fixture
def built(first: Lake, lake: Lake) -> Lake:
    """The test's own copy of that lake."""
    shutil.copytree(root_of(first), root_of(lake))
    return lake


def erase(lake: Lake, spark: SparkResource, person: str, home: Path) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        return erase_person.execute_in_process(
            run_config={"ops": {"erase_from_lake": {"config": {"person": person}}}},
            resources={name: found for name, found in resources(lake, spark).items() if name in {"lake", "spark"}},
            instance=instance,
            raise_on_error=False,
        )


def places_of_ada(*roots: Path) -> list[str]:
    """Return the files that hold a trace of ada outside the raw files, Parquet pages unpacked."""
    subject = hmac.new(PSEUDONYM_KEY, b"ada@example.com", hashlib.sha256).hexdigest().encode()
    found = []
    for file in (path for root in roots for path in root.rglob("*") if path.is_file()):
        if "/landing/" in str(file):
            continue
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += str(pq.read_table(file).to_pylist()).encode()
        if TRACES_OF_ADA.search(content) or subject in content:
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
    assert ADA not in json.dumps(receipt)

    checked = check(built, spark_resource, quarantine_rate=1)
    assert checked.success
    # Warnings, until the tables are computed again.
    names = {name for _, name in failed_checks(checked)}
    assert names == {"row_count_change", "unattributed_share", "agrees_with_second_engine"}

    # The sources still deliver her.
    assert materialise(built, spark_resource).success
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


def test_another_suppression_key_is_refused(
    built: Lake, spark_resource: SparkResource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert erase(built, spark_resource, ADA, tmp_path).success
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", "x" * 40)
    refused = materialise(built, spark_resource)
    assert not refused.success
    data = refused.failure_data_for_node("customer_landing")
    assert data
    assert data.user_failure_data
    assert "suppression key is not the one" in (data.user_failure_data.description or "")
    assert places_of_ada(root_of(built)) == []


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
