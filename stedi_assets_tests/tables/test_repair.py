"""Repair: what a damaged table says, and what `stedi repair` makes of it."""

import json
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from stedi_assets.cli.main import main
from stedi_assets.contracts import ALL_TABLES, QUARANTINE_TABLES, TABLES, Table
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.suppression import Erased, change_suppressed
from stedi_assets.storage.errors import CatalogError, CorruptTableError, LakeError
from stedi_assets.storage.lake import DATABASE, Lake
from stedi_assets.tables.catalog import forget, load, session_of
from stedi_assets.tables.file_io import path_of
from stedi_assets.tables.publishing import drop_old
from stedi_assets.tables.snapshots import current, current_dataset, data_paths, read_snapshot_of
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    as_a_new_process,
    check,
    failed_checks,
    lines,
    local_lake,
    materialise,
    messages,
    read_current,
    root_of,
    stored_files,
    write_ada_and_ben,
)

PHONES = TABLES["accelerometer_trusted"]
LANDED = TABLES["accelerometer_landing"]
PHONES_ALONE = dg.AssetSelection.assets(PHONES.name)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake that was built twice, so that each table has a snapshot to go back to."""
    lake = local_lake(tmp_path_factory.mktemp("built") / "lake")
    write_ada_and_ben(lake)
    for _ in range(2):
        assert materialise(lake, spark_resource, full=True, checks=False).success
    return KeptLake.of(lake)


@pytest.fixture
def built(kept: KeptLake, tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """That lake, as it was built."""
    monkeypatch.chdir(tmp_path)  # where there is no .env
    monkeypatch.setenv("STEDI_LAKE", kept.lake.location)
    # A test may have left another catalog.
    for file in root_of(kept.lake).glob(f"{DATABASE}*"):
        file.unlink()
    open_anew(spark)
    return kept.restored()


def open_anew(spark: SparkSession) -> None:
    """Have Spark open a lake's catalog once more, as a new process would: it goes on with the file that it has open."""
    session_of.cache_clear()
    spark.conf.set("spark.sql.catalog.lake.lake", "another")


def snapshots(lake: Lake, table: Table = PHONES) -> list[int]:
    """Return the ids of a table's published snapshots, the oldest first."""
    iceberg = load(lake, table)
    assert iceberg
    return [entry.snapshot_id for entry in iceberg.history() if iceberg.snapshot_by_id(entry.snapshot_id)][-2:]


def metadata_of(lake: Lake, table: Table = PHONES) -> Path:
    """Return the metadata file that the catalog names."""
    iceberg = load(lake, table)
    assert iceberg
    return root_of(lake) / path_of(lake, iceberg.metadata_location)


def manifests_of(lake: Lake, table: Table = PHONES) -> list[Path]:
    """Return the manifest list of the current snapshot, and its manifests."""
    iceberg = load(lake, table)
    found = iceberg.current_snapshot() if iceberg else None
    assert iceberg
    assert found
    named = [found.manifest_list, *(manifest.manifest_path for manifest in found.manifests(iceberg.io))]
    return [root_of(lake) / path_of(lake, location) for location in named]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def cut_the_metadata(lake: Lake) -> None:
    file = metadata_of(lake)
    file.write_text(file.read_text()[:200])


def empty_the_metadata(lake: Lake) -> None:
    metadata_of(lake).write_bytes(b"")


def lose_the_metadata(lake: Lake) -> None:
    metadata_of(lake).unlink()


def lose_the_table(lake: Lake) -> None:
    """Lose it from the catalog alone."""
    forget(lake, PHONES)


def lose_the_manifest_list(lake: Lake) -> None:
    manifests_of(lake)[0].unlink()


def lose_a_manifest(lake: Lake) -> None:
    manifests_of(lake)[1].unlink()


def cut_the_manifest_list(lake: Lake) -> None:
    file = manifests_of(lake)[0]
    file.write_bytes(file.read_bytes()[:30])


def cut_a_manifest(lake: Lake) -> None:
    cut(manifests_of(lake)[1])


def lose_a_file(lake: Lake) -> None:
    stored_files(lake, PHONES)[0].unlink()


def cut_a_file(lake: Lake) -> None:
    cut(stored_files(lake, PHONES)[0])


OF_METADATA = [cut_the_metadata, empty_the_metadata, lose_the_metadata, lose_the_table]
OF_THE_SNAPSHOT = [lose_the_manifest_list, lose_a_manifest, cut_the_manifest_list, cut_a_manifest]
OF_FILES = [lose_a_file, cut_a_file]


def change_a_byte(lake: Lake, table: Table = PHONES) -> Path:
    """Change a byte in the middle of a page: the file keeps its length and its footer."""
    file = stored_files(lake, table)[0]
    content = bytearray(file.read_bytes())
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 2] ^= 0xFF
    file.write_bytes(content)
    return file


MADE_OF_PHONES = ("customers_curated", "step_trainer_trusted", "machine_learning_curated")
DAMAGES = [*OF_METADATA, *OF_THE_SNAPSHOT, *OF_FILES]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_says_which_it_is_where_and_what_repairs_it(
    damage: Callable[[Lake], None], built: Lake, spark: SparkSession
) -> None:
    damage(built)
    with pytest.raises(CorruptTableError, match=r"accelerometer_trusted.*`stedi repair`") as told:
        read_current(spark, built, PHONES)
    assert built.location in str(told.value)
    assert "@example.com" not in str(told.value)


@pytest.mark.parametrize("name", ["machine_learning_curated", "accelerometer_landing"])
def test_a_byte_that_has_changed_is_found_by_the_checks_and_repaired(
    name: str, built: Lake, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(built, spark_resource).success
    assert main(["status", "--check"]) == 0
    file = change_a_byte(built, TABLES[name])
    capsys.readouterr()
    checked = check(built, spark_resource)
    assert not checked.success
    assert f"The file {file} of {name} is damaged. Run `stedi repair`" in messages(checked)
    assert main(["status", "--check"]) == 1
    assert re.search(rf"^{name} .*\d+ not run", capsys.readouterr().out, re.MULTILINE)
    assert main(["repair"]) == 0
    assert f"The file {file} of {name} is damaged." in capsys.readouterr().out
    assert main(["repair"]) == 0
    assert capsys.readouterr().out == f"0 damaged tables in {built.location}\n"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_repaired_from_its_newest_whole_snapshot(
    damage: Callable[[Lake], None], built: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = snapshots(built)
    whole = newer if damage in OF_METADATA else older
    damage(built)
    assert main(["repair"]) == 0
    assert f"repaired: accelerometer_trusted is {whole} again, 4 rows\n1 damaged table in" in capsys.readouterr().out
    assert current(built, PHONES).id == whole
    assert current_dataset(built, PHONES.name).count_rows() == 4
    assert main(["repair"]) == 0
    assert capsys.readouterr().out == f"0 damaged tables in {built.location}\n"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut_the_metadata, marks=pytest.mark.matrix),
        pytest.param(lose_a_manifest, marks=pytest.mark.matrix),
        lose_a_file,
    ],
)
def test_the_checks_pass_after_a_repair_and_so_do_the_next_runs(
    damage: Callable[[Lake], None], built: Lake, spark_resource: SparkResource
) -> None:
    damage(built)
    assert main(["repair"]) == 0
    checked = check(built, spark_resource)
    assert checked.success
    # An older snapshot was made from older people: until it is made again, nobody can recompute it.
    behind = () if damage is cut_the_metadata else (PHONES.name, *MADE_OF_PHONES)
    assert failed_checks(checked) == {(name, "agrees_with_second_engine") for name in behind}
    for _ in range(2):
        result = materialise(built, spark_resource)
        assert result.success, messages(result)
    for table in TABLES.values():
        drop_old(built, table)
    assert current_dataset(built, PHONES.name).count_rows() == 4


@pytest.mark.parametrize("damage", OF_FILES)
def test_where_rows_alone_are_gone_the_table_is_made_again_without_a_repair(
    damage: Callable[[Lake], None], built: Lake, spark_resource: SparkResource
) -> None:
    """As the message says."""
    damage(built)
    assert materialise(built, spark_resource, tables=PHONES_ALONE).success
    assert current_dataset(built, PHONES.name).count_rows() == 4


@pytest.mark.parametrize("damage", [*OF_METADATA, *OF_THE_SNAPSHOT])
def test_where_metadata_are_damaged_nothing_is_published_before_a_repair(
    damage: Callable[[Lake], None], built: Lake, spark_resource: SparkResource
) -> None:
    before = set(built.storage.below(f"{PHONES.path}/data"))
    damage(built)
    result = materialise(built, spark_resource, tables=PHONES_ALONE)
    assert not result.success
    assert "`stedi repair`" in messages(result)
    assert before <= set(built.storage.below(f"{PHONES.path}/data"))


def test_a_lake_whose_catalog_was_removed_is_registered_again(
    built: Lake, spark: SparkSession, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {table.name: read_snapshot_of(built, table) for table in ALL_TABLES.values()}
    # Its log is left behind, as by somebody who does not know of it.
    (root_of(built) / DATABASE).unlink()
    for table in (PHONES, LANDED):
        with pytest.raises(CorruptTableError, match=r"the catalog does not know it\. Run `stedi repair`"):
            current(built, table)
    assert main(["repair"]) == 0
    assert "8 damaged tables" in capsys.readouterr().out
    assert {table.name: read_snapshot_of(built, table) for table in ALL_TABLES.values()} == before
    assert (root_of(built) / DATABASE).stat().st_mode & 0o777 == 0o600
    open_anew(spark)
    checked = check(built, spark_resource)
    assert checked.success
    assert failed_checks(checked) == set()
    assert materialise(built, spark_resource, tables=PHONES_ALONE).success


@pytest.mark.parametrize("damage", ["cut", "other content", "without its tables' rows"])
def test_a_damaged_catalog_says_so_and_what_to_do(damage: str, built: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    before = current(built, PHONES)
    file = root_of(built) / DATABASE
    if damage == "without its tables' rows":
        with closing(sqlite3.connect(file)) as database:
            database.execute("DELETE FROM iceberg_tables")
            database.commit()
    else:
        whole = file.read_bytes()
        for left in root_of(built).glob(f"{DATABASE}-*"):
            left.unlink()
        file.write_bytes(whole[: len(whole) // 2 + 7] if damage == "cut" else b"not a database" * 100)
        with pytest.raises(CatalogError, match=rf"{DATABASE}, cannot be used.*move it away\. Run `stedi repair`"):
            current(built, PHONES)
        assert main(["repair"]) == 1
        assert "move it away" in capsys.readouterr().err
        file.rename(file.with_name("away"))
    assert main(["repair"]) == 0
    assert current(built, PHONES) == before


def test_whole_tables_are_left_as_they_are(built: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    before = {table.name: (current(built, table), metadata_of(built, table)) for table in ALL_TABLES.values()}
    assert main(["repair"]) == 0
    assert {table.name: (current(built, table), metadata_of(built, table)) for table in ALL_TABLES.values()} == before
    assert capsys.readouterr().out == f"0 damaged tables in {built.location}\n"


def test_without_a_whole_snapshot_the_table_is_to_be_materialised(
    built: Lake, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    for snapshot in snapshots(built):
        for path in data_paths(built, PHONES, snapshot):
            (root_of(built) / path).unlink(missing_ok=True)
    assert main(["repair"]) == 1
    assert "no snapshot of accelerometer_trusted can be restored: materialise it" in capsys.readouterr().out
    assert read_snapshot_of(built, PHONES) is None
    assert materialise(built, spark_resource, tables=PHONES_ALONE).success
    assert current(built, PHONES).rows == 4


def test_metadata_that_may_never_have_been_the_tables_are_not_gone_by(built: Lake) -> None:
    """Of two that wrote the same version at once, one has lost."""
    whole = metadata_of(built)
    said = json.loads(whole.read_text())
    version = whole.name.split("-", 1)[0]
    lost = whole.with_name(f"{version}-ffffffff.metadata.json")
    said["current-snapshot-id"] = said["refs"]["main"]["snapshot-id"] = snapshots(built)[0]
    lost.write_text(json.dumps(said))
    newer = snapshots(built)[1]
    forget(built, PHONES)
    assert main(["repair"]) == 0
    assert current(built, PHONES).id == newer
    assert int(metadata_of(built).name.split("-", 1)[0]) == int(version) - 1


@pytest.mark.parametrize("name", ["quarantine", "files", "landing_table"])
def test_a_landing_table_its_quarantine_and_its_files_are_repaired_together(
    name: str, built: Lake, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    table = next(table for table in ALL_TABLES.values() if table.path == f"accelerometer/{name}")
    if table.name in QUARANTINE_TABLES:
        # As long as nothing is quarantined, there is one snapshot of it, and nothing in it to lose.
        (root_of(built) / "accelerometer" / "landing" / "broken.json").write_bytes(lines({"user": "ada@example.com"}))
        materialise(built, spark_resource, tables=dg.AssetSelection.assets(LANDED.name), checks=False)
    older, newer = (current(built, LANDED).id, snapshots(built, LANDED))[::-1]
    assert older[-1] == newer
    lose = manifests_of(built, table)[0]
    lose.unlink()
    as_a_new_process()
    with pytest.raises(CorruptTableError, match=rf"{table.name}.*stedi repair"):
        read_of(built, table)
    assert main(["repair"]) == 0
    assert "1 damaged table in" in capsys.readouterr().out
    landed = current(built, LANDED)
    assert landed.id == older[0]
    for companion in ("accelerometer_quarantine", "accelerometer_files"):
        assert current(built, ALL_TABLES[companion]).id == landed.inputs[companion]
    result = materialise(built, spark_resource, tables=dg.AssetSelection.assets(LANDED.name))
    assert result.success, messages(result)


def read_of(lake: Lake, table: Table) -> object:
    return data_paths(lake, table, current(lake, table).id)


def test_nobody_who_has_left_comes_back_by_a_repair(built: Lake, spark_resource: SparkResource) -> None:
    """A snapshot with ada is whole and lies there, as if a purge had been cut off; it breaks a rule now."""
    kept = root_of(built).with_name("kept")
    shutil.copytree(root_of(built) / PHONES.path, kept)
    landing = root_of(built) / "customer" / "landing"
    (landing / "later.json").write_text(
        json.dumps({"email": "ada@example.com", "serialNumber": "device-of-ada", "lastUpdateDate": CONSENTED + 9})
    )
    result = materialise(built, spark_resource, tables=dg.AssetSelection.assets("customer_landing"))
    assert result.success, messages(result)
    forget(built, PHONES)
    shutil.rmtree(root_of(built) / PHONES.path)
    kept.rename(root_of(built) / PHONES.path)
    assert main(["repair"]) == 1
    with pytest.raises(LakeError, match="has not been published"):
        current(built, PHONES)


def test_no_snapshot_from_before_an_erasure_comes_back(
    built: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of landing tables, no rule would tell."""
    key = b"a suppression key for tests, 32 bytes and more"
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", key.decode())
    now = int(time.time() * 1000)
    change_suppressed(built, lambda: key, lambda found: replace(found, people={"0" * 64: Erased(now)}))
    lose_the_landing_table = metadata_of(built, LANDED)
    lose_the_landing_table.unlink()
    assert main(["repair"]) == 1
    assert "no snapshot of accelerometer_landing can be restored" in capsys.readouterr().out


def test_a_lake_that_was_moved_is_not_taken_for_a_damaged_one(
    built: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root_of(built), tmp_path / "moved")
    monkeypatch.setenv("STEDI_LAKE", str(tmp_path / "moved"))
    before = built.storage.below("")
    for _ in range(2):
        assert main(["repair"]) == 1
        assert "run `stedi relocate`" in capsys.readouterr().err
        for file in (tmp_path / "moved").glob(f"{DATABASE}*"):
            file.unlink()
    moved = local_lake(tmp_path / "moved")
    assert len(moved.storage.below(PHONES.path)) == sum(path.startswith(f"{PHONES.path}/") for path in before)
