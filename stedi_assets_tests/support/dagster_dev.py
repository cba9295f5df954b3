"""A real `dagster dev`, or a daemon alone, with its storage on disk, for tests: started, asked, stopped and killed."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

import stedi_assets
from stedi_assets.orchestration.report_asset import draw_report
from stedi_assets.spark.warm import folder_of, stop
from stedi_assets_tests.support.lakes import local_lake, write_ada_and_ben

SENSOR = "new_landing_files"
_SETTINGS = {
    "STEDI_SENSOR_SECONDS": "1",
    "STEDI_SETTLED_SECONDS": "3",
    "STEDI_SENSOR_PAUSE_SECONDS": "1",
    "STEDI_KEEP_FOR_READERS_MINUTES": "0",
}
_LAUNCH = """mutation Launch($job: String!, $config: RunConfigData) {
  launchRun(executionParams: {runConfigData: $config, selector: {
    repositoryName: "__repository__", repositoryLocationName: "stedi_assets.definitions", jobName: $job}}) {
    ... on LaunchRunSuccess { run { runId } }
  }
}"""
_FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_Found = TypeVar("_Found")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class DagsterDev:
    """Dagster's processes for one lake. `folder` holds Dagster's home, and what the processes print."""

    folder: Path
    lake: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()
    port: int = field(default_factory=_free_port)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def home(self) -> Path:
        """The folder that DAGSTER_HOME names."""
        return self.folder / "home"

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        """What all processes have printed so far."""
        return (self.folder / "printed.txt").read_text(errors="replace")

    def start(self) -> None:
        """Start the processes, with the settings that the project ships."""
        self.home.mkdir(parents=True, exist_ok=True)
        settings = Path(stedi_assets.__file__).with_name("dagster.yaml").read_text()
        # So that no test waits for it: what is looked for, and what happens then, stay the same.
        for name, seconds in {"poll_interval_seconds": 2, "start_timeout_seconds": 40}.items():
            settings, changed = re.subn(f"{name}: [0-9]+", f"{name}: {seconds}", settings)
            assert changed == 1
        (self.home / "dagster.yaml").write_text(settings)
        with self.instance():
            # Creates the storage: two processes that do so at once get in each other's way.
            pass
        ours = {"DAGSTER_HOME": str(self.home), "STEDI_LAKE": str(self.lake), **_SETTINGS, **self.settings}
        with (self.folder / "printed.txt").open("ab") as printed:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *(self.command or self._dev())],
                cwd=self.folder,
                env={**os.environ, **ours},
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _dev(self) -> list[str]:
        return ["dagster", "dev", "-m", "stedi_assets.definitions", "-h", "127.0.0.1", "-p", str(self.port)]

    def stop(self) -> None:
        """Stop as Ctrl-C does, and see that nothing is left."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(60)
            self.kill_everything()

    def kill_everything(self) -> None:
        """Kill every process at once, runs and Spark too, as a loss of power does."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if server := folder_of(str(self.lake)):
            stop(server, signal.SIGKILL)

    def kill_first_process(self) -> None:
        """Kill the process that was started, and none of those that it has started."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._process = None

    def forget(self) -> None:
        """Remove Dagster's storage: runs, events, ticks and cursors."""
        shutil.rmtree(self.home)

    def instance(self) -> dg.DagsterInstance:
        """Return Dagster's instance, to be closed."""
        # The settings find the storage by that variable.
        with patch.dict(os.environ, {"DAGSTER_HOME": str(self.home)}):
            return dg.DagsterInstance.from_config(str(self.home))

    def runs(self) -> list[dg.DagsterRun]:
        """Return the runs that work on tables, the newest first."""
        with self.instance() as instance:
            return [run for run in instance.get_runs() if run.job_name != draw_report.name]

    def reports(self) -> list[dg.DagsterRun]:
        """Return the runs that draw the report, the newest first."""
        with self.instance() as instance:
            return list(instance.get_runs(dg.RunsFilter(job_name=draw_report.name)))

    def ticks(self) -> list[InstigatorTick]:
        """Return the finished ticks of the sensor, the newest first."""
        with self.instance() as instance:
            states = [state for state in instance.all_instigator_state() if state.instigator_name == SENSOR]
            ticks = [instance.get_ticks(state.instigator_origin_id, state.selector_id) for state in states]
        return [tick for found in ticks for tick in found if tick.status is not TickStatus.STARTED]

    def ask(self, query: str, **variables: str) -> dict[str, Any]:
        """Return the webserver's answer to a GraphQL query."""
        content = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
            return found

    def launch(self, job: str, config: str = "{}") -> str:
        """Launch a job, as a click in the UI does, and return the run's id. `config` is its run config, as JSON."""
        return str(self.ask(_LAUNCH, job=job, config=config)["launchRun"]["run"]["runId"])

    def wait(self, what: str, found: Callable[[], _Found | None], seconds: float = 240) -> _Found:
        """Wait until something is found, and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if answer := found():
                return answer
            time.sleep(0.5)
        raise AssertionError(f"waited {seconds} s in vain for {what}:\n{self.printed[-4000:]}")

    def wait_for_runs(self, more_than: int) -> list[dg.DagsterRun]:
        """Wait until there are more runs than so many, all of them finished."""
        return self.wait("a run", lambda: runs if len(runs := self.runs()) > more_than and _all_over(runs) else None)

    def wait_for_ticks(self, count: int) -> list[InstigatorTick]:
        """Wait until the sensor has looked so many times more, and return those ticks, the newest first."""
        before = {tick.tick_id for tick in self.ticks()}
        return self.wait(
            "ticks", lambda: new if len(new := [t for t in self.ticks() if t.tick_id not in before]) >= count else None
        )


@contextmanager
def dev_with_ada_and_ben(folder: Path) -> Iterator[DagsterDev]:
    """Start a `dagster dev` in a folder, and wait until its sensor has built the tables of ada and ben."""
    dev = DagsterDev(folder, folder / "lake")
    write_ada_and_ben(local_lake(dev.lake))
    dev.start()
    try:
        dev.wait_for_runs(0)
        yield dev
    finally:
        dev.stop()


def _all_over(runs: Sequence[dg.DagsterRun]) -> bool:
    return all(run.status in _FINISHED for run in runs)
