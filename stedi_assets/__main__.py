"""The command `stedi`: from a fresh clone to eight tables in one go, and what there is to see afterwards."""

import argparse
import os
import sys
import time
from pathlib import Path

_DAGSTER_YAML = """\
# Dagster's settings for this lakehouse. One run at a time: runs of the same lake are not to overlap.
concurrency:
  runs:
    max_concurrent_runs: 1
telemetry:
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
    chosen = parser.parse_args(arguments)
    return start_lakehouse(sample_data=chosen.sample_data)


def start_lakehouse(*, sample_data: bool) -> int:
    """Prepare this folder, materialise the eight tables through Dagster, and print what came of it."""
    began = time.monotonic()
    _prepare_dagster(Path.cwd())
    # Only now: Dagster and the settings read the environment when they are loaded.
    from stedi_assets import quickstart  # noqa: PLC0415  (reads the environment)

    return quickstart.run(sample_data=sample_data, began=began)


def _prepare_dagster(folder: Path) -> None:
    """Read `.env`; have a home for Dagster, so that its runs and cursors outlive this process."""
    settings = folder / ".env"
    for line in settings.read_text().splitlines() if settings.exists() else []:
        name, separator, value = line.partition("=")
        if separator and not name.lstrip().startswith("#"):
            os.environ.setdefault(name.strip(), value.strip())
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
