"""`stedi start`: prepares the run that builds everything; `build` does the rest."""

import argparse
import contextlib
import gc
import tempfile
import threading
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn

from stedi_assets import terminal
from stedi_assets.contracts import SOURCES, TABLES
from stedi_assets.environment import prepare_dagster
from stedi_assets.sample_data import write_sample
from stedi_assets.settings import DEFAULT_LAKE, Settings, SparkLog
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake, lies_in_folders


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Prepare this folder, materialise the eight tables through Dagster, and print the result."""
    lake = settings.open_lake()
    lake.storage.require_writable()
    has_own_data = settings.lake != DEFAULT_LAKE or settings.landing
    is_empty = not _has_landing_files(lake)
    if is_empty and has_own_data and not chosen.sample_data:
        # Before anything is written: a mistyped name must not create a lake.
        places = ", ".join(lake.raw.shown(source.raw_path) for source in SOURCES.values())
        raise LakeError(f"No landing files in {places}. Put .json files there, or add --sample-data.")
    prepare_dagster(Path.cwd())
    if is_empty:
        terminal.say(f"Made sample landing files of {_write_sample(lake):,} customers in {lake.location}")

    terminal.say(f"Building the tables of {lake.location}. Starting Spark takes some seconds.")
    # Spark and Dagster each take seconds and a core to load.
    threading.Thread(target=_start_spark, args=[settings, lake], daemon=True).start()
    with _display(settings) as shown:
        task = shown.add_task("Starting Spark and Dagster", total=len(TABLES))
        # What Dagster loads is no garbage: without collection, loading takes a fifth less time.
        gc.disable()
        from stedi_assets.cli import build  # noqa: PLC0415  (loads Dagster, which reads the environment)

        gc.enable()
        result = build.build(shown, task)
    return build.report(lake, result, chosen.began)


def _display(settings: Settings) -> Progress:
    return terminal.progress(
        SpinnerColumn(),
        "{task.description}",
        BarColumn(bar_width=20),
        "{task.completed} of {task.total}",
        "{task.elapsed:.0f} s",
        vanishes=True,
        # Java writes its log past the display.
        hidden=settings.spark_log is not SparkLog.OFF,
    )


def _start_spark(settings: Settings, lake: Lake) -> None:
    # Any error will occur again when the session is asked for, and be reported there.
    with contextlib.suppress(Exception):
        from stedi_assets.spark.session import MUCH, spark_session  # noqa: PLC0415  (loads pyspark)

        spark_session(
            settings.spark_master,
            settings.spark_log.value,
            settings.spark_settings,
            lake=settings.lake,
            kms_key=settings.s3_kms_key,
            catalog=settings.catalog_address.kind,
            maven=settings.maven,
            remote=settings.spark_remote,
            has_much_to_do=lies_in_folders(settings.lake, settings.landing) and lake.has_raw_bytes(MUCH),
        )


def _has_landing_files(lake: Lake) -> bool:
    return any(entry.is_file for source in SOURCES.values() for entry in lake.raw.entries(source.raw_path))


def _write_sample(lake: Lake) -> int:
    """Write sample landing files into the lake, and return the number of customers."""
    with tempfile.TemporaryDirectory() as folder:
        sample = write_sample(Path(folder))
        for path in Path(folder).rglob("*"):
            if path.is_file():
                with lake.storage.writing(path.relative_to(folder).as_posix()) as file:
                    file.write(path.read_bytes())
    return sample.customers
