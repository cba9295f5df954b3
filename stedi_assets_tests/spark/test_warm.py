"""A warm Spark server: shared by runs, closed to others, gone when nobody needs it, replaced when it has died.

A process has one session, so each run here is a process of its own.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from pyspark.errors import PySparkException

from stedi_assets.spark import warm
from stedi_assets.spark.scratch import is_locked
from stedi_assets.storage.errors import LakeError

SECRET = "a-secret-of-32-bytes-for-the-test"
RUN = """
import json, os, sys
from stedi_assets.settings import read_settings
from stedi_assets.spark.warm import Wanted, folder_of, warm_session
lake, memory, minutes = sys.argv[1:]
wanted = Wanted("local[1]", {"spark.driver.memory": memory}, float(minutes))
session = warm_session(lake, wanted, read_settings().maven)
server = None
if session:
    server = json.loads((folder_of(lake) / "server.json").read_text())
    server["rows"] = str(session.range(3).count())
    server["ansi"] = session.conf.get("spark.sql.ansi.enabled")
print(json.dumps(server), flush=True)
sys.stdin.read()
"""
REJECTED = """
import sys
from stedi_assets.spark.remote import connected
connected(sys.argv[1], {"spark.sql.ansi.enabled": "true"}, channel={"grpc.enable_http_proxy": 0}, retries=1)
"""


@dataclass
class Run:
    """A run that uses the server, until it is told to end. `server` is what the server says about itself."""

    process: "subprocess.Popen[str]"
    server: dict[str, str] | None


def begun(lake: Path, memory: str = "1g", minutes: float = 5) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(lake), memory, str(minutes)],
        env={**os.environ, "STEDI_PSEUDONYM_KEY": SECRET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: "subprocess.Popen[str]") -> Run:
    assert process.stdout
    return Run(process, json.loads(process.stdout.readline()))


@contextmanager
def run_of(lake: Path, memory: str = "1g", minutes: float = 5) -> Iterator[Run]:
    with begun(lake, memory, minutes) as process:
        yield told(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0


def server_after(lake: Path, memory: str = "1g", minutes: float = 5) -> dict[str, str]:
    """Return the server that one more run has used."""
    with run_of(lake, memory, minutes) as run:
        assert run.server
        return run.server


def until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    warm.stop(folder(tmp_path))


def folder(lake: Path) -> Path:
    found = warm.folder_of(str(lake))
    assert found
    return found


def java_of(server: dict[str, str]) -> psutil.Process:
    (java,) = [each for each in psutil.Process(int(server["process"])).children() if each.name() == "java"]
    return java


def has_ended(server: dict[str, str]) -> bool:
    try:
        return psutil.Process(int(server["process"])).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_runs_share_a_server_that_answers_nobody_else(lake: Path) -> None:
    together = [begun(lake), begun(lake)]
    first, second = (told(process).server for process in together)
    for process in together:
        process.communicate()
    assert first
    assert second
    server = server_after(lake)
    assert first["process"] == second["process"] == server["process"]
    assert {run["runs"] for run in (first, second, server)} == {"1", "2", "3"}
    assert (server["rows"], server["ansi"]) == ("3", "true")

    java = java_of(server)
    for each in (java, psutil.Process(int(server["process"]))):
        assert server["token"] not in " ".join(each.cmdline())
        assert server["token"] not in str(each.environ())
        assert SECRET not in str(each.environ())
    listening = {found.laddr.ip for found in java.net_connections() if found.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder(lake), *folder(lake).iterdir())}
    assert modes.pop(folder(lake).name) == modes.pop(warm.RUNS) == 0o700
    assert set(modes.values()) == {0o600}
    for token in ("", ";token=another"):
        address = f"sc://localhost:{server['port']}/{token}"
        said = subprocess.run([sys.executable, "-c", REJECTED, address], capture_output=True, text=True, check=False)
        assert said.returncode
        assert "UNAUTHENTICATED" in said.stderr or "Invalid token" in said.stderr, said.stderr[-2000:]


def test_another_server_takes_the_place_of_one_that_has_died(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = server_after(lake)
    java_of(first).kill()
    second = server_after(lake)
    java = java_of(second)
    os.kill(int(second["process"]), signal.SIGKILL)
    third = server_after(lake)
    assert len({server["process"] for server in (first, second, third)}) == 3
    java.wait(30)
    # One that no longer reacts is killed.
    monkeypatch.setattr(warm, "_SECONDS_TO_END", 1)
    os.kill(int(third["process"]), signal.SIGSTOP)
    warm.stop(folder(lake))
    assert has_ended(third)


@pytest.mark.matrix
def test_another_server_takes_the_place_of_one_that_refuses_the_run(lake: Path) -> None:
    first = server_after(lake)
    warm.write_private(folder(lake) / warm.SERVER, {**first, "token": "another"})
    second = server_after(lake)
    assert second["process"] != first["process"]
    assert (second["rows"], second["ansi"]) == ("3", "true")
    assert has_ended(first)


@pytest.mark.matrix
def test_a_server_ends_with_a_run_that_is_killed_for_its_queries_may_go_on(lake: Path) -> None:
    with begun(lake) as process:
        server = told(process).server
        assert server
        process.kill()
    assert server_after(lake)["process"] != server["process"]
    with begun(lake) as process:
        last = told(process).server
        assert last
        process.kill()
    until(lambda: not is_locked(folder(lake) / warm.RUNNING))
    assert has_ended(last)


@pytest.mark.matrix
def test_a_server_is_replaced_when_settings_change_or_it_has_served_many_runs(lake: Path) -> None:
    with run_of(lake) as run:
        assert run.server
        with run_of(lake, memory="900m") as other:
            # It has a Spark of its own.
            assert other.server is None
    second = server_after(lake, memory="900m")
    assert second["process"] != run.server["process"]
    assert has_ended(run.server)
    warm.write_private(folder(lake) / warm.SERVER, {**second, "runs": "100"})
    assert server_after(lake, memory="900m")["process"] != second["process"]


@pytest.mark.matrix
def test_a_retired_server_ends_with_the_run_that_uses_it(lake: Path) -> None:
    with run_of(lake) as run:
        assert run.server
        warm.retire(str(lake))
        assert is_locked(folder(lake) / warm.RUNNING)
        with run_of(lake) as other:
            assert other.server is None
    until(lambda: not is_locked(folder(lake) / warm.RUNNING))
    again = server_after(lake)
    assert again["process"] != run.server["process"]
    warm.retire(str(lake))
    assert has_ended(again)


def test_a_server_ends_when_it_has_been_idle(lake: Path) -> None:
    with run_of(lake, minutes=0.02) as run:
        time.sleep(3)
        assert is_locked(folder(lake) / warm.RUNNING)
    until(lambda: not is_locked(folder(lake) / warm.RUNNING))
    assert run.server
    assert has_ended(run.server)
    assert not (folder(lake) / warm.SERVER).exists()


@pytest.mark.parametrize("error", [OSError(), PySparkException("no server"), LakeError()])
def test_where_there_can_be_no_server_a_run_has_its_own_spark(
    error: Exception, lake: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(warm, "_found_or_started", fails)
    monkeypatch.setattr(warm, "class_path", lambda *_, **__: "")
    assert warm.warm_session(str(lake), warm.Wanted("local[1]", {}, 1), "") is None
    assert "starts a Spark of its own" in caplog.text


def test_lakes_of_the_same_relative_path_have_servers_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        folders.add(warm.folder_of("./lake"))
        assert warm.folder_of("./lake") == warm.folder_of(str(tmp_path / name / "lake"))
    assert len(folders) == 2
