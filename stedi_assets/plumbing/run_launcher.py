"""Dagster's default run launcher, and one thing more: it notices runs that were cut off with everything around them.

A run whose process is killed is marked as failed by its code server. Where that is gone too, after a loss of power, the
run would stay "started", and the queue wait for it, until `max_runtime_seconds`. The monitoring daemon asks here.
"""

import json
import os

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG

_HERE = {"localhost", "127.0.0.1", "::1"}


class LocalRunLauncher(DefaultRunLauncher):
    """Launches runs as Dagster does by default, and knows whether those on this machine still have a process."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether runs can be asked after."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether a run that should be running has a process. Of other machines' runs nothing is known."""
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        process = self._process(run) if server.get("socket") or server.get("host") in _HERE else None
        if process is None or _is_there(process):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {process} is gone")

    def _process(self, run: dg.DagsterRun) -> int | None:
        """Return the process id that a run began by writing down; None before it has."""
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            event = entry.dagster_event
            if event and "pid" in (found := event.engine_event_data.metadata):
                return int(str(found["pid"].value))
        return None


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
