"""A job of the definitions, executed in this process, with short messages instead of Dagster's log."""

import logging
import re
import sys
from collections.abc import Iterator

import dagster as dg

from stedi_assets.definitions import defs
from stedi_assets.environment import dagster_home


class _Brief(logging.Formatter):
    """Writes an asset's messages, without Dagster's run ids around them."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        return f"  {meta.get('orig_message', record.getMessage())}"


def _brief_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """Make a logger that writes an asset's messages and warnings, one short line each, and nothing of Dagster's own."""
    logger = logging.getLogger("stedi_assets.brief")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Brief())
    handler.addFilter(lambda record: record.levelno in {logging.INFO, logging.WARNING})
    logger.handlers = [handler]
    return logger


def execute(job: str) -> dg.ExecuteInProcessResult:
    """Execute a job, and return its result. Dagster keeps it, if it has a home."""
    executed = dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        resources=defs.resources,
        executor=dg.in_process_executor,
        loggers={"brief": dg.LoggerDefinition(_brief_logger)},
        jobs=defs.jobs,
    ).resolve_job_def(job)
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
