"""docs/reading.md, as whoever reads a table follows it: each block is run, and gives the table."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import stedi_assets
from stedi_assets.cli.main import main
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets_tests.support.lakes import local_lake, materialise, root_of, write_ada_and_ben
from stedi_assets_tests.support.pages import blocks, page

READING = page("docs/reading.md")
OURS, OPENING, *LIBRARIES = blocks(READING, "python")
ML = "machine_learning_curated"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Lake:
    """The tables of two people, with two rows each in the ML table."""
    lake = local_lake(tmp_path_factory.mktemp("reading") / "lake")
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource).success
    return lake


@pytest.mark.parametrize("block", [OURS, *(OPENING + library for library in LIBRARIES)])
def test_the_lines_of_the_page_give_the_table(block: str, lake: Lake) -> None:
    environment = {**os.environ, "STEDI_LAKE": "lake", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", f"{block}\nprint('rows:', len(rows))"],
        cwd=root_of(lake).parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "rows: 4", done.stderr


def test_the_lake_is_the_one_that_the_env_file_names(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the commands do: otherwise they and these lines would read two lakes.
    monkeypatch.setenv("STEDI_LAKE", str(tmp_path / "another"))
    (tmp_path / ".env").write_text(f"STEDI_LAKE={root_of(lake)}\n")
    monkeypatch.chdir(tmp_path)
    assert stedi_assets.read(ML).num_rows == 4


def test_spark_reads_the_table_with_the_settings_of_the_page(lake: Lake, spark: SparkSession) -> None:
    (settings,), (query,) = blocks(READING, "properties"), blocks(READING, "sql")
    own = spark.newSession()
    for line in settings.replace("/path/of/lake", lake.location).splitlines():
        name, value = line.split()
        own.conf.set(name, value)
    assert [row["pairs"] for row in own.sql(query).collect()] == [2, 2]


def test_the_path_is_that_of_the_metadata(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    assert main(["path", ML]) == 0
    path = capsys.readouterr().out.strip()
    assert re.fullmatch(rf"{re.escape(lake.location)}/step_trainer/curated/metadata/\d+-[^/]*\.metadata\.json", path)
    assert Path(path).is_file()
    assert main(["path", "no_such_table"]) == 1
    assert "There is no table no_such_table" in capsys.readouterr().err


def test_the_files_of_a_folder_are_not_the_table(lake: Lake, spark_resource: SparkResource) -> None:
    """Why the page warns: after two more rebuilds a folder holds files of more than one snapshot."""
    for _ in range(2):
        assert materialise(lake, spark_resource, full=True).success
    files = list((root_of(lake) / "step_trainer" / "curated" / "data").rglob("*.parquet"))
    rows = stedi_assets.read(ML, lake=lake.location)
    assert rows.num_rows == 4
    assert len(files) > 1
    assert Counter(rows["subject_id"].to_pylist()).most_common()[0][1] == 2
