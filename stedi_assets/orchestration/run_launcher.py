"""Dagster's default run launcher, which also notices runs that were cut off with everything around them.

If a run's process is killed, its code server marks the run as failed. If the server is gone too, after a loss of power,
the run would stay "started", and the queue would wait for it, until `max_runtime_seconds`. The monitoring daemon asks
here.
"""

import json

import dagster as dg
import psutil
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG

# In seconds. The kernel counts a process's age from the machine's start, by another clock.
_CLOCKS_DIFFER = 60
_HERE = {"localhost", "127.0.0.1", "::1"}


class LocalRunLauncher(DefaultRunLauncher):
    """Launches runs as Dagster does by default, and knows whether those on this machine still have a process."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether the health of runs can be checked."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether a run that should be running has a process. Nothing is known about runs on other machines."""
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if server.get("socket") or server.get("host") in _HERE:
            for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                event = entry.dagster_event
                # A run records its process before anything else.
                if event and "pid" in (found := event.engine_event_data.metadata):
                    if _is_there(process := int(str(found["pid"].value)), entry.timestamp):
                        break
                    return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {process} is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _is_there(process: int, at: float) -> bool:
    """Whether the process of that number is still the one that existed at an instant, in epoch seconds."""
    try:
        found = psutil.Process(process)
        return bool(found.create_time() <= at + _CLOCKS_DIFFER and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
