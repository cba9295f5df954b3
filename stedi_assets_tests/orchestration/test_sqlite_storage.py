"""Dagster's storage: what it keeps is what Dagster's own class keeps, in the same files."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

import stedi_assets
from stedi_assets.orchestration.sqlite_storage import SqliteEventLog


@dg.asset(check_specs=[dg.AssetCheckSpec("counted", asset="table")])
def table() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    yield dg.MaterializeResult(metadata={"rows": 3})
    yield dg.AssetCheckResult(check_name="counted", passed=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copy(Path(stedi_assets.__file__).with_name("dagster.yaml"), tmp_path)
    return tmp_path


def _kept(
    instance: dg.DagsterInstance, runs: list[str]
) -> tuple[list[list[tuple[object, str]]], object, list[tuple[str, object]]]:
    """Return all that an instance tells of some runs, of the asset and of its check."""
    key = dg.AssetKey("table")
    check = dg.AssetCheckKey(key, "counted")
    events: list[list[tuple[object, str]]] = [
        [(entry.dagster_event_type, entry.user_message) for entry in instance.all_logs(run)] for run in runs
    ]
    latest = instance.get_latest_materialization_event(key)
    checks = instance.event_log_storage.get_asset_check_execution_history(check, limit=9)
    return events, latest, [(record.run_id, record.status) for record in checks]


def test_either_class_reads_what_the_other_has_written(home: Path) -> None:
    with dg.DagsterInstance.get() as ours:
        assert isinstance(ours.event_log_storage, SqliteEventLog)
        runs = [dg.materialize([table], instance=ours).run_id for _ in range(2)]
        kept = _kept(ours, runs)
        assert all(len(events) > 10 for events in kept[0])

        (home / "dagster.yaml").unlink()
        with dg.DagsterInstance.get() as theirs:
            assert type(theirs.event_log_storage) is SqliteEventLogStorage
            assert _kept(theirs, runs) == kept
            runs.append(dg.materialize([table], instance=theirs).run_id)
            kept = _kept(theirs, runs)
        # It sees at once what another process writes, as the web server has to.
        assert _kept(ours, runs) == kept


def test_few_databases_are_open_at_once(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        runs = [dg.materialize([table], instance=instance).run_id for _ in range(12)]
        assert len(_open_databases(home)) <= 8
        assert all(instance.all_logs(run) for run in runs)
        assert len(_open_databases(home)) <= 8
    assert not _open_databases(home)


def _open_databases(home: Path) -> set[str]:
    folder = str(home / "history" / "runs")
    paths = (file.path for file in psutil.Process().open_files())
    return {path for path in paths if path.startswith(folder) and path.endswith(".db")}


def test_it_can_be_used_after_it_was_wiped(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        before = dg.materialize([table], instance=instance).run_id
        instance.wipe()
        assert not instance.all_logs(before)
        after = dg.materialize([table], instance=instance).run_id
        assert instance.all_logs(after)
        assert (home / "history" / "runs" / f"{after}.db").is_file()


def test_processes_write_while_threads_read(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        runs = [dg.materialize([table], instance=instance).run_id]
        writers = [_process("print(run)") for _ in range(2)]
        with ThreadPoolExecutor(4) as readers:
            while any(writer.poll() is None for writer in writers):
                for _, latest, _ in readers.map(lambda _: _kept(instance, runs), range(8)):
                    assert latest is not None
        runs += [writer.communicate(timeout=60)[0].split()[-1] for writer in writers]
        events, _, checks = _kept(instance, runs)
        # On a busy machine, a run may say that it could not capture what it prints.
        told = [[kind for kind, _ in found if kind is not dg.DagsterEventType.ENGINE_EVENT] for found in events]
        assert told == [told[0]] * 3
        assert {run for run, _ in checks} == set(runs)


def test_nothing_is_lost_if_a_process_is_killed_after_its_run(home: Path) -> None:
    killed = _process("print(run, flush=True)\nimport os\nos.kill(os.getpid(), 9)")
    printed, _ = killed.communicate(timeout=60)
    assert killed.returncode == -9
    with dg.DagsterInstance.get() as instance:
        found = instance.get_run_by_id(run := printed.split()[-1])
        assert found
        assert found.status is dg.DagsterRunStatus.SUCCESS
        assert any(entry.dagster_event_type is dg.DagsterEventType.RUN_SUCCESS for entry in instance.all_logs(run))


def _process(then: str) -> "subprocess.Popen[str]":
    """Start a process that materialises the table and then does something with `run`."""
    code = f"""
import dagster as dg
from stedi_assets_tests.orchestration.test_sqlite_storage import table
instance = dg.DagsterInstance.get()
run = dg.materialize([table], instance=instance).run_id
{then}
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_new_home_is_prepared(tmp_path: Path) -> None:
    log = SqliteEventLog(str(tmp_path / "runs"))
    assert (tmp_path / "runs" / "index.db").is_file()
    log.dispose()
