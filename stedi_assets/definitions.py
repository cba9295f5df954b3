"""The code location that Dagster loads: assets, checks, jobs, sensors, schedules, and the resources they share."""

import gc
import warnings
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from stedi_assets.contracts import ALL_TABLES, Zone
from stedi_assets.orchestration.alerts import Notifier, check_failed, run_failed
from stedi_assets.orchestration.assets import ASSETS, LANDING_IO, PARQUET_IO
from stedi_assets.orchestration.athena_checks import ATHENA_CHECKS, AthenaResource
from stedi_assets.orchestration.checks import CHECKS, ThresholdsResource
from stedi_assets.orchestration.doorbell import Doorbell
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.external_assets import EXTERNAL_ASSETS
from stedi_assets.orchestration.glue_compute import GlueResource, glue_job
from stedi_assets.orchestration.io_managers import LakeResource, LandingIOManager, ParquetIOManager
from stedi_assets.orchestration.jobs import check_lakehouse, daily_check, rebuild_lakehouse, update_lakehouse
from stedi_assets.orchestration.landing_sensor import WatchResource, new_landing_files_sensor
from stedi_assets.orchestration.links import console_links, with_code_links
from stedi_assets.orchestration.maintenance_job import maintain_lakehouse, weekly_maintenance
from stedi_assets.orchestration.report_asset import draw_report, machine_learning_report, report_is_old
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.settings import Answer, Compute, read_settings
from stedi_assets.storage.interface import ATTEMPTS
from stedi_assets.storage.lake import is_on_s3

_settings = read_settings()
_ON_GLUE = _settings.compute is Compute.GLUE


# People have several lakes, and see here which one this is.
_location = _settings.lake if is_on_s3(_settings.lake) else str(Path(_settings.lake).absolute())


def _lake_resource() -> LakeResource:
    common: dict[str, Any] = {
        "location": _settings.lake,
        **vars(_settings.policy),
        "namespace": _settings.namespace,
        "catalog": _settings.catalog_address.uri,
        "purpose": _settings.purpose,
        "landing": _settings.landing,
        "most_bytes_per_run": _settings.most_gigabytes_per_run * 1_000_000_000,
        "kept_snapshots": _settings.keep_snapshots,
        "kept_for_readers_minutes": _settings.keep_for_readers_minutes,
    }
    if not is_on_s3(_settings.lake):
        return LakeResource(**common)
    from dagster_aws.s3 import S3Resource  # noqa: PLC0415  (loads boto3)

    from stedi_assets.orchestration.s3_lake import S3LakeResource  # noqa: PLC0415  (loads boto3)

    return S3LakeResource(
        **common,
        # Requests are retried for longer than by default.
        s3=S3Resource(max_attempts=ATTEMPTS),
        kms_key=_settings.s3_kms_key,
    )


_lake = _lake_resource()
_spark = SparkResource(
    master=_settings.spark_master,
    log_level=_settings.spark_log.value,
    spark_config=_settings.spark_settings,
    lake=_settings.lake,
    catalog=_settings.catalog_address.kind,
    s3_kms_key=_settings.s3_kms_key,
    warm_minutes=_settings.spark_idle_minutes if _settings.spark_keep_warm is Answer.YES else 0,
)

_freshness = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=_settings.fresh_fail_hours), warn_window=timedelta(hours=_settings.fresh_warn_hours)
)
_console_links = console_links(_settings)


def _as_set(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return an asset with what the settings decide: where a table is stored, and how old it may be."""
    linked, table = with_code_links(spec), ALL_TABLES.get(spec.key.path[-1])
    if table is None:
        return linked
    stored = linked.merge_attributes(
        kinds={"s3" if is_on_s3(_settings.lake) else "local"},
        metadata={
            "dagster/table_name": f"{_settings.namespace}.{table.name}",
            "lake": dg.MetadataValue.path(_location),
            **_console_links(table),
        },
    )
    return dg.apply_freshness_policy(stored, _freshness) if table.zone is Zone.CURATED else stored


def _assets() -> list[Any]:
    with warnings.catch_warnings():
        # Dagster warns that its links to the code are new.
        warnings.simplefilter("ignore", dg.BetaWarning)
        made = [*([glue_job] if _ON_GLUE else ASSETS), machine_learning_report]
        return [
            *map(_as_set, EXTERNAL_ASSETS),
            *dg.with_source_code_references([asset.map_asset_specs(_as_set) for asset in made]),
        ]


defs = dg.Definitions(
    assets=_assets(),
    asset_checks=[*([] if _ON_GLUE else CHECKS), *(ATHENA_CHECKS if _settings.athena_workgroup else [])],
    jobs=[update_lakehouse, rebuild_lakehouse, check_lakehouse, draw_report, maintain_lakehouse, erase_person],
    sensors=[new_landing_files_sensor(_settings.sensor_seconds), report_is_old, run_failed, check_failed],
    schedules=[daily_check, weekly_maintenance],
    resources={
        "lake": _lake,
        "spark": _spark,
        "glue": GlueResource(job=_settings.glue_job, lake=_settings.lake),
        "athena": AthenaResource(workgroup=_settings.athena_workgroup or ""),
        "thresholds": ThresholdsResource(**asdict(_settings.thresholds)),
        "watch": WatchResource(
            settled_seconds=_settings.settled_seconds,
            attempts=_settings.sensor_attempts,
            pause_seconds=_settings.sensor_pause_seconds,
        ),
        "doorbell": Doorbell(queue=_settings.arrivals_queue),
        "notifier": Notifier(sns_topic=_settings.alerts_sns_topic, dagster_url=_settings.dagster_url),
        LANDING_IO: LandingIOManager(lake=_lake, spark=_spark),
        PARQUET_IO: ParquetIOManager(lake=_lake, spark=_spark),
    },
    # One Spark session serves all steps; a process for each step would start a JVM each.
    executor=dg.in_process_executor,
)

# What is loaded now never becomes garbage. Collecting it again and again costs a run over a second, mostly at exit.
gc.freeze()
