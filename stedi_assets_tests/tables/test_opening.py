"""Tables for whoever works with them without Spark: `stedi_assets.open_table` and `stedi_assets.read`."""

import gc
import random
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

import stedi_assets
from stedi_assets.contracts import TABLES, Purpose
from stedi_assets.storage.errors import CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables import opening, snapshots
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.catalog import create
from stedi_assets.tables.file_io import path_of
from stedi_assets.tables.publishing import make_current
from stedi_assets.tables.retention import NOTHING_OLD, Retention
from stedi_assets.tables.snapshots import Snapshot, current, data_paths, read_snapshot_of
from stedi_assets.tables.staging import RunContext, staging
from stedi_assets_tests.support.lakes import as_a_new_process, root_of, stored_files
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket

# Not divided by days, so that PyIceberg can write it by itself.
TABLE = TABLES["customers_curated"]
SCHEMA = arrow_schema(TABLE)
RUN = RunContext("a run", Purpose.PRODUCTION)
BEFORE_ALL = datetime(2020, 1, 1, tzinfo=timezone.utc)


def publish(lake: Lake, *updated: int, retention: Retention = Retention()) -> Snapshot:  # noqa: B008  (frozen)
    """Publish people whose records are of some dates."""
    people = [{"email": f"{date}@example.com", "lastUpdateDate": date} for date in updated]
    rows, before = pa.Table.from_pylist(people, SCHEMA), read_snapshot_of(lake, TABLE)
    with staging(lake, TABLE, rows, run=RUN, before=before, inputs={}, audit=lambda _: {}) as staged:
        make_current(lake, staged, retention=retention)
    return staged.snapshot


def dates(rows: pa.Table) -> list[int]:
    assert rows.schema == SCHEMA
    return sorted(rows["lastUpdateDate"].to_pylist())


def test_the_package_loads_nothing_for_it_before_it_is_asked() -> None:
    code = "import sys, stedi_assets; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "stedi_assets" in loaded
    assert not {"pyspark", "pyiceberg", "pyarrow", "pydantic", "stedi_assets.tables"} & {*loaded}


def test_a_table_is_read_as_it_is_now_and_as_it_was(lake: Lake) -> None:
    first = publish(lake, 200)
    time.sleep(0.01)
    then = datetime.now(timezone.utc)
    time.sleep(0.01)
    second = publish(lake, 201, 202)
    here = lake.location
    assert dates(stedi_assets.read(TABLE.name, lake=here)) == [201, 202]
    assert dates(stedi_assets.read(TABLE.name, lake=Path(here), as_of=first.id)) == [200]
    assert dates(stedi_assets.read(TABLE.name, lake=here, as_of=second.id)) == [201, 202]
    assert dates(stedi_assets.read(TABLE.name, lake=here, as_of=then)) == [200]
    assert dates(stedi_assets.read(TABLE.name, lake=here, as_of=datetime.now(timezone.utc))) == [201, 202]


def test_the_settings_say_which_lake_is_meant(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(lake, 200)
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    assert dates(stedi_assets.read(TABLE.name)) == [200]
    assert stedi_assets.open_table(TABLE.name).name() == ("stedi", TABLE.name)


def test_an_opened_table_is_scanned_for_what_is_wanted(lake: Lake) -> None:
    publish(lake, 200, 201)
    opened = stedi_assets.open_table(TABLE.name, lake=lake.location)
    scan = opened.scan(row_filter="lastUpdateDate > 200", selected_fields=("lastUpdateDate",))
    assert scan.to_arrow().to_pylist() == [{"lastUpdateDate": 201}]


def test_what_is_not_there_is_named(lake: Lake) -> None:
    here = lake.location
    for ask in (stedi_assets.read, stedi_assets.open_table):
        with pytest.raises(LakeError, match=r"No table is called people\. The tables are: .*customers_curated"):
            ask("people", lake=here)
        with pytest.raises(LakeError, match=f"{TABLE.name} has not been published in {here} yet"):
            ask(TABLE.name, lake=here)
    create(lake, TABLE)
    with pytest.raises(LakeError, match="has not been published"):
        stedi_assets.open_table(TABLE.name, lake=here)


def test_a_snapshot_that_is_not_kept_is_refused(lake: Lake) -> None:
    gone = publish(lake, 200)
    publish(lake, 201, retention=NOTHING_OLD)
    with pytest.raises(CorruptTableError, match="that was asked for is gone: it has expired"):
        stedi_assets.read(TABLE.name, lake=lake.location, as_of=gone.id)
    with pytest.raises(LakeError, match=r"holds nothing from 2020-01-01T00:00:00\+00:00 any more: its oldest snapshot"):
        stedi_assets.read(TABLE.name, lake=lake.location, as_of=BEFORE_ALL)
    for no_instant in (BEFORE_ALL.replace(tzinfo=None), "2020-01-01"):
        with pytest.raises(LakeError, match="neither a snapshot's id nor an instant with its time zone"):
            stedi_assets.read(TABLE.name, lake=lake.location, as_of=no_instant)  # type: ignore[arg-type]  # (of a user)


def test_a_damaged_file_is_told_without_what_is_in_it(lake: Lake) -> None:
    snapshot = publish(lake, 200)
    (file,) = stored_files(lake, TABLE)
    content = file.read_bytes()
    for damaged in (content[:-1], content[:4] + bytes(len(content) - 8) + content[-4:]):
        file.write_bytes(damaged)
        for as_of in (None, snapshot.id):
            with pytest.raises(CorruptTableError, match=f"of {TABLE.name}.* is damaged"):
                stedi_assets.read(TABLE.name, lake=lake.location, as_of=as_of)
    file.unlink()
    with pytest.raises(CorruptTableError, match="is damaged"):
        stedi_assets.read(TABLE.name, lake=lake.location)


def test_what_is_kept_of_a_table_keeps_no_lake(lake: Lake) -> None:
    """A sensor opens the lake whenever it looks, on S3 each time with a client of its own."""
    publish(lake, 200)
    as_a_new_process()
    opened = replace(lake)
    assert data_paths(opened, TABLE, current(opened, TABLE).id)
    looked_at = weakref.ref(opened)
    del opened
    gc.collect()
    assert looked_at() is None


def test_whatever_becomes_of_a_byte_of_its_metadata_a_table_is_read_or_damaged(lake: Lake) -> None:
    publish(lake, 200, 201)
    opened, draw = stedi_assets.open_table(TABLE.name, lake=lake.location), random.Random(7)
    snapshot = opened.current_snapshot()
    assert snapshot
    manifests = [manifest.manifest_path for manifest in snapshot.manifests(opened.io)]
    damaged = 0
    for location in (opened.metadata_location, snapshot.manifest_list, *manifests):
        file = root_of(lake) / path_of(lake, location)
        content = file.read_bytes()
        for _ in range(60):
            changed = bytearray(content)
            changed[draw.randrange(len(changed))] = draw.randrange(256)
            file.write_bytes(changed)
            as_a_new_process()
            try:
                stedi_assets.read(TABLE.name, lake=lake.location)
            except LakeError:
                damaged += 1
        file.write_bytes(content)
    assert damaged > 50


def test_a_table_that_is_published_anew_while_it_is_read_is_read_anew(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, 200)
    look = snapshots.require_whole
    anew: Iterator[int] = iter([201])

    def published_meanwhile(*arguments: object) -> None:
        look(*arguments)  # type: ignore[arg-type]  # (as they are given)
        for date in anew:
            publish(lake, date, retention=NOTHING_OLD)

    monkeypatch.setattr(opening, "require_whole", published_meanwhile)
    assert dates(stedi_assets.read(TABLE.name, lake=lake.location)) == [201]


def test_a_table_in_a_bucket_is_opened_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Server() as server:
        bucket(server, "some-bucket")
        for name, value in {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "STEDI_LAKE": "s3://some-bucket/lake",
            "STEDI_PSEUDONYM_KEY": "a pseudonym key for tests, 32 bytes and more",
        }.items():
            monkeypatch.setenv(name, value)
        publish(Lake.at("s3://some-bucket/lake"), 200, 201)
        assert dates(stedi_assets.read(TABLE.name)) == [200, 201]
        assert stedi_assets.open_table(TABLE.name).scan(row_filter="lastUpdateDate > 200").to_arrow().num_rows == 1
