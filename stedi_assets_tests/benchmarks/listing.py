"""How long one look of the sensor takes: 100,000 landing files in a folder, and as many keys in a bucket.

The landing table was made from all of them but one, as is usual, so that its list of files is read as well.

    python -m stedi_assets_tests.benchmarks.listing

The bucket is a server on loopback that has its pages of a thousand keys ready, each after such a pause as S3 may take:
what is measured is our side, and that no page is asked for twice.
"""

import http.server
import json
import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest.arrivals import MOST_FILES, find_arrivals
from stedi_assets.storage.lake import POINTER, Lake
from stedi_assets.tables.file_reports import FILES, FileReport
from stedi_assets.tables.pointers import Pointer
from stedi_assets.tables.snapshots import snapshot_folder

_PAGE = 1_000
_SECONDS_A_PAGE = 0.2
_SOURCE = SOURCES["step_trainer"]
_SNAPSHOT = "a-snapshot"
_POINTER = json.dumps(Pointer(_SNAPSHOT, 0, "", "", "production").as_dict())
_REPORT = FileReport("", 78, "", 78, "0" * 32, 1, 1, accepted_bytes=77, separator_bytes=1)


class _Bucket(http.server.BaseHTTPRequestHandler):
    """Answers `ListObjectsV2` and `GetObject` for one source, and that there is nothing of anything else."""

    protocol_version = "HTTP/1.1"
    pages = 0
    objects: dict[str, str]

    def do_GET(self) -> None:
        """Answer a request."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        found = self._page(query) if "list-type" in query else self.objects.get(urlsplit(self.path).path)
        self.send_response(200 if found else 404)
        body = (found or "<Error><Code>NoSuchKey</Code></Error>").encode()
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _page(self, query: dict[str, str]) -> str:
        start, prefix = int(query.get("continuation-token", 0)), query["prefix"]
        keys = range(start, min(start + _PAGE, MOST_FILES)) if _SOURCE.raw_path in prefix else ()
        if keys:
            _Bucket.pages += 1
            time.sleep(_SECONDS_A_PAGE)
        listed = "".join(
            f"<Contents><Key>{prefix}{number}.json</Key><Size>78</Size><ETag>&quot;{number:032x}&quot;</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for number in keys
        )
        more = bool(keys) and start + _PAGE < MOST_FILES
        token = f"<NextContinuationToken>{start + _PAGE}</NextContinuationToken>" if more else ""
        return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{listed}</ListBucketResult>"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _files(fingerprints: dict[str, str]) -> str:
    """Return the list of files of a table that was made from all of these but one."""
    reports = [replace(_REPORT, path=path, fingerprint=found) for path, found in fingerprints.items()]
    return json.dumps({"files": [report.as_dict() for report in reports[1:]], "ignored": []})


def _seconds_for(lake: Lake) -> float:
    """Return how long a look takes, once it has seen that one file is new."""
    began = time.monotonic()
    found = find_arrivals(lake, int(time.time() * 1000))[_SOURCE.name]
    assert (len(found.changed), found.gone) == (1, ())
    return time.monotonic() - began


def _in_a_folder(root: Path) -> float:
    for number in range(MOST_FILES):
        path = root / _SOURCE.raw_path / str(number // _PAGE) / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lake, table = Lake.at(str(root)), _SOURCE.landing
    fingerprints = {entry.path: entry.fingerprint for entry in lake.storage.entries(_SOURCE.raw_path)}
    lake.storage.write(f"{snapshot_folder(table, _SNAPSHOT)}/{FILES}", _files(fingerprints).encode())
    lake.storage.write(f"{table.path}/{POINTER}", _POINTER.encode())
    return _seconds_for(lake)


def _in_a_bucket() -> float:
    table = f"/bucket/lake/{_SOURCE.landing.path}"
    files = _files({f"{number}.json": f'78-"{number:032x}"' for number in range(MOST_FILES)})
    _Bucket.objects = {f"{table}/{POINTER}": _POINTER, f"{table}/{_SNAPSHOT}/{FILES}": files}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    os.environ |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return _seconds_for(Lake.at("s3://bucket/lake"))


def main() -> None:
    """Print how long a look takes in a folder and in a bucket."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"{MOST_FILES:,} files in a folder: {_in_a_folder(Path(folder)):.1f} s")
    took, waited = _in_a_bucket(), _Bucket.pages * _SECONDS_A_PAGE
    print(f"{MOST_FILES:,} keys in a bucket: {took:.1f} s, of which {waited:.1f} s for {_Bucket.pages} pages")


if __name__ == "__main__":
    main()
