"""How long one look of the sensor takes: 100,000 landing files in a folder, and as many keys in a bucket.

    python -m stedi_assets_tests.benchmarks.listing

The bucket is a server on loopback that has its pages of a thousand keys ready, each after such a pause as S3 may take:
what is measured is our side, and that no page is asked for twice.
"""

import http.server
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from stedi_assets.contracts import SOURCES
from stedi_assets.lake.arrivals import MOST_FILES, find_arrivals
from stedi_assets.lake.layout import Lake

_PAGE = 1_000
_SECONDS_A_PAGE = 0.2
_SOURCE = SOURCES["step_trainer"]


class _Pages(http.server.BaseHTTPRequestHandler):
    """Answers `ListObjectsV2` for one source, and that there is nothing of anything else."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        status, body = 200, self._page(query)
        if "list-type" not in query:
            status, body = 404, "<Error><Code>NoSuchKey</Code></Error>"
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def _page(self, query: dict[str, str]) -> str:
        start = int(query.get("continuation-token", 0))
        prefix = query.get("prefix", "")
        count = min(_PAGE, MOST_FILES - start) if re.search(_SOURCE.raw_path, prefix) else 0
        if count:
            _Pages.asked += 1
            time.sleep(_SECONDS_A_PAGE)
        keys = "".join(
            f"<Contents><Key>{prefix}{number}.json</Key><Size>78</Size><ETag>&quot;{number:032x}&quot;</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for number in range(start, start + count)
        )
        more = start + count < MOST_FILES and count
        token = f"<NextContinuationToken>{start + count}</NextContinuationToken>" if more else ""
        is_truncated = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        return f"<ListBucketResult>{is_truncated}{token}{keys}</ListBucketResult>"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def seconds_for(lake: Lake) -> float:
    """Return how long a look takes, once it has seen every file."""
    began = time.monotonic()
    found = find_arrivals(lake, int(time.time() * 1000))
    assert len(found[_SOURCE.name].changed) == MOST_FILES
    return time.monotonic() - began


def main() -> None:
    """Print how long a look takes in a folder and in a bucket."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(MOST_FILES):
            path = Path(folder) / _SOURCE.raw_path / str(number // _PAGE) / f"{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        print(f"{MOST_FILES:,} files in a folder: {seconds_for(Lake.at(folder)):.1f} s")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    took = seconds_for(Lake.at("s3://bucket/lake"))
    waited = _Pages.asked * _SECONDS_A_PAGE
    print(f"{MOST_FILES:,} keys in a bucket: {took:.1f} s, {waited:.1f} s of it for {_Pages.asked} pages of {_PAGE:,}")


if __name__ == "__main__":
    main()
