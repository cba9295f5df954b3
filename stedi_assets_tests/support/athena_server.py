"""An Amazon Athena on loopback for tests: its API over real HTTP, and any engine behind it.

It answers as Athena does: by states, in pages, everything as text, NULL left out, and column names as the first row.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

# Runs a query in a database: the types of its columns, and its rows.
Engine = Callable[[str, str], tuple[list[str], list[list[Any]]]]
_ROWS_IN_A_PAGE = 2


@dataclass
class Query:
    """A query, and the states that are still to be told of it; the last one stays."""

    sql: str
    workgroup: str
    states: list[str]
    types: list[str]
    rows: list[list[Any]]

    def state(self) -> str:
        """Return what the query's state is when it is asked for now."""
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


@dataclass
class AthenaServer:
    """Athena's API in front of an engine.

    `states` are those of every query, one each time it is asked for. `refusals` are error codes for the next requests.
    `scanned` is how many bytes each query is said to have read.
    """

    engine: Engine
    workgroup: str = "analysts"
    states: tuple[str, ...] = ("QUEUED", "RUNNING", "SUCCEEDED")
    refusals: list[str] = field(default_factory=list)
    scanned: int = 12_345_678
    error: dict[str, Any] = field(default_factory=dict)
    queries: list[Query] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def __enter__(self) -> "AthenaServer":  # noqa: PYI034  # Python 3.10 has no Self
        """Start listening."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a request. Raises `Refused`."""
        if self.refusals:
            raise Refused(self.refusals.pop(0))
        if operation == "StartQueryExecution":
            if asked["WorkGroup"] != self.workgroup:
                raise Refused("InvalidRequestException")
            types, rows = self.engine(asked["QueryString"], asked["QueryExecutionContext"]["Database"])
            self.queries.append(Query(asked["QueryString"], asked["WorkGroup"], list(self.states), types, rows))
            return {"QueryExecutionId": str(len(self.queries) - 1)}
        number = asked["QueryExecutionId"]
        query = self.queries[int(number)]
        if operation == "StopQueryExecution":
            self.stopped.append(number)
            return {}
        if operation == "GetQueryExecution":
            status = {"State": query.state(), "StateChangeReason": "somebody's value", **self.error}
            return {"QueryExecution": {"Status": status, "Statistics": {"DataScannedInBytes": self.scanned}}}
        assert operation == "GetQueryResults"
        return _page(query, int(asked.get("NextToken", 0)))


class Refused(Exception):
    """Athena refuses a request, with this code."""


def _page(query: Query, start: int) -> dict[str, Any]:
    names = [f"_col{number}" for number in range(len(query.types))]
    rows = [names, *query.rows][start : start + _ROWS_IN_A_PAGE]
    following = start + _ROWS_IN_A_PAGE
    columns = [{"Name": name, "Type": kind} for name, kind in zip(names, query.types, strict=True)]
    return {
        "ResultSet": {
            "Rows": [{"Data": [_datum(value) for value in row]} for row in rows],
            "ResultSetMetadata": {"ColumnInfo": columns},
        },
        **({"NextToken": str(following)} if following <= len(query.rows) else {}),
    }


def _datum(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    return {"VarCharValue": str(value).lower() if isinstance(value, bool) else str(value)}


def _handler(athena: AthenaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, athena.answer(self.headers["X-Amz-Target"].split(".")[1], asked)
            except Refused as error:
                status, answer = 400, {"__type": str(error), "Message": "somebody's value"}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's own name)
            """Say nothing: a line for each request would bury what a test prints."""

    return Handler
