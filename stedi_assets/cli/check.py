"""`stedi check`: run every check on what is stored, as the job check_lakehouse does, and print only the results."""

import argparse
import sys
from collections import Counter

import dagster as dg

from stedi_assets import terminal
from stedi_assets.cli.runs import execute, why_it_failed
from stedi_assets.definitions import defs
from stedi_assets.settings import Settings
from stedi_assets.storage.names import counted


def run(_settings: Settings, _: argparse.Namespace) -> int:
    """Print the results of each table, and their sum. Return the exit code: 1 if an ERROR check fails, else 0."""
    result = execute("check_lakehouse")
    terminal.say(_sum_of(result))
    if not result.success and (why := why_it_failed(result)):
        print(why, file=sys.stderr)
    return int(not result.success)


def _sum_of(result: dg.ExecuteInProcessResult) -> str:
    results = result.get_asset_check_evaluations()
    outcomes = Counter("passed" if check.passed else check.severity.value for check in results)
    planned = len(defs.resolve_asset_graph().asset_check_keys)
    failed = [f"{outcomes[name]} {name}" for name in ("ERROR", "WARN") if outcomes[name]]
    not_run = [f"{planned - len(results)} not run"] if len(results) < planned else []
    return ", ".join([f"{outcomes['passed']} of {counted(planned, 'check')} passed", *failed, *not_run])
