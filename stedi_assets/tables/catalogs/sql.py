"""A catalog in a database: a SQLite file in the lake, or PostgreSQL. PyIceberg and Spark's JDBC catalog share it."""

import contextlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError
from pyiceberg.io import FileIO
from pyiceberg.table import Table as IcebergTable
from pyiceberg.typedef import EMPTY_DICT
from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.errors import CatalogError
from stedi_assets.storage.lake import DATABASE, Lake

# In seconds: how long a process waits while another one writes the SQLite file.
_PATIENCE = 60


class LakeSqlCatalog(SqlCatalog):
    """PyIceberg's catalog in a database, with the lake's own file IO."""

    def __init__(self, name: str, database: URL, file_io: FileIO, properties: dict[str, str]) -> None:
        self._database, self._file_io = database, file_io
        # PyIceberg makes an engine from the address as text, without the password, and never connects it.
        super().__init__(name, uri=database.render_as_string(hide_password=True), **properties)

    def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:  # noqa: ARG002  (PyIceberg's)
        return self._file_io

    def _convert_orm_to_iceberg(self, orm_table: Any) -> IcebergTable:
        # Raise an error if it lies outside the lake: PyIceberg would read it from anywhere.
        self._file_io.new_input(orm_table.metadata_location)
        return super()._convert_orm_to_iceberg(orm_table)

    def _init_catalog(self) -> None:
        # Open a connection for each use: a kept connection would go on with a file that was moved away.
        self.engine = create_engine(self._database, poolclass=NullPool)
        if self._database.get_backend_name() == CatalogKind.SQLITE:
            event.listen(self.engine, "connect", _wait_for_others)
        super()._init_catalog()

    def create_namespace(self, namespace: Any, properties: Any = EMPTY_DICT) -> None:
        """Create a namespace. If several processes try at once, one succeeds."""
        try:
            super().create_namespace(namespace, properties)
        except IntegrityError:
            # Another process created it at the same moment.
            raise NamespaceAlreadyExistsError(namespace) from None

    def create_tables(self) -> None:
        """Create the tables of the catalog itself."""
        # Another process may create the same two at the same moment; the next try passes over those that exist.
        for _ in range(2):
            with contextlib.suppress(SQLAlchemyError):
                super().create_tables()
                return
        super().create_tables()


def open_catalog(name: str, lake: Lake, file_io: FileIO, properties: dict[str, str]) -> LakeSqlCatalog:
    """Return PyIceberg's catalog. Raises `CatalogError` where PostgreSQL's driver is not installed."""
    try:
        return LakeSqlCatalog(name, _database(lake), file_io, properties)
    except ModuleNotFoundError:
        msg = "A catalog in PostgreSQL needs its driver for Python: pip install 'stedi-assets[postgresql]'."
        raise CatalogError(msg) from None


def _database(lake: Lake) -> URL:
    if lake.catalog.kind is CatalogKind.SQLITE:
        return URL.create("sqlite", database=lake.storage.shown(DATABASE))
    address = urlsplit(lake.catalog.uri.removeprefix("jdbc:"))
    return URL.create(
        "postgresql+psycopg",
        lake.catalog.user,
        lake.catalog.password,
        address.hostname,
        address.port,
        address.path.removeprefix("/"),
        # From a database without an encoding, text would come as bytes.
        {"client_encoding": "utf8", **dict(parse_qsl(address.query))},
    )


def spark_settings(lake: Lake) -> dict[str, str]:
    """Return the settings of Spark's JDBC catalog, below the catalog's name. Spark hides settings called a password."""
    both = {"type": "jdbc", "jdbc.schema-version": "V1", "init-catalog-tables": "false"}
    if lake.catalog.kind is CatalogKind.SQLITE:
        uri = f"jdbc:sqlite:{lake.storage.shown(DATABASE)}"
        return {**both, "uri": uri, "jdbc.busy_timeout": str(_PATIENCE * 1000)}
    credentials = {"jdbc.user": lake.catalog.user, "jdbc.password": lake.catalog.password}
    return {**both, "uri": lake.catalog.uri, **{name: value for name, value in credentials.items() if value}}


def what_is_wrong(lake: Lake, error: Exception) -> str | None:
    """Return the message for a database error, without the statement that it quotes; None for any other."""
    if not isinstance(error, SQLAlchemyError):
        return None
    why = type(getattr(error, "orig", None) or error).__name__
    if lake.catalog.kind is CatalogKind.POSTGRESQL:
        return (
            f"The catalog of {lake.location}, {lake.catalog.uri}, cannot be used ({why}). Check that the database "
            "exists and can be reached, and that STEDI_CATALOG_USER may connect with STEDI_CATALOG_PASSWORD, and "
            "create tables in it."
        )
    return (
        f"The catalog of {lake.location}, {lake.storage.shown(DATABASE)}, cannot be used ({why}): it is damaged, "
        "locked, on a full disk, or may not be written. Fix that; if it is damaged, move it away. Run `stedi repair`."
    )


def _wait_for_others(connection: Any, _: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000}")
    connection.execute("PRAGMA journal_mode=WAL")
