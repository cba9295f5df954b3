"""What Dagster loads: the jobs, the sensors and the schedules by their names, and which of them run by themselves."""

from datetime import timedelta

import dagster as dg

from stedi_assets.contracts import QUARANTINE_TABLES, SOURCES, TABLES, Zone
from stedi_assets.definitions import defs
from stedi_assets_tests.support.dagster_dev import SENSOR

DEFINITIONS = defs.get_repository_def()


def test_the_jobs_are_those_that_others_rely_on() -> None:
    names = {job.name for job in DEFINITIONS.get_all_jobs() if not job.name.startswith("__")}
    assert names == {"update_lakehouse", "rebuild_lakehouse", "check_lakehouse", "maintain_lakehouse", "erase_person"}


def test_the_tables_are_made_together_and_the_report_on_demand() -> None:
    assets = {key.path[-1] for key in DEFINITIONS.asset_graph.get_all_asset_keys()}
    raw = {f"{source}_raw_files" for source in SOURCES}
    assert assets == {*TABLES, *QUARANTINE_TABLES, *raw, "machine_learning_report"}
    graph = DEFINITIONS.asset_graph
    for name, source in SOURCES.items():
        for table in (source.landing, source.quarantine):
            assert graph.get(dg.AssetKey(table.name)).parent_keys == {dg.AssetKey(f"{name}_raw_files")}
    for job in ("update_lakehouse", "rebuild_lakehouse"):
        made = {key.path[-1] for key in DEFINITIONS.get_job(job).asset_layer.selected_asset_keys}
        assert made == {*TABLES}


def test_the_sensors_run_and_the_schedules_wait_to_be_turned_on() -> None:
    assert {sensor.name: sensor.default_status for sensor in DEFINITIONS.sensor_defs} == dict.fromkeys(
        (SENSOR, "run_failed", "check_failed"), dg.DefaultSensorStatus.RUNNING
    )
    jobs = {schedule.name: schedule.job.name for schedule in DEFINITIONS.schedule_defs}
    assert jobs == {"daily_check": "check_lakehouse", "weekly_maintenance": "maintain_lakehouse"}
    assert {schedule.default_status for schedule in DEFINITIONS.schedule_defs} == {dg.DefaultScheduleStatus.STOPPED}


def test_the_curated_tables_are_to_be_fresh_and_no_others() -> None:
    windows = {
        name: dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=48), warn_window=timedelta(hours=24))
        for name, table in TABLES.items()
        if table.zone is Zone.CURATED
    }
    nodes = DEFINITIONS.asset_graph.asset_nodes
    found = {node.key.path[-1]: node.freshness_policy for node in nodes if node.freshness_policy}
    assert found == windows
