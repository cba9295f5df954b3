"""Publishing a table on a local folder: snapshots, the pointer, the contract before it, and what stays afterwards."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import TABLES, Policy, Purpose
from stedi_assets.contracts.rules import EVERY_ROW_CONSENTS
from stedi_assets.storage.errors import ContractBroken, LakeError, LostRace
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.local import LocalFolder
from stedi_assets.tables import publishing
from stedi_assets.tables.pointers import FORMAT, Pointer
from stedi_assets.tables.publishing import Provenance, Published, Retention, drop_old, publish
from stedi_assets.tables.snapshots import current, current_dataset, read_pointer, read_snapshot
from stedi_assets_tests.support.lakes import root_of

# Without the rules that look at other tables.
PHONE = replace(TABLES["accelerometer_trusted"], own_rules=())
PEOPLE = replace(TABLES["customer_trusted"], own_rules=(EVERY_ROW_CONSENTS,))
AT_ONCE = Retention(snapshots=2, readers=timedelta(0))
BY = Provenance("run-1", Purpose.PRODUCTION, as_of=1_700_000_000_000, policy=Policy())


def readings(spark: SparkSession, count: int, first: int = 0) -> DataFrame:
    return spark.range(first, first + count).selectExpr(
        "concat('p', id, '@example.com') AS user", "1655564376361 + id AS timestamp", "1D AS x", "2D AS y", "3D AS z"
    )


def publish_readings(lake: Lake, rows: DataFrame, **options: Any) -> Published:
    settings = {"by": BY, "expected": read_pointer(lake, PHONE), "inputs": {}, "retention": AT_ONCE, **options}
    return publish(lake, PHONE, rows, **settings)


def litter(lake: Lake) -> list[str]:
    """Return what lies in the table's folder besides its pointer, its lock and the snapshots it names."""
    pointer = current(lake, PHONE)
    named = {pointer.snapshot, *(old.snapshot for old in pointer.replaced), "_current.json", "_lock"}
    return sorted({path.name for path in (root_of(lake) / PHONE.path).iterdir()} - named)


def test_a_published_table_is_read_through_its_pointer(spark: SparkSession, lake: Lake) -> None:
    publish_readings(lake, readings(spark, 5))
    pointer = json.loads(((root_of(lake) / PHONE.path) / "_current.json").read_text())
    assert pointer["rows"] == 5
    assert pointer["format"] == FORMAT
    assert pointer["run_id"] == "run-1"
    assert pointer["as_of"] == BY.as_of
    assert pointer["policy"] == Policy().as_dict()
    assert pointer["purpose"] == "production"
    assert read_snapshot(spark, lake, PHONE, pointer["snapshot"]).count() == 5
    assert litter(lake) == []


def test_an_empty_table_is_a_table(spark: SparkSession, lake: Lake) -> None:
    pointer = publish_readings(lake, readings(spark, 0)).pointer
    assert pointer.rows == 0
    assert read_snapshot(spark, lake, PHONE, pointer.snapshot).columns == list(PHONE.column_names)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("SELECT user, timestamp, x, y FROM rows", "as_published"),
        ("SELECT user, int(timestamp) AS timestamp, x, y, z FROM rows", "as_published"),
        ("SELECT user, timestamp, y, x, z FROM rows", "as_published"),
        ("SELECT IF(timestamp % 2 = 0, user, NULL) AS user, timestamp, x, y, z FROM rows", "required_values"),
        ("SELECT * FROM rows UNION ALL SELECT * FROM rows LIMIT 6", "unique_key"),
    ],
)
def test_a_table_that_breaks_its_contract_is_not_published(
    change: str, rule: str, spark: SparkSession, lake: Lake
) -> None:
    good = publish_readings(lake, readings(spark, 3)).pointer
    broken = spark.sql(change.replace("rows", "{rows}"), rows=readings(spark, 5))
    with pytest.raises(ContractBroken, match=rf"accelerometer_trusted was not published.*{rule}"):
        publish_readings(lake, broken)
    assert current(lake, PHONE) == good
    assert litter(lake) == []


def test_a_row_rule_of_the_contract_is_enforced(spark: SparkSession, lake: Lake) -> None:
    columns = [f"CAST(NULL AS {c.type.value}) AS {c.name}" for c in PEOPLE.columns if c.name not in PEOPLE.key]
    rows = spark.range(1).selectExpr("'a@example.com' AS email", *columns).select(*PEOPLE.column_names)
    rows = rows.withColumn("serialNumber", rows.email)
    with pytest.raises(ContractBroken, match="every_row_consents"):
        publish(lake, PEOPLE, rows, by=BY, expected=None, inputs={}, retention=AT_ONCE)
    assert read_pointer(lake, PEOPLE) is None


def test_rows_that_cannot_be_read_back_are_not_published(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = publishing._write

    def losing_a_file(lake: Lake, table: Any, rows: DataFrame, folder: str, as_of: int | None) -> dict[str, int]:
        counts = write(lake, table, rows, folder, as_of)
        next((root_of(lake) / folder).glob("*.parquet")).unlink()
        return counts

    monkeypatch.setattr(publishing, "_write", losing_a_file)
    with pytest.raises(ContractBroken, match="as_published"):
        publish_readings(lake, readings(spark, 5).repartition(2))


def test_whoever_publishes_second_is_refused(spark: SparkSession, lake: Lake) -> None:
    before = publish_readings(lake, readings(spark, 1)).pointer
    first = publish_readings(lake, readings(spark, 2), expected=before).pointer
    with pytest.raises(LostRace, match="another run has published accelerometer_trusted"):
        publish_readings(lake, readings(spark, 3), expected=before)
    assert current(lake, PHONE) == first
    assert litter(lake) == []


def test_a_table_whose_input_has_moved_is_refused(spark: SparkSession, lake: Lake) -> None:
    """A slow old run cannot bring back a person who has withdrawn meanwhile."""
    row = {c.name: f"CAST(1655564376361 AS {c.type.value})" for c in PEOPLE.columns}
    people = spark.range(1).selectExpr(*(f"{value} AS {name}" for name, value in row.items()))
    old = publish(lake, PEOPLE, people, by=BY, expected=None, inputs={}, retention=AT_ONCE).pointer
    publish(lake, PEOPLE, people.where("false"), by=BY, expected=old, inputs={}, retention=AT_ONCE)
    with pytest.raises(LostRace, match="another run has published customer_trusted"):
        publish_readings(lake, readings(spark, 1), inputs={"customer_trusted": old})
    assert read_pointer(lake, PHONE) is None


def test_old_snapshots_stay_for_their_readers_and_then_go(spark: SparkSession, lake: Lake) -> None:
    for count in (1, 2, 3):
        publish_readings(lake, readings(spark, count), retention=Retention(2, timedelta(hours=1)))
    assert [read_snapshot(spark, lake, PHONE, old.snapshot).count() for old in current(lake, PHONE).replaced] == [2, 1]
    publish_readings(lake, readings(spark, 4), retention=AT_ONCE)
    assert [read_snapshot(spark, lake, PHONE, old.snapshot).count() for old in current(lake, PHONE).replaced] == [3]
    folders = [path for path in (root_of(lake) / PHONE.path).iterdir() if path.is_dir()]
    assert len(folders) == 2


def test_what_a_dead_writer_left_is_removed_by_the_next_one(spark: SparkSession, lake: Lake) -> None:
    dead = root_of(lake) / PHONE.path / "20200101T000000000000Z-dead"
    dead.mkdir(parents=True)
    (dead / "part-0.parquet").touch()
    publish_readings(lake, readings(spark, 1))
    assert litter(lake) == []


def test_who_has_lost_is_told_so_whatever_goes_wrong_meanwhile(spark: SparkSession, lake: Lake) -> None:
    """The faster run removes what the slower one has begun: it can only lose."""

    def publish_another(_: str) -> bool:
        publish_readings(lake, readings(spark, 2), by=replace(BY, run_id="faster"))
        return False

    with pytest.raises(LostRace, match="another run has published accelerometer_trusted"):
        publish_readings(lake, readings(spark, 1), before_switch=publish_another)
    assert current(lake, PHONE).run_id == "faster"
    assert litter(lake) == []


def test_what_is_begun_while_another_publishes_is_left_to_its_writer(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = root_of(lake) / PHONE.path / "begun-after"
    point_at = publishing.point_at

    def begin_after(*switch: Any) -> Pointer:
        pointer = point_at(*switch)
        begun.mkdir()
        return pointer

    monkeypatch.setattr(publishing, "point_at", begin_after)
    publish_readings(lake, readings(spark, 1))
    assert litter(lake) == ["begun-after"]


def test_a_damaged_pointer_says_what_to_do(spark: SparkSession, lake: Lake) -> None:
    publish_readings(lake, readings(spark, 1))
    ((root_of(lake) / PHONE.path) / "_current.json").write_text('{"snapshot": ')
    with pytest.raises(LakeError, match=r"pointer of accelerometer_trusted.*_current\.json.*stedi repair"):
        current(lake, PHONE)


def test_a_lake_refuses_another_purpose(spark: SparkSession, lake: Lake) -> None:
    published = publish_readings(lake, readings(spark, 1)).pointer
    with pytest.raises(LakeError, match="is for production, and STEDI_PURPOSE is comparison"):
        publish_readings(lake, readings(spark, 2), by=Provenance("run-2", Purpose.COMPARISON, 1, Policy()))
    assert current(lake, PHONE) == published


def test_files_are_private(spark: SparkSession, lake: Lake) -> None:
    folder = Path(publish_readings(lake, readings(spark, 3)).where)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}, modes


def test_the_old_table_stays_when_the_disk_is_full(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = publish_readings(lake, readings(spark, 1)).pointer

    def full(_: LocalFolder, folder: str) -> None:
        raise OSError(28, os.strerror(28), folder)

    monkeypatch.setattr(LocalFolder, "settle", full)
    with pytest.raises(OSError, match="No space left on device"):
        publish_readings(lake, readings(spark, 2))
    assert current(lake, PHONE) == published
    assert litter(lake) == []


def test_old_snapshots_go_on_demand(spark: SparkSession, lake: Lake) -> None:
    for count in (1, 2, 3):
        publish_readings(lake, readings(spark, count), retention=Retention(3, timedelta(hours=1)))
    (root_of(lake) / PHONE.path / "left by a dead run").mkdir()
    assert drop_old(lake, PHONE) == 3
    assert current(lake, PHONE).rows == 3
    assert current(lake, PHONE).replaced == ()
    assert litter(lake) == []
    assert drop_old(lake, PHONE) == 0


def test_who_writes_while_old_snapshots_go_loses(spark: SparkSession, lake: Lake) -> None:
    """Its own is removed with them."""
    first = publish_readings(lake, readings(spark, 1)).pointer
    with pytest.raises(LostRace, match="another run has published accelerometer_trusted"):
        publish_readings(lake, readings(spark, 2), before_switch=lambda _: bool(drop_old(lake, PHONE)))
    assert current(lake, PHONE).snapshot == first.snapshot
    assert current_dataset(lake, PHONE.name).count_rows() == 1
