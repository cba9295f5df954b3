"""The last results of a table's checks, kept in the lake for whoever asks about its state."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from stedi_assets.contracts import Table
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import CHECKS, Lake
from stedi_assets.tables.snapshots import Snapshot

PASSED = "passed"
# Of a rule that could not be looked at; in a finding, the reason comes with it.
NOT_RUN = "not run"


@dataclass(frozen=True)
class Results:
    """How each rule of a snapshot turned out when it was last checked: `passed`, `not run`, or the severity."""

    snapshot: int
    outcomes: dict[str, str]


def keep_results(lake: Lake, table: Table, snapshot: Snapshot, outcomes: Mapping[str, str]) -> None:
    """Keep how some of a table's rules turned out, beside its other rules for the same snapshot.

    A lake that cannot be written to keeps what it has: a check only reads.
    """
    before = read_results(lake, table, snapshot)
    content = {"snapshot": snapshot.id, "outcomes": {**(before.outcomes if before else {}), **outcomes}}
    with contextlib.suppress(OSError, LakeError):
        lake.storage.write(_path(table), json.dumps(content).encode())


def read_results(lake: Lake, table: Table, snapshot: Snapshot) -> Results | None:
    """Return the last results for a snapshot; None if it was not checked."""
    found = lake.storage.read(_path(table))
    try:
        results = Results(**json.loads(found.content)) if found else None
    except (ValueError, TypeError):
        return None
    return results if results and results.snapshot == snapshot.id else None


def _path(table: Table) -> str:
    return f"{CHECKS}/{table.name}.json"
