"""How long the landing of phone readings takes, beside Spark's own `from_json`, which trusts every record.

    python -m stedi_assets_tests.benchmarks.landing LAKE [--copies 20] [--broken 50] [--runs 3]

Copies the phone readings of a lake so often. With `--broken N` every Nth line is broken, in one of six ways in turn.
Both read the same files in turns, in one process, and write what they read to Parquet files. The first run of each is
cold: whichever is first also loads what both need, so `from_json` is. Java compiles as it does in a rebuild of so much.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES
from stedi_assets.contracts.sources import PHONE_READING
from stedi_assets.ingest.landing import land
from stedi_assets.spark.session import MUCH, spark_session
from stedi_assets.storage.lake import Lake

_SOURCE = SOURCES["accelerometer"]
_WAYS: Sequence[Callable[[bytes], bytes]] = (
    lambda line: line[:30],
    lambda line: line + line,
    lambda line: line.replace(b'"x":', b'"x":"}{","y2":'),
    lambda line: line.replace(b'"timestamp"', b'"timeStamp"'),
    lambda line: line.replace(b"}", b',"meta":{"a":[1,{"b":2}]}}'),
    lambda line: line.replace(b'"user"', b'"user":"x","user"'),
)


def main() -> None:
    """Print the seconds of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--broken", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = _copy(chosen.lake / _SOURCE.raw_path, Path(folder) / _SOURCE.raw_path, chosen.copies, chosen.broken)
        spark, lake = spark_session("local[*]", "off", {}, has_much_to_do=size >= MUCH), Lake.at(folder)
        for run in range(chosen.runs):
            began = time.perf_counter()
            _trust(spark, Path(folder), Path(folder) / f"trusted-{run}")
            trusting = time.perf_counter() - began
            began = time.perf_counter()
            landing = land(lambda: spark, lake, _SOURCE)
            seconds = time.perf_counter() - began
            records, accepted = (sum(getattr(file, n) for file in landing.files) for n in ("records", "accepted"))
            landing.stage.discard()
            print(
                f"{'warm' if run else 'cold'}: {seconds:.1f} s for {records:,} records, {accepted:,} accepted, "
                f"{size / 1e6:,.0f} MB; from_json {trusting:.1f} s; ratio {seconds / trusting:.2f}",
                flush=True,
            )


def _trust(spark: SparkSession, lake: Path, to: Path) -> None:
    """Read the records by Spark's `from_json` alone, and write them."""
    columns = ", ".join(f"`{column.name}` {column.type.value}" for column in PHONE_READING)
    lines = spark.read.text(str(lake / _SOURCE.raw_path))
    records = lines.select(F.from_json("value", columns).alias("record")).select("record.*")
    records.write.parquet(str(to))
    shutil.rmtree(to)


def _copy(originals: Path, folder: Path, copies: int, broken: int) -> int:
    folder.mkdir(parents=True)
    size = 0
    for original in sorted(path for path in originals.rglob("*") if path.is_file()):
        content = original.read_bytes()
        for copy in range(copies):
            lines = content.split(b"\n")
            for place in range(0, len(lines) - 1, broken) if broken else ():
                lines[place] = _WAYS[(place // broken + copy) % len(_WAYS)](lines[place])
            size += (folder / f"{copy}-{original.name}").write_bytes(b"\n".join(lines))
    return size


if __name__ == "__main__":
    main()
