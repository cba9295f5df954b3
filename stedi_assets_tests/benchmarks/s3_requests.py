"""How many requests an update makes to S3, after a short and after a long history, and after many updates.

    python -m stedi_assets_tests.benchmarks.s3_requests [--days 5 50] [--updates 10]

A lake on moto's S3 for each number of days, with a few readings a day, made from scratch; then so many updates, each
with one more day. Prints the requests of the rebuild, and of the first and the last update, by operation.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from stedi_assets_tests.support.counting_proxy import Counting
from stedi_assets_tests.support.lakes import CONSENTED, customer, device_reading, lines, phone_reading
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket

_DAY = 86_400_000
_DAGSTER = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "stedi_assets.definitions", "-j"]


def main() -> None:
    """Run everything, and print a table for each number of days."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, nargs="+", default=[5, 50])
    parser.add_argument("--updates", type=int, default=10)
    chosen = parser.parse_args()
    for days in chosen.days:
        _print(days, _requests(days, chosen.updates))


def _requests(days: int, updates: int) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    with S3Server() as server, Counting(server.endpoint) as proxy, tempfile.TemporaryDirectory() as home:
        s3 = bucket(server, "lake")
        _put(s3, "customer", "people.json", lines(*(customer(name, CONSENTED, CONSENTED) for name in ("ada", "ben"))))
        for day in range(days):
            _add_day(s3, day)
        for number in range(updates + 1):
            proxy.requests.clear()
            _run("update_lakehouse" if number else "rebuild_lakehouse", proxy.endpoint, server.endpoint, home)
            counts: Counter[str] = Counter()
            for (operation, _), count in proxy.requests.items():
                counts[operation] += count
            found[f"update {number}" if number else "rebuild"] = counts
            _add_day(s3, days + number)
    return {name: found[name] for name in ("rebuild", "update 1", f"update {updates}")}


def _add_day(s3: Any, day: int) -> None:
    at = CONSENTED + (day + 1) * _DAY
    phones, devices = phone_reading("ada", at), device_reading("device-of-ada", at)
    _put(s3, "accelerometer", f"{day:04}.json", lines(phones))
    _put(s3, "step_trainer", f"{day:04}.json", lines(devices))


def _put(s3: Any, source: str, name: str, content: bytes) -> None:
    s3.put_object(Bucket="lake", Key=f"{source}/landing/{name}", Body=content)


def _run(job: str, endpoint: str, glue: str, home: str) -> None:
    environment = {
        **os.environ,
        "DAGSTER_HOME": home,
        "STEDI_LAKE": "s3://lake",
        "STEDI_PSEUDONYM_KEY": "a pseudonym key for a benchmark alone",
        "STEDI_SUPPRESSION_KEY": "a suppression key for a benchmark alone",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_GLUE": glue,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
    }
    done = subprocess.run([*_DAGSTER, job], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])


def _print(days: int, found: dict[str, Counter[str]]) -> None:
    print(f"\n| {days} days | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    for operation in sorted(set[str]().union(*found.values())):
        print(f"| {operation} | {' | '.join(f'{counts[operation]:,}' for counts in found.values())} |")
    print(f"| all | {' | '.join(f'{counts.total():,}' for counts in found.values())} |", flush=True)


if __name__ == "__main__":
    main()
