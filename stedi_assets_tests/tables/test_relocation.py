"""A lake that was moved, copied or restored to another path: `stedi relocate` has its tables lie where they lie now."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stedi_assets.cli.main import main
from stedi_assets.contracts import ALL_TABLES, TABLES
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.catalog_address import CatalogAddress
from stedi_assets.storage.errors import CatalogError, CorruptTableError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables import relocation
from stedi_assets.tables.catalog import load
from stedi_assets.tables.opening import read_rows
from stedi_assets.tables.publishing import drop_old
from stedi_assets.tables.relocation import Relocated
from stedi_assets.tables.snapshots import current
from stedi_assets_tests.support.dying import Killed
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    check,
    failed_checks,
    local_lake,
    materialise,
    messages,
    read_current,
    root_of,
    write_ada_and_ben,
)

ML = TABLES["machine_learning_curated"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake that was built twice."""
    lake = local_lake(tmp_path_factory.mktemp("original") / "lake")
    write_ada_and_ben(lake)
    for _ in range(2):
        assert materialise(lake, spark_resource, checks=False).success
    return KeptLake.of(lake)


@pytest.fixture
def moved(original: KeptLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A copy of that lake elsewhere, whose own place is gone."""
    shutil.copytree(original.copy, tmp_path / "moved here")
    shutil.rmtree(root_of(original.lake), ignore_errors=True)
    monkeypatch.chdir(tmp_path)  # where there is no .env
    monkeypatch.setenv("STEDI_LAKE", str(tmp_path / "moved here"))
    return local_lake(tmp_path / "moved here")


def test_a_moved_lake_says_what_to_do(moved: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("repair", "purge"):
        assert main([command]) == 1
        assert "run `stedi relocate`" in capsys.readouterr().err


def test_a_moved_lake_is_the_same_and_goes_on(
    moved: Lake, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relocate"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{table.name} lies in {moved.storage.shown(table.path)}" for table in ALL_TABLES.values()]
    assert main(["relocate"]) == 0
    assert (
        capsys.readouterr().out
        == f"The tables of {moved.location} already name their files where they lie, or there are none.\n"
    )

    checked = check(moved, spark_resource)
    assert checked.success, messages(checked)
    assert failed_checks(checked) == set()
    assert read_rows(moved, ML.name).num_rows == 4
    assert read_current(spark_resource.spark_session, moved, ML)[1].count() == 4
    iceberg = load(moved, ML)
    assert iceberg
    older = [each.snapshot_id for each in iceberg.history()][-2]
    assert read_rows(moved, ML.name, older).num_rows == 4
    assert main(["repair"]) == 0

    result = materialise(moved, spark_resource)
    assert result.success, messages(result)
    for table in TABLES.values():
        drop_old(moved, table)
    assert read_rows(moved, ML.name).num_rows == 4
    # Whatever named the old place is gone with the snapshots of before.
    named = [path for path in root_of(moved).rglob("*.metadata.json") if "original" in path.read_text()]
    assert not named


@pytest.mark.parametrize("step", ["_output", "forget", "register"])
def test_a_relocation_that_died_is_finished_by_the_next(
    step: str, moved: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each of its calls of a step in turn."""
    original: Callable[..., Any] = getattr(relocation, step)
    deaths = 0
    while True:
        calls = itertools.count()

        def mortal(*arguments: Any, calls: Iterator[int] = calls, last: int = deaths) -> Any:
            if next(calls) == last:
                raise Killed
            return original(*arguments)

        monkeypatch.setattr(relocation, step, mortal)
        try:
            relocation.relocate(moved)
        except Killed:
            deaths += 1
        else:
            break
    assert deaths > 1
    monkeypatch.undo()
    monkeypatch.setenv("STEDI_LAKE", moved.location)
    assert relocation.relocate(moved) == []
    # What was forgotten and not registered yet is for a repair.
    assert main(["repair"]) == 0
    assert {table.name: read_rows(moved, table.name).num_rows for table in ALL_TABLES.values()} == {
        table.name: current(moved, table).rows for table in ALL_TABLES.values()
    }


def test_a_moved_lake_without_its_catalog_is_found_by_its_metadata(moved: Lake) -> None:
    for file in root_of(moved).glob("catalog.db*"):
        file.unlink()
    assert relocation.relocate(moved) == [Relocated(table, is_known=False) for table in ALL_TABLES.values()]
    assert load_fails(moved)
    assert main(["repair"]) == 0
    assert read_rows(moved, ML.name).num_rows == 4


def load_fails(lake: Lake) -> bool:
    """Whether nothing is published before somebody has looked into it."""
    with pytest.raises(CorruptTableError, match="the catalog does not know it"):
        load(lake, ML)
    return True


def test_metadata_of_a_commit_that_never_was_are_not_taken_for_the_tables(moved: Lake) -> None:
    """They have the highest number, of one who died before the catalog knew."""
    folder = root_of(moved) / ML.path / "metadata"
    newest = max(folder.glob("*.metadata.json"))
    version = int(newest.name[:5]) + 1
    never = json.loads(newest.read_text())
    never["properties"]["never"] = "committed"
    (folder / f"{version:05d}-of-the-dead.metadata.json").write_text(json.dumps(never))
    assert Relocated(ML, is_known=True) in relocation.relocate(moved)
    iceberg = load(moved, ML)
    assert iceberg
    assert "never" not in iceberg.properties


def test_metadata_that_are_lost_are_not_replaced_by_older_ones(moved: Lake) -> None:
    """Whoever has left since could come back."""
    max((root_of(moved) / ML.path / "metadata").glob("*.metadata.json")).unlink()
    with pytest.raises(CorruptTableError, match=r"The newest metadata of machine_learning_curated .* are damaged"):
        relocation.relocate(moved)


def test_a_catalog_that_cannot_be_used_is_not_taken_for_a_move(moved: Lake) -> None:
    nowhere = Lake.at(moved.location, catalog=CatalogAddress("http://127.0.0.1:1"))
    with pytest.raises(CatalogError, match=r"127\.0\.0\.1:1, cannot be used"):
        relocation.relocate(nowhere)


def test_metadata_that_cannot_be_read_are_named(moved: Lake) -> None:
    newest = max((root_of(moved) / ML.path / "metadata").glob("*.metadata.json"))
    newest.write_text("{")
    with pytest.raises(CorruptTableError, match=rf"{newest.name}, are damaged"):
        relocation.relocate(moved)
