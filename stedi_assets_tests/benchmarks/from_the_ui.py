"""What a run costs that is launched in the Dagster UI, from the click until it is green: with a warm Spark and without.

Two `dagster dev`, each with a copy of the lake, run the same jobs in turns.

    python -m stedi_assets_tests.benchmarks.from_the_ui LAKE [--runs 5]

LAKE holds landing files. Before each update, one more file arrives: a tenth of the first file of phone readings, which
are readings that the lake has already. Prints medians in seconds, and their ratios.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stedi_assets_tests.support.dagster_dev import DagsterDev

_STATUS = "query Status($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
_KINDS = {"warm": "yes", "own Spark": "no"}


def main() -> None:
    """Run all in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        started = {
            kind: stack.enter_context(_started(Path(scratch) / kind.split()[0], chosen.lake, warm))
            for kind, warm in _KINDS.items()
        }
        for _ in range(chosen.runs):
            for job in ("rebuild_lakehouse", "update_lakehouse"):
                for kind, dev in started.items():
                    if job == "update_lakehouse":
                        _add_file(dev.lake)
                    seconds.setdefault((job, kind), []).append(_run(dev, job))
    print(f"{'medians of ' + str(chosen.runs) + ' runs':22}{'warm s':>10}{'own Spark s':>14}{'ratio':>8}")
    for job in ("rebuild_lakehouse", "update_lakehouse"):
        warm, own = (statistics.median(seconds[job, kind]) for kind in _KINDS)
        print(f"{job:22}{warm:10.1f}{own:14.1f}{warm / own:8.2f}")


@contextmanager
def _started(folder: Path, lake: Path, warm: str) -> Iterator[DagsterDev]:
    """Start `dagster dev` for a copy of a lake, and build its tables once."""
    for landing in lake.glob("*/landing"):
        shutil.copytree(landing, folder / "lake" / landing.relative_to(lake))
    settings = {"STEDI_SPARK_KEEP_WARM": warm, "STEDI_SENSOR_SECONDS": "100000", "STEDI_SPARK_IDLE_MINUTES": "15"}
    dev = DagsterDev(folder, folder / "lake", settings)
    dev.start()
    try:
        dev.wait("the UI", lambda: _answers(dev))
        # The sensor finds the files, or this does.
        _run(dev, "update_lakehouse")
        dev.wait_for_runs(0)
        yield dev
    finally:
        dev.stop()


def _run(dev: DagsterDev, job: str) -> float:
    """Launch a job as a click does, and return the seconds until it has succeeded."""
    # One run at a time: what the last one has published may be drawn still.
    dev.wait("the report", lambda: all(run.is_finished for run in dev.reports()))
    began = time.monotonic()
    run = dev.launch(job)
    while (status := dev.ask(_STATUS, run=run)["runOrError"]["status"]) != "SUCCESS":
        assert status not in {"FAILURE", "CANCELED"}, dev.printed[-4000:]
        time.sleep(0.1)
    return time.monotonic() - began


def _add_file(lake: Path) -> None:
    landing = lake / "accelerometer" / "landing"
    first, count = min(landing.iterdir()), len(list(landing.iterdir()))
    (landing / f"late-{count}.json").write_bytes(b"".join(first.read_bytes().splitlines(keepends=True)[::10]))


def _answers(dev: DagsterDev) -> bool:
    try:
        return bool(dev.ask("{ version }"))
    except OSError:
        return False


if __name__ == "__main__":
    main()
