"""Launched runs share a warm Spark, and survive its death: `pytest -m daemon` on this file."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from stedi_assets.contracts import TABLES
from stedi_assets.spark.warm import SERVER, folder_of
from stedi_assets.tables.snapshots import current
from stedi_assets_tests.support.dagster_dev import DagsterDev, dev_with_ada_and_ben
from stedi_assets_tests.support.lakes import local_lake

pytestmark = pytest.mark.daemon


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[DagsterDev]:
    """A `dagster dev` whose sensor has built the tables of ada and ben."""
    with dev_with_ada_and_ben(tmp_path) as dev:
        yield dev


def server_of(dev: DagsterDev) -> psutil.Process:
    folder = folder_of(str(dev.lake))
    assert folder
    return psutil.Process(int(json.loads((folder / SERVER).read_text())["process"]))


def test_an_erasure_leaves_no_server_with_rows_at_hand(dev: DagsterDev) -> None:
    server = server_of(dev)
    config = {"ops": {"erase_from_lake": {"config": {"person": "0" * 64, "expect_nobody": True}}}}
    assert wait_for(dev, dev.launch("erase_person", json.dumps(config))) is dg.DagsterRunStatus.SUCCESS
    dev.wait("the end of the server", lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, 60)


def rows_of(dev: DagsterDev) -> dict[str, int]:
    return {name: current(local_lake(dev.lake), table).rows for name, table in TABLES.items()}


def events_of(dev: DagsterDev, run: str) -> list[dg.DagsterEventType]:
    with dev.instance() as instance:
        return [entry.dagster_event.event_type for entry in instance.all_logs(run) if entry.dagster_event]


def test_a_run_goes_on_with_another_server_where_its_own_dies(dev: DagsterDev) -> None:
    rows = rows_of(dev)
    first = server_of(dev)
    # A run that a sensor has launched, and one from the UI, have the same.
    assert wait_for(dev, dev.launch("rebuild_lakehouse")) is dg.DagsterRunStatus.SUCCESS
    assert server_of(dev) == first

    run = dev.launch("rebuild_lakehouse")
    dev.wait("a table", lambda: dg.DagsterEventType.ASSET_MATERIALIZATION in events_of(dev, run), 60)
    for java in first.children():
        java.kill()
    assert wait_for(dev, run) is dg.DagsterRunStatus.SUCCESS
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY in events_of(dev, run)
    assert server_of(dev) != first
    assert rows_of(dev) == rows


def wait_for(dev: DagsterDev, run: str) -> dg.DagsterRunStatus:
    """Wait until a run has finished, and return its status."""

    def status() -> dg.DagsterRunStatus | None:
        with dev.instance() as instance:
            found = instance.get_run_by_id(run)
            return found.status if found and found.is_finished else None

    return dev.wait("the end of a run", status)
