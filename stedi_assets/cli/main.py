"""The command `stedi`: from a fresh clone to eight tables in one go, and what there is to see afterwards."""

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

from stedi_assets.cli import aws_arguments
from stedi_assets.environment import read_env_file
from stedi_assets.settings import SettingsError, read_settings
from stedi_assets.spark.java import NoJavaError
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.names import masked

# Each is `run(settings)` in the module of its name, loaded when it is chosen: most load PySpark, one Dagster.
COMMANDS = {
    "status": "Show each table's rows, age, last check results and snapshot. Spark is not started.",
    "hash-person": "Read an e-mail from standard input, and print the run config that erases its person, by a keyed "
    "hash.",
    "repair": "Go back to the newest whole snapshot of each table that is damaged, or that the catalog does not know.",
    "rotate-key": "Make the pseudonym key in force the lake's, and remove the ML table of the old one, which is to be "
    "made again.",
    "upgrade": "Take over a lake whose tables were made before they were Iceberg tables, and remove its old tables.",
    "relocate": "Have the tables of a lake that was moved, copied or restored name their files where they lie now.",
    "purge": "Remove every snapshot that is not current, at once, and what runs that died have left.",
    "fetch-jars": "Fetch the jars that Spark needs, 134 MB, from the Maven repository that STEDI_MAVEN names, once; "
    "check those that are there.",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="stedi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="prepare Dagster, make sample data if there are none, build all tables")
    start.add_argument(
        "--sample-data", action="store_true", help="make sample landing files also in a lake that STEDI_LAKE names"
    )
    for name, what in COMMANDS.items():
        commands.add_parser(name, help=what, description=what)
    path = commands.add_parser("path", help="print the metadata file of a table, which Iceberg's readers are given")
    path.add_argument("table", help="the name of the table")
    aws_arguments.add_arguments(
        commands.add_parser("aws", help="deploy what a lake on AWS needs, take it away, or check it")
    )
    chosen = parser.parse_args(arguments)
    before = "\nNot built. " if chosen.command == "start" else ""
    try:
        read_env_file(Path.cwd())
        settings = read_settings()
        command = import_module(f"stedi_assets.cli.{chosen.command.replace('-', '_')}")
        if chosen.command == "start":
            return int(command.run(settings, began, sample_data=chosen.sample_data))
        if chosen.command == "path":
            return int(command.run(settings, chosen.table))
        if chosen.command == "aws":
            return int(command.run(settings, chosen))
        return int(command.run(settings))
    except (SettingsError, LakeError, NoJavaError) as error:
        print(f"{before}{error}", file=sys.stderr)
    except OSError as error:
        print(f"{before}{error.strerror}: {masked(str(error.filename))}", file=sys.stderr)
    return 1
