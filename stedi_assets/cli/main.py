"""The command `stedi`: build a lakehouse of eight tables, inspect it and maintain it."""

import argparse
import os
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from stedi_assets.cli.arguments import COMMANDS, add_arguments
from stedi_assets.environment import read_env_file
from stedi_assets.settings import SettingsError, read_settings
from stedi_assets.spark.java import NoJavaError
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.names import masked


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="stedi", description=__doc__)
    parser.add_argument("--version", action="version", version=f"stedi-assets {version('stedi-assets')}")
    parser.set_defaults(began=began)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        add_arguments(commands.add_parser(name, help=what, description=what), name)
    chosen = parser.parse_args(arguments)
    before = "\nNot built. " if chosen.command == "start" else ""
    try:
        read_env_file(Path.cwd())
        settings = read_settings()
        # Each command is `run(settings, chosen)` in the module of its name: most load PySpark, two Dagster.
        command = import_module(f"stedi_assets.cli.{chosen.command.replace('-', '_')}")
        code = int(command.run(settings, chosen))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` has. Python would complain at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SettingsError, LakeError, NoJavaError) as error:
        print(f"{before}{error}", file=sys.stderr)
    except OSError as error:
        print(f"{before}{error.strerror}: {masked(str(error.filename))}", file=sys.stderr)
    else:
        return code
    return 1
