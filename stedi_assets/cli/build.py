"""What `stedi start` does once everything is prepared: one run that builds everything, and a summary."""

import os
import shlex
import sys
import time
from dataclasses import dataclass

import dagster as dg
from dotenv import dotenv_values

from stedi_assets.cli.runs import execute, why_it_failed
from stedi_assets.contracts import TABLES
from stedi_assets.settings import variables
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current


@dataclass
class _TableOutcome:
    """What a run did to one table."""

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


def build(lake: Lake, began: float) -> int:
    """Build all tables of the lake, and print a summary. Return the exit code. `began` is by the monotonic clock."""
    result = execute("update_lakehouse")
    if not result.success:
        print(f"\nNot built. {why_it_failed(result)}", file=sys.stderr)
        return 1
    _print_summary(lake, _outcomes(result))
    print(f"\nAll of it took {time.monotonic() - began:.0f} s. To see it in the browser:  {_to_see_it()}")
    return 0


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


def _to_see_it() -> str:
    """Return the command that shows this lake, with the current settings that .env does not have."""
    kept = dotenv_values()
    ours = {n: v for n in variables() if (v := os.environ.get(n)) and kept.get(n) != v and variables()[n].repr}
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in ours.items()), ".venv/bin/dagster dev"])


def _print_summary(lake: Lake, outcomes: dict[str, _TableOutcome]) -> None:
    width = max(map(len, TABLES))
    print(f"\n{'table':{width}}  {'rows':>9}  {'checks':>9}  {'seconds':>7}  where")
    for name, outcome in outcomes.items():
        snapshot = current(lake, TABLES[name])
        checks = f"{outcome.passed} of {outcome.passed + outcome.failed}"
        folder = lake.storage.shown(TABLES[name].path)
        print(f"{name:{width}}  {snapshot.rows:>9,}  {checks:>9}  {outcome.seconds:>7.1f}  {folder}")
