"""Registering published tables in the Glue Data Catalog: what it shows, whom it leaves alone, and who wins a race.

Belongs here: the catalog by itself, over HTTP against moto's server, and what publishing does with it. Moto takes an
update from whatever version it comes; what depends on that is tested on a small catalog with Glue's optimistic lock.
"""

import copy
import os
import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from stedi_assets.cli.main import main
from stedi_assets.contracts import QUARANTINE_TABLES, SOURCES, TABLES, Column, Purpose, Table, Type
from stedi_assets.storage.errors import CatalogError
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.s3 import S3Bucket
from stedi_assets.tables import catalog
from stedi_assets.tables.catalog import Catalog
from stedi_assets.tables.pointers import Pointer
from stedi_assets.tables.publishing import NOTHING_OLD, Provenance, Published, Retention, publish
from stedi_assets.tables.snapshots import current, read_pointer
from stedi_assets_tests.support.s3_server import S3Server, bucket

TABLE = TABLES["customer_trusted"]
FOLDER = "s3://bucket/lake/customer/trusted"
OLD, NEW = "20261123T025835552167Z-956013c3", "20261123T031512000001Z-0b1c2d3e"
GLUE_TYPES = {
    Type.STRING: "string",
    Type.BIGINT: "bigint",
    Type.BOOLEAN: "boolean",
    Type.DOUBLE: "double",
    Type.BINARY: "binary",
    Type.STRINGS: "array<string>",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A Glue that can be reached over HTTP."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _no_aws_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def glue_catalog(endpoint: str) -> Catalog:
    """A catalog whose database does not exist yet."""
    return Catalog(lambda: client(endpoint), f"stedi_{uuid4().hex[:8]}")


def client(endpoint: str) -> Any:
    """Return a client that gives up at once."""
    return boto3.client(
        "glue",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"max_attempts": 1}, connect_timeout=1),
    )


def pointer_to(snapshot: str, rows: int = 482) -> Pointer:
    return Pointer(snapshot, rows, f"run-of-{snapshot}", "2026-11-23T03:15:12.000001+00:00", "production")


def register(into: Catalog, snapshot: str, is_current: Callable[[], bool] = lambda: True, table: Table = TABLE) -> None:
    """Register a snapshot of a table, by default one that is current and stays so."""
    into.register(table, pointer_to(snapshot), f"s3://bucket/lake/{table.path}/{snapshot}/", is_current)


def shown(by: Catalog, table: Table = TABLE) -> dict[str, Any]:
    """Return what a catalog shows of a table."""
    found: dict[str, Any] = by.glue.get_table(DatabaseName=by.database, Name=table.name)["Table"]
    return found


def location(by: Catalog) -> str:
    found: str = shown(by)["StorageDescriptor"]["Location"]
    return found


def change(by: Catalog, *, parameters: dict[str, str | None] | None = None, **parts: Any) -> None:
    """Change a table in the catalog, as somebody else would; a parameter that is None is taken away."""
    found = shown(by)
    merged = {**found["Parameters"], **(parameters or {})}
    described: dict[str, Any] = {
        name: found[name] for name in ("Name", "TableType", "StorageDescriptor") if name in found
    }
    described |= {"Parameters": {name: value for name, value in merged.items() if value is not None}, **parts}
    by.glue.update_table(DatabaseName=by.database, TableInput=described, VersionId=found["VersionId"])


# --- What the catalog shows


def test_the_database_and_the_table_are_made_where_they_are_missing(glue_catalog: Catalog) -> None:
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        glue_catalog.glue.get_database(Name=glue_catalog.database)
    register(glue_catalog, NEW)
    tables = glue_catalog.glue.get_tables(DatabaseName=glue_catalog.database)["TableList"]
    assert [table["Name"] for table in tables] == ["customer_trusted"]


def test_a_database_that_is_there_stays_as_it_is(glue_catalog: Catalog) -> None:
    theirs = {"Name": glue_catalog.database, "Description": "All about STEDI", "LocationUri": "s3://elsewhere/"}
    glue_catalog.glue.create_database(DatabaseInput=theirs)
    register(glue_catalog, NEW)
    found = glue_catalog.glue.get_database(Name=glue_catalog.database)["Database"]
    assert theirs.items() <= found.items()


def test_a_table_is_external_parquet_in_its_current_snapshot(glue_catalog: Catalog) -> None:
    register(glue_catalog, NEW)
    found = shown(glue_catalog)
    storage = found["StorageDescriptor"]
    assert found["TableType"] == "EXTERNAL_TABLE"
    assert found["PartitionKeys"] == []
    assert storage["Location"] == f"{FOLDER}/{NEW}/"
    assert storage["InputFormat"] == "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    assert storage["OutputFormat"] == "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
    serde = storage["SerdeInfo"]["SerializationLibrary"]
    assert serde == "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


def test_its_parameters_say_what_was_published_by_which_run_and_when(glue_catalog: Catalog) -> None:
    register(glue_catalog, NEW)
    assert shown(glue_catalog)["Parameters"] == {
        "EXTERNAL": "TRUE",
        "classification": "parquet",
        "created_by": "stedi-lakehouse",
        "recordCount": "482",
        "numRows": "482",
        "snapshot": NEW,
        "run_id": f"run-of-{NEW}",
        "published_at": "2026-11-23T03:15:12.000001+00:00",
        "purpose": "production",
    }


@pytest.mark.parametrize("table", [*TABLES.values(), *QUARANTINE_TABLES.values()], ids=lambda table: table.name)
def test_columns_types_and_comments_are_those_of_the_contract(glue_catalog: Catalog, table: Table) -> None:
    register(glue_catalog, NEW, table=table)
    found = shown(glue_catalog, table)
    # Glue knows no capitals in a column's name.
    assert [(c["Name"], c["Type"], c["Comment"]) for c in found["StorageDescriptor"]["Columns"]] == [
        (column.name.lower(), GLUE_TYPES[column.type], column.description) for column in table.columns
    ]
    assert found["Description"].startswith(f"A row is {table.row}.")
    assert found["Description"].endswith(table.description)


@pytest.mark.parametrize("table", [*TABLES.values(), *QUARANTINE_TABLES.values()], ids=lambda table: table.name)
def test_no_two_columns_of_a_table_differ_by_their_capitals_alone(table: Table) -> None:
    assert len({name.lower() for name in table.column_names}) == len(table.columns)


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u20ac", "\U0001f6b6"])
def test_what_is_too_long_for_glue_is_cut(glue_catalog: Catalog, letter: str) -> None:
    long = replace(TABLE, columns=(Column("email", Type.STRING, letter * 300),), description=letter * 3000)
    register(glue_catalog, NEW, table=long)
    found = shown(glue_catalog)
    comment = found["StorageDescriptor"]["Columns"][0]["Comment"]
    assert 250 < len(comment.encode()) <= 255
    assert comment.rstrip(".") == letter * len(comment.rstrip("."))
    assert comment.endswith("...")
    assert 2040 < len(found["Description"].encode()) <= 2048
    assert found["Description"].endswith("...")


@pytest.mark.parametrize("length", [254, 255])
def test_what_is_just_short_enough_is_not_cut(glue_catalog: Catalog, length: int) -> None:
    register(glue_catalog, NEW, table=replace(TABLE, columns=(Column("email", Type.STRING, "a" * length),)))
    assert shown(glue_catalog)["StorageDescriptor"]["Columns"][0]["Comment"] == "a" * length


def test_a_comment_stands_in_one_line(glue_catalog: Catalog) -> None:
    # Glue refuses a comment with a line break.
    register(glue_catalog, NEW, table=replace(TABLE, columns=(Column("email", Type.STRING, "one\nand\r\n\ttwo"),)))
    assert shown(glue_catalog)["StorageDescriptor"]["Columns"][0]["Comment"] == "one and two"


@pytest.mark.parametrize("end", ["", "/"])
def test_a_location_ends_in_one_slash(glue_catalog: Catalog, end: str) -> None:
    glue_catalog.register(TABLE, pointer_to(NEW), f"{FOLDER}/{NEW}{end}", lambda: True)
    assert location(glue_catalog) == f"{FOLDER}/{NEW}/"


# --- The next publication


def test_the_next_publication_moves_the_location(glue_catalog: Catalog) -> None:
    register(glue_catalog, OLD)
    glue_catalog.register(TABLE, pointer_to(NEW, rows=7), f"{FOLDER}/{NEW}/", lambda: True)
    found = shown(glue_catalog)
    assert found["StorageDescriptor"]["Location"] == f"{FOLDER}/{NEW}/"
    assert found["Parameters"]["snapshot"] == NEW
    assert found["Parameters"]["run_id"] == f"run-of-{NEW}"
    assert found["Parameters"]["recordCount"] == found["Parameters"]["numRows"] == "7"


def test_a_repair_may_go_back_to_an_older_snapshot(glue_catalog: Catalog) -> None:
    register(glue_catalog, NEW)
    register(glue_catalog, OLD)
    assert location(glue_catalog) == f"{FOLDER}/{OLD}/"


def test_registering_again_says_the_same_and_renews_the_columns(glue_catalog: Catalog) -> None:
    register(glue_catalog, NEW, table=replace(TABLE, columns=TABLE.columns[:1], description="As it was"))
    register(glue_catalog, NEW)
    once = shown(glue_catalog)
    register(glue_catalog, NEW)
    again = shown(glue_catalog)
    assert len(once["StorageDescriptor"]["Columns"]) == len(TABLE.columns)
    assert once["Description"].endswith(TABLE.description)
    volatile = {"VersionId", "UpdateTime"}
    assert {k: v for k, v in again.items() if k not in volatile} == {k: v for k, v in once.items() if k not in volatile}


def test_what_is_not_current_any_more_is_left_to_whoever_replaced_it(glue_catalog: Catalog) -> None:
    register(glue_catalog, OLD, is_current=lambda: False)
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        glue_catalog.glue.get_database(Name=glue_catalog.database)
    register(glue_catalog, NEW)
    register(glue_catalog, OLD, is_current=lambda: False)
    assert location(glue_catalog) == f"{FOLDER}/{NEW}/"


# --- Others in the same catalog


def test_what_others_have_put_on_the_table_stays(glue_catalog: Catalog) -> None:
    register(glue_catalog, OLD)
    change(glue_catalog, parameters={"team": "research", "has_encrypted_data": "true"}, Owner="ada", Retention=90)
    register(glue_catalog, NEW)
    found = shown(glue_catalog)
    assert found["Parameters"]["team"] == "research"
    assert found["Parameters"]["has_encrypted_data"] == "true"
    assert (found["Owner"], found["Retention"]) == ("ada", 90)
    assert found["StorageDescriptor"]["Location"] == f"{FOLDER}/{NEW}/"


@pytest.mark.parametrize(
    "theirs",
    [
        {"parameters": {"created_by": None}},
        {"parameters": {"created_by": "somebody else"}},
        {"StorageDescriptor": {"Location": f"s3://bucket/another lake/customer/trusted/{OLD}/"}},
        {"StorageDescriptor": {"Location": "s3://bucket/lake/customer/trusted/"}},
        {"StorageDescriptor": {}},
    ],
    ids=["unmarked", "marked by others", "of another lake", "of the whole folder", "without a location"],
)
def test_a_table_of_somebody_else_is_refused_and_not_touched(glue_catalog: Catalog, theirs: dict[str, Any]) -> None:
    register(glue_catalog, OLD)
    change(glue_catalog, **theirs)
    before = shown(glue_catalog)
    with pytest.raises(CatalogError) as refused:
        register(glue_catalog, NEW)
    assert str(refused.value) == (
        "customer_trusted is published in the lake, but not registered: the table customer_trusted in the Glue "
        f"database {glue_catalog.database} is not from this lake, and stays as it is. Delete it there, or set "
        "STEDI_GLUE_DATABASE to another database; then run `stedi register`."
    )
    assert shown(glue_catalog) == before
    glue_catalog.glue.delete_table(DatabaseName=glue_catalog.database, Name="customer_trusted")
    register(glue_catalog, NEW)
    assert location(glue_catalog) == f"{FOLDER}/{NEW}/"


def test_a_view_of_the_same_name_is_refused(glue_catalog: Catalog) -> None:
    # A view has neither parameters nor a place.
    glue_catalog.glue.create_database(DatabaseInput={"Name": glue_catalog.database})
    view = {"Name": "customer_trusted", "TableType": "VIRTUAL_VIEW", "ViewOriginalText": "SELECT 1"}
    glue_catalog.glue.create_table(DatabaseName=glue_catalog.database, TableInput=view)
    with pytest.raises(CatalogError, match="is not from this lake, and stays as it is"):
        register(glue_catalog, NEW)


def test_a_table_that_somebody_makes_meanwhile_is_looked_at_again(glue_catalog: Catalog) -> None:
    # Between our look, which finds nothing, and our making it.
    register(glue_catalog, NEW, is_current=once(lambda: register(glue_catalog, OLD)))
    assert location(glue_catalog) == f"{FOLDER}/{NEW}/"


def test_a_table_that_somebody_deletes_meanwhile_is_made_again(glue_catalog: Catalog) -> None:
    register(glue_catalog, OLD)
    register(
        glue_catalog,
        NEW,
        is_current=once(lambda: glue_catalog.glue.delete_database(Name=glue_catalog.database)),
    )
    assert location(glue_catalog) == f"{FOLDER}/{NEW}/"


def once(what: Callable[[], Any]) -> Callable[[], bool]:
    """Return a lake's answer that a pointer is current, and have something else happen right after the first one."""
    left = [what]

    def is_current() -> bool:
        if left:
            left.pop()()
        return True

    return is_current


# --- A catalog that is down


def test_a_catalog_that_is_down_says_what_to_repeat_and_repeating_registers(
    glue_catalog: Catalog, endpoint: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(CatalogError) as failed:
        register(replace(glue_catalog, make_client=lambda: client(closed)), NEW)
    assert str(failed.value) == (
        f"customer_trusted is published in the lake, but not registered in the Glue database {glue_catalog.database}: "
        "EndpointConnectionError. Athena still shows the one before. Run `stedi register`, or materialise the table "
        "again."
    )
    register(glue_catalog, NEW)
    assert location(glue_catalog) == f"{FOLDER}/{NEW}/"


@pytest.mark.parametrize("operation", ["GetTable", "GetDatabase", "CreateDatabase", "CreateTable", "UpdateTable"])
def test_what_the_service_says_is_shown_by_operation_and_code_alone(operation: str) -> None:
    glue = LockedGlue()
    refusing = Catalog(lambda: glue, "stedi")
    if operation == "UpdateTable":
        register(refusing, OLD)
    glue.refused = operation
    with pytest.raises(CatalogError) as failed:
        register(refusing, NEW)
    assert f"in the Glue database stedi: {operation}: AccessDeniedException. Athena" in str(failed.value)
    # Dagster shows a failure with its causes.
    assert "123456789012" not in "".join(traceback.format_exception(failed.value))
    glue.refused = ""
    register(refusing, NEW)
    assert location(refusing) == f"{FOLDER}/{NEW}/"


def test_a_catalog_shows_its_database_and_nothing_of_its_client() -> None:
    assert repr(Catalog(object, "stedi")) == "Catalog(database='stedi')"


# --- Races, on a catalog that refuses an update from an old version


class LockedGlue:
    """A Glue with its optimistic lock: a stale `VersionId` is refused, and whoever names none is not asked for it.

    Every third call or so waits for `slow` seconds; then they are served one at a time. `refused` is an operation that
    is not allowed.
    """

    def __init__(self, slow: float = 0) -> None:
        self.slow, self.refused, self.conflicts, self.archived = slow, "", 0, 0
        self._databases: set[str] = set()
        self._tables: dict[tuple[str, str], dict[str, Any]] = {}
        self._one_at_a_time = threading.Lock()

    def get_database(self, Name: str) -> dict[str, Any]:  # noqa: N803
        with self._served("GetDatabase"):
            if Name not in self._databases:
                raise _client_error("GetDatabase", "EntityNotFoundException")
            return {"Database": {"Name": Name}}

    def create_database(self, DatabaseInput: dict[str, Any]) -> None:  # noqa: N803
        with self._served("CreateDatabase"):
            if DatabaseInput["Name"] in self._databases:
                raise _client_error("CreateDatabase", "AlreadyExistsException")
            self._databases.add(DatabaseInput["Name"])

    def get_table(self, DatabaseName: str, Name: str) -> dict[str, Any]:  # noqa: N803
        with self._served("GetTable"):
            if (DatabaseName, Name) not in self._tables:
                raise _client_error("GetTable", "EntityNotFoundException")
            return {"Table": copy.deepcopy(self._tables[DatabaseName, Name])}

    def create_table(self, DatabaseName: str, TableInput: dict[str, Any]) -> None:  # noqa: N803
        with self._served("CreateTable"):
            key = (DatabaseName, TableInput["Name"])
            if DatabaseName not in self._databases:
                raise _client_error("CreateTable", "EntityNotFoundException")
            if key in self._tables:
                self.conflicts += 1
                raise _client_error("CreateTable", "AlreadyExistsException")
            self._tables[key] = {**copy.deepcopy(TableInput), "VersionId": "0"}

    def update_table(
        self,
        DatabaseName: str,  # noqa: N803
        TableInput: dict[str, Any],  # noqa: N803
        VersionId: str | None = None,  # noqa: N803
        SkipArchive: bool = False,  # noqa: N803, FBT001, FBT002
    ) -> None:
        with self._served("UpdateTable"):
            key = (DatabaseName, TableInput["Name"])
            version = self._tables[key]["VersionId"]
            if VersionId not in {None, version}:
                self.conflicts += 1
                raise _client_error("UpdateTable", "ConcurrentModificationException")
            self.archived += not SkipArchive
            self._tables[key] = {**copy.deepcopy(TableInput), "VersionId": str(int(version) + 1)}

    def _served(self, operation: str) -> threading.Lock:
        time.sleep(random.choice((0, 0, self.slow)))
        if operation == self.refused:
            raise _client_error(operation, "AccessDeniedException")
        return self._one_at_a_time


def _client_error(operation: str, code: str) -> ClientError:
    said = f"User: arn:aws:iam::123456789012:user/ada is not authorised or too late: {operation}"
    return ClientError({"Error": {"Code": code, "Message": said}}, operation)


@pytest.fixture
def locked_catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A catalog with the optimistic lock, that nobody has to wait for."""
    monkeypatch.setattr(catalog, "_PAUSES", (0,) * len(catalog._PAUSES))
    return Catalog(LockedGlue, "stedi")


def test_no_older_versions_of_a_table_are_kept_in_the_catalog(locked_catalog: Catalog) -> None:
    for snapshot in (OLD, NEW, OLD):
        register(locked_catalog, snapshot)
    assert locked_catalog.glue.archived == 0


def test_a_newer_publication_between_our_look_and_our_update_stays(locked_catalog: Catalog) -> None:
    register(locked_catalog, OLD)
    current = [OLD]

    def is_current() -> bool:
        """Say what the lake holds, which is something else a moment later."""
        ours = current[-1] == OLD
        if ours:
            current.append(NEW)
            register(locked_catalog, NEW)
        return ours

    register(locked_catalog, OLD, is_current)
    assert location(locked_catalog) == f"{FOLDER}/{NEW}/"
    assert locked_catalog.glue.conflicts == 1


def test_a_change_by_others_between_our_look_and_our_update_is_kept(locked_catalog: Catalog) -> None:
    register(locked_catalog, OLD)
    register(locked_catalog, NEW, once(lambda: change(locked_catalog, parameters={"team": "research"})))
    assert location(locked_catalog) == f"{FOLDER}/{NEW}/"
    assert shown(locked_catalog)["Parameters"]["team"] == "research"


def test_a_table_that_others_keep_changing_is_given_up_in_the_end(locked_catalog: Catalog) -> None:
    register(locked_catalog, OLD)
    changes = iter(range(1000))

    def is_current() -> bool:
        change(locked_catalog, parameters={"seen": str(next(changes))})
        return True

    with pytest.raises(CatalogError, match="in the Glue database stedi: others keep changing it there"):
        register(locked_catalog, NEW, is_current)
    assert location(locked_catalog) == f"{FOLDER}/{OLD}/"
    assert 1 < next(changes) < 20


def test_a_late_one_does_not_undo_a_repair_to_what_the_catalog_shows_already(locked_catalog: Catalog) -> None:
    register(locked_catalog, OLD)
    current = [OLD, NEW]

    def is_current() -> bool:
        """Have the repair happen while the run that published the newer snapshot is about to register it."""
        ours = current[-1] == NEW
        if ours:
            current.append(OLD)
            register(locked_catalog, OLD)
        return ours

    register(locked_catalog, NEW, is_current)
    assert location(locked_catalog) == f"{FOLDER}/{OLD}/"


@pytest.mark.parametrize(
    ("before", "published"),
    [((), (OLD, NEW)), ((OLD,), (NEW, f"{NEW}-too")), ((OLD,), (NEW, OLD)), ((), (OLD, NEW, OLD))],
    ids=["the first ones", "two at once", "one and a repair", "three and one of them a repair"],
)
def test_whoever_races_the_catalog_shows_what_the_lake_has_in_the_end(
    monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...], published: tuple[str, ...]
) -> None:
    monkeypatch.setattr(catalog, "_PAUSES", (0,) * len(catalog._PAUSES))
    conflicts = 0
    for _ in range(100):
        raced = Catalog(lambda: LockedGlue(slow=0.003), "stedi")
        current = [*before]
        for snapshot in before:
            register(raced, snapshot)
        _race(raced, current, published)
        assert location(raced) == f"{FOLDER}/{current[-1]}/"
        conflicts += raced.glue.conflicts
    # Or it would not have been a race.
    assert conflicts


def _race(raced: Catalog, current: list[str], published: tuple[str, ...]) -> None:
    """Publish snapshots in a lake, each from a thread of its own, in any order, and register them."""
    failed = []

    def publish_and_register(snapshot: str) -> None:
        time.sleep(random.uniform(0, 0.006))
        current.append(snapshot)
        try:
            register(raced, snapshot, lambda: current[-1] == snapshot)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=publish_and_register, args=(snapshot,)) for snapshot in published]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# --- In a run: a lake on S3, published with Spark left out


EMPTY = SOURCES["customer"].quarantine


@pytest.fixture
def lake_with_catalog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake in a bucket, whose tables are registered."""
    with S3Server() as server:
        bucket(server, "lakes")
        for name, value in {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield Lake.at("s3://lakes/stedi", glue_database="stedi")


def publish_empty(lake: Lake, warnings: list[str]) -> Published:
    by = Provenance("run-1", Purpose.PRODUCTION, warn=warnings.append)
    expected = read_pointer(lake, EMPTY)
    return publish(lake, EMPTY, None, by=by, expected=expected, inputs={}, retention=Retention())


def shown_location(lake: Lake) -> str:
    assert lake.catalog
    shown = lake.catalog.glue.get_table(DatabaseName="stedi", Name=EMPTY.name)["Table"]
    return str(shown["StorageDescriptor"]["Location"])


def test_what_is_published_is_registered(lake_with_catalog: Lake) -> None:
    warnings: list[str] = []
    for _ in range(2):
        published = publish_empty(lake_with_catalog, warnings)
        assert shown_location(lake_with_catalog) == f"{published.where}/"
    assert warnings == []


def test_the_catalog_shows_a_snapshot_before_the_one_before_is_removed(
    lake_with_catalog: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or Athena would find an empty folder meanwhile, and no error."""
    first = publish_empty(lake_with_catalog, [])
    shown_while_purging = []
    purge = S3Bucket.purge

    def look_and_purge(storage: S3Bucket, folder: str) -> None:
        shown_while_purging.append((shown_location(lake_with_catalog), folder))
        purge(storage, folder)

    monkeypatch.setattr(S3Bucket, "purge", look_and_purge)
    by = Provenance("run-2", Purpose.PRODUCTION)
    second = publish(lake_with_catalog, EMPTY, None, by=by, expected=first.pointer, inputs={}, retention=NOTHING_OLD)
    assert shown_while_purging == [(f"{second.where}/", f"{EMPTY.path}/{first.pointer.snapshot}")]


def test_while_the_catalog_is_down_the_lake_goes_on_and_registering_makes_good_for_it(
    lake_with_catalog: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_empty(lake_with_catalog, [])
    warnings: list[str] = []
    down = replace(lake_with_catalog, catalog=Catalog(lambda: client("http://127.0.0.1:9"), "stedi"))
    published = publish_empty(down, warnings)
    assert current(lake_with_catalog, EMPTY).snapshot == published.pointer.snapshot
    assert len(warnings) == 1
    assert warnings[0].startswith("customer_quarantine is published in the lake, but not registered")
    assert shown_location(lake_with_catalog) != f"{published.where}/"

    monkeypatch.chdir(tmp_path)  # where there is no .env
    monkeypatch.setenv("STEDI_LAKE", "s3://lakes/stedi")
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", "k" * 32)
    assert main(["register"]) == 1
    assert "Set STEDI_GLUE_DATABASE" in capsys.readouterr().err
    monkeypatch.setenv("STEDI_GLUE_DATABASE", "stedi")
    assert main(["register"]) == 0
    assert capsys.readouterr().out == f"customer_quarantine: {published.pointer.snapshot}, 0 rows\n"
    assert shown_location(lake_with_catalog) == f"{published.where}/"
