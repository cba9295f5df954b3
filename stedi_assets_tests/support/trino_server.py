"""A real Trino on loopback, which is the engine of Athena, with the Glue catalog and the S3 of the tests.

Its server is fetched from Maven Central once: 821 MB. It needs a Java 24 or newer: that of STEDI_TRINO_JAVA, a folder
like JAVA_HOME, of JAVA_HOME itself, or of one below /usr/lib/jvm.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stedi_assets.settings import read_settings
from stedi_assets.spark.java import kept_cache
from stedi_assets.spark.maven import Artifact, fetch
from stedi_assets_tests.support.s3_server import REGION

CATALOG = "lake"
# Tables of raw files, as a Glue crawler makes them.
RAW_FILES = "raw_files"
_PATIENCE_SECONDS = 120
_OLDEST_JAVA = 24
# The only parts that are unpacked.
_PARTS = ("/lib/", "/plugin/iceberg/", "/plugin/hive/")


class _Server(Artifact):
    @property
    def file(self) -> str:
        return super().file.replace(".jar", ".tar.gz")


_TRINO = _Server(
    "io.trino:trino-server:476", 821_045_832, "cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f"
)
_JVM = (
    *(
        "-server",
        "-Xmx2G",
        "-XX:+EnableDynamicAgentLoading",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djdk.attach.allowAttachSelf=true",
        "-Dfile.encoding=UTF-8",
    ),
    *("--add-modules=jdk.incubator.vector", "--sun-misc-unsafe-memory-access=allow"),
    "--enable-native-access=ALL-UNNAMED",
)
_CONFIG = """
node.id=tests
node.environment=tests
node.bind-ip=127.0.0.1
node.internal-address=127.0.0.1
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
catalog.config-dir={folder}/catalog
plugin.dir={home}/plugin
log.levels-file={folder}/log.properties
"""
_ICEBERG = """
connector.name=iceberg
iceberg.catalog.type=glue
"""
_HIVE = """
connector.name=hive
hive.metastore=glue
"""
_STORES = """
hive.metastore.glue.region={region}
hive.metastore.glue.endpoint-url={endpoint}
hive.metastore.glue.aws-access-key={access_key}
hive.metastore.glue.aws-secret-key={secret_key}
fs.native-s3.enabled=true
s3.region={region}
s3.endpoint={endpoint}
s3.path-style-access=true
s3.aws-access-key={access_key}
s3.aws-secret-key={secret_key}
"""


class QueryFailed(Exception):
    """Trino did not answer a query."""


@dataclass(frozen=True)
class Trino:
    """A running server. Unqualified tables of a query are those of `schema`."""

    address: str

    def run(self, sql: str, schema: str) -> tuple[list[str], list[list[Any]]]:
        """Run a query; return the types of its columns, and its rows. Raises `QueryFailed`."""
        headers = {"X-Trino-User": "tests", "X-Trino-Catalog": CATALOG, "X-Trino-Schema": schema}
        request = urllib.request.Request(f"{self.address}/v1/statement", sql.encode(), headers)
        types: list[str] = []
        rows: list[list[Any]] = []
        while True:
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:
                found = json.load(answer)
            if "error" in found:
                raise QueryFailed(found["error"]["message"])
            types = [column["type"] for column in found.get("columns", ())] or types
            rows += found.get("data", ())
            if "nextUri" not in found:
                return types, rows
            request = urllib.request.Request(found["nextUri"], headers=headers)


def find_java() -> Path | None:
    """Return a Java that Trino runs on, or None."""
    named = [os.environ.get(name) for name in ("STEDI_TRINO_JAVA", "JAVA_HOME")]
    homes = [Path(home) for home in named if home] + sorted(Path("/usr/lib/jvm").glob("*"))
    return next((home / "bin" / "java" for home in homes if _major(home / "bin" / "java") >= _OLDEST_JAVA), None)


def _major(java: Path) -> int:
    if not java.exists():
        return 0
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


@contextmanager
def trino_server(folder: Path, endpoint: str, access_key: str, secret_key: str) -> Iterator[Trino]:
    """Start a server with the lakes of an endpoint, and stop it in the end. Its files lie in `folder`."""
    java = find_java()
    assert java, "no Java 24 or newer"
    home = _home()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "catalog").mkdir(parents=True)
    values = {"folder": folder, "home": home, "port": port, "endpoint": endpoint, "region": REGION}
    keys = {"access_key": access_key, "secret_key": secret_key}
    (folder / "config.properties").write_text(_CONFIG.format(**values), "utf-8")
    (folder / "log.properties").write_text("=WARN\n", "utf-8")
    stores = _STORES.format(**values, **keys)
    (folder / "catalog" / f"{CATALOG}.properties").write_text(f"{_ICEBERG}{stores}", "utf-8")
    (folder / "catalog" / f"{RAW_FILES}.properties").write_text(f"{_HIVE}{stores}", "utf-8")
    options = [*_JVM, f"-Dconfig={folder}/config.properties", "-cp", f"{home}/lib/*"]
    command = [str(java), *options, "io.trino.server.TrinoServer"]
    trino = Trino(f"http://127.0.0.1:{port}")
    printed = folder / "trino.log"
    with printed.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(trino, process, printed)
        yield trino
    finally:
        process.kill()
        process.wait()


def _wait(trino: Trino, process: "subprocess.Popen[bytes]", printed: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{trino.address}/v1/info", timeout=5) as answer:
                if not json.load(answer)["starting"]:
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"Trino does not start: {printed.read_text('utf-8')[-4000:]}")


def _home() -> Path:
    """Return the folder of the server, fetched and unpacked once."""
    cache = kept_cache()
    assert cache
    home = cache / f"trino-{_TRINO.coordinates.split(':')[-1]}"
    if not home.exists():
        packed = cache / _TRINO.file
        if not packed.exists():
            fetch([_TRINO], read_settings().maven, cache)
        draft = Path(f"{home}.part")
        shutil.rmtree(draft, ignore_errors=True)
        with tarfile.open(packed) as archive:
            wanted = [member for member in archive if any(part in member.name for part in _PARTS)]
            archive.extractall(draft, wanted, filter="data")
        (draft / packed.name.removesuffix(".tar.gz")).rename(home)
        packed.unlink()
        draft.rmdir()
    return home
