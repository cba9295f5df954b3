"""Customers' records outlive the files that held them, until a later record or somebody says otherwise."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest.superseded import kept_quarantined
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current_dataset
from stedi_assets_tests.support.lakes import CONSENTED, check, customer, failed_checks, lines, materialise, root_of

LATER = CONSENTED + 1
ADA, BEN = customer("ada", CONSENTED, CONSENTED), customer("ben", CONSENTED, CONSENTED)
ADA_LEAVES = customer("ada", LATER, None)
BROKEN_BEN = customer("ben", LATER, None) | {"serialNumber": 5}
TABLES = dg.AssetSelection.assets("customer_landing", "customer_trusted")


def deliver(lake: Lake, files: Mapping[str, bytes | None]) -> None:
    folder = root_of(lake) / SOURCES["customer"].raw_path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = current_dataset(lake, table).to_table().to_pylist()
    return found


def landed(lake: Lake) -> list[tuple[str, int, str, bool]]:
    """Return what customer_landing holds: whom, from when, of which file, and whether that file is another now."""
    found = rows(lake, "customer_landing")
    return sorted((r["_person"].split("@")[0], r["lastUpdateDate"], r["_source_file"], r["_superseded"]) for r in found)


def people(lake: Lake) -> list[str]:
    return sorted(row["email"].split("@")[0] for row in rows(lake, "customer_trusted"))


def quarantined(lake: Lake) -> list[tuple[str, bool]]:
    return sorted((row["_source_file"], row["_superseded"]) for row in rows(lake, "customer_quarantine"))


def build(lake: Lake, spark: SparkResource, *forget: str) -> dg.ExecuteInProcessResult:
    return materialise(lake, spark, tables=TABLES, forget=forget)


def test_what_a_file_once_said_is_not_unsaid_by_another(lake: Lake, spark_resource: SparkResource) -> None:
    deliver(lake, {"all.json": lines(ADA, BEN), "daily.json": lines(ADA_LEAVES)})
    assert build(lake, spark_resource).success
    assert people(lake) == ["ben"]

    # The file of the withdrawal is replaced: it counts all the same, and the books balance.
    cleo = customer("cleo", CONSENTED, CONSENTED)
    deliver(lake, {"daily.json": lines(cleo)})
    result = build(lake, spark_resource)
    assert result.success
    assert people(lake) == ["ben", "cleo"]
    held = ("ada", LATER, "daily.json", True)
    assert held in landed(lake)
    assert ("customer_landing", "rows_accounted_for") not in failed_checks(result)
    assert ("customer_landing", "rows_accounted_for") not in failed_checks(check(lake, spark_resource))

    # Replaced once more: what was kept is kept, and a record that is there again is not kept twice.
    deliver(lake, {"daily.json": lines(ADA_LEAVES)})
    assert build(lake, spark_resource).success
    assert people(lake) == ["ben", "cleo"]
    assert [row for row in landed(lake) if row[2] == "daily.json"] == [
        ("ada", LATER, "daily.json", False),
        ("cleo", CONSENTED, "daily.json", True),
    ]

    # A later record decides as ever.
    deliver(lake, {"back.json": lines(customer("ada", LATER + 1, LATER + 1))})
    assert build(lake, spark_resource).success
    assert people(lake) == ["ada", "ben", "cleo"]

    # A rename is no replacement; to forget a file that is there forgets what it held before, and nothing else.
    deliver(lake, {"daily.json": None, "renamed.json": lines(ADA_LEAVES)})
    assert build(lake, spark_resource).success
    assert ("cleo", CONSENTED, "daily.json", True) in landed(lake)
    deliver(lake, {"all.json": lines(BEN)})
    assert build(lake, spark_resource).success
    assert ("ada", CONSENTED, "all.json", True) in landed(lake)
    assert build(lake, spark_resource, "all.json", "daily.json").success
    assert not any(superseded for *_, superseded in landed(lake))
    assert people(lake) == ["ada", "ben"]

    # A file that is gone, and may be forgotten, takes its records along.
    deliver(lake, {"back.json": None})
    assert not build(lake, spark_resource).success
    assert build(lake, spark_resource, "back.json").success
    assert people(lake) == ["ben"]


@pytest.mark.matrix
def test_a_quarantined_record_stays_until_its_person_can_be_read_in_its_file(
    lake: Lake, spark_resource: SparkResource
) -> None:
    deliver(lake, {"all.json": lines(ADA, BEN), "broken.json": lines(BROKEN_BEN, ADA)})
    assert build(lake, spark_resource).success
    assert people(lake) == ["ada"]

    deliver(lake, {"broken.json": lines(ADA)})
    assert build(lake, spark_resource).success
    assert (people(lake), quarantined(lake)) == (["ada"], [("broken.json", True)])

    deliver(lake, {"broken.json": lines(ADA, customer("ben", LATER, CONSENTED))})
    assert build(lake, spark_resource).success
    assert (people(lake), quarantined(lake)) == (["ada", "ben"], [])


def test_of_several_people_in_a_quarantined_record_each_must_be_read(spark: SparkSession) -> None:
    schema = "_source_file string, raw binary, _digest string, _people array<string>, _superseded boolean"
    names = {"both": ["ada", "ben"], "one": ["ada"], "nobody": []}
    before = spark.createDataFrame([("f", name.encode(), None, who, False) for name, who in names.items()], schema)
    accepted = spark.createDataFrame([("f", "ada"), ("g", "ben")], "_source_file string, _person string")
    kept = kept_quarantined(before, None, accepted, {"f"}, set())
    assert sorted(bytes(row["raw"]) for row in kept.collect()) == [b"both", b"nobody"]


@pytest.mark.parametrize("source", ["accelerometer", "step_trainer"])
def test_readings_are_replaced_with_their_file(source: str) -> None:
    assert "_superseded" not in SOURCES[source].landing.column_names
