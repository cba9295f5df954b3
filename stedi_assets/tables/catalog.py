"""The Iceberg catalog of a lake, where Python and Spark look up each table's metadata.

Both open the same catalog, of the kind that the settings name (`stedi_assets.tables.catalogs`). Tables are created
here, from their contracts.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchIcebergTableError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.io import FileIO
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import MAIN_BRANCH
from pyspark.sql import SparkSession

from stedi_assets.contracts import Table
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.errors import CatalogError, CorruptTableError, LakeError
from stedi_assets.storage.lake import DATABASE, Lake, is_on_s3
from stedi_assets.tables.ddl import FORMAT, PROPERTIES, partitions_of, schema_of
from stedi_assets.tables.file_io import LakeFileIO, cannot_be_reached, forget_read
from stedi_assets.tables.transactions import append_nothing

NAME = "lake"
# The ending of metadata files' names.
METADATA = ".metadata.json"
_SPARK_NAME = f"spark.sql.catalog.{NAME}"
# Spark ignores this setting; it records whose tables the session writes.
_LAKE = f"{_SPARK_NAME}.lake"
# What PyIceberg raises if metadata is gone, cut off, or something else.
UNREADABLE = (OSError, ValueError, KeyError, ValidationError)
_METADATA = re.compile(r"/(?P<version>\d+)-[^/]*\.metadata\.json\Z")
_REPAIR = "Run `stedi repair`."


def name_of(lake: Lake, table: Table) -> str:
    """Return Spark's name for a table."""
    return f"{NAME}.{lake.namespace}.{table.name}"


def load(lake: Lake, table: Table) -> IcebergTable | None:
    """Return a table as the catalog has it now, or None if it was never published.

    Raises `CorruptTableError` if its metadata is gone or damaged, or the catalog does not know it; `OSError` if its
    files cannot be reached; `CatalogError` if the catalog is damaged; `LakeError` if the table has a newer Iceberg
    format.
    """
    found = _load(lake, table)
    # Another process may have created it after we looked into the catalog and before we looked at the files.
    if found is None and metadata_files(lake, table) and (found := _load(lake, table)) is None:
        msg = f"{table.name} lies in {lake.location}, and the catalog does not know it. {_REPAIR}"
        raise CorruptTableError(msg)
    if found and found.format_version > FORMAT:
        raise _newer(lake, table, found.format_version)
    return found


def _load(lake: Lake, table: Table) -> IcebergTable | None:
    if lake.catalog.kind is CatalogKind.SQLITE and not lake.storage.size(DATABASE):
        return None
    last = None
    while True:
        try:
            with catalog_errors(lake):
                return _catalog(lake).load_table((lake.namespace, table.name))
        except (NoSuchTableError, NoSuchNamespaceError, NoSuchIcebergTableError):
            return None
        except UNREADABLE as error:
            if cannot_be_reached(error):
                raise
            # Another process may have moved the table on after we read the catalog and before we read the file.
            if last == repr(error):
                raise _damaged(lake, table) from None
            last = repr(error)
            forget_read()


def metadata_files(lake: Lake, table: Table) -> list[str]:
    """Return the metadata files of a published table, newest first.

    If several files have the same version, at most one was ever the table's, and nobody can tell which. None of them is
    returned.
    """
    found = lake.storage.below(f"{table.path}/metadata")
    # The first version, 0, creates a table, which nobody has published yet.
    versions = {path: version for path, size in found.items() if size and (version := version_of(path))}
    several = Counter(versions.values())
    known = [path for path, version in versions.items() if several[version] == 1]
    return sorted(known, key=version_of, reverse=True)


def version_of(path: str) -> int:
    """Return the version of a metadata file, from its name; 0 for any other file."""
    match = _METADATA.search(path)
    return int(match["version"]) if match else 0


def load_or_create(lake: Lake, table: Table) -> IcebergTable:
    """Return a table as the catalog has it now, with all columns of its contract.

    Create it if it does not exist, or only in part. Raises as `load`.
    """
    iceberg = load(lake, table)
    if iceberg is None or iceberg.current_snapshot() is None:
        return create(lake, table)
    if {*table.column_names} <= {*iceberg.schema().column_names}:
        return iceberg
    # If several processes add the columns at once, one succeeds.
    with catalog_errors(lake), contextlib.suppress(CommitFailedException):
        iceberg.update_schema().union_by_name(schema_of(table)).commit()
    return load(lake, table) or create(lake, table)


def create(lake: Lake, table: Table) -> IcebergTable:
    """Create a table from its contract, with an empty first snapshot. If several try at once, one succeeds."""
    _have_database(lake)
    catalog = _catalog(lake)
    with catalog_errors(lake):
        _have_namespace(lake, catalog)
        with contextlib.suppress(TableAlreadyExistsError, CommitFailedException):
            # A transaction writes through the lake's own file IO; PyIceberg's `create_table` does not.
            beginning = catalog.create_table_transaction(
                (lake.namespace, table.name),
                schema_of(table),
                location=lake.storage.shown(table.path),
                partition_spec=partitions_of(table),
                properties=PROPERTIES,
            )
            # A branch must begin from a snapshot.
            append_nothing(beginning, MAIN_BRANCH)
            beginning.commit_transaction()
    made = load(lake, table)
    if made is None:
        msg = f"{table.name} was created but is not in the catalog of {lake.location}. Materialise it again."
        raise CatalogError(msg)
    return made


def forget(lake: Lake, table: Table) -> None:
    """Remove a table from the catalog. Its files stay."""
    if lake.catalog.kind is CatalogKind.SQLITE and not lake.storage.size(DATABASE):
        return
    with catalog_errors(lake), contextlib.suppress(NoSuchTableError, NoSuchNamespaceError):
        _catalog(lake).drop_table((lake.namespace, table.name))


def register(lake: Lake, table: Table, metadata: str) -> bool:
    """Register a table in the catalog by the path of a metadata file; return whether that file can be read."""
    _have_database(lake)
    catalog = _catalog(lake)
    try:
        with catalog_errors(lake):
            _have_namespace(lake, catalog)
            catalog.register_table((lake.namespace, table.name), lake.storage.shown(metadata))
    except UNREADABLE:
        # PyIceberg reads the file only after it has put it into the catalog.
        forget(lake, table)
        return False
    return True


def _have_database(lake: Lake) -> None:
    # The file is private before anything is in it. If several processes try at once, one of them creates it.
    if lake.catalog.kind is CatalogKind.SQLITE and lake.storage.replace(DATABASE, b"", None):
        _catalog.cache_clear()


def _have_namespace(lake: Lake, catalog: Catalog) -> None:
    # Look first: some may use a namespace but not create one. If several processes try at once, one of them does.
    if not catalog.namespace_exists(lake.namespace):
        with contextlib.suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(lake.namespace)


@lru_cache(maxsize=64)
def session_of(spark: SparkSession, lake: Lake) -> SparkSession:
    """Return a session that knows a lake's catalog: the given one, or one beside it if that knows another lake's."""
    settings = spark_settings(lake)
    if spark.conf.get(_LAKE, None) not in {None, settings[_LAKE]}:
        spark = _session_beside(spark)
    for name, value in settings.items():
        spark.conf.set(name, value)
    return spark


def _session_beside(spark: SparkSession) -> SparkSession:
    """Return a new session with the settings of another, except those of its catalog."""
    new = spark.newSession()
    for name, value in spark.conf.getAll.items():
        if not name.startswith(_SPARK_NAME) and new.conf.get(name, None) != value:
            new.conf.set(name, value)
    return new


def require_session_of(spark: SparkSession, lake: Lake) -> None:
    """Raise `CatalogError` unless a session knows the lake's catalog: it would write to another lake's tables."""
    if spark.conf.get(_LAKE, None) != spark_settings(lake)[_LAKE]:
        msg = (
            f"These rows are of a Spark session that does not know the catalog of {lake.location}. Nothing was written."
        )
        raise CatalogError(msg)


def spark_settings(lake: Lake) -> dict[str, str]:
    """Return Spark's settings for the catalog. A password among them has a name that makes Spark hide it."""
    catalog = {
        "": "org.apache.iceberg.spark.SparkCatalog",
        "lake": f"{lake.catalog.uri} {_warehouse(lake)}",
        "warehouse": _warehouse(lake),
        # Python commits too, so Spark must not cache tables.
        "cache-enabled": "false",
        **_spark_files(lake),
        **_kind_of(lake).spark_settings(lake),
    }
    return {f"{_SPARK_NAME}.{name}" if name else _SPARK_NAME: value for name, value in catalog.items()}


def _spark_files(lake: Lake) -> dict[str, str]:
    if not is_on_s3(lake.location):
        return {}
    from stedi_assets.tables.catalogs.s3_file_io import s3_file_io  # noqa: PLC0415  (loads boto3)

    return s3_file_io(lake)


@lru_cache(maxsize=8)
def _catalog(lake: Lake) -> Catalog:
    with catalog_errors(lake):
        return _kind_of(lake).open_catalog(NAME, lake, LakeFileIO(lake), {"warehouse": _warehouse(lake)})


def _warehouse(lake: Lake) -> str:
    return lake.storage.shown("").rstrip("/")


class _Kind(Protocol):
    """A module of `stedi_assets.tables.catalogs`."""

    def open_catalog(self, name: str, lake: Lake, file_io: FileIO, properties: dict[str, str], /) -> Catalog: ...

    def spark_settings(self, lake: Lake, /) -> dict[str, str]: ...

    def what_is_wrong(self, lake: Lake, error: Exception, /) -> str | None: ...


def _kind_of(lake: Lake) -> _Kind:
    # Load each only for lakes with such a catalog: SQLAlchemy takes a while, and boto3 a second.
    if lake.catalog.kind is CatalogKind.GLUE:
        from stedi_assets.tables.catalogs import glue  # noqa: PLC0415  (loads boto3)

        return glue
    if lake.catalog.kind is CatalogKind.REST:
        from stedi_assets.tables.catalogs import rest  # noqa: PLC0415  (loads requests)

        return rest
    from stedi_assets.tables.catalogs import sql  # noqa: PLC0415  (loads SQLAlchemy)

    return sql


def _damaged(lake: Lake, table: Table) -> LakeError:
    for path in metadata_files(lake, table)[:1]:
        newest = lake.storage.read(path)
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            if (version := int(json.loads(newest.content if newest else b"").get("format-version"))) > FORMAT:
                return _newer(lake, table, version)
    return CorruptTableError(f"The metadata of {table.name} in {lake.location} are damaged or gone. {_REPAIR}")


def _newer(lake: Lake, table: Table, version: int) -> LakeError:
    msg = (
        f"{table.name} in {lake.location} has format {version} of Iceberg; this version reads {FORMAT}. Install the "
        "version that published it."
    )
    return LakeError(msg)


@contextlib.contextmanager
def catalog_errors(lake: Lake) -> Iterator[None]:
    """Turn an error of the catalog's server or database into a `CatalogError`."""
    try:
        yield
    except Exception as error:
        if said := _kind_of(lake).what_is_wrong(lake, error):
            raise CatalogError(said) from None
        raise
