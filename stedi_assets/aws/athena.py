"""A client of Amazon Athena: runs a query in a workgroup, waits for it, and returns its rows.

An error names the query and Athena's own category of error, but never Athena's message, which can quote a value.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stedi_assets.storage.aws_errors import code_of
from stedi_assets.storage.interface import ATTEMPTS

Value = str | int | float | bool | None
_ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
# How values are read. Athena gives all as text, and leaves out NULL, which is not ''. Other types stay text.
_READ: dict[str, Callable[[str], Value]] = {
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint"), int),
    **dict.fromkeys(("float", "real", "double"), float),
    "boolean": lambda text: text == "true",
}
# https://docs.aws.amazon.com/athena/latest/APIReference/API_AthenaError.html: 1 is the system, 2 the user, 3 the rest.
_WHOSE = {1: "an error of Athena's own", 2: "an error in the query or the tables"}
_NEXT = {
    "AccessDeniedException": "Let Dagster's role call athena:StartQueryExecution, GetQueryExecution, GetQueryResults "
    "and StopQueryExecution on the workgroup, read the tables, and write the workgroup's results.",
    "InvalidRequestException": "Check that STEDI_ATHENA_WORKGROUP names a workgroup of this account and region, that "
    "it is enabled, and that it says where results go.",
    "TooManyRequestsException": "Athena gets too many requests, or already runs as many queries as it may: try later.",
}


class AthenaFailed(Exception):
    """Athena did not answer a query. The message says what, where, why and what next."""


@dataclass(frozen=True)
class Answer:
    """The rows of a query; `scanned` is how many bytes Athena read for it, and `query` Athena's id of it."""

    rows: list[tuple[Value, ...]]
    scanned: int
    query: str


@dataclass(frozen=True)
class Athena:
    """A workgroup, and the database in which a query looks for its tables.

    `seconds` is how often Athena is asked, and `patience` for how long, in seconds; then the query is stopped.
    """

    workgroup: str
    database: str
    seconds: float = 1
    patience: float = 1_800

    def run(self, sql: str) -> Answer:
        """Run a query. If this is interrupted, the query is stopped. Raises `AthenaFailed`."""
        client = boto3.client("athena", config=Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS}))
        try:
            query: str = client.start_query_execution(
                QueryString=sql, WorkGroup=self.workgroup, QueryExecutionContext={"Database": self.database}
            )["QueryExecutionId"]
            found = self._wait(client, query)
            if found["Status"]["State"] != "SUCCEEDED":
                raise AthenaFailed(self._why(query, found["Status"]))
            return Answer(list(_rows(client, query)), found["Statistics"]["DataScannedInBytes"], query)
        except (ClientError, BotoCoreError) as error:
            what_next = _NEXT.get(code_of(error), "See the Athena console.")
            msg = f"Athena did not run a query in the workgroup {self.workgroup}: {code_of(error)}. {what_next}"
            raise AthenaFailed(msg) from None

    def _wait(self, client: Any, query: str) -> dict[str, Any]:
        """Return what Athena says of a query once it has ended. If this is interrupted or too late, it is stopped."""
        until, has_ended = time.monotonic() + self.patience, False
        try:
            while True:
                found: dict[str, Any] = client.get_query_execution(QueryExecutionId=query)["QueryExecution"]
                has_ended = found["Status"]["State"] in _ENDED
                if has_ended:
                    return found
                self._require_patience(query, until)
                time.sleep(self.seconds)
        finally:
            if not has_ended:
                client.stop_query_execution(QueryExecutionId=query)

    def _require_patience(self, query: str, until: float) -> None:
        if time.monotonic() > until:
            msg = (
                f"Athena has not answered the query {query} in the workgroup {self.workgroup} for {self.patience:,.0f} "
                "s, so it was stopped. See the Athena console for why it takes so long."
            )
            raise AthenaFailed(msg)

    def _why(self, query: str, status: dict[str, Any]) -> str:
        error = status.get("AthenaError", {})
        whose = _WHOSE.get(error.get("ErrorCategory"), "an unknown error")
        kind = f", type {error['ErrorType']}" if "ErrorType" in error else ""
        cause = "somebody stopped it" if status["State"] == "CANCELLED" else f"{whose}{kind}"
        return (
            f"The query {query} in the workgroup {self.workgroup} ended as {status['State']}: {cause}. The Athena "
            "console shows the query and its message, which can quote people's data."
        )


def _rows(client: Any, query: str) -> Iterator[tuple[Value, ...]]:
    """Yield the rows of a query that has ended, page by page."""
    is_head = True
    for page in client.get_paginator("get_query_results").paginate(QueryExecutionId=query):
        found = page["ResultSet"]
        read = [_READ.get(column["Type"], str) for column in found["ResultSetMetadata"]["ColumnInfo"]]
        # The first row of the first page repeats the columns' names.
        for row in found["Rows"][1 if is_head else 0 :]:
            values = [datum.get("VarCharValue") for datum in row["Data"]]
            yield tuple(None if value is None else kind(value) for kind, value in zip(read, values, strict=True))
        is_head = False
