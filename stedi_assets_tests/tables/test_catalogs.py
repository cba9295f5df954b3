"""The catalogs that a lake can have beside its own SQLite file: PostgreSQL, and a server of Iceberg's REST protocol."""

import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError
from pyiceberg.exceptions import CommitFailedException

from stedi_assets.cli.main import main
from stedi_assets.contracts import ALL_TABLES, TABLES, Purpose
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.sample_data import SampleOptions, write_sample
from stedi_assets.storage.catalog_address import CatalogAddress, CatalogKind, is_possible_catalog
from stedi_assets.storage.errors import CatalogError, CommitConflictError
from stedi_assets.storage.lake import DATABASE, Lake
from stedi_assets.tables.branches import _without_retries
from stedi_assets.tables.catalog import create, load, load_or_create
from stedi_assets.tables.catalogs import glue
from stedi_assets.tables.opening import read_rows
from stedi_assets.tables.publishing import publish
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support import postgresql as server
from stedi_assets_tests.support.environments import own_environment
from stedi_assets_tests.support.lakes import check, failed_checks, local_lake, materialise, messages, write_ada_and_ben
from stedi_assets_tests.support.postgresql import PASSWORD, USER, PostgreSQL
from stedi_assets_tests.support.rest_server import rest_server

STEDI = str(Path(sys.executable).parent / "stedi")
PHONE = TABLES["accelerometer_trusted"]
RUN = RunContext("a run", Purpose.PRODUCTION, 1)

needs_postgresql = pytest.mark.skipif(not server.programs(), reason="this machine has no PostgreSQL")


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    """A PostgreSQL."""
    with server.postgresql() as started:
        yield started


@pytest.fixture
def in_postgresql(database: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose catalog is there, in a namespace of its own; the settings name it."""
    monkeypatch.chdir(tmp_path)  # where there is no .env
    namespace = f"stedi_{abs(hash(tmp_path))}"
    for name, value in {**database.settings, "STEDI_LAKE": f"{tmp_path}/lake", "STEDI_NAMESPACE": namespace}.items():
        monkeypatch.setenv(name, value)
    address = CatalogAddress(database.address, USER, PASSWORD)
    return Lake.at(f"{tmp_path}/lake", namespace=namespace, catalog=address)


# --- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("sqlite", CatalogKind.SQLITE),
        ("glue", CatalogKind.GLUE),
        ("jdbc:postgresql://db.internal/lakes", CatalogKind.POSTGRESQL),
        ("jdbc:postgresql://[::1]:5432/lakes?sslmode=verify-full&sslrootcert=/ca.pem", CatalogKind.POSTGRESQL),
        ("https://catalog.internal/iceberg", CatalogKind.REST),
        ("http://127.0.0.1:8181", CatalogKind.REST),
        ("http://[::1]:8181/", CatalogKind.REST),
        ("http://localhost:8181/a", CatalogKind.REST),
    ],
)
def test_an_address_says_of_what_kind_it_is(address: str, kind: CatalogKind) -> None:
    assert is_possible_catalog(address)
    assert CatalogAddress(address).kind is kind


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "Glue",
            "sqlite:///lake.db",
            "hive",
            "thrift://a:9083",
            "postgresql://a/b",
            "jdbc:mysql://a/b",
            "ftp://a",
        ),
        *("http://catalog.internal", "http://127.0.0.1.example.com", "https://", "https:///a", "https://a:port/"),
        *("https://user:secret@a", "https://user@a", "http://127.0.0.1@evil.example/", "https://a?b=c", "https://a#b"),
        *("jdbc:postgresql://a", "jdbc:postgresql://a/", "jdbc:postgresql:///b", "jdbc:postgresql://a/b/c"),
        *(
            "jdbc:postgresql://u:secret@a/b",
            "jdbc:postgresql://a/b?user=u&password=secret",
            "jdbc:postgresql://a/b?ssl",
        ),
    ],
)
def test_what_is_no_address_is_refused_and_not_shown(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not is_possible_catalog(address)
    if address:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("STEDI_CATALOG", address)
        assert main(["status"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("STEDI_CATALOG=*** is not possible. Use sqlite, glue, jdbc:postgresql://")
        assert "secret" not in said.replace("client's secret", "")


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.mark.matrix
@needs_postgresql
def test_a_lake_with_its_catalog_in_postgresql_is_as_any_other(
    in_postgresql: Lake, spark_resource: SparkResource, database: PostgreSQL, tmp_path: Path
) -> None:
    write_ada_and_ben(in_postgresql)
    for _ in range(2):
        result = materialise(in_postgresql, spark_resource)
        assert result.success, messages(result)
    checked = check(in_postgresql, spark_resource)
    assert failed_checks(checked) == set()
    assert PASSWORD not in messages(checked)

    found = {name for (name,) in database.query("SELECT table_name FROM iceberg_tables")}
    assert found >= set(ALL_TABLES)
    assert not (tmp_path / "lake" / DATABASE).exists()
    beside = local_lake(tmp_path / "beside")
    write_ada_and_ben(beside)
    assert materialise(beside, spark_resource).success
    for name in ("customer_trusted", "accelerometer_trusted", "step_trainer_trusted"):
        ours, theirs = (
            read_rows(lake, name).sort_by("timestamp" if "accel" in name else "serialNumber")
            for lake in (in_postgresql, beside)
        )
        assert ours.num_rows == theirs.num_rows > 0
        assert {*map(str, ours.to_pylist())} == {*map(str, theirs.to_pylist())}


@needs_postgresql
def test_of_two_that_publish_at_once_one_wins(in_postgresql: Lake) -> None:
    def publish_nothing(before: object) -> None:
        publish(
            in_postgresql,
            PHONE,
            None,
            run=RUN,
            before=before,  # type: ignore[arg-type]
            inputs={},
            audit=lambda _: {},
            retention=Retention(),
        )

    publish_nothing(None)
    before = read_snapshot_of(in_postgresql, PHONE)
    stale = load(in_postgresql, PHONE)
    publish_nothing(before)
    with pytest.raises(CommitConflictError):
        publish_nothing(before)
    # PostgreSQL itself takes no commit that was made from an older state.
    assert stale
    with pytest.raises(CommitFailedException):
        _without_retries(stale).append(stale.schema().as_arrow().empty_table())


@needs_postgresql
def test_a_catalog_that_cannot_be_used_is_named_without_the_password(
    in_postgresql: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_or_create(in_postgresql, PHONE)
    monkeypatch.setenv("STEDI_CATALOG_PASSWORD", "not the password")
    assert main(["status"]) == 1
    said = capsys.readouterr()
    assert "cannot be used (OperationalError). Check that the database exists" in said.out + said.err
    assert "not the password" not in said.out + said.err
    nowhere = Lake.at(in_postgresql.location, catalog=CatalogAddress("jdbc:postgresql://127.0.0.1:1/lakes", USER))
    with pytest.raises(CatalogError, match=r"127\.0\.0\.1:1/lakes, cannot be used"):
        create(nowhere, PHONE)


@pytest.mark.matrix
@needs_postgresql
def test_the_command_builds_a_lake_with_its_catalog_in_postgresql(database: PostgreSQL, tmp_path: Path) -> None:
    build_by_command(tmp_path, {**database.settings, "STEDI_NAMESPACE": "by_command"})
    for path in (tmp_path / "lake").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


# --- Glue -------------------------------------------------------------------------------------------------------------


class StoreWithoutGlue(BaseHTTPRequestHandler):
    """Answers what is no request of S3 as such stores do."""

    def do_POST(self) -> None:
        self.send_response(405)
        self.end_headers()
        self.wfile.write(b"<?xml version='1.0'?><Error><Code>MethodNotAllowed</Code></Error>")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_store_that_has_no_glue_is_named_with_what_to_set_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), StoreWithoutGlue) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{store.server_port}"
        for name, value in {
            "ENDPOINT_URL": here,
            "ACCESS_KEY_ID": "a",
            "SECRET_ACCESS_KEY": "b",
            "REGION": "eu",
        }.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        with pytest.raises(CatalogError, match=rf"at {here}.*\(405\).*may have no Glue\. Set AWS_ENDPOINT_URL_S3"):
            load(Lake.at("s3://a-bucket/lake"), PHONE)
        # The client tries for long before it says so.
        said = glue.what_is_wrong(Lake.at("s3://a-bucket/lake"), EndpointConnectionError(endpoint_url=here))
        assert said
        assert said.endswith(
            f"at {here}, cannot be used: nothing answers there. Start it, or correct AWS_ENDPOINT_URL."
        )
        store.shutdown()


# --- REST -------------------------------------------------------------------------------------------------------------


@pytest.mark.matrix
def test_the_command_builds_a_lake_with_its_catalog_behind_icebergs_own_rest_server(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    with rest_server(tmp_path / "lake") as address:
        build_by_command(tmp_path, {"STEDI_CATALOG": address})
        catalog = CatalogAddress(address)
        assert read_rows(Lake.at(f"{tmp_path}/lake", catalog=catalog), "machine_learning_curated").num_rows > 0


def build_by_command(folder: Path, settings: dict[str, str]) -> None:
    """Build a lake twice by `stedi start`, and check it, as a user would."""
    write_sample(folder / "lake", SampleOptions(customers=20))
    environment = {**own_environment(), **settings, "STEDI_LAKE": f"{folder}/lake", "DAGSTER_HOME": str(folder)}
    dagster = str(Path(STEDI).with_name("dagster"))
    job = [dagster, "job", "execute", "-m", "stedi_assets.definitions", "-j", "check_lakehouse"]
    for command in ([STEDI, "start"], [STEDI, "start"], job, [STEDI, "repair"]):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3_000:]
        assert PASSWORD not in done.stdout + done.stderr
    if settings.get("STEDI_CATALOG", "").startswith("jdbc"):
        files = (folder / "lake" / PHONE.path).rglob("*")
        assert not any(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files)
