"""Dagster's SQLite storage, with an event log that keeps its connections open.

A run of all tables writes some 340 events. Dagster opens the database again for each, and waits for the disk: that is
an eighth of a run on a small lake (docs/measurements.md). The files are the same, so either class can read what the
other has written.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event

# Each run has a database of its own, and a web server looks at many.
_MOST_DATABASES = 8


class SqliteEventLog(SqliteEventLogStorage):
    """Dagster's event log, whose databases stay open. It leaves syncing them to SQLite's write-ahead log.

    If the machine, not only a process, fails, the last events can be missing. No database is damaged, and whether a
    table was published never depends on them.
    """

    def __init__(self, base_dir: str) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            if len(self._engines) >= _MOST_DATABASES:
                _, unused = self._engines.popitem(last=False)
                unused.dispose()
            self._engines[shard] = _open(self.conn_string_for_shard(shard))
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def wipe(self) -> None:
        """Delete all events, with their files."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close the databases."""
        super().dispose()
        self._close()

    def _close(self) -> None:
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()


class SqliteStorage(DagsterSqliteStorage):
    """All that Dagster keeps, in SQLite files below a folder, as by default."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = SqliteEventLog(_event_logs_directory(base_dir))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "SqliteStorage":
        """Return the storage that `dagster.yaml` asks for."""
        return cls.from_local(inst_data=inst_data, **config_value)


def _open(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def _sync_less(connection: Any, _: Any) -> None:
        # As SQLite advises for a write-ahead log: https://sqlite.org/pragma.html#pragma_synchronous
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine
