"""An S3 and a Glue on loopback for tests: moto's, over real HTTP, closer to the real ones where a lake would notice.

What stays different: connections are not kept alive, a key cannot hold a line break, checksums that a client sends
are not verified, deleting a key that a versioned bucket has never held leaves no delete marker, listing uploads is
never cut into pages, and of two conditional PUTs at once the one that loses hears 412, never 409.
"""

import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import boto3
from botocore.config import Config
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.glue.models import glue_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

REGION = "us-east-1"
_PAGE = 1_000
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")


class S3Server:
    """Moto's S3 on a free port of 127.0.0.1, empty at first.

    In a process of its own: moto keeps what it holds per process, and its threads would take turns with a test's own.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-m", "stedi_assets_tests.support.s3_server"]
        project = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.endpoint = self._talk()[1].readline().decode().strip()
        if not self.endpoint:
            self.stop()
            raise RuntimeError("the S3 of the tests does not start")

    def stop(self) -> None:
        """Stop serving, and forget every bucket."""
        for stream in self._talk():
            stream.close()
        self._process.wait()

    def _talk(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout

    def __enter__(self) -> "S3Server":  # noqa: PYI034  # Python 3.10 has no Self
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def serve() -> None:
    """Serve, and say where, until whoever started this process hangs up or dies."""
    # Moto finds further parts of stacks by their classes.
    import stedi_assets_tests.support.cloudformation  # noqa: F401, PLC0415  (loads all services that a stack has)

    app = _Mended(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.port}", flush=True)  # noqa: T201
    sys.stdin.read()


def client(endpoint: str, *, attempts: int = 1, read_timeout: float = 20) -> Any:
    """Return a boto3 client for an endpoint, which tries each request so many times."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            s3={"addressing_style": "path"},
            max_pool_connections=50,
            read_timeout=read_timeout,
        ),
    )


def bucket(server: S3Server, name: str, *, versioned: bool = False) -> Any:
    """Make a bucket, and return a boto3 client for its server."""
    s3 = client(server.endpoint)
    s3.create_bucket(Bucket=name)
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return s3


class _Quiet(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a line for each request would bury what a test prints."""


class _Mended:
    """A WSGI application in front of moto's, which mends what differs from S3."""

    def __init__(self, moto: Callable[[Environ, StartResponse], Iterable[bytes]]) -> None:
        self._moto = moto
        self._lock = threading.Lock()
        self._begun: dict[bytes, bytes] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        # Read before the lock is taken: a client that is slow, or dies while it sends, must not hold up the others.
        body = _read(environ)
        refused = _refused(environ, body)
        if refused:
            return _error(start_response, *refused)
        # S3 never returns more than 1,000 keys, whatever is asked for. Moto does, and a second page is never read.
        environ["QUERY_STRING"] = re.sub(
            r"(?<=max-keys=)\d+", lambda asked: str(min(int(asked[0]), _PAGE)), environ.get("QUERY_STRING", "")
        )
        # Moto looks at a condition and then writes, with other threads in between: two PUTs with `If-None-Match: *`
        # can both succeed. Its listings fail where another thread writes meanwhile. S3 does each as a whole.
        with self._lock:
            if _is_overtaken(environ, body):
                return _glue_error(start_response, "ConcurrentModificationException")
            try:
                answer = b"".join(self._moto(environ, start_response))
            except KeyError:
                # Moto stumbles over an upload that is complete or aborted: as a 500 it would be tried again.
                if "uploadId=" not in environ["QUERY_STRING"]:
                    raise
                return _error(start_response, "404 Not Found", "NoSuchUpload")
            return [self._dated(environ, answer)]

    def _dated(self, environ: Environ, answer: bytes) -> bytes:
        """Give each upload the time at which it began: moto's all began in 2010, so that a sweep would take every one.

        The length does not change: all of these times are written in as many characters.
        """
        if environ["REQUEST_METHOD"] == "POST":
            for upload in re.findall(rb"<UploadId>(.+?)</UploadId>", answer):
                self._begun.setdefault(upload, _now())
        elif b"<ListMultipartUploadsResult" in answer[:200]:
            return re.sub(rb"<Upload>.*?</Upload>", self._dated_upload, answer, flags=re.DOTALL)
        return answer

    def _dated_upload(self, match: re.Match[bytes]) -> bytes:
        upload = re.search(rb"<UploadId>(.+?)</UploadId>", match[0])
        begun = self._begun[upload[1]] if upload else _now()
        return re.sub(rb"(?<=<Initiated>)[^<]+", begun, match[0])


def _read(environ: Environ) -> bytes:
    """Read a request's body from its connection; leave it to be read again."""
    if environ.get("wsgi.input_terminated"):
        body: bytes = environ["wsgi.input"].read()
    else:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _refused(environ: Environ, body: bytes) -> tuple[str, str] | None:
    """Return the status and the code of the error, if moto would do what it should refuse."""
    query = environ.get("QUERY_STRING", "")
    conditional = any(condition in environ for condition in _CONDITIONS)
    # Conditions that moto does not look at: better no answer than one that ignores them.
    if conditional and ("HTTP_X_AMZ_COPY_SOURCE" in environ or ("uploadId=" in query and "HTTP_IF_MATCH" in environ)):
        return "501 Not Implemented", "NotImplemented"
    # Moto deletes any number of keys at once.
    if environ["REQUEST_METHOD"] == "POST" and re.match("delete(=|&|$)", query) and body.count(b"<Object>") > _PAGE:
        return "400 Bad Request", "MalformedXML"
    return None


def _is_overtaken(environ: Environ, body: bytes) -> bool:
    """Whether Glue should refuse an update, as the table has another version than the caller has seen."""
    if environ.get("HTTP_X_AMZ_TARGET") != "AWSGlue.UpdateTable" or b"VersionId" not in body:
        return False
    asked, region = json.loads(body), re.search("/([^/]+)/glue/aws4_request", environ["HTTP_AUTHORIZATION"])
    assert region
    table = glue_backends[DEFAULT_ACCOUNT_ID][region[1]].get_table(asked["DatabaseName"], asked["TableInput"]["Name"])
    return bool(table.as_dict()["VersionId"] != asked["VersionId"])


def _glue_error(start_response: StartResponse, code: str) -> list[bytes]:
    answer = json.dumps({"__type": code, "Message": code}).encode()
    start_response(
        "400 Bad Request", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(answer)))]
    )
    return [answer]


def _error(start_response: StartResponse, status: str, code: str) -> list[bytes]:
    answer = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(answer)))])
    return [answer.encode()]


def _now() -> bytes:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()


if __name__ == "__main__":
    serve()
