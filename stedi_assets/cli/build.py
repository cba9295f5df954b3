"""What `stedi start` does once everything is prepared: one run that builds everything, and a summary."""

import os
import shlex
import sys
import time

import dagster as dg
from dotenv import dotenv_values
from rich.progress import Progress, TaskID
from rich.table import Column
from rich.text import Text

from stedi_assets import terminal
from stedi_assets.cli.runs import execute, why_it_failed
from stedi_assets.contracts import TABLES, Table
from stedi_assets.settings import variables
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current


def build(shown: Progress, task: TaskID) -> dg.ExecuteInProcessResult:
    """Build all tables of the lake, and return the run's result. `task` shows which is being built."""

    def follow(event: dg.DagsterEvent) -> None:
        if event.step_key in TABLES and event.is_step_start:
            shown.update(task, description=event.step_key, refresh=True)
        elif event.step_key in TABLES and event.is_step_success:
            shown.update(task, advance=1, refresh=True)

    return execute("update_lakehouse", follow)


def report(lake: Lake, result: dg.ExecuteInProcessResult, began: float) -> int:
    """Print what a run did, and return the exit code. `began` is by the monotonic clock."""
    if not result.success:
        print(f"\nNot built. {why_it_failed(result)}", file=sys.stderr)
        return 1
    _print_summary(lake, result)
    terminal.say(f"\nDone in {time.monotonic() - began:.0f} s. To see it in the browser:  {_to_see_it()}")
    return 0


def _to_see_it() -> str:
    """Return the command that shows this lake, with the current settings that .env does not have."""
    kept = dotenv_values()
    ours = {n: v for n in variables() if (v := os.environ.get(n)) and kept.get(n) != v and variables()[n].repr}
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in ours.items()), ".venv/bin/dagster dev"])


def _print_summary(lake: Lake, result: dg.ExecuteInProcessResult) -> None:
    columns = [
        Column("table", no_wrap=True),
        Column("rows", justify="right", no_wrap=True, min_width=9),
        Column("checks", justify="right", no_wrap=True, min_width=9),
        Column("seconds", justify="right", no_wrap=True),
        Column("folder", no_wrap=True),
    ]
    terminal.say("")
    terminal.print_table(columns, [_row(lake, table, result) for table in TABLES.values()])


def _row(lake: Lake, table: Table, result: dg.ExecuteInProcessResult) -> tuple[str | Text, ...]:
    results = result.get_asset_check_evaluations()
    passed = [check.passed for check in results if check.asset_key.path[-1] == table.name]
    checks = Text(f"{sum(passed)} of {len(passed)}", "green" if all(passed) else "yellow")
    steps = [event for event in result.all_events if event.is_step_success and event.step_key == table.name]
    seconds = sum(step.step_success_data.duration_ms for step in steps) / 1000
    return table.name, f"{current(lake, table).rows:,}", checks, f"{seconds:.1f}", table.path
