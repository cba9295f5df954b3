"""How long one look of the sensor takes: 100,000 landing files in a folder, and as many keys in a bucket.

The landing table was made from all of them but one, as is usual, so that its table of files is read as well.

    python -m stedi_assets_tests.benchmarks.listing

The bucket is a server on loopback that has its pages of a thousand raw files ready, each after such a pause as S3 may
take, and has moto answer all else: what is measured is our side, and that no page is asked for twice.
"""

import http.client
import http.server
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from stedi_assets.contracts import SOURCES, Purpose
from stedi_assets.ingest.arrivals import PortionedListing, find_arrivals
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.file_reports import FileReport, as_rows
from stedi_assets.tables.publishing import make_current
from stedi_assets.tables.retention import NOTHING_OLD
from stedi_assets.tables.staging import RunContext, stage_companion, staging
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket

_PAGE = 1_000
_FILES = 100_000
_SECONDS_A_PAGE = 0.2
_SOURCE = SOURCES["step_trainer"]
_RUN = RunContext("a-run", Purpose.PRODUCTION)
_REPORT = FileReport("", 78, "", 78, "0" * 32, 1, 1, accepted_bytes=77, separator_bytes=1)


class _Bucket(http.server.BaseHTTPRequestHandler):
    """Answers `ListObjectsV2` for the raw files of one source, and passes everything else on."""

    protocol_version = "HTTP/1.1"
    pages = 0
    upstream: str

    def do_GET(self) -> None:
        """Answer a request."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if "list-type" in query and query.get("prefix", "").endswith(f"/{_SOURCE.raw_path}/"):
            self._tell(200, {}, self._page(query).encode())
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self.upstream)
        connection.request(self.command, self.path, body, {name: self.headers[name] for name in self.headers})
        answer = connection.getresponse()
        self._tell(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()

    do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815  (as the server calls them)

    def _tell(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", headers.get("Content-Length", "0") if is_head else str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _page(self, query: dict[str, str]) -> str:
        start, prefix = int(query.get("continuation-token", 0)), query["prefix"]
        keys = range(start, min(start + _PAGE, _FILES))
        _Bucket.pages += 1
        time.sleep(_SECONDS_A_PAGE)
        listed = "".join(
            f"<Contents><Key>{prefix}{number}.json</Key><Size>78</Size><ETag>&quot;{number:032x}&quot;</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for number in keys
        )
        more = start + _PAGE < _FILES
        token = f"<NextContinuationToken>{start + _PAGE}</NextContinuationToken>" if more else ""
        return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{listed}</ListBucketResult>"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _publish(lake: Lake, fingerprints: Mapping[str, str]) -> None:
    """Publish a landing table without rows that was made from all of these files but one."""
    reports = [replace(_REPORT, path=path, fingerprint=found) for path, found in fingerprints.items()]
    rows = {_SOURCE.quarantine: None, _SOURCE.files: as_rows(_SOURCE, reports[1:])}
    with ExitStack() as stages:
        companions = [
            stages.enter_context(stage_companion(lake, table, part, None, _RUN)) for table, part in rows.items()
        ]
        inputs = {staged.table.name: staged.snapshot for staged in companions}
        landed = stages.enter_context(
            staging(lake, _SOURCE.landing, None, run=_RUN, before=None, inputs=inputs, audit=lambda _: {})
        )
        make_current(lake, landed, retention=NOTHING_OLD, companions=companions)


def _seconds_for(lake: Lake) -> float:
    """Return how long a look takes, once it has seen that one file is new."""
    began = time.monotonic()
    listing = PortionedListing(lake)
    listing.list_further(2 * _FILES)
    found = find_arrivals(lake, int(time.time() * 1000), listing.found)[_SOURCE.name]
    assert (len(found.changed), found.gone) == (1, ())
    return time.monotonic() - began


def _in_a_folder(root: Path) -> float:
    for number in range(_FILES):
        path = root / _SOURCE.raw_path / str(number // _PAGE) / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lake = Lake.at(str(root))
    _publish(lake, {entry.path: entry.fingerprint for entry in lake.storage.entries(_SOURCE.raw_path) if entry.is_file})
    return _seconds_for(lake)


def _in_a_bucket() -> float:
    with S3Server() as moto:
        bucket(moto, "bucket")
        _Bucket.upstream = urlsplit(moto.endpoint).netloc
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }
        lake = Lake.at("s3://bucket/lake")
        _publish(lake, {f"{number}.json": f'78-"{number:032x}"' for number in range(_FILES)})
        return _seconds_for(lake)


def main() -> None:
    """Print how long a look takes in a folder and in a bucket."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"{_FILES:,} files in a folder: {_in_a_folder(Path(folder)):.1f} s")
    took, waited = _in_a_bucket(), _Bucket.pages * _SECONDS_A_PAGE
    print(f"{_FILES:,} keys in a bucket: {took:.1f} s, of which {waited:.1f} s for {_Bucket.pages} pages")


if __name__ == "__main__":
    main()
