"""`stedi status`: each table's rows, age, last check results and snapshot, read from the lake alone."""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone

from rich.table import Column

from stedi_assets import terminal
from stedi_assets.contracts import TABLES, Severity, Table
from stedi_assets.settings import Settings
from stedi_assets.storage.errors import CatalogError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot, read_snapshot_of
from stedi_assets.verification.results import NOT_RUN, PASSED, read_results

_OUTCOMES = (Severity.ERROR.name, Severity.WARN.name, NOT_RUN, PASSED)
# At most: a snapshot's id is to be copied, so it stays on one line.
_DIGITS_OF_A_SNAPSHOT = 19
_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


@dataclass(frozen=True)
class _Status:
    """How a table stands: its snapshot, or why there is none that can be read; and how its checks turned out."""

    snapshot: Snapshot | None
    problem: str | None
    checks: Counter[str]

    @property
    def in_words(self) -> str:
        return ", ".join(f"{self.checks[name]} {name}" for name in _OUTCOMES if self.checks[name]) or "not checked"


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Print a line for each table, or JSON.

    Return the exit code: 1 if a table is damaged; with --check also if one is missing, breaks an ERROR rule, or has
    rules that could not be looked at.
    """
    lake = settings.open_lake()
    found = {name: _status_of(lake, table) for name, table in TABLES.items()}
    if chosen.json:
        tables = [_as_json(name, status) for name, status in found.items()]
        print(json.dumps({"lake": lake.location, "tables": tables}, indent=2))
    else:
        _print(lake, found)
    damaged = any(status.problem for status in found.values())
    wanting = any(s.snapshot is None or s.checks[Severity.ERROR.name] or s.checks[NOT_RUN] for s in found.values())
    return int(damaged or (chosen.check and wanting))


def _status_of(lake: Lake, table: Table) -> _Status:
    try:
        snapshot = read_snapshot_of(lake, table)
    except CatalogError:
        raise  # it concerns all tables, and is reported once
    except LakeError as error:
        return _Status(None, str(error), Counter())
    outcomes = read_results(lake, table, snapshot) if snapshot else {}
    return _Status(snapshot, None, Counter(outcomes.values()))


def _as_json(name: str, status: _Status) -> dict[str, object]:
    snapshot = status.snapshot
    return {
        "table": name,
        "rows": snapshot.rows if snapshot else None,
        "published_at": snapshot.published_at if snapshot else None,
        "snapshot": snapshot.id if snapshot else None,
        "checks": {outcome: status.checks[outcome] for outcome in _OUTCOMES},
        "problem": status.problem,
    }


def _print(lake: Lake, found: dict[str, _Status]) -> None:
    rows = []
    for name, status in found.items():
        if snapshot := status.snapshot:
            age = _age(snapshot.published_at)
            rows.append((name, f"{snapshot.rows:,}", age, status.in_words, str(snapshot.id)))
        else:
            rows.append((name, "", "", "", status.problem or "not published yet"))
    terminal.say(lake.location)
    terminal.print_table(
        [
            Column("table", no_wrap=True),
            Column("rows", justify="right", no_wrap=True),
            Column("age", justify="right", no_wrap=True),
            Column("checks", highlight=True),
            Column("snapshot", min_width=_DIGITS_OF_A_SNAPSHOT),
        ],
        rows,
    )


def _age(published_at: str) -> str:
    """Return how long ago something was, in the largest unit that fits."""
    seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(published_at)).total_seconds()
    unit, length = next(((unit, length) for unit, length in _UNITS.items() if seconds >= length), ("s", 1))
    return f"{seconds // length:.0f} {unit}"
