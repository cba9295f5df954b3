"""The command `stedi`: from a fresh clone to eight tables in one go, and what there is to see afterwards."""

import argparse
import contextlib
import gc
import os
import sys
import threading
import time
from getpass import getpass
from pathlib import Path

from stedi_assets.contracts import SOURCES
from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.layout import Lake
from stedi_assets.sample_data import write_sample
from stedi_assets.settings import DEFAULT_LAKE, Settings, SettingsError, read_settings

_DAGSTER_YAML = """\
# Dagster's settings for this lakehouse. One run at a time: runs of the same lake are not to overlap.
concurrency:
  runs:
    max_concurrent_runs: 1
telemetry:
  enabled: false
# No newsletter dialog in front of the assets.
nux:
  enabled: false
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="stedi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="prepare Dagster, make sample data if there are none, build all tables")
    start.add_argument(
        "--sample-data", action="store_true", help="make sample landing files also in a lake that STEDI_LAKE names"
    )
    commands.add_parser("hash-person", help="print the run config of erase_person for the e-mail it reads")
    chosen = parser.parse_args(arguments)
    if chosen.command == "hash-person":
        return hash_person()
    return start_lakehouse(sample_data=chosen.sample_data)


def start_lakehouse(*, sample_data: bool) -> int:
    """Prepare this folder, materialise the eight tables through Dagster, and print what came of it."""
    began = time.monotonic()
    _prepare_dagster(Path.cwd())
    try:
        settings = read_settings()
        lake = Lake.at(settings.lake)
        lake.require_writable()
        if (sample_data or settings.lake == DEFAULT_LAKE) and not _has_landing_files(lake):
            sample = write_sample(lake.root)
            print(f"Made sample landing files of {sample.customers:,} customers in {lake.root}")
    except (SettingsError, LakeError) as error:
        print(f"\nNot built. {error}", file=sys.stderr)
        return 1

    print(f"Building the tables of {lake.root}. Starting Spark takes some seconds.")
    # Spark and Dagster take seconds each to load, and a core each.
    threading.Thread(target=_start_spark, args=[settings], daemon=True).start()
    # What Dagster loads is no garbage. Not to look for any saves a fifth of the loading, and a second at the end.
    gc.disable()
    from stedi_assets import quickstart  # noqa: PLC0415  (loads Dagster, which reads the environment)

    gc.freeze()
    gc.enable()
    return quickstart.build(lake, began)


def hash_person() -> int:
    """Read an e-mail from standard input, and print the run config that erases its person, by a keyed hash."""
    from stedi_assets.lake.keys import suppression_key  # noqa: PLC0415  (loads pyspark)
    from stedi_assets.lake.suppression import person_hash  # noqa: PLC0415  (loads pyspark)

    _read_dotenv(Path.cwd())
    try:
        settings = read_settings()
        key = suppression_key(settings.suppression_key, Lake.at(settings.lake).root)
    except (SettingsError, LakeError) as error:
        print(error, file=sys.stderr)
        return 1
    email = (getpass("E-mail: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if email.count("@") != 1:
        print("That is not one e-mail address. Write one, and nothing else, to standard input.", file=sys.stderr)
        return 1
    print(f'ops: {{erase_from_lake: {{config: {{person: "{person_hash(email, key)}"}}}}}}')
    return 0


def _start_spark(settings: Settings) -> None:
    # Whatever goes wrong will go wrong again where the session is asked for, and be told there.
    with contextlib.suppress(Exception):
        from stedi_assets.plumbing.session import spark_session  # noqa: PLC0415  (loads pyspark)

        spark_session(settings.spark_master, settings.spark_log_level, {})


def _has_landing_files(lake: Lake) -> bool:
    folders = [lake.raw_folder(source) for source in SOURCES.values()]
    return any(path.is_file() and path.name[0] not in "._" for folder in folders for path in folder.rglob("*"))


def _read_dotenv(folder: Path) -> Path:
    """Read `.env` as Dagster does, and return where it is; what the environment says wins."""
    settings = folder / ".env"
    for line in settings.read_text().splitlines() if settings.exists() else []:
        name, separator, value = line.partition("=")
        if separator and not name.lstrip().startswith("#"):
            os.environ.setdefault(name.strip(), value.strip())
    return settings


def _prepare_dagster(folder: Path) -> None:
    """Read `.env`; have a home for Dagster, so that its runs and cursors outlive this process."""
    settings = _read_dotenv(folder)
    if "DAGSTER_HOME" in os.environ:
        return
    home = folder / ".dagster"
    home.mkdir(mode=0o700, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text(_DAGSTER_YAML)
    with settings.open("a") as file:
        file.write(f"DAGSTER_HOME={home}\n")
    os.environ["DAGSTER_HOME"] = str(home)


if __name__ == "__main__":
    sys.exit(main())
