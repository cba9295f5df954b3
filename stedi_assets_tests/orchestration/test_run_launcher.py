"""The settings that are shipped for Dagster, and the run launcher that they name."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

import stedi_assets
from stedi_assets.orchestration import run_launcher
from stedi_assets.orchestration.run_launcher import LocalRunLauncher

HERE = {"host": "localhost", "socket": "/tmp/of-a-code-server"}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with the settings that are shipped."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copy(Path(stedi_assets.__file__).with_name("dagster.yaml"), tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def status_of(instance: dg.DagsterInstance, server: Mapping[str, object] | None, process: int | None) -> WorkerStatus:
    """Return what the launcher says of a run that was started by a code server, as a process."""

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def job() -> None:
        nothing()

    tags = {GRPC_INFO_TAG: json.dumps(server)} if server else {}
    run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    if process:
        instance.report_engine_event("Started", run, EngineEventData.in_process(process))
    assert isinstance(instance.run_launcher, LocalRunLauncher)
    return instance.run_launcher.check_run_worker_health(run).status


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_run_at_a_time_and_no_retries_besides_the_sensors(instance: dg.DagsterInstance) -> None:
    queue = instance.get_concurrency_config().run_queue_config
    assert queue
    assert queue.max_concurrent_runs == 1
    assert not instance.run_retries_enabled


def test_runs_are_monitored(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_launcher.supports_check_run_worker_health
    assert instance.run_monitoring_max_runtime_seconds


def test_a_run_whose_process_is_gone_has_failed(instance: dg.DagsterInstance, ended: int) -> None:
    assert status_of(instance, HERE, ended) is WorkerStatus.FAILED


def test_a_run_whose_number_another_process_has_now_has_failed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a start of the machine: this process has begun long after that run."""
    monkeypatch.setattr(run_launcher, "_CLOCKS_DIFFER", -1_000_000)
    assert status_of(instance, HERE, os.getpid()) is WorkerStatus.FAILED


def test_a_run_that_has_a_process_is_running(instance: dg.DagsterInstance) -> None:
    assert status_of(instance, HERE, os.getpid()) is WorkerStatus.RUNNING


@pytest.mark.parametrize("server", [None, {"host": "code.internal", "port": 4000}])
def test_of_a_run_elsewhere_nothing_is_said(
    instance: dg.DagsterInstance, server: Mapping[str, object] | None, ended: int
) -> None:
    assert status_of(instance, server, ended) is WorkerStatus.RUNNING


def test_a_run_that_has_not_said_its_process_yet_is_let_be(instance: dg.DagsterInstance) -> None:
    assert status_of(instance, HERE, None) is WorkerStatus.RUNNING
