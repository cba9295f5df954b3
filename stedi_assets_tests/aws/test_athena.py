"""The client of Athena, and the check that it makes of a table.

Belongs here: what a query's answers mean, and what is said if there are none. That the SQL is right is shown by a real
Trino in `test_trino.py`.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.retries.standard
import dagster as dg
import pytest

from stedi_assets.aws.athena import Athena, AthenaFailed
from stedi_assets.contracts import LANDING_TABLES, TABLES
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.athena_checks import ATHENA_CHECKS, AthenaResource
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current
from stedi_assets_tests.support.athena_server import AthenaServer
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    INSTANTS,
    device_reading,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.s3_server import REGION

SQL = "SELECT 1"
TYPES = ["bigint", "varchar", "double", "boolean"]
ROWS: list[list[Any]] = [
    [1, "", 0.5, True],
    [None, None, None, None],
    [3, "two\nlines", -1e300, False],
    [4, "4", 4.0, True],
    [2**63 - 1, "ä", 1.0, False],
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AthenaServer]:
    with AthenaServer(lambda *_: (TYPES, ROWS)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield server


@pytest.fixture
def athena(server: AthenaServer) -> Athena:
    return Athena(server.workgroup, "stedi", seconds=0.01)


def test_rows_come_from_all_pages_with_their_types(server: AthenaServer, athena: Athena) -> None:
    found = athena.run(SQL)
    assert found.rows == [tuple(row) for row in ROWS]
    assert [type(value) for value in found.rows[0]] == [int, str, float, bool]
    assert (found.scanned, found.query) == (server.scanned, "0")
    assert [(query.sql, query.workgroup) for query in server.queries] == [(SQL, server.workgroup)]


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS[:2], ROWS[:3]])
def test_the_names_are_no_row_wherever_a_page_ends(rows: list[list[Any]], athena: Athena, server: AthenaServer) -> None:
    server.engine = lambda *_: (TYPES, rows)
    assert athena.run(SQL).rows == [tuple(row) for row in rows]


def test_throttled_requests_are_made_again(server: AthenaServer, athena: Athena) -> None:
    server.refusals = ["TooManyRequestsException", "ThrottlingException"]
    assert len(athena.run(SQL).rows) == len(ROWS)


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ("CANCELLED", {}, "somebody stopped it"),
        ("FAILED", {}, "an unknown error"),
        ("FAILED", {"AthenaError": {"ErrorCategory": 1, "ErrorType": 100}}, "an error of Athena's own, type 100"),
        ("FAILED", {"AthenaError": {"ErrorCategory": 2, "ErrorType": 1006}}, "in the query or the tables, type 1006"),
    ],
)
def test_a_query_that_does_not_succeed_is_named_and_quotes_nothing(
    server: AthenaServer, athena: Athena, state: str, error: dict[str, Any], says: str
) -> None:
    server.states, server.error = ("QUEUED", state), error
    with pytest.raises(AthenaFailed) as raised:
        athena.run(SQL)
    assert f"The query 0 in the workgroup analysts ended as {state}: " in str(raised.value)
    assert says in str(raised.value)
    assert "somebody's value" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "athena:StartQueryExecution"),
        ("InvalidRequestException", "STEDI_ATHENA_WORKGROUP"),
        ("TooManyRequestsException", "try later"),
        ("InternalServerException", "See the Athena console"),
    ],
)
def test_what_athena_refuses_is_said_with_the_next_step(
    server: AthenaServer, athena: Athena, code: str, says: str
) -> None:
    server.refusals = [code] * 100
    with pytest.raises(AthenaFailed) as raised:
        athena.run(SQL)
    assert f"workgroup analysts: {code}. " in str(raised.value)
    assert says in str(raised.value)
    assert "somebody's value" not in str(raised.value)


def test_a_workgroup_that_is_not_there_is_named(server: AthenaServer) -> None:
    with pytest.raises(AthenaFailed, match="in the workgroup nobodys: InvalidRequestException"):
        Athena("nobodys", "stedi", seconds=0.01).run(SQL)
    assert not server.queries


def test_a_query_that_takes_too_long_is_stopped(server: AthenaServer) -> None:
    server.states = ("RUNNING",)
    with pytest.raises(AthenaFailed, match="so it was stopped"):
        Athena(server.workgroup, "stedi", seconds=0.01, patience=0.05).run(SQL)
    assert server.stopped == ["0"]


def test_whoever_interrupts_the_run_stops_the_query(
    server: AthenaServer, athena: Athena, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    server.states = ("RUNNING",)
    # Of that module alone: other threads of this process sleep, too.
    monkeypatch.setattr("stedi_assets.aws.athena.time", SimpleNamespace(monotonic=time.monotonic, sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        athena.run(SQL)
    assert server.stopped == ["0"]


# --- The check --------------------------------------------------------------------------------------------------------

COLUMNS = ["varchar", "bigint", "varchar", "varchar"]
ML = "machine_learning_curated"


@dataclass
class Checked:
    """A lake of ada and ben, checked by an Athena that answers as it is told."""

    lake: Lake
    server: AthenaServer
    spark: SparkResource

    def results(self) -> dict[str, dg.AssetCheckEvaluation]:
        """Run the checks alone, as `check_lakehouse` does."""
        job = dg.define_asset_job("athena", selection=dg.AssetSelection.all_asset_checks())
        athena = AthenaResource(workgroup=self.server.workgroup, seconds=0.01)
        defs = dg.Definitions(
            assets=ASSETS,
            asset_checks=ATHENA_CHECKS,
            jobs=[job],
            resources={**resources(self.lake, self.spark), "athena": athena},
            executor=dg.in_process_executor,
        )
        ran = defs.resolve_job_def("athena").execute_in_process()
        return {found.asset_key.path[-1]: found for found in ran.get_asset_check_evaluations()}

    def answers(self, **differing: list[Any]) -> None:
        """Have Athena find what was published, and make the same; or what is given for a table that it makes."""

        def engine(sql: str, _: str) -> tuple[list[str], list[list[Any]]]:
            (name,) = re.findall(r'published AS \(\s*SELECT \* FROM "stedi"\."(\w+)"', sql)
            rows = current(self.lake, TABLES[name]).rows
            groups = "C" * 16 if name == ML else None
            published = [rows, "A" * 16, groups]
            recomputed = differing.get(name, published)
            sides = [["recomputed", *recomputed], ["published", *published]]
            return COLUMNS, sides[1:] if name in LANDING_TABLES else sides

        self.server.engine = engine


def made(folder: Path, spark: SparkResource) -> Lake:
    lake = local_lake(folder)
    write_ada_and_ben(lake)
    assert materialise(lake, spark).success
    return lake


@pytest.fixture(scope="module")
def kept(spark_resource: SparkResource, tmp_path_factory: pytest.TempPathFactory) -> KeptLake:
    return KeptLake.of(made(tmp_path_factory.mktemp("athena"), spark_resource))


@pytest.fixture
def checked(kept: KeptLake, server: AthenaServer, spark_resource: SparkResource) -> Checked:
    return Checked(kept.restored(), server, spark_resource)


def test_every_table_is_held_against_what_athena_makes_of_it(checked: Checked) -> None:
    checked.answers()
    results = checked.results()
    assert set(results) == set(TABLES)
    assert all(found.passed for found in results.values())
    assert (results[ML].metadata["looked at"].value, results[ML].metadata["recomputed"].value) == (4, "4")
    assert results[ML].metadata["bytes scanned"].value == checked.server.scanned
    # 12.3 MB at 5 dollars a terabyte.
    assert results[ML].metadata["cost in dollars"].value == pytest.approx(0.000062, abs=1e-6)
    assert "recomputed" not in results["customer_landing"].metadata


@pytest.mark.parametrize(
    ("name", "recomputed"),
    [
        ("customer_trusted", [3, "A" * 16, None]),
        ("step_trainer_trusted", [4, "B" * 16, None]),
        (ML, [4, "A" * 16, "D" * 16]),
    ],
)
def test_what_athena_makes_otherwise_fails(checked: Checked, name: str, recomputed: list[Any]) -> None:
    checked.answers(**{name: recomputed})
    results = checked.results()
    assert {table for table, found in results.items() if not found.passed} == {name}
    assert results[name].severity is dg.AssetCheckSeverity.ERROR
    assert "Athena and this table disagree" in (results[name].description or "")
    failing = results[name].metadata["failing"].value
    assert isinstance(failing, int)
    assert failing >= 1


@pytest.mark.parametrize("name", ["customer_landing", "customer_trusted"])
def test_rows_that_athena_does_not_find_fail(checked: Checked, name: str) -> None:
    found = [1, "A" * 16, None]
    sides = [["published", *found], ["recomputed", *found]]
    checked.server.engine = lambda *_: (COLUMNS, sides[:1] if name in LANDING_TABLES else sides)
    result = checked.results()[name]
    assert (result.passed, result.metadata["looked at"].value, result.metadata["failing"].value) == (False, 1, 1)


def test_an_athena_that_does_not_answer_warns_and_stops_nothing(checked: Checked) -> None:
    checked.server.refusals = ["AccessDeniedException"] * 1_000
    for found in checked.results().values():
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "athena:StartQueryExecution" in (found.description or "")


def test_a_run_has_athena_look_at_its_days_and_no_older_table_is_compared(
    server: AthenaServer, spark_resource: SparkResource, tmp_path: Path
) -> None:
    """In a lake that is no copy: the files of a copy are new ones."""
    growing = Checked(made(tmp_path, spark_resource), server, spark_resource)
    growing.answers()
    later = INSTANTS[0] + 86_400_000
    for source, record in (
        ("accelerometer", phone_reading("ada", later)),
        ("step_trainer", device_reading("device-of-ada", later)),
    ):
        (root_of(growing.lake) / source / "landing" / "two.json").write_bytes(lines(record))
    athena = AthenaResource(workgroup=server.workgroup, seconds=0.01)
    ran = dg.materialize(
        [*ASSETS, *ATHENA_CHECKS], resources={**resources(growing.lake, spark_resource), "athena": athena}
    )
    start = later - later % 86_400_000
    (query,) = (query.sql for query in server.queries if f'published AS (\nSELECT * FROM "stedi"."{ML}"' in query.sql)
    of_the_day = f'("timestamp" >= {start} AND "timestamp" < {start + 86_400_000})'
    assert query.count(of_the_day) == 2
    assert query.count(of_the_day.replace("timestamp", "sensorReadingTime")) == 1
    # All days together have more rows than there are on this one.
    (result,) = (f for f in ran.get_asset_check_evaluations() if f.asset_key.path == [ML])
    assert not result.passed

    # Where nothing is new, it is asked for nothing but the number of rows that have landed.
    asked = len(server.queries)
    ran = dg.materialize(
        [*ASSETS, *ATHENA_CHECKS], resources={**resources(growing.lake, spark_resource), "athena": athena}
    )
    assert len(server.queries) == asked + len(LANDING_TABLES)
    unasked = {
        f.asset_key.path[-1]: f for f in ran.get_asset_check_evaluations() if f.asset_key.path[-1] not in LANDING_TABLES
    }
    assert all(found.passed and found.metadata["cost in dollars"].value == 0 for found in unasked.values())
    assert unasked[ML].metadata["query"].value == "none: no day was computed"

    (root_of(growing.lake) / "step_trainer" / "landing" / "three.json").write_bytes(
        lines(device_reading("device-of-ada", INSTANTS[0] + 1))
    )
    landing = dg.AssetSelection.assets("step_trainer_landing")
    assert materialise(growing.lake, spark_resource, tables=landing).success
    results = growing.results()
    for name in ("step_trainer_trusted", ML):
        assert "step_trainer_landing is newer than this table" in (results[name].description or "")
        assert results[name].severity is dg.AssetCheckSeverity.WARN
    assert results["customers_curated"].passed
