"""Maintenance: fewer files with the same rows, nothing to make again, and only what is dead is removed."""

import time
from dataclasses import replace
from typing import Any, NoReturn

import dagster as dg
import pytest

from stedi_assets.contracts import QUARANTINE_TABLES, SOURCES, TABLES, Purpose, Table
from stedi_assets.ingest.arrivals import published_tables, tables_behind
from stedi_assets.orchestration.maintenance_job import maintain_lakehouse
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.errors import CommitConflictError, ContractBroken
from stedi_assets.storage.lake import Lake
from stedi_assets.tables import maintenance, publishing, snapshots, staging
from stedi_assets.tables.branches import begin_branch
from stedi_assets.tables.catalog import load
from stedi_assets.tables.maintenance import maintain
from stedi_assets.tables.publishing import republish
from stedi_assets.tables.retention import Retention, left_behind, referenced
from stedi_assets.tables.snapshots import current, current_dataset, data_paths, named_snapshot
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    INSTANTS,
    failed_checks,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)

RUN = RunContext("maintenance", Purpose.PRODUCTION)
PHONES = SOURCES["accelerometer"]
DAY = 86_400


def rows_of(lake: Lake, name: str) -> list[str]:
    return sorted(map(repr, current_dataset(lake, name).to_table().to_pylist()))


def files_of(lake: Lake, table: Table) -> int:
    return len(data_paths(lake, table, current(lake, table).id))


def deliver(lake: Lake, name: str, *, broken: bool = True) -> None:
    """Deliver a phone reading, and a record that has to be quarantined."""
    record = {"user": "ada@example.com", "timestamp": "never", "x": 0, "y": 0, "z": 0}
    good = phone_reading("ada", INSTANTS[0] + len(name))
    (root_of(lake) / PHONES.raw_path / name).write_bytes(lines(*([record] if broken else []), good))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake whose phone readings, and their quarantine, have arrived in many small files."""
    lake = local_lake(tmp_path_factory.mktemp("scattered") / "lake")
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource, checks=False).success
    phones = dg.AssetSelection.assets(PHONES.landing.name)
    for number in range(1, 6):
        deliver(lake, "a" * number + ".json")
        assert materialise(lake, spark_resource, tables=phones, checks=False).success
    assert materialise(lake, spark_resource).success
    return KeptLake.of(lake)


@pytest.fixture
def scattered(kept: KeptLake) -> Lake:
    """That lake, as it was built."""
    return kept.restored()


def no_spark() -> NoReturn:
    pytest.fail("Spark was started")


def test_files_become_fewer_and_nothing_else_changes(scattered: Lake, spark_resource: SparkResource) -> None:
    lake, names = scattered, (*TABLES, *QUARANTINE_TABLES)
    before = {name: rows_of(lake, name) for name in names}
    said = published_tables(lake)
    held = {table: files_of(lake, table) for table in (PHONES.landing, PHONES.quarantine)}
    assert min(held.values()) >= 5

    given = {name: found for name, found in resources(lake, spark_resource).items() if name in {"lake", "spark"}}
    done = maintain_lakehouse.execute_in_process(resources=given)
    assert done.success

    assert {name: rows_of(lake, name) for name in names} == before
    assert {table: files_of(lake, table) for table in held} == dict.fromkeys(held, 1)
    (handled,) = (event for event in done.all_events if event.event_type_value == "STEP_OUTPUT")
    told: dict[str, Any] = {name: value.value for name, value in handled.step_output_data.metadata.items()}
    assert told["files before"] - told["files now"] == sum(held.values()) - 2
    # What a snapshot says stays, but for which quarantine goes with it.
    for name, snapshot in published_tables(lake).items():
        assert replace(snapshot, id=0, inputs={}) == replace(said[name], id=0, inputs={})
    landing = current(lake, PHONES.landing)
    assert named_snapshot(lake, PHONES.quarantine, landing.inputs[PHONES.quarantine.name]).rows == 5
    assert landing.inputs[PHONES.quarantine.name] == current(lake, PHONES.quarantine).id

    # So nothing is to be made again, and every check passes but the one that warns of so many broken records.
    assert tables_behind(published_tables(lake)) == {}
    assert maintain(no_spark, lake, PHONES.landing, RUN, Retention())[0].files_now == 1
    after = materialise(lake, spark_resource)
    assert failed_checks(after) == {(PHONES.landing.name, "quarantine_rate")}


def test_what_a_dead_run_has_left_goes_after_a_day(
    scattered: Lake, monkeypatch: pytest.MonkeyPatch, spark_resource: SparkResource
) -> None:
    lake, table = scattered, PHONES.landing
    maintain(lambda: spark_resource.spark_session, lake, table, RUN, Retention())
    begin_branch(lake, table, "run_dead", current(lake, table).id)
    left = root_of(lake) / table.path / "data" / "left.parquet"
    left.write_bytes(b"rows")
    stage = root_of(lake) / table.path / "_stage-dead" / "part"
    stage.parent.mkdir()
    stage.write_bytes(b"rows")

    assert maintain(no_spark, lake, table, RUN, Retention())[0].orphans == 0
    assert left.exists()
    assert "run_dead" in branches(lake, table)
    monkeypatch.setattr("stedi_assets.tables.maintenance.time.time", lambda now=time.time: now() + DAY + 60)
    before = rows_of(lake, table.name)
    unnamed = lake.storage.below(table.path).keys() - named(lake, table)
    assert len(unnamed) >= 2
    assert maintain(no_spark, lake, table, RUN, Retention())[0].orphans == len(unnamed)
    assert not left.exists()
    assert not stage.parent.exists()
    assert "run_dead" not in branches(lake, table)
    assert not left_behind(lake, table)
    assert rows_of(lake, table.name) == before


def named(lake: Lake, table: Table) -> set[str]:
    found = load(lake, table)
    return referenced(lake, found, with_old_metadata=True) if found else set()


def branches(lake: Lake, table: Table) -> set[str]:
    found = load(lake, table)
    return set(found.metadata.refs) if found else set()


@pytest.fixture
def meanwhile(scattered: Lake, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect what is to happen after a table was compacted and before that is current."""
    happens: list[Any] = []
    proper = publishing.make_current

    def late(*arguments: Any, **options: Any) -> None:
        for happen in happens:
            happen()
        proper(*arguments, **options)

    monkeypatch.setattr(maintenance, "make_current", late)
    return happens


def test_people_who_leave_meanwhile_do_not_come_back(
    scattered: Lake, meanwhile: list[Any], spark_resource: SparkResource
) -> None:
    lake, table = scattered, PHONES.landing
    meanwhile.append(lambda: republish(lake, table, current(lake, table), None, run=RUN))
    with pytest.raises(CommitConflictError):
        maintain(lambda: spark_resource.spark_session, lake, table, RUN, Retention())
    assert rows_of(lake, table.name) == []
    assert not left_behind(lake, table)
    assert not left_behind(lake, PHONES.quarantine)


def test_a_compaction_that_would_lose_rows_is_not_published(
    scattered: Lake, monkeypatch: pytest.MonkeyPatch, spark_resource: SparkResource
) -> None:
    lake, table = scattered, PHONES.landing
    before = published_tables(lake)
    proper = snapshots.read_footers
    monkeypatch.setattr(staging, "read_footers", lambda *given: proper(*given)[1:])
    with pytest.raises(ContractBroken):
        maintain(lambda: spark_resource.spark_session, lake, table, RUN, Retention())
    assert published_tables(lake) == before
    assert not left_behind(lake, table)
    assert not left_behind(lake, PHONES.quarantine)
