"""The process of a warm Spark server: `python -m stedi_assets.spark.warm_server FOLDER`, which `warm` starts.

It reads from standard input what it is for, and lives as long as its Java does and runs need it.
"""

import json
import os
import secrets
import signal
import socket
import sys
import time
from pathlib import Path

from stedi_assets.spark.scratch import is_used
from stedi_assets.spark.session import serve
from stedi_assets.spark.surroundings import java_runs
from stedi_assets.spark.warm import LOOKING, RETIRED, RUNS, SERVER, write_private
from stedi_assets.storage.local import locked

_PAUSE_SECONDS = 1
_CONNECT = {
    # Spark's own switch for a server beside a session.
    "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    # Spark removes the shuffle files of a query when Java collects it, which it does every half hour by default.
    "spark.cleaner.periodicGC.interval": "1min",
}


def main() -> None:
    """Start Spark, say where it listens, and end when it is not needed."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    told = json.load(sys.stdin)
    token, port = secrets.token_urlsafe(32), _free_port()
    further = {**told["further"], **_CONNECT, "spark.connect.grpc.binding.port": port}
    serve(
        told["master"],
        further,
        told["jars"],
        {"spark.connect.authenticate.token": token},
        has_much_to_do=told["has_much_to_do"],
    )
    said = {"process": str(os.getpid()), "port": port, "token": token, "fingerprint": told["fingerprint"], "runs": "0"}
    write_private(folder / SERVER, said)
    _wait(folder, told["idle_minutes"] * 60)


def _wait(folder: Path, idle_seconds: int) -> None:
    """Return once no run has used the server for so long, it is retired, a run has died, or Java has.

    Nobody can find it then.
    """
    used = time.monotonic()
    while True:
        time.sleep(_PAUSE_SECONDS)
        # While runs look for the server, it does not end.
        with locked(folder / LOOKING):
            runs = [is_used(run) for run in (folder / RUNS).iterdir()]
            if any(runs):
                used = time.monotonic()
            is_over = time.monotonic() >= used + idle_seconds or _is_retired(folder)
            if not java_runs() or (not any(runs) and (runs or is_over)):
                (folder / SERVER).unlink(missing_ok=True)
                return


def _is_retired(folder: Path) -> bool:
    return bool(json.loads((folder / SERVER).read_text())["fingerprint"] == RETIRED)


def _free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


if __name__ == "__main__":
    main()
