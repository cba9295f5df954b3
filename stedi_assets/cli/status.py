"""`stedi status`: each table's rows, age, last check results and snapshot, read without starting Spark."""

import gc
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone

from stedi_assets.cli.lake import lake_of
from stedi_assets.contracts import TABLES
from stedi_assets.environment import dagster_home
from stedi_assets.settings import Settings
from stedi_assets.storage.errors import CatalogError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot, read_snapshot_of

_NOT_RUN = "not run"
_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


def run(settings: Settings) -> int:
    """Print a line for each table. Return the exit code: 1 if a table cannot be read, else 0."""
    lake = lake_of(settings)
    snapshots, damaged = _snapshots(lake)
    checks = _check_results({name: snapshot.run_id for name, snapshot in snapshots.items()})
    lines = [("table", "rows", "age", "checks", "snapshot")]
    for name in TABLES:
        if snapshot := snapshots.get(name):
            found = (f"{snapshot.rows:,}", _age(snapshot.published_at), checks.get(name, _NOT_RUN), str(snapshot.id))
            lines.append((name, *found))
        else:
            lines.append((name, "", "", "", damaged.get(name, "not published yet")))
    widths = [max(map(len, column)) for column in list(zip(*lines, strict=True))[:-1]]
    print(lake.location)
    for first, rows, age, results, last in lines:
        print(f"{first:{widths[0]}}  {rows:>{widths[1]}}  {age:>{widths[2]}}  {results:{widths[3]}}  {last}".rstrip())
    return 1 if damaged else 0


def _snapshots(lake: Lake) -> tuple[dict[str, Snapshot], dict[str, str]]:
    """Return the snapshots of the published tables, and what is wrong with those that cannot be read."""
    snapshots, damaged = {}, {}
    for name, table in TABLES.items():
        try:
            snapshot = read_snapshot_of(lake, table)
        except CatalogError:
            raise  # it concerns all tables, and is reported once
        except LakeError as error:
            damaged[name] = str(error)
        else:
            if snapshot:
                snapshots[name] = snapshot
    return snapshots, damaged


def _age(published_at: str) -> str:
    """Return how long ago something was, in the largest unit that fits."""
    seconds = (datetime.now(timezone.utc) - datetime.fromisoformat(published_at)).total_seconds()
    unit, length = next(((unit, length) for unit, length in _UNITS.items() if seconds >= length), ("s", 1))
    return f"{seconds // length:.0f} {unit}"


def _check_results(runs: Mapping[str, str]) -> Mapping[str, str]:
    """Return the last results of each table's checks, in words, as Dagster keeps them; nothing without its home.

    `runs` are the runs that made the current tables. Results from other runs, such as another lake's, are left out.
    """
    home = dagster_home()
    if not (home and home.is_absolute() and home.is_dir()):
        return {}
    # What Dagster loads is no garbage: not collecting any saves a third of the loading time, and of the end.
    gc.disable()
    import dagster as dg  # noqa: PLC0415  (takes a second, and only what it keeps is of use)

    gc.freeze()
    gc.enable()

    keys = [dg.AssetCheckKey(dg.AssetKey(name), rule.name) for name in runs for rule in TABLES[name].rules]
    found: dict[str, Counter[str]] = {name: Counter() for name in runs}
    with dg.DagsterInstance.get() as instance:
        for key, summary in instance.event_log_storage.get_asset_check_summary_records(keys).items():
            record, table = summary.last_completed_check_execution_record, key.asset_key.path[-1]
            event = record.event.dagster_event if record and record.event else None
            if event:
                check = event.asset_check_evaluation_data
                of = check.target_materialization_data
                if of and of.run_id == runs[table]:
                    found[table]["passed" if check.passed else check.severity.value] += 1
    return {name: _in_words(counts) for name, counts in found.items() if counts}


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("ERROR", "WARN", "passed") if counts[outcome])
