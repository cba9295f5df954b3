"""`stedi check`: run every check on what is stored, as the job check_lakehouse does, and print only the results."""

import argparse
import sys

from stedi_assets.cli.runs import execute, why_it_failed
from stedi_assets.settings import Settings


def run(_settings: Settings, _: argparse.Namespace) -> int:
    """Print a block of results for each table. Return the exit code: 1 if an ERROR check fails, else 0."""
    result = execute("check_lakehouse")
    if not result.success and (why := why_it_failed(result)):
        print(why, file=sys.stderr)
    return int(not result.success)
