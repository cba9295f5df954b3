"""Publishing a table on a local folder: what is current, the contract before it, who loses, and what stays."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import TABLES, Policy, Purpose
from stedi_assets.contracts.rules import EVERY_ROW_CONSENTS
from stedi_assets.storage.errors import CatalogError, CommitConflictError, ContractBroken, CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.local import LocalFolder
from stedi_assets.tables import publishing, staging
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.branches import MAIN, begin_branch
from stedi_assets.tables.catalog import create, load, session_of
from stedi_assets.tables.file_io import path_of
from stedi_assets.tables.publishing import drop_old, publish, republish
from stedi_assets.tables.retention import NOTHING_OLD, Retention, referenced
from stedi_assets.tables.snapshots import (
    FORMAT,
    Snapshot,
    current,
    current_dataset,
    data_paths,
    dataset,
    read_snapshot,
    read_snapshot_of,
)
from stedi_assets.tables.staging import RunContext, Stage, Staged
from stedi_assets.verification.rules import auditor
from stedi_assets_tests.support.lakes import folders_in, local_lake, read_current, root_of, stored_files

# Without the rules that look at other tables; and without days, where only Spark could write it.
BY_DAY = replace(TABLES["accelerometer_trusted"], own_rules=())
PHONE = replace(BY_DAY, instant=None)
PEOPLE = replace(TABLES["customer_trusted"], own_rules=(EVERY_ROW_CONSENTS,))
AT_ONCE = Retention(snapshots=2, readers=timedelta(0))
RUN = RunContext("run-1", Purpose.PRODUCTION, as_of=1_700_000_000_000, policy=Policy())


def readings(spark: SparkSession, lake: Lake, count: int, first: int = 0) -> DataFrame:
    """Return rows of Spark's."""
    return (
        session_of(spark, lake)
        .range(first, first + count)
        .selectExpr(
            *("concat('p', id, '@example.com') AS user", "1655564376361 + id AS timestamp", "1D AS x", "2D AS y"),
            "3D AS z",
        )
    )


def few(count: int) -> pa.Table:
    """Return rows that are written without Spark."""
    rows = [{"user": f"p{i}@example.com", "timestamp": 1655564376361 + i, "x": 1, "y": 2, "z": 3} for i in range(count)]
    return pa.Table.from_pylist(rows, arrow_schema(PHONE))


def publish_readings(lake: Lake, rows: DataFrame | pa.Table | None, **options: Any) -> Staged:
    run = options.pop("run", RUN)
    settings = {
        "run": run,
        "before": read_snapshot_of(lake, PHONE),
        "inputs": {},
        "audit": auditor(lake, PHONE, run),
        "retention": AT_ONCE,
        **options,
    }
    return publish(lake, PHONE, rows, **settings)


def litter(lake: Lake) -> list[str]:
    """Return what lies in the table's folder and is named by nothing, and its branches."""
    iceberg = load(lake, PHONE)
    assert iceberg
    named = referenced(lake, iceberg, with_old_metadata=True)
    # Spark writes a checksum beside each file.
    named |= {f"{folder}/.{name}.crc" for folder, _, name in (path.rpartition("/") for path in named)}
    return sorted({*lake.storage.below(PHONE.path)} - named) + sorted({*iceberg.metadata.refs} - {MAIN})


def rows_kept(lake: Lake) -> list[int]:
    """Return the rows of each snapshot that the table's metadata know, the oldest first."""
    iceberg = load(lake, PHONE)
    assert iceberg
    ids = [
        snapshot.snapshot_id
        for snapshot in sorted(iceberg.metadata.snapshots, key=lambda found: found.sequence_number or 0)
    ]
    return [dataset(lake, PHONE, found).count_rows() for found in ids]


# --- What is current --------------------------------------------------------------------------------------------------


def test_the_days_to_check_are_those_of_the_run(lake: Lake) -> None:
    """When people leave, the table is published again, and again by the same run: then the checks look at both."""
    publish_readings(lake, few(3))
    second, third = (replace(RUN, run_id=name) for name in ("second", "third"))
    sealed = publish_readings(lake, None, days=frozenset(), run=second).snapshot
    assert (sealed.rows, sealed.computed) == (3, [])
    fewer = republish(lake, PHONE, sealed, few(2), run=third)
    assert (fewer.rows, fewer.computed) == (2, None)
    assert publish_readings(lake, None, days=frozenset(), run=third).snapshot.computed is None
    assert publish_readings(lake, None, days=frozenset(), run=second).snapshot.computed == []


def test_a_published_table_says_what_it_is(spark: SparkSession, lake: Lake) -> None:
    snapshot = publish_readings(lake, readings(spark, lake, 5)).snapshot
    assert snapshot == current(lake, PHONE)
    assert (snapshot.rows, snapshot.format, snapshot.run_id) == (5, FORMAT, "run-1")
    assert (snapshot.as_of, snapshot.policy, snapshot.purpose) == (RUN.as_of, Policy().as_dict(), "production")
    assert snapshot.counts["rows"] == 5
    assert read_snapshot(spark, lake, PHONE, snapshot.id).count() == 5
    assert litter(lake) == []


def test_it_is_an_iceberg_table_that_others_read(spark: SparkSession, lake: Lake) -> None:
    create(lake, BY_DAY)
    publish_readings(lake, readings(spark, lake, 5))
    iceberg = load(lake, PHONE)
    assert iceberg
    assert iceberg.format_version == 2
    assert iceberg.scan().to_arrow().num_rows == 5
    assert session_of(spark, lake).table("lake.stedi.accelerometer_trusted").count() == 5
    # No instant of anybody in a manifest; and PyIceberg's commits are repeated for others, not for this layer.
    assert iceberg.properties["write.metadata.metrics.default"] == "counts"
    assert "commit.retry.num-retries" not in iceberg.properties


@pytest.mark.parametrize("by_spark", [True, False])
def test_an_empty_table_is_a_table(spark: SparkSession, lake: Lake, *, by_spark: bool) -> None:
    for count in (0, 3, 0):
        rows = readings(spark, lake, count) if by_spark else few(count)
        snapshot = publish_readings(lake, rows).snapshot
        assert snapshot.rows == current_dataset(lake, PHONE.name).count_rows() == count
        assert read_snapshot(spark, lake, PHONE, snapshot.id).columns == list(PHONE.column_names)
    assert publish_readings(lake, None).snapshot.rows == 0
    assert litter(lake) == []


def test_whoever_begins_a_lake_at_the_same_moment_makes_each_table_once(tmp_path: Path) -> None:
    for number in range(5):
        lake = local_lake(tmp_path / f"lake-{number}")
        start = Barrier(4)

        def made(_: int, lake: Lake = lake, start: Barrier = start) -> int:
            start.wait()
            iceberg = create(lake, PHONE)
            assert iceberg.metadata.current_snapshot_id
            return iceberg.metadata.current_snapshot_id

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(made, range(4)))) == 1


# --- The contract -----------------------------------------------------------------------------------------------------


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
    good = publish_readings(lake, readings(spark, lake, 3)).snapshot
    rows = readings(spark, lake, 5)
    broken = rows.sparkSession.sql(change.replace("rows", "{rows}"), rows=rows)
    with pytest.raises(ContractBroken, match=rf"accelerometer_trusted was not published.*{rule}"):
        publish_readings(lake, broken)
    assert current(lake, PHONE) == good
    # Nor do the rows stay that were written.
    assert litter(lake) == []
    assert rows_kept(lake) == [3]


def test_a_row_rule_of_the_contract_is_enforced(spark: SparkSession, lake: Lake) -> None:
    columns = [f"CAST(NULL AS {c.type.value}) AS {c.name}" for c in PEOPLE.columns if c.name not in PEOPLE.key]
    rows = session_of(spark, lake).range(1).selectExpr("'a@example.com' AS email", *columns)
    rows = rows.select(*PEOPLE.column_names).withColumn("serialNumber", rows.email)
    with pytest.raises(ContractBroken, match="every_row_consents"):
        publish(
            lake, PEOPLE, rows, run=RUN, before=None, inputs={}, audit=auditor(lake, PEOPLE, RUN), retention=AT_ONCE
        )
    assert read_snapshot_of(lake, PEOPLE) is None


def test_rows_that_cannot_be_read_back_are_not_published(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = staging._write

    def counting_one_more(*arguments: Any) -> dict[str, int]:
        counts = write(*arguments)
        return {**counts, "rows": counts["rows"] + 1}

    monkeypatch.setattr(staging, "_write", counting_one_more)
    with pytest.raises(ContractBroken, match=r"as_published.*6 rows were written and 5 can be read back"):
        publish_readings(lake, readings(spark, lake, 5))
    assert litter(lake) == []


def test_rows_of_another_lakes_session_are_refused(spark: SparkSession, lake: Lake, tmp_path: Path) -> None:
    another = local_lake(tmp_path / "another")
    with pytest.raises(CatalogError, match=r"does not know the catalog of .*another.* Nothing was written"):
        publish_readings(another, readings(spark, lake, 1))


def test_a_lake_refuses_another_purpose(lake: Lake) -> None:
    published = publish_readings(lake, few(1)).snapshot
    with pytest.raises(LakeError, match="is for production, and STEDI_PURPOSE is comparison"):
        publish_readings(lake, few(2), run=RunContext("run-2", Purpose.COMPARISON, 1, Policy()))
    assert current(lake, PHONE) == published
    assert litter(lake) == []


# --- Who loses --------------------------------------------------------------------------------------------------------


def test_whoever_publishes_second_is_refused(spark: SparkSession, lake: Lake) -> None:
    before = publish_readings(lake, readings(spark, lake, 1)).snapshot
    first = publish_readings(lake, readings(spark, lake, 2), before=before).snapshot
    with pytest.raises(CommitConflictError, match="another run has published accelerometer_trusted"):
        publish_readings(lake, readings(spark, lake, 3), before=before)
    assert current(lake, PHONE) == first
    assert litter(lake) == []


def test_a_table_whose_input_has_moved_is_refused(spark: SparkSession, lake: Lake) -> None:
    """A slow old run cannot bring back a person who has withdrawn meanwhile."""
    row = {c.name: f"CAST(1655564376361 AS {c.type.value})" for c in PEOPLE.columns}
    people = session_of(spark, lake).range(1).selectExpr(*(f"{value} AS {name}" for name, value in row.items()))
    options: dict[str, Any] = {"run": RUN, "inputs": {}, "audit": auditor(lake, PEOPLE, RUN), "retention": AT_ONCE}
    old = publish(lake, PEOPLE, people, before=None, **options).snapshot
    newer = []

    def move(_: Snapshot) -> bool:
        newer.append(publish(lake, PEOPLE, people.where("false"), before=old, **options).snapshot)
        return False

    with pytest.raises(CommitConflictError, match="another run has published customer_trusted"):
        publish_readings(lake, few(1), inputs={"customer_trusted": old}, before_commit=move)
    with pytest.raises(CommitConflictError, match="another run has published customer_trusted"):
        publish_readings(lake, few(1), inputs={"customer_trusted": old})
    assert read_snapshot_of(lake, PHONE) is None
    assert publish_readings(lake, few(1), inputs={"customer_trusted": newer[0]}).snapshot.rows == 1


def test_of_many_at_once_one_wins(lake: Lake) -> None:
    before = publish_readings(lake, few(1)).snapshot
    start = Barrier(4)

    def published(number: int) -> int:
        start.wait()
        try:
            return publish_readings(lake, few(number + 2), before=before).snapshot.rows
        except CommitConflictError:
            return 0

    with ThreadPoolExecutor(4) as pool:
        (won,) = [rows for rows in pool.map(published, range(4)) if rows]
    assert current(lake, PHONE).rows == current_dataset(lake, PHONE.name).count_rows() == won
    publish_readings(lake, few(7))
    assert litter(lake) == []


def test_who_has_lost_is_told_so_whatever_goes_wrong_meanwhile(spark: SparkSession, lake: Lake) -> None:
    """The faster run removes what the slower one has begun: it can only lose."""

    def publish_another(_: ds.Dataset) -> Mapping[str, int]:
        publish_readings(lake, few(2), run=replace(RUN, run_id="faster"))
        raise RuntimeError

    publish_readings(lake, few(1))
    with pytest.raises(CommitConflictError, match="another run has published accelerometer_trusted"):
        publish_readings(lake, readings(spark, lake, 1), audit=publish_another)
    assert current(lake, PHONE).run_id == "faster"
    assert litter(lake) == []


def in_the_middle(spark: SparkSession, lake: Lake, do: Callable[[Lake], object], seen: Path) -> DataFrame:
    """Return rows in whose middle, once Spark has written a part of them, something is done."""
    location, folder, done = lake.location, str(root_of(lake) / PHONE.path / "data"), str(seen)

    def batches(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            yield batch
        if any(value.as_py() for value in batch["x"]):
            # The other task has closed its file by then.
            while not (files := _parquet_below(folder)) or time.time() - max(files.values()) < 1:
                time.sleep(0.1)
            do(local_lake(Path(location)))
            Path(done).touch()

    rows = readings(spark, lake, 2).repartitionByRange(2, "timestamp")
    rows = rows.selectExpr("user", "timestamp", "double(timestamp % 2 = 0) AS x", "y", "z")
    return rows.mapInArrow(batches, rows.schema)


def _parquet_below(folder: str) -> dict[str, float]:
    found = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    stats = {file: os.stat(file) for file in found if file.endswith(".parquet")}
    return {file: stat.st_mtime for file, stat in stats.items() if stat.st_size}


def purge(lake: Lake) -> object:
    return drop_old(lake, PHONE)


def withdraw(lake: Lake) -> object:
    """Publish fewer rows, as a withdrawal does."""
    run = replace(RUN, run_id="withdrawal")
    return republish(lake, PHONE, current(lake, PHONE), None, run=run)


PURGES = pytest.mark.parametrize("purged", [purge, withdraw])


@PURGES
def test_who_is_purged_between_write_and_commit_loses(
    purged: Callable[[Lake], object], spark: SparkSession, lake: Lake, tmp_path: Path
) -> None:
    """Spark's commit itself succeeds: it makes the branch again that was dropped."""
    create(lake, BY_DAY)
    publish_readings(lake, readings(spark, lake, 3))
    seen = tmp_path / "seen"
    with pytest.raises(CommitConflictError, match="accelerometer_trusted was not published"):
        publish_readings(lake, in_the_middle(spark, lake, purged, seen))
    assert seen.exists()
    rows = 0 if purged is withdraw else 3
    assert current(lake, PHONE).rows == read_current(spark, lake, PHONE)[1].count() == rows
    publish_readings(lake, readings(spark, lake, 4))
    assert litter(lake) == []
    assert rows_kept(lake) == [rows, 4]


@PURGES
@pytest.mark.parametrize("by_spark", [True, False])
def test_who_is_purged_between_audit_and_fast_forward_loses(
    purged: Callable[[Lake], object], spark: SparkSession, lake: Lake, *, by_spark: bool
) -> None:
    publish_readings(lake, few(3))

    def before_commit(_: Snapshot) -> bool:
        purged(lake)
        return False

    with pytest.raises(CommitConflictError, match="accelerometer_trusted was not published"):
        publish_readings(lake, readings(spark, lake, 2) if by_spark else few(2), before_commit=before_commit)
    assert current_dataset(lake, PHONE.name).count_rows() == (0 if purged is withdraw else 3)
    assert litter(lake) == []


@PURGES
def test_who_is_purged_before_the_seal_loses(purged: Callable[[Lake], object], spark: SparkSession, lake: Lake) -> None:
    publish_readings(lake, few(3))

    def audit(_: ds.Dataset) -> Mapping[str, int]:
        purged(lake)
        return {}

    with pytest.raises(CommitConflictError, match="accelerometer_trusted was not published"):
        publish_readings(lake, readings(spark, lake, 2), audit=audit)
    assert current_dataset(lake, PHONE.name).count_rows() == (0 if purged is withdraw else 3)
    assert litter(lake) == []


def test_a_file_that_goes_while_the_table_becomes_current_leaves_the_old_one(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_readings(lake, few(3))
    fast_forward = publishing.fast_forward  # type: ignore[attr-defined]

    def losing_a_file(lake: Lake, *arguments: Any) -> bool:
        moved = fast_forward(lake, *arguments)
        stored_files(lake, PHONE)[0].unlink()
        return moved

    monkeypatch.setattr(publishing, "fast_forward", losing_a_file)
    with pytest.raises(CommitConflictError):
        publish_readings(lake, few(2))
    monkeypatch.undo()
    assert current_dataset(lake, PHONE.name).count_rows() == 3
    publish_readings(lake, few(4))
    assert litter(lake) == []


def test_a_run_that_begins_while_another_cleans_up_after_its_publication_goes_on(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began from the new table, and has not lost."""
    publish_readings(lake, few(1))
    expire: Callable[..., int] = publishing.expire  # type: ignore[attr-defined]
    others: list[Any] = []

    def expire_meanwhile(*arguments: Any, **options: Any) -> int:
        monkeypatch.undo()

        def clean_up(_: Snapshot) -> bool:
            others.append(expire(*arguments, **options))
            return False

        others.append(publish_readings(lake, few(3), before_commit=clean_up).snapshot)
        return expire(*arguments, **options)

    monkeypatch.setattr(publishing, "expire", expire_meanwhile)
    publish_readings(lake, few(2))
    assert len(others) == 2
    assert current(lake, PHONE) == others[1]
    assert current_dataset(lake, PHONE.name).count_rows() == 3
    assert rows_kept(lake) == [2, 3]
    assert litter(lake) == []


# --- What stays -------------------------------------------------------------------------------------------------------


def test_old_snapshots_stay_for_their_readers_and_then_go(lake: Lake) -> None:
    for count in (1, 2, 3):
        publish_readings(lake, few(count), retention=Retention(2, timedelta(hours=1)))
    assert rows_kept(lake) == [1, 2, 3]
    publish_readings(lake, few(4), retention=AT_ONCE)
    assert rows_kept(lake) == [3, 4]
    publish_readings(lake, few(5), retention=NOTHING_OLD)
    assert rows_kept(lake) == [5]
    assert litter(lake) == []
    assert len([*(root_of(lake) / PHONE.path).rglob("*.parquet")]) == 1


def test_with_nothing_old_no_file_of_old_metadata_stays(lake: Lake) -> None:
    for count in (1, 2):
        publish_readings(lake, few(count), retention=NOTHING_OLD)
    iceberg = load(lake, PHONE)
    assert iceberg
    there = {*lake.storage.below(f"{PHONE.path}/metadata")}
    # Only those stay that came with the end of the publication itself, and know of no other snapshot.
    for path in there:
        if path.endswith(".metadata.json"):
            said = json.loads((root_of(lake) / path).read_text())
            ids = {snapshot["snapshot-id"] for snapshot in said["snapshots"] if snapshot["summary"].get("stedi.rows")}
            assert ids <= {current(lake, PHONE).id, *(() if path == path_of(lake, iceberg.metadata_location) else ids)}


def test_what_dead_writers_left_is_removed_by_the_next_one(spark: SparkSession, lake: Lake) -> None:
    """Branches, what was written on them, stages, and files of which nothing tells."""
    publish_readings(lake, few(1))
    dead = staging.staging(
        lake, PHONE, readings(spark, lake, 2), run=RUN, before=current(lake, PHONE), inputs={}, audit=lambda _: {}
    )
    dead.__enter__()
    begin_branch(lake, PHONE, "run_dead", current(lake, PHONE).id)
    stage = Stage.begin(lake, PHONE)
    lake.storage.write(f"{stage.folder}/part-0", b"p1@example.com")
    lake.storage.write(f"{PHONE.path}/data/day=1655510400000/part-0.parquet", b"")
    assert len(litter(lake)) >= 4
    publish_readings(lake, few(3))
    assert litter(lake) == []
    assert rows_kept(lake) == [1, 3]
    assert folders_in(lake.storage, PHONE.path) == {"data", "metadata"}


def test_what_is_begun_while_another_publishes_is_left_to_its_writer(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = f"{PHONE.path}/_stage-begun after/part-0"
    fast_forward = publishing.fast_forward  # type: ignore[attr-defined]

    def begin_after(*arguments: Any) -> bool:
        moved = fast_forward(*arguments)
        lake.storage.write(begun, b"")
        return moved

    monkeypatch.setattr(publishing, "fast_forward", begin_after)
    publish_readings(lake, few(1))
    assert litter(lake) == [begun]


def test_old_snapshots_go_on_demand(lake: Lake) -> None:
    for count in (1, 2, 3):
        publish_readings(lake, few(count), retention=Retention(3, timedelta(hours=1)))
    lake.storage.write(f"{PHONE.path}/_stage-of a dead run/validated/part-0", b"")
    begin_branch(lake, PHONE, "run_dead", current(lake, PHONE).id)
    # With that which the branch begins with.
    assert drop_old(lake, PHONE) == 3
    assert rows_kept(lake) == [3]
    assert litter(lake) == []
    assert not [*root_of(lake).glob(f"{PHONE.path}/_stage-*")]
    assert drop_old(lake, PHONE) == 0


def test_files_are_private(spark: SparkSession, lake: Lake) -> None:
    create(lake, BY_DAY)
    for count in (3, 2):
        publish_readings(lake, readings(spark, lake, count))
    assert [*(root_of(lake) / PHONE.path).glob("data/day=*/*.parquet")]
    for path in root_of(lake).rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_the_old_table_stays_when_the_disk_is_full(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    published = publish_readings(lake, few(1)).snapshot

    def full(_: LocalFolder, paths: object) -> None:
        raise OSError(28, os.strerror(28), str(paths))

    monkeypatch.setattr(LocalFolder, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        publish_readings(lake, few(2))
    assert current(lake, PHONE) == published
    # What is left holds no rows, and goes with the next.
    assert all(path.startswith(f"{PHONE.path}/metadata/") for path in litter(lake))
    monkeypatch.undo()
    publish_readings(lake, few(2))
    assert litter(lake) == []


def test_who_may_not_remove_old_files_is_told_that_the_table_is_published(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_readings(lake, few(1))

    def denied(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "delete_permanently", denied)
        with pytest.raises(LakeError, match="was published, but older files of it could not be removed"):
            publish_readings(lake, few(2))
    assert current_dataset(lake, PHONE.name).count_rows() == 2
    publish_readings(lake, few(3))
    assert litter(lake) == []


# --- What cannot be read ----------------------------------------------------------------------------------------------


def test_a_table_of_a_newer_version_says_so(lake: Lake) -> None:
    """Nor is it published over, or repaired."""
    newer = publish_readings(lake, few(1)).snapshot
    iceberg = load(lake, PHONE)
    assert iceberg
    summary = {**newer.summary(), "stedi.format": json.dumps(FORMAT + 1), "stedi.of_tomorrow": "[]"}
    iceberg.append(few(0), snapshot_properties=summary)
    for use in (read_snapshot_of, lambda lake, _: publish_readings(lake, few(2), before=None)):
        with pytest.raises(LakeError, match=rf"has format {FORMAT + 1}; this version reads {FORMAT}\. Install the ver"):
            use(lake, PHONE)


@pytest.mark.parametrize("version", [3, 4])
def test_a_table_of_a_newer_iceberg_says_so(version: int, lake: Lake) -> None:
    publish_readings(lake, few(1))
    iceberg = load(lake, PHONE)
    assert iceberg
    file = root_of(lake) / path_of(lake, iceberg.metadata_location)
    file.write_text(json.dumps({**json.loads(file.read_text()), "format-version": version, "next-row-id": 0}))
    with pytest.raises(LakeError, match=rf"accelerometer_trusted.* format {version} of Iceberg.*Install") as told:
        current(lake, PHONE)
    assert not isinstance(told.value, CorruptTableError)


def test_a_summary_that_is_damaged_says_what_to_do(lake: Lake) -> None:
    published = publish_readings(lake, few(1)).snapshot
    iceberg = load(lake, PHONE)
    assert iceberg
    iceberg.append(few(0), snapshot_properties={**published.summary(), "stedi.rows": "{"})
    with pytest.raises(CorruptTableError, match=r"summary of .* accelerometer_trusted in .* is damaged.*stedi repair"):
        current(lake, PHONE)


def test_a_snapshot_that_has_expired_says_so(spark: SparkSession, lake: Lake) -> None:
    old = publish_readings(lake, few(1)).snapshot
    publish_readings(lake, few(2), retention=NOTHING_OLD)
    for read in (lambda: data_paths(lake, PHONE, old.id), lambda: read_snapshot(spark, lake, PHONE, old.id)):
        with pytest.raises(CorruptTableError, match="is gone: it has expired, or people have left it"):
            read()


def test_a_lake_that_lies_elsewhere_says_so(lake: Lake) -> None:
    publish_readings(lake, few(1))
    root_of(lake).rename(root_of(lake).with_name("moved"))
    moved = local_lake(root_of(lake).with_name("moved"))
    with pytest.raises(CatalogError, match=r"name files that lie elsewhere.*run `stedi relocate`"):
        current(moved, PHONE)
