"""A job of the definitions, executed in this process, with short messages instead of Dagster's log."""

import logging
import re
import sys
from collections.abc import Callable, Iterator

import dagster as dg

from stedi_assets import terminal
from stedi_assets.definitions import defs
from stedi_assets.environment import dagster_home


class _Brief(logging.Handler):
    """Prints an asset's messages and warnings, and passes Dagster's own events to `tell`."""

    def __init__(self, tell: Callable[[dg.DagsterEvent], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        try:
            meta = getattr(record, "dagster_meta", {})
            if event := meta.get("dagster_event"):
                self._tell(event)
            if record.levelno in {logging.INFO, logging.WARNING}:
                terminal.say(f"  {meta.get('orig_message', record.getMessage())}")
                sys.stdout.flush()
        except Exception:  # noqa: BLE001  (a message must not end the run, as in logging's own handlers)
            self.handleError(record)


def execute(job: str, tell: Callable[[dg.DagsterEvent], None] = lambda _: None) -> dg.ExecuteInProcessResult:
    """Execute a job, and return its result. Dagster keeps it, if it has a home. `tell` is called with each event."""

    def logger(_: dg.InitLoggerContext) -> logging.Logger:
        made = logging.getLogger("stedi_assets.brief")
        made.setLevel(logging.DEBUG)
        made.propagate = False
        made.handlers = [_Brief(tell)]
        return made

    brief = dg.Definitions(loggers={"brief": dg.LoggerDefinition(logger)})
    executed = dg.Definitions.merge(defs, brief).resolve_job_def(job)
    kept = dg.DagsterInstance.get() if dagster_home() else dg.DagsterInstance.ephemeral()
    with kept as instance:
        return executed.execute_in_process(
            instance=instance, raise_on_error=False, run_config={"loggers": {"brief": {}}}
        )


def why_it_failed(result: dg.ExecuteInProcessResult) -> str:
    """Return why a run failed, in the words of the failed steps."""
    # Once each: several steps may have failed for the same reason.
    return "\n".join(dict.fromkeys(_messages(result)))


def _messages(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    """Yield why a run failed, in the words of the failed steps."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.user_failure_data:
            yield event.step_failure_data.user_failure_data.description or ""
        elif event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            # Dagster's own errors say what is wrong; their class is only for Dagster.
            yield re.sub(r"^dagster\._core\.errors\.\w+: ", "", (error.cause or error).message.strip())
