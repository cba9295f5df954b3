"""What `stedi status` prints: each table's rows, age, last check results and snapshot, read without starting Spark."""

import os
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone

from stedi_assets.contracts import TABLES
from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.layout import Lake
from stedi_assets.lake.snapshots import read_pointer

_NOT_RUN = "not run"
_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


def print_status(lake: Lake) -> int:
    """Print a line for each table. Return the exit code: 1 where a table cannot be read, else 0."""
    checks = _check_results()
    lines, exit_code = [("table", "rows", "age", "checks", "snapshot")], 0
    for name, table in TABLES.items():
        try:
            pointer = read_pointer(lake, table)
        except LakeError as error:
            lines.append((name, "", "", "", str(error)))
            exit_code = 1
            continue
        if pointer is None:
            lines.append((name, "", "", "", "not published yet"))
        else:
            found = (f"{pointer.rows:,}", _age(pointer.published_at), checks.get(name, _NOT_RUN), pointer.snapshot)
            lines.append((name, *found))
    widths = [max(map(len, column)) for column in list(zip(*lines, strict=True))[:-1]]
    print(lake.location)
    for first, rows, age, results, last in lines:
        print(f"{first:{widths[0]}}  {rows:>{widths[1]}}  {age:>{widths[2]}}  {results:{widths[3]}}  {last}".rstrip())
    return exit_code


def _age(published_at: str) -> str:
    """Return how long ago something was, in the largest unit that fits."""
    seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(published_at)).total_seconds()
    unit, length = next(((unit, length) for unit, length in _UNITS.items() if seconds >= length), ("s", 1))
    return f"{seconds // length:.0f} {unit}"


def _check_results() -> Mapping[str, str]:
    """Return the last results of each table's checks, in words, as Dagster keeps them; none without its home."""
    if "DAGSTER_HOME" not in os.environ:
        return {}
    import dagster as dg  # noqa: PLC0415  (takes a second, and only what it keeps is of use)

    keys = [dg.AssetCheckKey(dg.AssetKey(name), rule.name) for name, table in TABLES.items() for rule in table.rules]
    found: dict[str, Counter[str]] = {name: Counter() for name in TABLES}
    with dg.DagsterInstance.get() as instance:
        for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(keys).items():
            event = record.event.dagster_event if record.event else None
            if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                check = event.asset_check_evaluation_data
                found[key.asset_key.path[-1]]["passed" if check.passed else check.severity.value] += 1
    return {name: _in_words(counts) for name, counts in found.items() if counts}


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("ERROR", "WARN", "passed") if counts[outcome])
