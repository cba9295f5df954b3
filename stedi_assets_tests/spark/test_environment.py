"""Whole runs in surroundings that Java, Spark or Hadoop do not bear by themselves.

Belongs here: real processes, each in an environment of its own. Most causes stand together in one process; each by
itself is behind the marker `matrix`.
"""

import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import TABLES, Purpose
from stedi_assets.spark.scratch import sweep_all
from stedi_assets.tables.catalog import session_of
from stedi_assets.tables.publishing import publish
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import data_files, dataset, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support.lakes import local_lake, read_current, write_ada_and_ben

# Each of these two people has two readings of the phone, and as many of the device at the same instants.
_ROWS = {
    "customer_landing": 2,
    "accelerometer_landing": 4,
    "step_trainer_landing": 4,
    "customer_trusted": 2,
    "accelerometer_trusted": 4,
    "customers_curated": 2,
    "step_trainer_trusted": 4,
    "machine_learning_curated": 4,
}
_LAKES = [
    "l[prod]",
    "{a,b}",
    "back\\slash",
    "a b",
    "a#b",
    "a%41b",
    "a:b",
    "a'b",
    "a\nb",
    "a*b?",
    "a,b",
    "\u00e9\U0001f600",
]
# Somebody without a name, on a machine whose name does not resolve.
_NOBODY = (
    "unshare --user --map-root-user --uts sh -c 'hostname nowhere.invalid; "
    'exec unshare --user --map-user=54321 --map-group=54321 "$@"\' sh'
)


@dataclass(frozen=True)
class Machine:
    """A folder that stands for somebody's machine, and what surrounds the processes there."""

    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """The environment that is no trouble."""
        kept = ("PATH", "LANG", "JAVA_HOME", "AWS_CA_BUNDLE", "HOME", "XDG_CACHE_HOME")
        return {n: os.environ[n] for n in kept if n in os.environ} | {"XDG_CONFIG_HOME": str(self.folder / "config")}

    def start(
        self, lake: str, surroundings: Mapping[str, str], *, without: Sequence[str] = (), by: str = "env"
    ) -> subprocess.CompletedProcess[str]:
        """Build the tables of a lake of two people, as a process of its own."""
        write_ada_and_ben(local_lake(self.folder / lake))
        found = {**self.settings, "STEDI_LAKE": str(self.folder / lake), **surroundings}
        return subprocess.run(
            ["sh", "-c", f'exec {by} "$@"', "sh", sys.executable, "-m", "stedi_assets", "start"],
            cwd=self.inside("where it is started"),
            env={name: value for name, value in found.items() if name not in without},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def run(self, code: str, surroundings: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        """Run Python, as a process of its own."""
        return subprocess.run(
            [sys.executable, *options, "-c", code],
            cwd=self.inside("where it is started"),
            env={**self.settings, **surroundings},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def rows(self, lake: str) -> dict[str, int]:
        """Return how many rows each published table has."""
        pointers = {name: read_snapshot_of(local_lake(self.folder / lake), table) for name, table in TABLES.items()}
        return {name: pointer.rows for name, pointer in pointers.items() if pointer}

    def inside(self, name: str) -> Path:
        """Return a folder of the machine."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def file(self, name: str, content: str, mode: int = 0o600) -> Path:
        """Write a file, and return its folder."""
        path = self.inside(str(Path(name).parent)) / Path(name).name
        path.write_text(content)
        path.chmod(mode)
        return path.parent

    def java(self, after_its_version: str) -> str:
        """Return a home of a Java that knows its version, and then does something else."""
        version = """[ "$1" = -version ] && { echo 'openjdk version "17.0.15"' >&2; exit 0; }"""
        return str(self.file("java/bin/java", f"#!/bin/sh\n{version}\n{after_its_version}\n", 0o700).parent)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with nothing on it."""
    return Machine(tmp_path)


def _of_another_hadoop(machine: Machine) -> dict[str, str]:
    name, value = "<name>fs.defaultFS</name>", "<value>hdfs://nowhere.invalid:8020</value>"
    xml = f"<configuration><property>{name}{value}</property></configuration>"
    folder = str(machine.file("hadoop/core-site.xml", xml))
    return {"HADOOP_CONF_DIR": folder, "SPARK_DIST_CLASSPATH": folder, "HADOOP_USER_NAME": "hdfs"}


def _of_another_spark(machine: Machine) -> dict[str, str]:
    submit = machine.file("spark/bin/spark-submit", "#!/bin/sh\necho another Spark >&2\nexit 1\n", 0o700)
    return {"SPARK_HOME": str(submit.parent), "SPARK_REMOTE": "sc://nowhere.invalid", "MASTER": "yarn"}


def _of_other_settings(machine: Machine) -> dict[str, str]:
    log = "spark.eventLog.enabled true\nspark.eventLog.dir /nowhere/at/all\n"
    return {"SPARK_CONF_DIR": str(machine.file("conf/spark-defaults.conf", log)), "SPARK_LOCAL_DIRS": "/nowhere"}


def _of_another_python(_: Machine) -> dict[str, str]:
    return {"PYSPARK_PYTHON": "/nowhere/python", "PYSPARK_DRIVER_PYTHON": "/nowhere/python"}


def _of_a_command_line(_: Machine) -> dict[str, str]:
    return {"PYSPARK_SUBMIT_ARGS": "--master local[2]"}


def _of_a_home_with_blanks(machine: Machine) -> dict[str, str]:
    return {"HOME": str(machine.inside("a home")), "XDG_CACHE_HOME": ""}


def _of_scratch_with_blanks(machine: Machine) -> dict[str, str]:
    return {"TMPDIR": str(machine.inside("scra tch 'n \"so'"))}


def _of_a_long_path(machine: Machine) -> dict[str, str]:
    return {"TMPDIR": str(machine.inside("/".join(["a" * 200] * 8)))}


def _of_a_missing_scratch_folder(_: Machine) -> dict[str, str]:
    return {"TMPDIR": "/nowhere/at/all"}


def _of_plain_ascii(_: Machine) -> dict[str, str]:
    return {"LC_ALL": "C"}


def _of_tuned_java(_: Machine) -> dict[str, str]:
    return {"JAVA_TOOL_OPTIONS": "-XX:+UseG1GC", "_JAVA_OPTIONS": "-Xmx512m"}


_CAUSES = [
    _of_another_hadoop,
    _of_another_spark,
    _of_other_settings,
    _of_another_python,
    _of_a_command_line,
    _of_a_home_with_blanks,
    _of_scratch_with_blanks,
    _of_plain_ascii,
]


@pytest.mark.matrix
def test_a_run_bears_all_that_may_surround_it_at_once(machine: Machine) -> None:
    surroundings: dict[str, str] = {}
    for cause in _CAUSES:
        surroundings |= cause(machine)
    done = machine.start("l[prod] {a,b}\\x \u00e9", surroundings)
    assert done.returncode == 0, done.stderr
    assert machine.rows("l[prod] {a,b}\\x \u00e9") == _ROWS


@pytest.mark.matrix
def test_a_run_needs_neither_a_name_for_its_user_nor_one_for_its_machine_nor_a_home(machine: Machine) -> None:
    if subprocess.run(["sh", "-c", f"{_NOBODY} true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody be somebody else (unshare)")
    done = machine.start("lake", {}, without=["HOME", "XDG_CACHE_HOME"], by=_NOBODY)
    assert done.returncode == 0, done.stderr
    assert machine.rows("lake") == _ROWS
    # To Java, somebody without a name has the home `?`.
    assert not list(machine.folder.rglob("[?]"))


@pytest.mark.matrix
@pytest.mark.parametrize("cause", [*_CAUSES, _of_a_long_path, _of_a_missing_scratch_folder, _of_tuned_java])
def test_a_run_bears_what_may_surround_it(machine: Machine, cause: object) -> None:
    assert callable(cause)
    done = machine.start("lake", cause(machine))
    assert done.returncode == 0, done.stderr
    assert machine.rows("lake") == _ROWS


@pytest.mark.matrix
@pytest.mark.parametrize("name", _LAKES)
def test_a_run_takes_the_name_of_its_lake_to_the_letter(machine: Machine, name: str) -> None:
    done = machine.start(name, {})
    assert done.returncode == 0, done.stderr
    assert machine.rows(name) == _ROWS


@pytest.mark.parametrize("name", _LAKES)
def test_every_engine_takes_the_name_of_a_lake_to_the_letter(spark: SparkSession, tmp_path: Path, name: str) -> None:
    table, lake = TABLES["customers_curated"], local_lake(tmp_path / name)
    # What a pattern would find beside it.
    for other in ("lp", "a", "b", "backslash", "ab"):
        (tmp_path / other / table.path).mkdir(parents=True, exist_ok=True)
    run, session = RunContext("a run", Purpose.PRODUCTION, as_of=1), session_of(spark, lake)
    rows = session.sql("SELECT 1 AS n").selectExpr(
        *(f"CAST(n AS {column.type.value}) AS `{column.name}`" for column in table.columns)
    )
    publish(lake, table, rows, run=run, before=None, inputs={}, audit=lambda _: {}, retention=Retention())
    snapshot, stored = read_current(spark, lake, table)
    assert stored.count() == 1
    assert sum(file.rows for file in data_files(lake, table, snapshot.id)) == 1
    assert dataset(lake, table, snapshot.id).count_rows() == 1


def test_scratch_folders_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not look into one cannot tell whether its process is alive."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("stedi-spark-of-another-user", "stedi-duckdb-of-a-dead-process", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_in_use").touch()

    def exists(path: Path) -> bool:
        if "another-user" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return os.path.exists(path)

    monkeypatch.setattr(Path, "exists", exists)
    sweep_all()
    assert {path.name for path in tmp_path.iterdir()} == {"stedi-spark-of-another-user", "another"}


_OWN_JAVA = """
import os, subprocess
children = subprocess.run(["pgrep", "-P", str(os.getpid()), "java"], capture_output=True, text=True).stdout.split()
"""
_COMPILERS = """
print("one compiler" if b"TieredStopAtLevel=1" in open(f"/proc/{children[0]}/cmdline", "rb").read() else "all")
"""


_WORKER = (
    """
import json, sys
from stedi_assets.spark.session import spark_session

def seen(batches):
    import json, pyarrow, stedi_assets.contracts
    for _ in batches:
        yield pyarrow.record_batch({"seen": [json.dumps([sys.executable, stedi_assets.__file__])]})

print(spark_session("local[1]", "off", {}).range(1).mapInArrow(seen, "seen string").collect()[0].seen)
"""
    + _OWN_JAVA
    + _COMPILERS
)


def test_python_workers_import_what_the_process_does_and_nothing_else(machine: Machine) -> None:
    for name in ("pyarrow", "stedi_assets", "json"):
        machine.file(f"another python/{name}.py", "raise SystemError('of another Python')")
    machine.file("where it is started/random.py", "raise SystemError('of the folder it is started in')")
    others = {"PYTHONPATH": str(machine.inside("another python")), **_of_another_python(machine)}
    done = machine.run(_WORKER, others, "-I")
    assert done.returncode == 0, done.stderr
    told, compilers = done.stdout.splitlines()
    assert compilers == "one compiler"
    executable, module = json.loads(told)
    assert executable == sys.executable
    assert Path(module).parent == Path(__file__).parents[2] / "stedi_assets"


def message_of(master: str) -> str:
    """Return a script that starts Spark and prints what people read if that fails."""
    return f"""
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.spark.session import spark_session
import dagster
try:
    with as_dagster_failures():
        spark_session("{master}", "off", {{}})
except dagster.Failure as failure:
    print(failure.description)
"""


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("echo 'Error: the licence of this Java has run out' >&2; exit 1", "the licence of this Java has run out"),
        ("seq 1 1000 >&2; exit 1", "  1\n  2\n"),
        ("kill -9 $$", "nothing, as when the system kills it"),
    ],
)
@pytest.mark.parametrize("master", ["local[1]", "spark://127.0.0.1:7077"])
def test_a_java_that_ends_before_spark_begins_is_quoted_in_one_screen(
    machine: Machine, ends: str, said: str, master: str
) -> None:
    done = machine.run(message_of(master), {"JAVA_HOME": machine.java(ends)})
    assert "Java ended before Spark had begun" in done.stdout
    assert said in done.stdout
    assert len(done.stdout.splitlines()) < 20
    assert "GATEWAY" not in done.stdout


@pytest.mark.parametrize("option", ["-XX:NoSuchOption", "-Xms500000g -Xmx500000g"])
def test_what_java_says_to_what_it_is_told_is_shown_but_for_what_it_is_told(machine: Machine, option: str) -> None:
    done = machine.run(message_of("local[1]"), {"JAVA_TOOL_OPTIONS": f"-Dpassword=hidden {option}"})
    assert "Picked up JAVA_TOOL_OPTIONS" in done.stdout
    assert re.search("NoSuchOption|heap|memory", done.stdout)
    assert "hidden" not in done.stdout
    assert len(done.stdout.splitlines()) < 20


_DEATH = (
    """
import signal, threading
import dagster
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.spark.session import spark_session

spark = spark_session("local[1]", "off", {}, has_much_to_do=True)
spark.range(1).count()
"""
    + _OWN_JAVA
    + _COMPILERS
    + """
threading.Timer(1, os.kill, [int(children[0]), signal.SIGKILL]).start()
for _ in range(2):
    try:
        with as_dagster_failures():
            spark.range(10**14).selectExpr("sum(id)").collect()
    except dagster.Failure as failure:
        print(failure.description)
"""
)


def test_a_java_that_dies_in_a_query_is_said_then_and_later(machine: Machine) -> None:
    done = machine.run(_DEATH, {})
    compilers, *told = done.stdout.splitlines()
    assert compilers == "all"
    assert told == 2 * [
        "Spark stopped: Java has ended, maybe out of memory: set STEDI_SPARK_MEMORY. The published tables stay as "
        "they were. Fix that and run again."
    ], done.stderr[-3000:]


def test_too_little_memory_for_spark_is_said(machine: Machine) -> None:
    done = machine.run(message_of("local[1]"), {"_JAVA_OPTIONS": "-Xmx100m"})
    assert "less memory than Spark needs to start" in done.stdout


def test_a_scratch_folder_that_spark_would_take_for_several_is_refused(machine: Machine) -> None:
    done = machine.run(message_of("local[1]"), {"TMPDIR": str(machine.inside("a,b"))})
    assert "Set TMPDIR to another" in done.stdout
