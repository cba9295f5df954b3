"""A Spark Connect server does Spark's work: the tables are what they are without one.

A process has either a Spark of its own or a remote one, so that each test here has processes of its own.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stedi_assets.contracts import SOURCES
from stedi_assets.sample_data import SampleOptions, write_sample
from stedi_assets.spark.java import find_java
from stedi_assets_tests.support.environments import own_environment
from stedi_assets_tests.support.lakes import local_lake
from stedi_assets_tests.support.pages import blocks, page
from stedi_assets_tests.test_readme import rows_of, withhold

EXECUTE = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "stedi_assets.definitions", "-j"]
SESSION = """
import sys
from stedi_assets.spark.session import spark_session
from stedi_assets.storage.errors import LakeError
try:
    spark_session("local[*]", "off", {}, remote=sys.argv[1])
except LakeError as error:
    print(error)
"""


def said_of(remote: str) -> str:
    command = [sys.executable, "-c", SESSION, remote]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_server_that_is_not_there_is_said_at_once_without_the_token() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert said_of(f"sc://127.0.0.1:{port}/;token=secret") == (
        f"The Spark Connect server at 127.0.0.1:{port} cannot be used (ConnectionRefusedError). Check that it is "
        "running."
    )


@pytest.mark.matrix
def test_a_server_without_tls_gets_no_token_and_that_is_said() -> None:
    """It takes ten seconds: gRPC tries on while nobody answers its handshake."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        where = f"127.0.0.1:{listening.getsockname()[1]}"
        said = said_of(f"sc://{where}/;token=secret")
    assert said.startswith(
        f"The Spark Connect server at {where} takes no connection: 10 s were not enough. With a token"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the page has it, with a lake whose later deliveries are beside it."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    write_sample(tmp_path / "lake", SampleOptions(customers=20))
    withhold(tmp_path / "lake", tmp_path / "later")
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    return {
        **own_environment(),
        "JAVA_HOME": str(find_java().home),
        "DAGSTER_HOME": str(folder),
        "STEDI_PSEUDONYM_KEY": "k" * 32,
        "STEDI_SUPPRESSION_KEY": "s" * 32,
    }


def commands() -> list[str]:
    (block,) = blocks(page("docs/spark-connect.md"), "console")
    return re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]


@pytest.fixture
def server(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Start the server as the page says."""
    *start, _ = commands()
    with (folder / "server.txt").open("wb") as printed:
        script = "".join(start).rstrip("&\n ") + "\n"
        process = subprocess.Popen(
            ["bash", "-ec", script],
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while b"Spark Connect server started" not in (folder / "server.txt").read_bytes():
            assert process.poll() is None, (folder / "server.txt").read_text()[-2000:]
            assert time.monotonic() < until
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def jobs_of(folder: Path) -> int:
    """Return how many jobs the server says that it has done."""
    return (folder / "server.txt").read_bytes().count(b"DAGScheduler: Job ")


@pytest.mark.matrix
@pytest.mark.usefixtures("server")
def test_a_rebuild_and_an_update_on_a_server_make_what_they_make_without_one(
    folder: Path, environment: dict[str, str]
) -> None:
    rebuild = commands()[-1]
    for script in (rebuild, "cp -r later/. lake/\n" + rebuild.replace("rebuild_lakehouse", "update_lakehouse")):
        before = jobs_of(folder)
        ran = subprocess.run(
            ["bash", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        assert jobs_of(folder) > before
    for source in SOURCES.values():
        shutil.copytree(folder / "lake" / source.raw_path, folder / "other" / "lake" / source.raw_path)
    here = {**environment, "STEDI_LAKE": str(folder / "other" / "lake")}
    subprocess.run([*EXECUTE, "rebuild_lakehouse"], cwd=folder, env=here, capture_output=True, check=True)
    on_server, locally = (rows_of(local_lake(each)) for each in (folder / "lake", folder / "other" / "lake"))
    assert on_server == locally
    assert all(on_server.values())
