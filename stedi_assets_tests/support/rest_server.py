"""Iceberg's own reference server of its REST protocol, on loopback, put together from jars of Maven Central.

The project publishes no server to run; these are the classes that it tests its own clients with.
"""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from stedi_assets.settings import read_settings
from stedi_assets.spark.jars import ICEBERG
from stedi_assets.spark.java import find_java, kept_cache
from stedi_assets.spark.maven import Artifact, fetch

_SERVER = "org.apache.iceberg.rest.RESTCatalogServer"
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Jar(Artifact):
    """A jar that may be a further one of its module, named by a classifier."""

    classifier: str = ""

    @property
    def file(self) -> str:
        """The name of its file."""
        return super().file.replace(".jar", f"-{self.classifier}.jar") if self.classifier else super().file


def _jars() -> tuple[Jar, ...]:
    """Return the server's jars: coordinates, size and digest of each, and its classifier if it has one."""
    found = []
    for line in (Path(__file__).parent / "data" / "rest_server_jars.txt").read_text("utf-8").splitlines():
        coordinates, size, digest, *classifier = line.split()
        found.append(Jar(coordinates, int(size), digest, *classifier))
    return tuple(found)


@contextmanager
def rest_server(warehouse: Path) -> Iterator[str]:
    """Start a server whose tables lie in a folder, give its address, and stop it in the end."""
    cache = kept_cache()
    assert cache
    folder = cache / "jars"
    wanted = (*_jars(), *(jar for jar in ICEBERG if "sqlite" in jar.coordinates))
    if missing := [jar for jar in wanted if not (folder / jar.file).exists()]:
        fetch(missing, read_settings().maven, folder)
    hadoop = Path(pyspark.__file__).parent.glob("jars/hadoop-client-*.jar")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    class_path = os.pathsep.join(map(str, [*(folder / jar.file for jar in wanted), *hadoop]))
    process = subprocess.Popen(
        [str(find_java().home / "bin" / "java"), "-cp", class_path, _SERVER],
        env={
            **os.environ,
            "CATALOG_REST_PORT": str(port),
            "REST_PORT": str(port),
            "CATALOG_WAREHOUSE": str(warehouse),
            "CATALOG_URI": f"jdbc:sqlite:{warehouse.parent}/rest_catalog.db",
            "CATALOG_JDBC_SCHEMA__VERSION": "V1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process)
        yield address
    finally:
        process.kill()
        process.wait()


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/v1/config", timeout=5):
                return
        except OSError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.2)
