"""How the work of a rebuild spreads over a cluster: tasks, bytes shuffled, the stages of one task, and skew.

    python -m stedi_assets_tests.benchmarks.wide LAKE [--days 100] [--executors 1 2 4] [--skew]

LAKE holds landing files of a short time; its readings are shifted over `--days` days. Starts Spark's own master and
workers of one core on loopback, and a PostgreSQL for the catalog, and runs `rebuild_lakehouse` with each number of
executors. With `--skew`, a tenth of the phone readings are of one person, and a tenth of the device readings of one
device. The figures are from Spark's event log.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyspark

from stedi_assets_tests.benchmarks.updates import ShiftedLake
from stedi_assets_tests.support.postgresql import postgresql

_SPARK = Path(pyspark.__file__).parent
_REBUILD = [
    *(str(Path(sys.executable).parent / "dagster"), "job", "execute"),
    *("-m", "stedi_assets.definitions", "-j", "rebuild_lakehouse"),
]
_WORKER_MEMORY = "3g"
_EVERY = 10
# Stages with fewer tasks have no median worth the name, and of short ones nothing can be told.
_LEAST_TASKS, _LEAST_SECONDS, _LEAST_ROWS = 4, 1.0, 10_000
_SHOWN = 3


@dataclass
class Stage:
    """What one stage cost: its span in seconds, the seconds and rows read of each task, and the bytes shuffled out."""

    name: str
    seconds: float = 0.0
    tasks: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    shuffled: int = 0


def main() -> None:
    """Run the rebuild with each number of executors, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--executors", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--skew", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "lake"
        lake = ShiftedLake(chosen.lake, folder)
        for _ in range(chosen.days):
            lake.add_day()
        if chosen.skew:
            _skew(folder)
        print(
            f"{chosen.days} days{', skewed' if chosen.skew else ''}, executors of one core, {os.cpu_count()} cores here"
        )
        print(f"executors{'wall s':>8}{'tasks':>8}{'shuffled MB':>13}")
        for executors in chosen.executors:
            _keep_raw_files(folder)
            wall, stages = _rebuild(folder, Path(scratch) / f"with-{executors}", executors)
            _print(executors, wall, stages)


def _print(executors: int, wall: float, stages: list[Stage]) -> None:
    tasks, shuffled = sum(len(stage.tasks) for stage in stages), sum(stage.shuffled for stage in stages)
    single = max((stage for stage in stages if len(stage.tasks) == 1), key=lambda stage: stage.seconds)
    print(f"{executors:9}{wall:>8.0f}{tasks:>8,}{shuffled / 1e6:>13,.0f}", flush=True)
    print(f"  longest stage of one task: {single.seconds:.1f} s, {single.seconds / wall:.1%} of the run: {single.name}")
    several = [stage for stage in stages if len(stage.tasks) >= _LEAST_TASKS]
    slow = [(_skew_of(stage.tasks), stage) for stage in several if max(stage.tasks) >= _LEAST_SECONDS]
    big = [(_skew_of(stage.rows), stage) for stage in several if max(stage.rows) >= _LEAST_ROWS]
    for what, found in (("seconds", slow), ("rows", big)):
        most = sorted(found, key=lambda pair: -pair[0])[:_SHOWN]
        words = (f"{ratio:.1f} ({stage.name}, {len(stage.tasks)} tasks)" for ratio, stage in most)
        print(f"  a task's {what}, at most, to the median of its stage: {'; '.join(words)}", flush=True)


def _skew_of(values: Sequence[float]) -> float:
    return max(values) / max(statistics.median(values), 0.001)


def _rebuild(lake: Path, folder: Path, executors: int) -> tuple[float, list[Stage]]:
    events = folder / "events"
    events.mkdir(parents=True)
    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": events.as_uri(),
        "spark.executor.memory": "2g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    (folder / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    with postgresql() as catalog, _cluster(executors) as master:
        environment = {
            **os.environ,
            **catalog.settings,
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_CONF_DIR": str(folder),
            "DAGSTER_HOME": str(folder),
            "STEDI_LAKE": str(lake),
            "STEDI_LAKE_IS_SHARED": "yes",
            "STEDI_SPARK_MASTER": master,
            "STEDI_PSEUDONYM_KEY": "of this benchmark, and nothing else",
        }
        began = time.monotonic()
        done = subprocess.run(_REBUILD, env=environment, capture_output=True, text=True, check=False)
        wall = time.monotonic() - began
    if done.returncode:
        sys.exit("\n".join(line for line in done.stderr.splitlines() if "Failure" in line)[-3000:])
    (log,) = (path for path in events.rglob("*") if path.is_file() and path.stat().st_size)
    return wall, list(_stages(log))


@contextmanager
def _cluster(executors: int) -> Iterator[str]:
    """Start a master and workers, and yield the master's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"spark://127.0.0.1:{port}"
    spark_class = str(_SPARK / "bin" / "spark-class")
    environment = {**os.environ, "SPARK_HOME": str(_SPARK)}
    master = ["org.apache.spark.deploy.master.Master", "-h", "127.0.0.1", "-p", str(port), "--webui-port", "0"]
    worker = ["org.apache.spark.deploy.worker.Worker", address, "-h", "127.0.0.1", "-c", "1", "-m", _WORKER_MEMORY]
    with tempfile.TemporaryDirectory() as work:
        processes = []
        try:
            for command in (master, *([*worker, "-d", work, "--webui-port", "0"] for _ in range(executors))):
                started = subprocess.Popen(
                    [spark_class, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                processes.append(started)
                # The master has to be there before the workers, and all of them before the driver.
                time.sleep(5)
            yield address
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def _stages(log: Path) -> Iterator[Stage]:
    """Yield the stages that have run, from Spark's event log."""
    found: dict[int, Stage] = defaultdict(lambda: Stage(""))
    queries: dict[str, str] = {}
    with log.open() as lines:
        for event in map(json.loads, lines):
            kind = event["Event"].rpartition(".")[2]
            if kind == "SparkListenerSQLExecutionStart":
                queries[str(event["executionId"])] = _in_words(event["physicalPlanDescription"], event["description"])
            elif kind == "SparkListenerJobStart":
                for stage in event["Stage IDs"]:
                    found[stage].name = queries.get(event["Properties"].get("spark.sql.execution.id"), "")
            elif kind == "SparkListenerTaskEnd":
                stage, info = found[event["Stage ID"]], event["Task Info"]
                stage.tasks.append((info["Finish Time"] - info["Launch Time"]) / 1000)
                metrics = event["Task Metrics"]
                stage.shuffled += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
                stage.rows.append(
                    metrics["Input Metrics"]["Records Read"] + metrics["Shuffle Read Metrics"]["Total Records Read"]
                )
            elif kind == "SparkListenerStageCompleted":
                info = event["Stage Info"]
                found[info["Stage ID"]].seconds = (info["Completion Time"] - info["Submission Time"]) / 1000
    yield from (stage for stage in found.values() if stage.tasks)


def _in_words(plan: str, description: str) -> str:
    """Return what a query makes."""
    written = re.search(r"IcebergWrite\(table=[\w.]*?(\w+),", plan)
    staged = re.search(r"(\w+)/landing_table/_stage", plan)
    return written[1] if written else f"{staged[1]}, {description.split(' ', maxsplit=1)[0]}" if staged else description


def _skew(lake: Path) -> None:
    """Make every tenth reading one person's, or one device's, at an instant of its own."""
    customers = (lake / "customer" / "landing").iterdir()
    record = next(found for found in map(json.loads, min(customers).read_text().splitlines()) if _may_be_used(found))
    for source, key, instant, whose in (
        ("accelerometer", "user", "timestamp", record["email"]),
        ("step_trainer", "serialNumber", "sensorReadingTime", record["serialNumber"]),
    ):
        for file in sorted((lake / source / "landing").iterdir()):
            lines = file.read_text().splitlines()
            for place in range(0, len(lines), _EVERY):
                reading = json.loads(lines[place])
                lines[place] = json.dumps({**reading, key: whose, instant: reading[instant] + place // _EVERY})
            file.write_text("\n".join(lines) + "\n")


def _may_be_used(customer: dict[str, object]) -> bool:
    return bool(customer.get("shareWithResearchAsOfDate"))


def _keep_raw_files(lake: Path) -> None:
    for folder in (path for source in lake.iterdir() for path in source.iterdir() if source.is_dir()):
        if folder.name != "landing":
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    for path in lake.iterdir():
        if path.name not in {"customer", "accelerometer", "step_trainer"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
