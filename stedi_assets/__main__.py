"""The command `stedi`: from a fresh clone to eight tables in one go, and what there is to see afterwards."""

import argparse
import contextlib
import gc
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from getpass import getpass
from pathlib import Path

from stedi_assets.contracts import QUARANTINE_TABLES, SOURCES, TABLES
from stedi_assets.environment import prepare_dagster, read_env_file
from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.layout import Lake, masked
from stedi_assets.plumbing.java import NoJavaError
from stedi_assets.sample_data import write_sample
from stedi_assets.settings import DEFAULT_LAKE, Settings, SettingsError, read_settings


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="stedi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="prepare Dagster, make sample data if there are none, build all tables")
    start.add_argument(
        "--sample-data", action="store_true", help="make sample landing files also in a lake that STEDI_LAKE names"
    )
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.__doc__, description=command.__doc__)
    chosen = parser.parse_args(arguments)
    if chosen.command == "start":
        return start_lakehouse(sample_data=chosen.sample_data)
    return _told(lambda: COMMANDS[chosen.command](_settings()))


def start_lakehouse(*, sample_data: bool) -> int:
    """Prepare this folder, materialise the eight tables through Dagster, and print what came of it."""
    began = time.monotonic()
    return _told(lambda: _build(_settings(), began, sample_data=sample_data), "\nNot built. ")


def _build(settings: Settings, began: float, *, sample_data: bool) -> int:
    lake = _lake(settings)
    lake.storage.require_writable()
    prepare_dagster(Path.cwd())
    if (sample_data or settings.lake == DEFAULT_LAKE) and not _has_landing_files(lake):
        print(f"Made sample landing files of {_write_sample(lake):,} customers in {lake.location}")

    print(f"Building the tables of {lake.location}. Starting Spark takes some seconds.")
    # Spark and Dagster take seconds each to load, and a core each.
    threading.Thread(target=_start_spark, args=[settings], daemon=True).start()
    # What Dagster loads is no garbage. Not to look for any saves a fifth of the loading, and a second at the end.
    gc.disable()
    from stedi_assets import quickstart  # noqa: PLC0415  (loads Dagster, which reads the environment)

    gc.freeze()
    gc.enable()
    return quickstart.build(lake, began)


def hash_person(settings: Settings) -> int:
    """Read an e-mail from standard input, and print the run config that erases its person, by a keyed hash."""
    from stedi_assets.lake.keys import suppression_key  # noqa: PLC0415  (loads pyspark)
    from stedi_assets.lake.known_keys import require_suppression_key  # noqa: PLC0415  (loads pyspark)
    from stedi_assets.lake.suppression import person_hash, read_suppressed  # noqa: PLC0415  (loads pyspark)

    lake = _lake(settings)
    key = require_suppression_key(lake, suppression_key(settings.suppression_key, lake))
    # A list that is gone, or was made with another key, is better told of now than by the erasure.
    read_suppressed(lake, lambda: key)
    email = getpass("E-mail: ") if sys.stdin.isatty() else sys.stdin.readline()
    print(f'ops: {{erase_from_lake: {{config: {{person: "{person_hash(email, key)}"}}}}}}')
    return 0


def repair_lake(settings: Settings) -> int:
    """Go back to the newest whole snapshot of each table whose pointer or current snapshot is damaged."""
    from stedi_assets.lake.keys import pseudonym_key, suppression_key  # noqa: PLC0415  (loads pyspark)
    from stedi_assets.lake.known_keys import (  # noqa: PLC0415  (loads pyspark)
        require_pseudonym_key,
        require_suppression_key,
    )
    from stedi_assets.lake.repair import Keys, repair  # noqa: PLC0415  (loads pyspark)

    lake = _lake(settings)
    keys = Keys(
        lambda: require_pseudonym_key(lake, pseudonym_key(settings.pseudonym_key, lake)),
        lambda: require_suppression_key(lake, suppression_key(settings.suppression_key, lake)),
    )
    done = repair(lake, keys)
    for found in done:
        print(found.damage)
        if found.pointer:
            print(f"  repaired: {found.table.name} is {found.pointer.snapshot} again, {found.pointer.rows:,} rows")
        else:
            print(f"  no whole snapshot of {found.table.name} may stand again: materialise it")
    print(f"{len(done)} damaged tables in {lake.location}")
    return 0 if all(found.pointer for found in done) else 1


def rotate_key(settings: Settings) -> int:
    """Make the pseudonym key in force the lake's, and remove the ML table of the old one, which is to be made again."""
    from stedi_assets.lake.keys import pseudonym_key  # noqa: PLC0415  (loads pyspark)
    from stedi_assets.lake.known_keys import rotate_pseudonym_key  # noqa: PLC0415  (loads pyspark)

    lake = _lake(settings)
    removed = rotate_pseudonym_key(lake, pseudonym_key(settings.pseudonym_key, lake))
    print(f"The pseudonym key of {lake.location} is the one in force now. Every subject gets a new id.")
    print(f"machine_learning_curated: {removed} snapshots of the old key removed. To make it again:")
    print("  .venv/bin/dagster job execute -m stedi_assets.definitions -j rebuild_lakehouse")
    return 0


def register_tables(settings: Settings) -> int:
    """Register every table as it is published now in the Glue database that STEDI_GLUE_DATABASE names."""
    from stedi_assets.lake.publishing import register  # noqa: PLC0415  (loads pyspark)
    from stedi_assets.lake.snapshots import read_pointer  # noqa: PLC0415  (loads pyspark)

    lake = _lake(settings)
    if lake.catalog is None:
        print("There is no catalog to register tables in. Set STEDI_GLUE_DATABASE.", file=sys.stderr)
        return 1
    for table in (*TABLES.values(), *QUARANTINE_TABLES.values()):
        if pointer := read_pointer(lake, table):
            register(lake, table, pointer)
            print(f"{table.name}: {pointer.snapshot}, {pointer.rows:,} rows")
    return 0


def drop_old_snapshots(settings: Settings) -> int:
    """Remove every snapshot that is not current, at once, and what runs that died have left."""
    from stedi_assets.lake.publishing import drop_old  # noqa: PLC0415  (loads pyspark)

    lake = _lake(settings)
    for table in (*TABLES.values(), *QUARANTINE_TABLES.values()):
        print(f"{table.name}: {drop_old(lake, table)} removed")
    return 0


def fetch_s3(_: Settings) -> int:
    """Fetch what Spark needs for a lake on S3, some 650 MB, from Maven Central; it is fetched once."""
    from stedi_assets.plumbing.java import find_java  # noqa: PLC0415  (loads pyspark)
    from stedi_assets.plumbing.s3a import s3a_jars  # noqa: PLC0415  (loads pyspark)

    print(f"Spark finds S3A in {s3a_jars(find_java())}")
    return 0


def show_status(settings: Settings) -> int:
    """Show each table's rows, age, last check results and snapshot. Spark is not started."""
    from stedi_assets.status import print_status  # noqa: PLC0415  (loads pyspark)

    return print_status(_lake(settings))


COMMANDS = {
    "status": show_status,
    "hash-person": hash_person,
    "repair": repair_lake,
    "rotate-key": rotate_key,
    "purge": drop_old_snapshots,
    "register": register_tables,
    "fetch-s3": fetch_s3,
}


def _settings() -> Settings:
    read_env_file(Path.cwd())
    return read_settings()


def _lake(settings: Settings) -> Lake:
    return Lake.at(settings.lake, kms_key=settings.s3_kms_key, glue_database=settings.glue_database)


def _told(command: Callable[[], int], before: str = "") -> int:
    """Run a command and return its exit code; what stands in its way is told in one message."""
    try:
        return command()
    except (SettingsError, LakeError, NoJavaError) as error:
        print(f"{before}{error}", file=sys.stderr)
    except OSError as error:
        print(f"{before}{error.strerror}: {masked(str(error.filename))}", file=sys.stderr)
    return 1


def _start_spark(settings: Settings) -> None:
    # Whatever goes wrong will go wrong again where the session is asked for, and be told there.
    with contextlib.suppress(Exception):
        from stedi_assets.plumbing.session import spark_session  # noqa: PLC0415  (loads pyspark)

        spark_session(
            settings.spark_master, settings.spark_log.value, {}, lake=settings.lake, kms_key=settings.s3_kms_key
        )


def _has_landing_files(lake: Lake) -> bool:
    return any(entry.is_file for source in SOURCES.values() for entry in lake.storage.entries(source.raw_path))


def _write_sample(lake: Lake) -> int:
    """Write sample landing files into the lake, and return of how many customers."""
    with tempfile.TemporaryDirectory() as folder:
        sample = write_sample(Path(folder))
        for path in Path(folder).rglob("*"):
            if path.is_file():
                with lake.storage.writing(path.relative_to(folder).as_posix()) as file:
                    file.write(path.read_bytes())
    return sample.customers


if __name__ == "__main__":
    sys.exit(main())
