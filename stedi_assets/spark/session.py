"""The Spark session: this project's settings, and the Java it runs on.

It does not use Dagster, so that Spark can start while Dagster is loaded.
"""

import atexit
import os
import re
import shlex
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pyspark.accumulators import AccumulatorTCPServer
from pyspark.errors import PySparkRuntimeError
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from stedi_assets.spark.class_archive import class_archive_options
from stedi_assets.spark.jars import class_path, cluster_settings
from stedi_assets.spark.java import Java, NoJavaError, find_java
from stedi_assets.spark.maven import MAVEN_CENTRAL
from stedi_assets.spark.remote import ICEBERG, remote_session
from stedi_assets.spark.s3a import s3a_settings
from stedi_assets.spark.scratch import begin_scratch, sweep_all
from stedi_assets.spark.surroundings import (
    operator_tunes_java,
    own_installation,
    shielded,
    start_context,
    why_java_ended,
    workers_environment,
)
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import is_on_s3

_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")

# What a session decides, wherever it is.
SETTINGS = {
    # Results must not depend on the machine: these settings decide what a query means.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    # A key that the contract does not know may hold anything.
    "spark.sql.variant.allowDuplicateKeys": "true",
    # Java's case rules, not ICU's: ICU would need over a second for the first `lower` of a process.
    "spark.sql.icu.caseMappings.enabled": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Iceberg's branches, and its maintenance procedures.
    "spark.sql.extensions": ICEBERG,
    # Iceberg's commits make publishing safe, so the committer of other files need not be.
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.hadoop.fs.permissions.umask-mode": "077",
}
_LAPTOP = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # How many finished jobs Spark keeps for the UI. A process that runs many would fill its memory with their plans.
    "spark.ui.retainedJobs": "20",
    "spark.ui.retainedStages": "20",
    "spark.sql.ui.retainedExecutions": "20",
    # Spark keeps the compiled code of 100 plans by default. A run has more, which the next run would compile again.
    "spark.sql.codegen.cache.maxEntries": "1000",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # Spark's default, 200, is for clusters: each map task would open 200 files for a few rows each.
    "spark.sql.shuffle.partitions": str(max(8, 2 * (os.cpu_count() or 1))),
    # The driver lists files: a Spark job for it costs more than a local listing.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
}
# PySpark's own loggers, beside Spark's log: on an error in a query they print its message, which can quote a record.
_QUOTING_LOGGERS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger", "pyspark.sql.connect.logging")
# Spark's default on a cluster.
_ATTEMPTS = 4
# From so many bytes of raw files on, a run that reads all of them has much to do (docs/measurements.md).
MUCH = 200_000_000
_STARTING = threading.Lock()


def spark_session(
    master: str,
    log_level: str,
    further: Mapping[str, str],
    *,
    lake: str = "",
    kms_key: str | None = None,
    catalog: CatalogKind = CatalogKind.SQLITE,
    maven: str = MAVEN_CENTRAL,
    remote: str | None = None,
    has_much_to_do: bool = False,
) -> SparkSession:
    """Return the process's Spark session; start it, and a Java for it, if there is none.

    An existing session, as on a cluster's driver, gets this project's SQL settings and is used. A Java that we start,
    for a local master, is shielded from its surroundings.

    `further` are Spark settings by name, which override ours. `lake` is the lake's location: for one on S3, Spark gets
    the settings of S3A, and `kms_key`. `catalog` is the lake's kind of catalog. `maven` is the repository from which
    missing jars are fetched; a cluster fetches them as its operator has set it. `remote` is the address of a Spark
    Connect server, which is used in the place of all that, and needs no Java here. `has_much_to_do`: a Java that we
    start compiles its code well, which takes some seconds more.

    Raises `NoJavaError` if there is no Java that Spark runs on, and `LakeError` if jars cannot be fetched or the server
    cannot be used.
    """
    with _STARTING:
        hide_quotes(log_level)
        settings = SETTINGS | (s3a_settings(lake, kms_key) if is_on_s3(lake) else {})
        if remote:
            return remote_session(remote, settings)
        needs = {"on_s3": is_on_s3(lake), "on_postgresql": catalog is CatalogKind.POSTGRESQL}
        if _is_running():
            # A running session takes Hadoop's settings by their own names.
            settings = {name.removeprefix("spark.hadoop."): value for name, value in settings.items()}
            return _session({**settings, **further})
        if "PYSPARK_GATEWAY_PORT" in os.environ:
            # spark-submit, as AWS Glue uses it, has chosen the master and the jars. Its own log can quote a record.
            return _session({**settings, "spark.log.level": log_level.upper(), **further})
        settings |= {"spark.app.name": "stedi", "spark.master": _with_attempts(master) if is_on_s3(lake) else master}
        if master.startswith("local"):
            jars = class_path(maven, **needs)
            return _private_session(_LAPTOP | settings, further, log_level, jars, has_much_to_do=has_much_to_do)
        return _drivers_session({**settings, **cluster_settings(**needs), **further})


def serve(
    master: str, further: Mapping[str, str], jars: str, secret: Mapping[str, str], *, has_much_to_do: bool
) -> None:
    """Start a Spark for a local master that other processes are to use, with `jars` at the end of its class path.

    The settings `secret` reach Java by no command line. `has_much_to_do` is as for `spark_session`.

    Raises `NoJavaError` if there is no Java that Spark runs on.
    """
    settings = _LAPTOP | SETTINGS | {"spark.app.name": "stedi", "spark.master": master}
    _private_session(settings, further, "off", jars, secret, has_much_to_do=has_much_to_do)


def hide_quotes(log_level: str) -> None:
    """Turn PySpark's loggers that quote records off, unless Spark's own log is wanted."""
    for name in _QUOTING_LOGGERS:
        PySparkLogger.getLogger(name).disabled = log_level == "off"


def _with_attempts(master: str) -> str:
    """Have a local master retry a task, as a cluster does: a read from S3 can break off."""
    return re.sub(r"^local\[([^,]+)\]$", rf"local[\1,{_ATTEMPTS}]", master)


def _session(settings: Mapping[str, str]) -> SparkSession:
    return SparkSession.builder.config(map=dict(settings)).getOrCreate()


def _drivers_session(settings: Mapping[str, str]) -> SparkSession:
    """Start a cluster's driver with the Java that is there, as its operator has set it."""
    try:
        return _session(settings)
    except PySparkRuntimeError as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise NoJavaError(why_java_ended(settings)) from None


def _is_running() -> bool:
    try:
        SparkSession.active()
    except PySparkRuntimeError:
        return False
    return True


def _private_session(
    settings: Mapping[str, str],
    further: Mapping[str, str],
    log_level: str,
    jars: str,
    secret: Mapping[str, str] = MappingProxyType({}),
    *,
    has_much_to_do: bool,
) -> SparkSession:
    """Find a Java, and start a session in a process of this run's own.

    `jars` go at the end of the class path: `spark.jars` would copy them for each run.
    """
    java = find_java()
    scratch = _scratch_folder()
    private = {
        "spark.local.dir": scratch,
        "spark.hadoop.hadoop.tmp.dir": f"{scratch}/hadoop",
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
        # Spark looks for it at each start, by default in the user's home, which may not exist.
        "spark.jars.ivy": f"{scratch}/ivy",
        "spark.driver.extraJavaOptions": shlex.join(
            _java_options(java, scratch, log_level, jars, has_much_to_do=has_much_to_do)
        ),
        **workers_environment(),
    }
    started = {**settings, **private, **further}
    # When Java ends first, PySpark's server for accumulators, which nothing here uses, would print a stack at the end.
    AccumulatorTCPServer.handle_error = lambda *_: None  # type: ignore[method-assign]
    with shielded(own_installation(java, jars)):
        start_context(started, secret)
        return _session(started)


def _scratch_folder() -> str:
    """Create a private working folder for Spark, and remove those of dead processes."""
    temporary = Path(tempfile.gettempdir())
    if "," in str(temporary):
        msg = (
            f"Spark would take TMPDIR={temporary} for several folders, as it has a comma. Set TMPDIR to another folder."
        )
        raise LakeError(msg)
    sweep_all()
    scratch = begin_scratch("spark")
    atexit.register(scratch.discard)
    return str(scratch.folder)


def _java_options(java: Java, scratch: str, log_level: str, jars: str, *, has_much_to_do: bool) -> list[str]:
    needed = [
        f"-Dlog4j2.configurationFile={_LOG_SETTINGS.as_uri()}",
        f"-Dstedi.log.level={log_level}",
        f"-Djava.io.tmpdir={scratch}",
        f"-Dderby.system.home={scratch}",
    ]
    faster = [
        "-XX:+UseSerialGC",
        # The first compiler, C1, alone: the second one costs a small job seconds, and spares a large one a third.
        *([] if has_much_to_do else ["-XX:TieredStopAtLevel=1"]),
        # C1 alone reserves 48 MB: after some hundred queries in one process, nothing more would be compiled.
        "-XX:ReservedCodeCacheSize=240m",
        # Spark loads some 25,000 classes: without this, each growth triggers a collection of everything.
        "-XX:MetaspaceSize=256m",
        "-Xms768m",
        "-Xmn384m",
        *class_archive_options(java, jars),
    ]
    return needed if operator_tunes_java() else needed + faster
