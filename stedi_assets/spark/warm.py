"""A Spark server that outlives the run that starts it, so that the next run finds Spark warm.

There is at most one for a user and a lake. Its folder, below the user's cache, holds:

- `looking`: locked while a run looks for the server or starts it, and while the server decides whether to end;
- `running`: locked as long as the server lives;
- `server.json`: the port that it listens on, and the token that it asks for;
- `runs`: a folder for each run that uses it, which the run removes when it ends in good order.

A run that is killed leaves its folder behind. What it asked of Spark may still be going on, so the server ends with it.
"""

import atexit
import contextlib
import hashlib
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pyspark
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from stedi_assets.spark.jars import class_path
from stedi_assets.spark.java import kept_cache
from stedi_assets.spark.remote import connected
from stedi_assets.spark.scratch import Scratch, is_locked, is_used, sweep
from stedi_assets.spark.session import SETTINGS, hide_quotes
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.local import locked

SERVER, LOOKING, RUNNING, RUNS, SAID = "server.json", "looking", "running", "runs", "server.log"
# In the place of a fingerprint: the server serves nobody else.
RETIRED = "retired"
_SECONDS_TO_START, _SECONDS_TO_END = 120, 60
_PAUSE = 0.05
# Each run leaves some memory in a server. A new one takes over after so many.
_MOST_RUNS = 100
# The server is on this machine, whatever proxies there are.
_CHANNEL = {"grpc.enable_http_proxy": 0}
# By default, Spark's client asks a server that has died for ten minutes.
_RETRIES = 4
# The server needs none of these, and some hold keys.
_NOT_FOR_THE_SERVER = ("STEDI_", "DAGSTER_", "AWS_")
# What decides which Java runs, and how, beside the settings.
_ABOUT_JAVA = ("JAVA_HOME", "PATH", "TMPDIR", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What a server is to be: its local master, and further Spark settings by name.

    It ends after `idle_minutes` without a run. `has_much_to_do` is as for `spark_session`.
    """

    master: str
    further: Mapping[str, str]
    idle_minutes: int
    on_postgresql: bool = False
    has_much_to_do: bool = False

    @property
    def fingerprint(self) -> str:
        """It differs for a server that does not fit: with other settings, another Java or other code."""
        code = sorted((str(path), path.stat().st_mtime_ns) for path in Path(__file__).parents[1].rglob("*.py"))
        java = {name: os.environ.get(name) for name in _ABOUT_JAVA}
        identity = json.dumps([asdict(self), pyspark.__version__, sys.prefix, code, java])
        return hashlib.sha256(identity.encode()).hexdigest()


@dataclass
class _Use:
    """How this process uses a server: its folder there, and a session."""

    server: Path
    run: Scratch
    session: SparkSession

    @property
    def has_server(self) -> bool:
        return is_locked(self.server / RUNNING)


_use: _Use | None = None


def warm_session(lake: str, wanted: Wanted, maven: str) -> SparkSession | None:
    """Return a session of the server of a lake, which is a folder; None if there can be no server.

    The server is started if there is none. A process gets the same session each time, until its server has died. There
    can be no server where the user has no cache, where one that does not fit is in use, and where Spark does not start:
    this process's own Spark then says why. `maven` is the repository from which missing jars are fetched.

    Raises `LakeError` if jars cannot be fetched.
    """
    global _use  # noqa: PLW0603  (a process has one session)
    if _use and _use.has_server:
        return _use.session
    leave()
    folder = folder_of(lake)
    if folder is None:
        return None
    hide_quotes("off")
    jars = class_path(maven, on_s3=False, on_postgresql=wanted.on_postgresql)
    try:
        _use = _found_or_started(folder, wanted, jars)
    except (OSError, PySparkException, LakeError) as error:
        _logger.warning(
            "The warm Spark server cannot be used: %s. See %s. This run starts a Spark of its own.",
            type(error).__name__,
            folder / SAID,
        )
    return _use.session if _use else None


def has_died() -> bool:
    """Whether this process has used a server that is gone."""
    return _use is not None and not _use.has_server


def leave() -> None:
    """End this process's use of its server, if it uses one."""
    global _use  # noqa: PLW0603  (a process has one session)
    if _use:
        # A server that is gone cannot be told.
        _use.session.release_session_on_close = _use.has_server  # type: ignore[attr-defined]  # a remote one has it
        _use.session.stop()
        _use.run.discard()
        _use = None


atexit.register(leave)


def folder_of(lake: str) -> Path | None:
    """Return the folder of the server of a lake, which may not exist; None if the user has no cache."""
    cache = kept_cache()
    return cache / "servers" / hashlib.sha256(os.fsencode(os.path.realpath(lake))).hexdigest()[:16] if cache else None


def retire(lake: str) -> None:
    """End the server of a lake, at once or with the run that uses it, and with it whatever rows it holds.

    This process's use of it ends, too.
    """
    leave()
    folder = folder_of(lake)
    if folder is None or not folder.exists():
        return
    with locked(folder / LOOKING):
        if server := _running(folder):
            write_private(folder / SERVER, {**server, "fingerprint": RETIRED})
            if not any(map(is_used, (folder / RUNS).iterdir())):
                stop(folder)


def stop(folder: Path, *ways: signal.Signals) -> None:
    """End a server, if it lives, and wait until it has ended: it is asked to, and killed if it does not."""
    for way in ways or (signal.SIGTERM, signal.SIGKILL):
        if not is_locked(folder / RUNNING):
            return
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(json.loads((folder / SERVER).read_text())["process"]), way)
        until = time.monotonic() + _SECONDS_TO_END
        while is_locked(folder / RUNNING) and time.monotonic() < until:
            time.sleep(_PAUSE)


def write_private(file: Path, content: Mapping[str, str]) -> None:
    """Write a JSON file that only this user can read, whole or not at all."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with _private(draft) as written:
        written.write(json.dumps(content).encode())
    draft.replace(file)


def _found_or_started(folder: Path, wanted: Wanted, jars: str) -> _Use | None:
    for each in (folder.parent, folder, folder / RUNS):
        each.mkdir(mode=0o700, exist_ok=True)
    with locked(folder / LOOKING):
        if server := _running(folder):
            runs = [is_used(run) for run in (folder / RUNS).iterdir()]
            if server["fingerprint"] == wanted.fingerprint and int(server["runs"]) < _MOST_RUNS and all(runs):
                with contextlib.suppress(OSError, PySparkException):
                    return _connected(folder, server)
            if any(runs):
                return None
            stop(folder)
        return _connected(folder, _started(folder, wanted, jars))


def _running(folder: Path) -> dict[str, str] | None:
    """Return what a living server says about itself, once it does; None if there is no server."""
    until = time.monotonic() + _SECONDS_TO_START
    while is_locked(folder / RUNNING) and time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, str] = json.loads((folder / SERVER).read_text())
            return found
        time.sleep(_PAUSE)
    return None


def _started(folder: Path, wanted: Wanted, jars: str) -> dict[str, str]:
    """Start a server, and return what it says about itself. Raises `LakeError` if it ends instead."""
    (folder / SERVER).unlink(missing_ok=True)
    for run in (folder / RUNS).iterdir():
        sweep(run)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_THE_SERVER)}
    # The modules that this process has, whatever folder the server starts in.
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    told = {**asdict(wanted), "jars": jars, "fingerprint": wanted.fingerprint}
    # The server inherits the lock. It reads its instructions from a file without a name, which only it has open.
    with locked(folder / RUNNING) as lock, _private(folder / SAID) as said, tempfile.TemporaryFile() as instructions:
        instructions.write(json.dumps(told).encode())
        instructions.seek(0)
        subprocess.Popen(
            [sys.executable, "-m", "stedi_assets.spark.warm_server", str(folder)],
            cwd=folder,
            env=environment,
            stdin=instructions,
            stdout=said,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            start_new_session=True,
        )
    if server := _running(folder):
        return server
    msg = "Spark's server ended before it had begun."
    raise LakeError(msg)


def _connected(folder: Path, server: Mapping[str, str]) -> _Use:
    run = Scratch(folder / RUNS / secrets.token_hex(8))
    try:
        address = f"sc://localhost:{server['port']}/;token={server['token']}"
        session = connected(address, SETTINGS, channel=_CHANNEL, retries=_RETRIES)
    except BaseException:
        run.discard()
        raise
    write_private(folder / SERVER, {**server, "runs": str(int(server["runs"]) + 1)})
    return _Use(folder, run, session)


def _private(file: Path) -> IO[bytes]:
    return os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb")
