"""What many small updates cost a reader, before and after maintenance, against a table that was made from scratch.

    python -m stedi_assets_tests.benchmarks.maintenance LAKE [--updates 1000] [--runs 5]

LAKE holds landing files. Its phone readings are landed, then as many small files, one by one; a copy of the lake is
landed from scratch. Prints data files, and medians of full reads by PyArrow and by Spark, in turns.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from stedi_assets.contracts import SOURCES, Purpose
from stedi_assets.ingest.landing import land
from stedi_assets.privacy.deliveries import publish_landing
from stedi_assets.spark.session import spark_session
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.maintenance import maintain
from stedi_assets.tables.opening import read_rows
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import current, data_paths
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support.lakes import read_current

_SOURCE = SOURCES["accelerometer"]
_RUN = RunContext("benchmark", Purpose.PRODUCTION, as_of=1_800_000_000_000)
_LINES = 10


def main() -> None:
    """Update, read, maintain, read, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    spark = spark_session("local[*]", "off", {})
    with tempfile.TemporaryDirectory() as scratch:
        updated, fresh = Path(scratch) / "updated", Path(scratch) / "fresh"
        shutil.copytree(chosen.lake / _SOURCE.raw_path, updated / _SOURCE.raw_path)
        lake = Lake.at(str(updated))
        _land(spark, lake)
        first = min((updated / _SOURCE.raw_path).iterdir()).read_bytes().splitlines(keepends=True)
        for number in range(chosen.updates):
            lines = [first[(number * _LINES + line) % len(first)] for line in range(_LINES)]
            (updated / _SOURCE.raw_path / f"late-{number:06}.json").write_bytes(b"".join(lines))
            _land(spark, lake)
        shutil.copytree(updated / _SOURCE.raw_path, fresh / _SOURCE.raw_path)
        from_scratch = Lake.at(str(fresh))
        _land(spark, from_scratch)
        _compare(f"after {chosen.updates:,} updates", spark, lake, from_scratch, chosen.runs)
        began = time.perf_counter()
        maintain(lambda: spark, lake, _SOURCE.landing, _RUN, Retention())
        print(f"maintenance took {time.perf_counter() - began:.1f} s")
        _compare("after maintenance", spark, lake, from_scratch, chosen.runs)


def _land(spark: SparkSession, lake: Lake) -> None:
    landing = land(lambda: spark, lake, _SOURCE)
    try:
        publish_landing(lambda: spark, lake, _SOURCE, landing, _RUN, Retention())
    finally:
        landing.stage.discard()


def _compare(when: str, spark: SparkSession, lake: Lake, fresh: Lake, runs: int) -> None:
    def by_spark(lake: Lake) -> int:
        _, rows = read_current(spark, lake, _SOURCE.landing)
        return int(rows.selectExpr("count(x) + count(_person)").collect()[0][0])

    readers: dict[str, Callable[[Lake], int]] = {
        "PyArrow": lambda lake: read_rows(lake, _SOURCE.landing.name).num_rows,
        "Spark": by_spark,
    }
    files = [len(data_paths(each, _SOURCE.landing, current(each, _SOURCE.landing).id)) for each in (lake, fresh)]
    print(f"{when}: {files[0]:,} data files, from scratch {files[1]:,}")
    for name, read in readers.items():
        seconds: dict[str, list[float]] = {lake.location: [], fresh.location: []}
        for _ in range(runs + 1):
            for each in (lake, fresh):
                began = time.perf_counter()
                read(each)
                seconds[each.location].append(time.perf_counter() - began)
        # The first of each only warms up.
        ours, scratch = (statistics.median(found[1:]) for found in seconds.values())
        print(f"  full read by {name}: {ours:.2f} s, from scratch {scratch:.2f} s, ratio {ours / scratch:.2f}")


if __name__ == "__main__":
    main()
