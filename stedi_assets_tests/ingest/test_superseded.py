"""Customers' records outlive the files that held them, until a later record or somebody says otherwise."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, Purpose
from stedi_assets.ingest import landing
from stedi_assets.ingest.superseded import kept_accepted, kept_quarantined
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current_dataset
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    check,
    customer,
    failed_checks,
    land_customers,
    lines,
    materialise,
    root_of,
)

LATER = CONSENTED + 1
ADA, BEN = customer("ada", CONSENTED, CONSENTED), customer("ben", CONSENTED, CONSENTED)
ADA_LEAVES = customer("ada", LATER, None)
BROKEN_BEN = customer("ben", LATER, None) | {"serialNumber": 5}
BROKEN_RAW = lines(BROKEN_BEN).strip()
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


def build(lake: Lake, spark: SparkResource, *forget: str, checks: bool = False) -> dg.ExecuteInProcessResult:
    return materialise(lake, spark, tables=TABLES, forget=forget, checks=checks)


def test_what_a_file_once_said_is_not_unsaid_by_another(lake: Lake, spark_resource: SparkResource) -> None:
    deliver(lake, {"all.json": lines(ADA, BEN), "daily.json": lines(ADA_LEAVES)})
    assert build(lake, spark_resource).success
    assert people(lake) == ["ben"]

    # The file of the withdrawal is replaced: it counts all the same, and the books balance.
    cleo = customer("cleo", CONSENTED, CONSENTED)
    deliver(lake, {"daily.json": lines(cleo)})
    result = build(lake, spark_resource, checks=True)
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
    assert build(lake, spark_resource, "back.json", checks=True).success
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


def quarantine(spark: SparkSession, records: Mapping[bytes, list[str]], *reasons: str) -> DataFrame:
    """Return a quarantine: by its bytes, whom a record names. A record behind a # has lost its bytes."""
    schema = "_source_file string, raw binary, _digest string, _people array<string>, _devices array<string>, "
    schema += "_mentions array<string>, _superseded boolean, reasons array<string>, _offset bigint, _length bigint, "
    schema += "_updated bigint"
    rows: list[tuple[Any, ...]] = [
        (
            "f",
            b"" if raw.startswith(b"#") else raw,
            None,
            who,
            [],
            who,
            False,
            [*reasons],
            place,
            len(raw.lstrip(b"#")),
            None,
        )
        for place, (raw, who) in enumerate(records.items())
    ]
    return spark.createDataFrame(rows, schema)


def test_of_several_people_in_a_quarantined_record_each_must_be_read(spark: SparkSession) -> None:
    before = quarantine(spark, {b"both": ["ada", "ben"], b"one": ["ada"], b"nobody": []})
    accepted = spark.createDataFrame([("f", "ada"), ("g", "ben")], "_source_file string, _person string")
    kept = kept_quarantined(before, None, accepted, {"f"}, set())
    assert sorted(bytes(row["raw"]) for row in kept.collect()) == [b"both", b"nobody"]


def test_records_that_outlive_their_file_get_the_keys_of_the_code_that_is_new(spark: SparkSession) -> None:
    """Otherwise a withdrawal would have another key than the consent that is read again."""
    columns = [column.name for column in SOURCES["customer"].record_columns]
    stored = ADA_LEAVES | {"email": "Ada@Example.com", "_person": "old", "_device": "old"}
    types = ", ".join(f"{name} {'BIGINT' if name.endswith('Date') else 'STRING'}" for name in columns)
    schema = f"{types}, _person STRING, _device STRING, _source_file STRING, _superseded BOOLEAN"
    row = [stored.get(name) for name in (*columns, "_person", "_device")]
    before = spark.createDataFrame([(*row, "f", False)], schema)
    for has_old_keys, keys in ((False, ("old", "old")), (True, ("ada@example.com", "device-of-ada"))):
        kept = kept_accepted(before, None, {"f"}, set(), has_old_keys=has_old_keys).collect()
        assert [(row["_person"], row["_device"], row["email"]) for row in kept] == [(*keys, "Ada@Example.com")]


def test_quarantined_records_get_the_evidence_of_the_code_that_is_new(spark: SparkSession) -> None:
    before = quarantine(spark, {BROKEN_RAW: ["old"]})
    (kept,) = kept_quarantined(before, None, None, {"f"}, set(), has_old_keys=True).collect()
    assert (kept["_people"], kept["_devices"]) == (["old", "ben@example.com"], ["5"])
    assert {"old", "ben@example.com"} <= {*kept["_mentions"]}


def test_another_version_of_the_code_makes_the_keys_again(
    lake: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def kept(*parts: Any, has_old_keys: bool) -> DataFrame:
        asked.append(has_old_keys)
        return kept_accepted(*parts, has_old_keys=has_old_keys)

    monkeypatch.setattr(landing, "kept_accepted", kept)
    for content, code in ((lines(ADA, ADA_LEAVES), "1"), (lines(ADA), "1"), (lines(ADA, BEN), "2")):
        deliver(lake, {"daily.json": content})
        land_customers(lake, spark, RunContext("a run", Purpose.PRODUCTION, LATER, code=code), code=code)
    assert asked == [False, True]
    assert ("ada", LATER, "daily.json", True) in landed(lake)


def test_a_record_that_is_not_utf8_is_read_when_its_person_is_in_one_way(spark: SparkSession) -> None:
    ways = ["jürgen", "j³rgen", "j¸rgen"]
    names = {b"read": ways, b"with another": [*ways, "ada"], b"unread": ["bjørn", "bj°rn"], b"others": ["ben"]}
    names[b"with one like it"] = [*ways, "bjørn"]
    accepted = spark.createDataFrame([("f", "jürgen"), ("f", "ben")], "_source_file string, _person string")
    kept = kept_quarantined(quarantine(spark, names, "invalid_utf8"), None, accepted, {"f"}, set())
    assert sorted(bytes(row["raw"]) for row in kept.collect()) == [b"unread", b"with another", b"with one like it"]


def test_records_that_have_lost_their_content_are_told_apart(spark: SparkSession) -> None:
    before = quarantine(spark, {b"#a record": ["ben"], b"#another": ["carl"]})
    accepted = spark.createDataFrame([("f", "ben")], "_source_file string, _person string")
    assert [row["_people"] for row in kept_quarantined(before, None, accepted, {"f"}, set()).collect()] == [["carl"]]
    # As the file is read again, it holds one of them whole, which names somebody who was erased, too.
    live = quarantine(spark, {b"a record": ["ada", "ben"], b"no other": ["carl", "dan"]})
    assert [row["_people"] for row in kept_quarantined(before, live, None, {"f"}, set()).collect()] == [["carl"]]
    # The file has another one without its content, and the record with another date.
    live = quarantine(spark, {b"#other": ["dan"]}).unionByName(
        quarantine(spark, {b"a record": ["ada", "ben"]}).withColumn("_updated", F.lit(LATER).cast("bigint"))
    )
    kept = kept_quarantined(before, live, None, {"f"}, set()).collect()
    assert sorted(row["_people"] for row in kept) == [["ben"], ["carl"]]


@pytest.mark.parametrize("source", ["accelerometer", "step_trainer"])
def test_readings_are_replaced_with_their_file(source: str) -> None:
    assert "_superseded" not in SOURCES[source].landing.column_names
