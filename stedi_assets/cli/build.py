"""What `stedi start` does once everything is prepared: one run of everything, and a summary for people."""

import logging
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from stedi_assets.contracts import TABLES
from stedi_assets.definitions import defs
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current


@dataclass
class _TableOutcome:
    """What a run did to one table."""

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


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


def build(lake: Lake, began: float) -> int:
    """Build all tables of the lake, and print a summary. Return the exit code. `began` is by the monotonic clock."""
    job = dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        resources=defs.resources,
        executor=dg.in_process_executor,
        loggers={"brief": dg.LoggerDefinition(_brief_logger)},
        jobs=defs.jobs,
    ).resolve_job_def("update_lakehouse")
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False, run_config={"loggers": {"brief": {}}})
    if not result.success:
        # Once each: several steps may have failed for the same reason.
        return _failed("\n".join(dict.fromkeys(_messages(result))))
    _print_summary(lake, _outcomes(result))
    print(f"\nAll of it took {time.monotonic() - began:.0f} s. To see it in the browser:  .venv/bin/dagster dev")
    return 0


def _failed(message: str) -> int:
    print(f"\nNot built. {message}", file=sys.stderr)
    return 1


def _messages(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    """Yield why a run failed, in the words of the failed steps."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.user_failure_data:
            yield event.step_failure_data.user_failure_data.description or ""
        elif event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            # Dagster's own errors say what is wrong; their class is only for Dagster.
            yield re.sub(r"^dagster\._core\.errors\.\w+: ", "", (error.cause or error).message.strip())


def _outcomes(result: dg.ExecuteInProcessResult) -> dict[str, _TableOutcome]:
    outcomes = {name: _TableOutcome() for name in TABLES}
    for event in result.all_events:
        if event.is_step_success and event.step_key in outcomes:
            outcomes[event.step_key].seconds = event.step_success_data.duration_ms / 1000
    for check in result.get_asset_check_evaluations():
        outcome = outcomes[check.asset_key.path[-1]]
        outcome.passed += check.passed
        outcome.failed += not check.passed
    return outcomes


def _print_summary(lake: Lake, outcomes: dict[str, _TableOutcome]) -> None:
    width = max(map(len, TABLES))
    print(f"\n{'table':{width}}  {'rows':>9}  {'checks':>9}  {'seconds':>7}  where")
    for name, outcome in outcomes.items():
        snapshot = current(lake, TABLES[name])
        checks = f"{outcome.passed} of {outcome.passed + outcome.failed}"
        folder = lake.storage.shown(TABLES[name].path)
        print(f"{name:{width}}  {snapshot.rows:>9,}  {checks:>9}  {outcome.seconds:>7.1f}  {folder}")
