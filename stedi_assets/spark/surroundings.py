"""Shields a Java that we start from what surrounds it on the user's machine.

This is only for a Java that this process starts for a local master. An existing session, a Java that spark-submit has
started, and a cluster's machines stay as their operator has set them. JAVA_TOOL_OPTIONS and the like are the operator's
too: proxies, certificates and agents come that way.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyspark
from py4j.java_gateway import JavaGateway
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway

from stedi_assets.spark.java import NO_SETTINGS, Java, NoJavaError, in_short

# Variables about another Spark. PySpark reads them as long as the process lives: SPARK_REMOTE above all.
_ANOTHER_SPARKS = ("SPARK_", "PYSPARK_", "MASTER")
# Variables that Spark's start also reads: another cluster's settings, and where classes and modules are found.
_READ_AT_THE_START = ("HADOOP_", "YARN_", "CLASSPATH", "PYTHONPATH")
_TOLD_TO_JAVA = ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")
_MOST_READ = 10_000


def own_installation(java: Java, jars: str) -> dict[str, str]:
    """Return the variables that lead Spark's start to its own installation; `jars` go at the end of the class path."""
    return {
        "JAVA_HOME": str(java.home),
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        # It is on the class path, which must be the same each time for the class archive.
        "SPARK_CONF_DIR": str(java.home / NO_SETTINGS),
        # The machine's name may not resolve.
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "SPARK_DIST_CLASSPATH": jars,
        "PYSPARK_SUBMIT_ARGS": "pyspark-shell",
        "PYSPARK_PYTHON": sys.executable,
        # File names are UTF-8, and the system's messages are in English.
        "LC_ALL": "C.UTF-8",
    }


@contextmanager
def shielded(ours: Mapping[str, str]) -> Iterator[None]:
    """Set these variables, and remove those of another Spark.

    Afterwards the environment is as before, except that variables about another Spark are gone for good.
    """
    found = os.environ.items()
    others = {n: v for n, v in found if n in ours or n.startswith((*_ANOTHER_SPARKS, *_READ_AT_THE_START))}
    for name in others:
        del os.environ[name]
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update({n: v for n, v in others.items() if not n.startswith(_ANOTHER_SPARKS)})


def workers_environment() -> dict[str, str]:
    """Return settings that have Python workers import what this process does, from the same places."""
    return {
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        # Import nothing from the folder they happen to start in.
        "spark.executorEnv.PYTHONSAFEPATH": "1",
    }


def operator_tunes_java() -> bool:
    """Whether Java's memory or collector is set from outside. Our options could contradict that and end Java."""
    return any("-X" in os.environ.get(name, "") for name in _TOLD_TO_JAVA)


def start_context(settings: Mapping[str, str], secret: Mapping[str, str]) -> None:
    """Start Java, if this process has none, and a Spark context in it. The settings `secret` are on no command line.

    Raises `NoJavaError`, with Java's output, if it ends before Spark has begun.
    """
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    gateway = SparkContext._gateway  # noqa: SLF001  (pyspark has no public way to its Java)
    if gateway is None:
        try:
            gateway = _launched(conf)
        except PySparkRuntimeError:
            raise NoJavaError(why_java_ended(settings)) from None
        # Hadoop asks the system for the user's name, and fails if there is none. Nothing here uses it.
        hadoop = gateway.jvm.org.apache.hadoop.security.UserGroupInformation
        hadoop.setLoginUser(hadoop.createRemoteUser("stedi"))
    SparkContext(conf=conf.setAll(list(secret.items())), gateway=gateway)


def java_runs() -> bool:
    """Whether the Java that this process has started is alive."""
    process = getattr(SparkContext._gateway, "proc", None)  # noqa: SLF001  (pyspark has no public way to its Java)
    return process is not None and process.poll() is None


def _launched(conf: SparkConf, **how: BinaryIO) -> JavaGateway:
    return launch_gateway(conf, how)  # type: ignore[no-untyped-call]


def why_java_ended(settings: Mapping[str, str]) -> str:
    """Start Java once more, in the same way, and return its output and what to do."""
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    with tempfile.TemporaryFile() as said:
        try:
            _launched(conf, stdout=said, stderr=said).shutdown()
        except PySparkRuntimeError:
            said.seek(0)
            text = said.read(_MOST_READ).decode(errors="replace")
            # The message of Spark's script does not help.
            words = in_short(re.sub(r".*/spark-class: line .*", "", text))
        else:
            words = "Nothing: started once more, it did not end. Run again."
    told = [name for name in _TOLD_TO_JAVA if os.environ.get(name)]
    home = os.environ.get("JAVA_HOME")
    return (
        f"Java ended before Spark had begun. The Java is {f'{home}/bin/java' if home else 'that of the PATH'}"
        f"{', with the options of ' + ', '.join(told) if told else ''}. It said:\n{words}\n"
        "Fix that, or set JAVA_HOME to another Java 17 or 21, and run again."
    )
