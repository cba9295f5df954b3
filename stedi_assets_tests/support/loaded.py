"""What Dagster loads, as a text that people can read and compare: one line for each thing that others rely on.

`python -m stedi_assets_tests.support.loaded` writes it again. What a contract says of a table is not repeated here.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
from dagster import AssetKey, RepositoryDefinition

WRITTEN = Path(__file__).parents[1] / "orchestration" / "definitions.txt"
HOW_TO_RENEW = "python -m stedi_assets_tests.support.loaded"
_KIND = "dagster/kind/"


def loaded(definitions: RepositoryDefinition) -> str:
    """Return the assets with their checks, the jobs, the sensors and the schedules."""
    parts = {
        "Assets": _assets(definitions),
        "Jobs": _jobs(definitions),
        "Sensors": _sensors(definitions),
        "Schedules": _schedules(definitions),
    }
    head = f"What Dagster loads without any setting. `{HOW_TO_RENEW}` writes this file.\n"
    return "\n".join([head, *("\n".join([f"# {title}", "", *lines, ""]) for title, lines in parts.items())])


def _assets(definitions: RepositoryDefinition) -> Iterator[str]:
    graph = definitions.asset_graph
    checks: dict[AssetKey, list[str]] = {}
    for check in sorted(graph.asset_check_keys, key=lambda key: key.name):
        suffix = " (blocks)" if graph.get(check).blocking else ""
        checks.setdefault(check.asset_key, []).append(f"{check.name}{suffix}")
    for node in sorted(graph.asset_nodes, key=lambda node: node.key):
        yield node.key.to_user_string()
        yield f"    group {node.group_name}; owners {_or_none(node.owners)}; kinds {_or_none(node.kinds)}"
        tags = [f"{name}={value}" for name, value in node.tags.items() if not name.startswith(_KIND)]
        yield f"    {'made' if node.is_materializable else 'only shown'}; tags {_or_none(tags)}"
        yield from (f"    check {check}" for check in checks.get(node.key, []))


def _jobs(definitions: RepositoryDefinition) -> Iterator[str]:
    for job in sorted(definitions.get_all_jobs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            tags = [f"{name}={value}" for name, value in job.tags.items()]
            made = [key.to_user_string() for key in job.asset_layer.selected_asset_keys]
            checks = len(job.asset_layer.asset_graph.asset_check_keys) if job.asset_layer.asset_graph else 0
            yield f"{job.name}: tags {_or_none(tags)}; {checks} checks"
            yield f"    makes {_or_none(made)}"


def _sensors(definitions: RepositoryDefinition) -> Iterator[str]:
    for sensor in sorted(definitions.sensor_defs, key=lambda sensor: sensor.name):
        jobs = _or_none(target.job_name for target in sensor.targets)
        kind = sensor.sensor_type.value.lower()
        every = f"every {sensor.minimum_interval_seconds} s"
        yield f"{sensor.name}: {kind}; {every}; {_status(sensor.default_status)}; jobs {jobs}"


def _schedules(definitions: RepositoryDefinition) -> Iterator[str]:
    for schedule in sorted(definitions.schedule_defs, key=lambda schedule: schedule.name):
        yield f"{schedule.name}: {schedule.cron_schedule}; {_status(schedule.default_status)}; job {schedule.job.name}"


def _status(status: dg.DefaultSensorStatus | dg.DefaultScheduleStatus) -> str:
    return str(status.value).lower()


def _or_none(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "none"


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("STEDI_")]:
        del os.environ[variable]
    from stedi_assets.definitions import defs  # reads the settings as it loads

    WRITTEN.write_text(loaded(defs.get_repository_def()), "utf-8")
