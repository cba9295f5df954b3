"""Repair: what a damaged table says, and what `stedi repair` makes of it."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from stedi_assets.cli.main import main
from stedi_assets.contracts import TABLES
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.suppression import Erased, change_suppressed
from stedi_assets.storage.errors import LakeError, NotWhole
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current, current_dataset, read_current, read_pointer
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    check,
    failed_checks,
    local_lake,
    materialise,
    root_of,
    write_ada_and_ben,
)

PHONES = TABLES["accelerometer_trusted"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Path:
    """The root of a lake that was built twice, so that each table has a snapshot to go back to."""
    lake = local_lake(tmp_path_factory.mktemp("built") / "lake")
    write_ada_and_ben(lake)
    for _ in range(2):
        assert materialise(lake, spark_resource).success
    return root_of(lake)


@pytest.fixture
def folder(built: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a table in the test's own copy of that lake."""
    shutil.copytree(built, root_of(lake))
    monkeypatch.chdir(root_of(lake))  # where there is no .env
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    return root_of(lake) / PHONES.path


def snapshots(folder: Path) -> list[Path]:
    """Return the folders of a table's snapshots, the oldest first."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def cut_the_pointer(folder: Path) -> None:
    pointer = folder / "_current.json"
    pointer.write_text(pointer.read_text()[:50])


def lose_the_pointer(folder: Path) -> None:
    (folder / "_current.json").unlink()


def lose_the_snapshot(folder: Path) -> None:
    shutil.rmtree(snapshots(folder)[-1])


def lose_a_file(folder: Path) -> None:
    next(snapshots(folder)[-1].glob("*.parquet")).unlink()


def cut_a_file(folder: Path) -> None:
    file = next(snapshots(folder)[-1].glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])


def lose_what_is_beside(folder: Path) -> None:
    (snapshots(folder)[-1] / "_snapshot.json").unlink()


DAMAGES = [cut_the_pointer, lose_the_snapshot, lose_a_file, cut_a_file, lose_what_is_beside]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_says_which_it_is_where_and_what_repairs_it(
    damage: Callable[[Path], None], folder: Path, lake: Lake, spark: SparkSession
) -> None:
    damage(folder)
    with pytest.raises(NotWhole, match=f"accelerometer_trusted.*{folder}|{folder}.*accelerometer_trusted") as told:
        read_current(spark, lake, PHONES)
    assert "Run `stedi repair`" in str(told.value)


@pytest.mark.parametrize("damage", [*DAMAGES, lose_the_pointer])
def test_a_damaged_table_is_repaired_from_its_newest_whole_snapshot(
    damage: Callable[[Path], None], folder: Path, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = (path.name for path in snapshots(folder))
    whole = newer if damage in (cut_the_pointer, lose_the_pointer) else older
    damage(folder)
    assert main(["repair"]) == 0
    assert f"repaired: accelerometer_trusted is {whole} again, 4 rows\n1 damaged tables" in capsys.readouterr().out
    assert current(lake, PHONES).snapshot == whole
    assert current_dataset(lake, PHONES.name).count_rows() == 4
    assert main(["repair"]) == 0
    assert capsys.readouterr().out == f"0 damaged tables in {lake.location}\n"


def test_the_checks_pass_after_a_repair_and_so_does_the_next_run(
    folder: Path, lake: Lake, spark_resource: SparkResource
) -> None:
    cut_the_pointer(folder)
    assert main(["repair"]) == 0
    checked = check(lake, spark_resource)
    assert checked.success
    assert failed_checks(checked) == set()
    assert materialise(lake, spark_resource).success
    assert len(snapshots(folder)) == 2


def test_whole_tables_are_left_as_they_are(folder: Path, lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    before = {table.name: current(lake, table) for table in TABLES.values()}
    assert main(["repair"]) == 0
    assert {table.name: current(lake, table) for table in TABLES.values()} == before


def test_without_a_whole_snapshot_the_table_is_to_be_materialised(
    folder: Path, lake: Lake, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    for snapshot in snapshots(folder):
        next(snapshot.glob("*.parquet")).unlink()
    assert main(["repair"]) == 1
    assert "no whole snapshot of accelerometer_trusted may stand again: materialise it" in capsys.readouterr().out
    assert read_pointer(lake, PHONES) is None
    assert materialise(lake, spark_resource).success
    assert current(lake, PHONES).rows == 4


def test_a_landing_table_and_its_quarantine_are_repaired_together(
    folder: Path, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    for table in ("landing_table", "quarantine"):
        cut_the_pointer(folder.parent / table)
    assert main(["repair"]) == 0
    assert "2 damaged tables" in capsys.readouterr().out


def test_nobody_who_has_left_comes_back_by_a_repair(folder: Path, lake: Lake, spark_resource: SparkResource) -> None:
    """A snapshot with ada is whole and lies there, as if a purge had been cut off; it breaks a rule now."""
    with_ada = snapshots(folder)[-1]
    kept = folder.with_name("kept")
    shutil.copytree(with_ada, kept)
    landing = folder.parents[1] / "customer" / "landing"
    (landing / "later.json").write_text(
        json.dumps({"email": "ada@example.com", "serialNumber": "device-of-ada", "lastUpdateDate": CONSENTED + 9})
    )
    assert materialise(lake, spark_resource).success
    assert not with_ada.exists()
    for snapshot in snapshots(folder):
        next(snapshot.glob("*.parquet")).unlink()
    kept.rename(with_ada)
    assert main(["repair"]) == 1
    with pytest.raises(LakeError, match="has not been published"):
        current(lake, PHONES)


def test_no_snapshot_from_before_an_erasure_comes_back(
    folder: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of landing tables, no rule would tell."""
    key = b"a suppression key for tests, 32 bytes and more"
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", key.decode())
    now = int(time.time() * 1000)
    change_suppressed(lake, lambda: key, lambda found: replace(found, people={"0" * 64: Erased(now)}))
    cut_the_pointer(folder.parent / "landing_table")
    assert main(["repair"]) == 1
    assert "no whole snapshot of accelerometer_landing may stand again" in capsys.readouterr().out
