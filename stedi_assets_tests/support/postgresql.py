"""A PostgreSQL server on loopback for tests, by the machine's own programs, such as Debian's packages bring."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "lake_keeper"
PASSWORD = "a password of the tests: with / @ and %"
# The one that every server has.
DATABASE = "postgres"


@dataclass(frozen=True)
class PostgreSQL:
    """A server with one user."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """How STEDI_CATALOG names the database."""
        return f"jdbc:postgresql://127.0.0.1:{self.port}/{DATABASE}"

    @property
    def settings(self) -> dict[str, str]:
        """What is set for a lake whose catalog it holds."""
        return {"STEDI_CATALOG": self.address, "STEDI_CATALOG_USER": USER, "STEDI_CATALOG_PASSWORD": PASSWORD}

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return what a query gives."""
        import psycopg  # noqa: PLC0415  (an extra)

        there = f"host=127.0.0.1 port={self.port} dbname={DATABASE} client_encoding=utf8"
        with psycopg.connect(there, user=USER, password=PASSWORD) as connection:
            return connection.execute(sql.encode()).fetchall()


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, None where the machine has none."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    return found[0] if found else None


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start a server, and stop it in the end."""
    where = programs()
    assert where
    folder = Path(tempfile.mkdtemp(prefix="stedi-postgresql-"))
    # It refuses to be root's.
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            command,
            user=user,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    try:
        if user:
            shutil.chown(secret, user)
        data, options = folder / "data", f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        run(where / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}")
        run(where / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
        try:
            yield PostgreSQL(folder, port)
        finally:
            run(where / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)
