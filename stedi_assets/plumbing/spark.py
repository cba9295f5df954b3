"""The Spark resource: dagster-pyspark's, with the Java search and this project's session settings."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from dagster_pyspark import LazyPySparkResource
from dagster_pyspark.resources import spark_session_from_config
from pydantic import Field
from pyspark.sql import SparkSession

from stedi_assets.plumbing.class_archive import class_archive_options
from stedi_assets.plumbing.java import Java, find_java

_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")

# Results must not depend on the machine: these decide what a query means.
_MEANING = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    # Below a key that the contract does not know, anything may stand.
    "spark.sql.variant.allowDuplicateKeys": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
# A fresh folder and a pointer make publishing safe, so that the committer need not be.
_WRITING = {
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.hadoop.fs.permissions.umask-mode": "077",
}
_LAPTOP = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # Spark's 200 are for clusters: each map task would open 200 files for a few rows each.
    "spark.sql.shuffle.partitions": str(max(8, 2 * (os.cpu_count() or 1))),
    # Files are listed by the driver: a job of its own costs more than a local listing.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
}


class SparkResource(LazyPySparkResource):
    """Gives the Spark session of a run, made when it is first asked for.

    A session that is there already, as on a cluster's driver, is given this project's SQL settings and used.
    """

    # Typed fields, because an EnvVar inside a dict would silently not be resolved.
    master: str = Field(default="local[*]", description="The Spark master.")
    log_level: str = Field(default="off", description="How much of Spark's own log reaches the terminal.")
    spark_config: dict[str, str] = Field(default_factory=dict, description="Further Spark settings, by name.")

    def _init_session(self) -> None:
        if self._spark_session is None:
            settings = {"spark.app.name": "stedi", "spark.master": self.master, **_MEANING, **_WRITING}
            if self.master.startswith("local") and SparkSession.getActiveSession() is None:
                settings |= _LAPTOP | self._private_process()
            self._spark_session = spark_session_from_config(settings | self.spark_config)  # type: ignore[no-untyped-call]

    def _private_process(self) -> dict[str, str]:
        """Find a Java, and return the settings of a process that is this run's own."""
        java = find_java()
        os.environ["JAVA_HOME"] = str(java.home)
        scratch = tempfile.mkdtemp(prefix="stedi-spark-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        return {
            "spark.local.dir": scratch,
            "spark.sql.warehouse.dir": f"{scratch}/warehouse",
            "spark.driver.extraJavaOptions": " ".join(_java_options(java, scratch, self.log_level)),
        }


def _java_options(java: Java, scratch: str, log_level: str) -> list[str]:
    return [
        f"-Dlog4j2.configurationFile={_LOG_SETTINGS.as_uri()}",
        f"-Dstedi.log.level={log_level}",
        f"-Djava.io.tmpdir={scratch}",
        f"-Dderby.system.home={scratch}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        # Spark loads some 25,000 classes: without this, each growth is a collection of everything.
        "-XX:MetaspaceSize=256m",
        "-Xms768m",
        "-Xmn384m",
        *class_archive_options(java),
    ]
