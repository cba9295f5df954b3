"""The last results of a table's checks, kept in the lake for whoever asks about its state."""

import contextlib
import json
from collections.abc import Mapping

from stedi_assets.contracts import Table
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import CHECKS, Lake
from stedi_assets.tables.snapshots import Snapshot

PASSED = "passed"
# Of a rule that could not be looked at; in a finding, the reason comes with it.
NOT_RUN = "not run"


def keep_results(lake: Lake, table: Table, snapshot: Snapshot, outcomes: Mapping[str, str]) -> None:
    """Keep how some of a table's rules turned out, beside its other rules for the same snapshot.

    A lake that cannot be written to keeps what it has: a check only reads.
    """
    content = {"snapshot": snapshot.id, "outcomes": {**read_results(lake, table, snapshot), **outcomes}}
    with contextlib.suppress(OSError, LakeError):
        lake.storage.write(_path(table), json.dumps(content).encode())


def read_results(lake: Lake, table: Table, snapshot: Snapshot) -> dict[str, str]:
    """Return how each rule of a snapshot turned out when it was last checked: `passed`, `not run`, or the severity."""
    found = lake.storage.read(_path(table))
    try:
        kept = json.loads(found.content) if found else None
        return dict(kept["outcomes"]) if kept and kept["snapshot"] == snapshot.id else {}
    except (ValueError, TypeError, KeyError):
        return {}


def _path(table: Table) -> str:
    return f"{CHECKS}/{table.name}.json"
