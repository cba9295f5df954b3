"""Dagster's default run launcher, and one thing more: it notices runs that were cut off with everything around them.

A run whose process is killed is marked as failed by its code server. Where that is gone too, after a loss of power, the
run would stay "started", and the queue wait for it, until `max_runtime_seconds`. The monitoring daemon asks here.
"""

import json

import dagster as dg
import psutil
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG

# The kernel counts a process's age from its own start, by another clock.
_CLOCKS_DIFFER = 60
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
        if server.get("socket") or server.get("host") in _HERE:
            for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                event = entry.dagster_event
                # The first thing that a run does is to write down its process.
                if event and "pid" in (found := event.engine_event_data.metadata):
                    if _is_there(process := int(str(found["pid"].value)), entry.timestamp):
                        break
                    return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {process} is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _is_there(process: int, at: float) -> bool:
    """Whether a process that was there at an instant, in epoch seconds, is there still, and no other by its number."""
    try:
        found = psutil.Process(process)
        return bool(found.create_time() <= at + _CLOCKS_DIFFER and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
