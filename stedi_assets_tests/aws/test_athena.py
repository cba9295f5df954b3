"""The client of Athena, and the check that it makes of a table.

Belongs here: what a query's answers mean, and what is said if there are none. That the SQL is right is shown by a real
Trino in `test_trino.py`.
"""

from collections.abc import Iterator
from typing import Any

import boto3
import botocore.retries.standard
import pytest

from stedi_assets.aws.athena import Athena, AthenaFailed
from stedi_assets_tests.support.athena_server import AthenaServer
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
        ("TooManyRequestsException", "try again later"),
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
    with pytest.raises(AthenaFailed, match="so that it was stopped"):
        Athena(server.workgroup, "stedi", seconds=0.01, patience=0.05).run(SQL)
    assert server.stopped == ["0"]


def test_whoever_interrupts_the_run_stops_the_query(
    server: AthenaServer, athena: Athena, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    server.states = ("RUNNING",)
    monkeypatch.setattr("stedi_assets.aws.athena.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        athena.run(SQL)
    assert server.stopped == ["0"]
