"""The whole job, as the command of this project and as Dagster's, with checks and without, against a plain script.

All are cold, whole processes, in turns, each from raw files alone.

    python -m stedi_assets_tests.benchmarks.whole_job LAKE [--runs 5] [--copies 1]

LAKE holds landing files; it is copied, `--copies` times over (each copy with its own people and devices, so that
nothing multiplies), to a temporary folder. Prints medians of wall clock, CPU seconds and peak memory (all processes
of a run), and the ratios.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import stedi_assets

_BIN = Path(sys.executable).parent
COMMANDS = {
    "plain script": [sys.executable, str(Path(__file__).with_name("plain_script.py")), "{lake}", "{out}"],
    "stedi start": [str(_BIN / "stedi"), "start"],
    "dagster job": [
        *(str(_BIN / "dagster"), "job", "execute"),
        *("-m", "stedi_assets.definitions", "-j", "rebuild_lakehouse"),
    ],
    "without checks": [
        *(str(_BIN / "dagster"), "job", "execute"),
        *("-f", str(Path(__file__).with_name("without_checks.py")), "-j", "rebuild_without_checks"),
    ],
}


@dataclass(frozen=True)
class Cost:
    """What one run cost: seconds, CPU seconds, megabytes."""

    wall: float
    cpu: float
    memory: float


def main() -> None:
    """Run both in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--copies", type=int, default=1)
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        lake, home, out = (Path(scratch) / name for name in ("lake", "home", "out"))
        make_home(home)
        _copy(chosen.lake, lake, chosen.copies)
        environment = {**os.environ, "STEDI_LAKE": str(lake), "DAGSTER_HOME": str(home)}
        commands = {name: [part.format(lake=lake, out=out) for part in command] for name, command in COMMANDS.items()}
        # The first run of ours prepares Spark's classes; what is measured is every run after it.
        run(commands["stedi start"], environment)
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(chosen.runs):
            shutil.rmtree(out, ignore_errors=True)
            for name, command in commands.items():
                _leave_raw_files(lake)
                costs[name].append(run(command, environment))
    _print(costs)


def make_home(folder: Path) -> None:
    """Make a home for Dagster as `stedi start` does."""
    folder.mkdir()
    shutil.copy(Path(stedi_assets.__file__).with_name("dagster.yaml"), folder)


def _copy(lake: Path, to: Path, copies: int) -> None:
    for source, keys in (
        ("customer", ("email", "serialNumber")),
        ("accelerometer", ("user",)),
        ("step_trainer", ("serialNumber",)),
    ):
        folder = to / source / "landing"
        folder.mkdir(parents=True)
        for file in (lake / source / "landing").iterdir():
            text = file.read_text()
            for copy in range(copies):
                own = text
                for key in keys if copy else ():
                    for quoted in (f'"{key}":"', f'"{key}": "'):
                        own = own.replace(quoted, f"{quoted}copy{copy}.")
                (folder / f"{copy}-{file.name}").write_text(own)


def _leave_raw_files(lake: Path) -> None:
    """Take away all that a run has made: otherwise the next one would find that nothing is new."""
    for path in (path for folder in lake.iterdir() for path in (folder.iterdir() if folder.is_dir() else [folder])):
        if path.is_file():
            path.unlink()
        elif path.name != "landing":
            shutil.rmtree(path)


def run(command: list[str], environment: dict[str, str]) -> Cost:
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    # Java outlives the Python that it serves for a moment, and nobody waits for it: so what each process of the
    # session has used is looked up while it lives.
    cpu: dict[int, float] = {}
    memory = 0.0
    while process.poll() is None:
        used = dict(_processes(process.pid))
        cpu |= {pid: seconds for pid, (seconds, _) in used.items()}
        memory = max(memory, sum(megabytes for _, megabytes in used.values()))
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return Cost(time.monotonic() - began, sum(cpu.values()), memory)


def _processes(session: int) -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield the processes of a session: their id, CPU seconds, and resident megabytes."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == session:
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            yield int(folder.name), (seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6)


def _print(costs: dict[str, list[Cost]]) -> None:
    medians = {
        name: Cost(*(statistics.median(getattr(run, what) for run in runs) for what in ("wall", "cpu", "memory")))
        for name, runs in costs.items()
    }
    runs = {len(found) for found in costs.values()}
    print(f"{'':14}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'ratios to the plain script':>30}")
    plain = medians["plain script"]
    for name, cost in medians.items():
        ratios = f"{cost.wall / plain.wall:10.2f}{cost.cpu / plain.cpu:10.2f}{cost.memory / plain.memory:10.2f}"
        print(f"{name:14}{cost.wall:9.1f}{cost.cpu:9.1f}{cost.memory:9.0f}{ratios}")
    share = medians["dagster job"].wall / medians["without checks"].wall
    print(f"dagster job takes {share:.2f} of what it takes without checks")
    print(f"medians of {runs.pop()} alternating runs, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
