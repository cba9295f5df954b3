"""What an update costs, against a rebuild of the same lake: more readings, people who leave and return, nothing.

All are cold, whole processes, in turns: a rebuild, then each kind of update, and so on. The lake's first rebuild is
outside the medians; with `--updates-only`, for a long history, it is the only one.

    python -m stedi_assets_tests.benchmarks.updates LAKE [--days 20] [--runs 3] [--updates-only] [--kinds KIND …]

LAKE holds landing files of a short time; its readings are shifted over `--days` days, in a temporary lake. Ten people
have readings on the first three days only. Prints medians of wall clock, CPU seconds and peak memory (all processes of
a run), and each as a share of the rebuild.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stedi_assets_tests.benchmarks.whole_job import Cost, make_home, run

_DAGSTER = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "stedi_assets.definitions", "-j"]
_DAY = 86_400_000
_INSTANT = re.compile(rb'("(?:timestamp|sensorReadingTime)"\s*:\s*)(\d{13})', re.IGNORECASE)
_WITHDRAWN_AT = 1_700_000_000_000
_FEW, _DAYS_OF_FEW = 10, 3
_MANY = 10_000
_READINGS = ("accelerometer", "step_trainer")


class ShiftedLake:
    """A lake whose readings are those of another, once for each day."""

    def __init__(self, sample: Path, lake: Path) -> None:
        self._sample, self._lake, self.days, self._records = sample, lake, 0, 0
        self._many = 0
        shutil.copytree(sample / "customer" / "landing", lake / "customer" / "landing")
        records = map(json.loads, min((sample / "customer" / "landing").iterdir()).read_bytes().splitlines())
        consenting = [record for record in records if record.get("shareWithResearchAsOfDate")]
        self._on_all_days, self._on_three_days = iter(consenting[:-_FEW]), iter(consenting[-_FEW:])
        self._of_three_days = [record["email"].encode() for record in consenting[-_FEW:]]
        self._left: list[dict[str, object]] = []

    def add_day(self) -> None:
        """Deliver the readings of one more day."""
        for source in _READINGS:
            landing = self._lake / source / "landing"
            landing.mkdir(parents=True, exist_ok=True)
            for file in sorted((self._sample / source / "landing").iterdir()):
                (landing / f"{self.days:04}-{file.name}").write_bytes(self._on_this_day(file.read_bytes()))
        self.days += 1

    def add_file(self) -> None:
        """Deliver some hundredth of a day's phone readings, late: a tenth of one of its nine files."""
        file = min((self._sample / "accelerometer" / "landing").iterdir())
        lines = _INSTANT.sub(self._shifted, file.read_bytes()).splitlines(keepends=True)
        name = f"late-{len(list((self._lake / 'accelerometer' / 'landing').iterdir()))}.json"
        (self._lake / "accelerometer" / "landing" / name).write_bytes(b"".join(lines[::10]))

    def add_many_files(self) -> None:
        """Deliver ten thousand phone readings of a day, late, each in a file of its own."""
        landing = self._lake / "accelerometer" / "landing"
        self._many += 1
        lines = b"".join(path.read_bytes() for path in sorted((self._sample / "accelerometer" / "landing").iterdir()))
        for number, line in enumerate(_INSTANT.sub(self._shifted, lines).splitlines(keepends=True)[:_MANY]):
            (landing / f"single-{self._many}-{number:05}.json").write_bytes(line)

    def withdraw(self, *, on_three_days: bool) -> None:
        """Deliver a record by which one more person withdraws, who has readings on three days or on all."""
        record = next(self._on_three_days if on_three_days else self._on_all_days)
        self._left.append(record)
        self._deliver({name: value for name, value in record.items() if not name.startswith("share")})

    def return_one(self) -> None:
        """Deliver a record by which the person consents again who has withdrawn."""
        self._deliver(self._left.pop())

    def _deliver(self, record: dict[str, object]) -> None:
        self._records += 1
        text = json.dumps({**record, "lastUpdateDate": _WITHDRAWN_AT + self._records})
        (self._lake / "customer" / "landing" / f"later-{self._records}.json").write_text(text + "\n")

    def _on_this_day(self, content: bytes) -> bytes:
        if self.days >= _DAYS_OF_FEW:
            lines = content.splitlines(keepends=True)
            content = b"".join(line for line in lines if not any(person in line for person in self._of_three_days))
        return _INSTANT.sub(self._shifted, content)

    def _shifted(self, found: re.Match[bytes]) -> bytes:
        return found[1] + str(int(found[2]) + self.days * _DAY).encode()


def main() -> None:
    """Run all in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--updates-only", action="store_true")
    parser.add_argument("--kinds", nargs="+", help="of updates; all if left out")
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch) / "lake", Path(scratch) / "home"
        make_home(home)
        lake = ShiftedLake(chosen.lake, folder)
        for _ in range(chosen.days):
            lake.add_day()
        environment = {**os.environ, "STEDI_LAKE": str(folder), "DAGSTER_HOME": str(home)}
        updates: dict[str, Callable[[], None]] = {
            "one more day": lake.add_day,
            "one small file": lake.add_file,
            "10,000 files": lake.add_many_files,
            "3 days withdrawn": partial(lake.withdraw, on_three_days=True),
            "3 days regained": lake.return_one,
            "all days withdrawn": partial(lake.withdraw, on_three_days=False),
            "all days regained": lake.return_one,
            "nothing new": lambda: None,
        }
        costs: dict[str, list[Cost]] = {kind: [] for kind in ("rebuild", *updates)}
        first = run([*_DAGSTER, "rebuild_lakehouse"], environment)
        if chosen.updates_only:
            costs["rebuild"].append(first)
        for _ in range(chosen.runs):
            if not chosen.updates_only:
                costs["rebuild"].append(run([*_DAGSTER, "rebuild_lakehouse"], environment))
            for kind in chosen.kinds or updates:
                updates[kind]()
                costs[kind].append(run([*_DAGSTER, "update_lakehouse"], environment))
        _print(costs, chosen.days, chosen.runs)


def _print(costs: dict[str, list[Cost]], days: int, runs: int) -> None:
    medians = {
        kind: Cost(*(statistics.median(getattr(cost, name) for cost in found) for name in ("wall", "cpu", "memory")))
        for kind, found in costs.items()
        if found
    }
    rebuild = medians["rebuild"]
    print(f"{days} days, medians of {runs} runs in turns, {os.cpu_count()} cores")
    print(f"{'':18} {'wall s':>8} {'of a rebuild':>13} {'CPU s':>8} {'MB':>7}")
    for kind, cost in medians.items():
        share = cost.wall / rebuild.wall
        print(f"{kind:18} {cost.wall:>8.1f} {share:>13.2f} {cost.cpu:>8.1f} {cost.memory:>7,.0f}")


if __name__ == "__main__":
    main()
