"""The Iceberg catalog of a lake: where each table's metadata are found, by Python and by Spark.

A local lake has a SQLite file, `catalog.db`, that PyIceberg and Spark's JDBC catalog both open; one on S3 has the Glue
Data Catalog. Tables are made here, from their contracts.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

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
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.transforms import TruncateTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DoubleType,
    IcebergType,
    ListType,
    LongType,
    NestedField,
    StringType,
)
from pyspark.sql import SparkSession

from stedi_assets.contracts import Table
from stedi_assets.contracts.tables import Type
from stedi_assets.storage.errors import CatalogError, CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake, is_on_s3
from stedi_assets.tables.file_io import LakeFileIO, cannot_be_reached

NAME = "lake"
DATABASE = "catalog.db"
# How the names of metadata files end.
METADATA = ".metadata.json"
_SPARK_NAME = f"spark.sql.catalog.{NAME}"
_WAREHOUSE = f"{_SPARK_NAME}.warehouse"
# In seconds: how long one waits for another who is writing the SQLite file.
_PATIENCE = 60
_DAY_IN_MILLISECONDS = 86_400_000
_FIRST_PARTITION_FIELD = 1000
# What Athena, Glue and Trino read.
_FORMAT = 2
# What PyIceberg raises of metadata that are gone, cut, or something else.
_UNREADABLE = (OSError, ValueError, KeyError, ValidationError)
_METADATA = re.compile(r"/(?P<version>\d+)-[^/]*\.metadata\.json\Z")
_PROPERTIES = {
    "format-version": str(_FORMAT),
    # No bound of any value in a manifest: an instant can single somebody out.
    "write.metadata.metrics.default": "counts",
    # Whoever publishes removes those that are older, and on S3 their versions with them.
    "write.metadata.delete-after-commit.enabled": "false",
    "write.metadata.previous-versions-max": "20",
    # Iceberg's own is to say how many files a task may hold open; partitions are few, and come in any order.
    "write.spark.fanout.enabled": "true",
}
_TYPES: dict[Type, IcebergType] = {
    Type.STRING: StringType(),
    Type.BIGINT: LongType(),
    Type.DOUBLE: DoubleType(),
    Type.BINARY: BinaryType(),
    Type.BOOLEAN: BooleanType(),
}
_REPAIR = "Run `stedi repair`."


def name_of(lake: Lake, table: Table) -> str:
    """Return how Spark names a table."""
    return f"{NAME}.{lake.namespace}.{table.name}"


def load(lake: Lake, table: Table) -> IcebergTable | None:
    """Return a table as the catalog has it now; None where it was never published.

    Raises `CorruptTableError` where its metadata are gone or damaged, or the catalog does not know it, `OSError` where
    they cannot be reached, `CatalogError` where the catalog is damaged, and `LakeError` where the table is of a newer
    Iceberg.
    """
    found = _load(lake, table)
    # Between the look into the catalog and that at the files, another may have made it.
    if found is None and metadata_files(lake, table) and (found := _load(lake, table)) is None:
        msg = f"{table.name} lies in {lake.location}, and the catalog does not know it. {_REPAIR}"
        raise CorruptTableError(msg)
    if found and found.format_version > _FORMAT:
        raise _newer(lake, table, found.format_version)
    return found


def _load(lake: Lake, table: Table) -> IcebergTable | None:
    if not is_on_s3(lake.location) and not lake.storage.size(DATABASE):
        return None
    last = None
    while True:
        try:
            with catalog_errors(lake):
                return _catalog(lake).load_table((lake.namespace, table.name))
        except (NoSuchTableError, NoSuchNamespaceError, NoSuchIcebergTableError):
            return None
        except _UNREADABLE as error:
            if cannot_be_reached(error):
                raise
            # Between the look into the catalog and that into the file, another may have moved on.
            if last == repr(error):
                raise _damaged(lake, table) from None
            last = repr(error)


def metadata_files(lake: Lake, table: Table) -> list[str]:
    """Return the metadata files of a table that was published, newest first.

    Of several of one version, one at most was ever the table's, and nobody can tell which: none of them is returned.
    """
    found = lake.storage.below(f"{table.path}/metadata")
    matches = {path: match for path, size in found.items() if size and (match := _METADATA.search(path))}
    versions = {path: int(match["version"]) for path, match in matches.items()}
    several = Counter(versions.values())
    # The first makes a table that nobody has published yet.
    known = [path for path, version in versions.items() if version and several[version] == 1]
    return sorted(known, key=lambda path: versions[path], reverse=True)


def load_or_create(lake: Lake, table: Table) -> IcebergTable:
    """Return a table as the catalog has it now; it is made where it never was, or not to the end. Raises as `load`."""
    iceberg = load(lake, table)
    return iceberg if iceberg and iceberg.current_snapshot() else create(lake, table)


def create(lake: Lake, table: Table) -> IcebergTable:
    """Make a table as its contract says, with a first snapshot that holds nothing. Of several at once, one makes it."""
    _have_database(lake)
    catalog = _catalog(lake)
    with catalog_errors(lake):
        _have_namespace(lake, catalog)
        # By a transaction, which writes by the lake's own files: PyIceberg's `create_table` does not.
        beginning = catalog.create_table_transaction(
            (lake.namespace, table.name),
            schema_of(table),
            location=lake.storage.shown(table.path),
            partition_spec=_partitions(table),
            properties=_PROPERTIES,
        )
        # A branch needs a snapshot to begin from.
        beginning.append(schema_of(table).as_arrow().empty_table())
        with contextlib.suppress(TableAlreadyExistsError, CommitFailedException):
            beginning.commit_transaction()
    made = load(lake, table)
    if made is None:
        msg = f"{table.name} was made and is not in the catalog of {lake.location}. Materialise it again."
        raise CatalogError(msg)
    return made


def forget(lake: Lake, table: Table) -> None:
    """Have the catalog know a table no longer. Its files stay."""
    if not is_on_s3(lake.location) and not lake.storage.size(DATABASE):
        return
    with catalog_errors(lake), contextlib.suppress(NoSuchTableError, NoSuchNamespaceError):
        _catalog(lake).drop_table((lake.namespace, table.name))


def register(lake: Lake, table: Table, metadata: str) -> bool:
    """Have the catalog know a table by a metadata file, named by its path; return whether that can be read."""
    _have_database(lake)
    catalog = _catalog(lake)
    try:
        with catalog_errors(lake):
            _have_namespace(lake, catalog)
            catalog.register_table((lake.namespace, table.name), lake.storage.shown(metadata))
    except _UNREADABLE:
        return False
    return True


def _have_database(lake: Lake) -> None:
    # Private before anything is in it; and of several at once, one makes it.
    if not is_on_s3(lake.location) and lake.storage.replace(DATABASE, b"", None):
        _catalog.cache_clear()


def _have_namespace(lake: Lake, catalog: Catalog) -> None:
    from sqlalchemy.exc import IntegrityError  # noqa: PLC0415  (loads SQLAlchemy)

    # Of several at once, one makes it.
    with contextlib.suppress(NamespaceAlreadyExistsError, IntegrityError):
        catalog.create_namespace_if_not_exists(lake.namespace)


def schema_of(table: Table) -> Schema:
    """Return a table's columns as Iceberg has them, from its contract."""
    fields, after = [], len(table.columns)
    for number, column in enumerate(table.columns, start=1):
        kind = _TYPES.get(column.type)
        if kind is None:
            after += 1
            kind = ListType(element_id=after, element_type=StringType(), element_required=False)
        fields.append(NestedField(number, column.name, kind, required=False, doc=column.description))
    return Schema(*fields)


@lru_cache(maxsize=64)
def session_of(spark: SparkSession, lake: Lake) -> SparkSession:
    """Return a session that knows a lake's catalog: the one that is given, or one beside it if that knows another's."""
    settings = spark_settings(lake)
    if spark.conf.get(_WAREHOUSE, None) not in {None, settings[_WAREHOUSE]}:
        spark = spark.newSession()
    for name, value in settings.items():
        spark.conf.set(name, value)
    return spark


def require_session_of(spark: SparkSession, lake: Lake) -> None:
    """Raise `CatalogError` unless a session knows the lake's catalog: what it writes would go to another's tables."""
    if spark.conf.get(_WAREHOUSE, None) != spark_settings(lake)[_WAREHOUSE]:
        msg = (
            f"These rows are of a Spark session that does not know the catalog of {lake.location}. Nothing was written."
        )
        raise CatalogError(msg)


def spark_settings(lake: Lake) -> dict[str, str]:
    """Return what Spark is told of the catalog. Nothing secret."""
    catalog = {
        "": "org.apache.iceberg.spark.SparkCatalog",
        "warehouse": lake.storage.shown("").rstrip("/"),
        # Python commits as well.
        "cache-enabled": "false",
        **(_spark_on_s3(lake) if is_on_s3(lake.location) else _spark_on_disk(lake)),
    }
    return {f"{_SPARK_NAME}.{name}" if name else _SPARK_NAME: value for name, value in catalog.items()}


def _spark_on_disk(lake: Lake) -> dict[str, str]:
    return {
        "type": "jdbc",
        "uri": f"jdbc:sqlite:{lake.storage.shown(DATABASE)}",
        "jdbc.schema-version": "V1",
        "jdbc.busy_timeout": str(_PATIENCE * 1000),
        "init-catalog-tables": "false",
    }


def _spark_on_s3(lake: Lake) -> dict[str, str]:
    from stedi_assets.tables.glue import spark_on_s3  # noqa: PLC0415  (loads boto3)

    return spark_on_s3(lake)


@lru_cache(maxsize=8)
def _catalog(lake: Lake) -> Catalog:
    file_io = LakeFileIO(lake, {})
    common = {"warehouse": lake.storage.shown("").rstrip("/")}
    if is_on_s3(lake.location):
        from stedi_assets.tables.glue import LakeGlueCatalog  # noqa: PLC0415  (loads boto3)

        return LakeGlueCatalog(NAME, file_io, common)
    with catalog_errors(lake):
        return _sqlite_catalog(file_io, {**common, "uri": f"sqlite:///{lake.storage.shown(DATABASE)}"})


def _sqlite_catalog(file_io: FileIO, properties: dict[str, str]) -> Catalog:
    from pyiceberg.catalog.sql import SqlCatalog  # noqa: PLC0415  (loads SQLAlchemy)
    from sqlalchemy import create_engine, event  # noqa: PLC0415
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    class LakeSqlCatalog(SqlCatalog):
        """PyIceberg's catalog in a database, with the lake's own files."""

        def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:  # noqa: ARG002
            return file_io

        def _convert_orm_to_iceberg(self, orm_table: Any) -> IcebergTable:
            # PyIceberg would read it wherever it is said to lie.
            file_io.new_input(orm_table.metadata_location)
            return super()._convert_orm_to_iceberg(orm_table)

        def _init_catalog(self) -> None:
            # A connection for each use: one that is kept would go on with a file that was moved away.
            self.engine = create_engine(self.engine.url, poolclass=NullPool)
            event.listen(self.engine, "connect", _wait_for_others)
            super()._init_catalog()

        def create_tables(self) -> None:
            # Another may make the same two at the same moment; those that are there are passed over the next time.
            for _ in range(2):
                with contextlib.suppress(OperationalError):
                    super().create_tables()
                    return
            super().create_tables()

    return LakeSqlCatalog(NAME, **properties)


def _wait_for_others(connection: Any, _: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000}")
    connection.execute("PRAGMA journal_mode=WAL")


def _partitions(table: Table) -> PartitionSpec:
    """Return how a table's files are divided: one of readings by the UTC day of their instant."""
    if table.instant is None:
        return UNPARTITIONED_PARTITION_SPEC
    source = 1 + table.column_names.index(table.instant)
    day: TruncateTransform[int] = TruncateTransform(_DAY_IN_MILLISECONDS)
    return PartitionSpec(PartitionField(source, _FIRST_PARTITION_FIELD, day, "day"))


def _damaged(lake: Lake, table: Table) -> LakeError:
    for path in metadata_files(lake, table)[:1]:
        newest = lake.storage.read(path)
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            if (version := int(json.loads(newest.content if newest else b"").get("format-version"))) > _FORMAT:
                return _newer(lake, table, version)
    return CorruptTableError(f"The metadata of {table.name} in {lake.location} are damaged or gone. {_REPAIR}")


def _newer(lake: Lake, table: Table, version: int) -> LakeError:
    msg = (
        f"{table.name} in {lake.location} has format {version} of Iceberg; this version reads {_FORMAT}. Install the "
        "version that published it."
    )
    return LakeError(msg)


@contextlib.contextmanager
def catalog_errors(lake: Lake) -> Iterator[None]:
    """Turn what a database says into a `CatalogError`, without the statement that it quotes."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except SQLAlchemyError as error:
        why = type(getattr(error, "orig", None) or error).__name__
        msg = (
            f"The catalog of {lake.location}, {lake.storage.shown(DATABASE)}, cannot be used ({why}): it is damaged, "
            f"locked, or may not be written. See that it can be; if it is damaged, move it away. {_REPAIR}"
        )
        raise CatalogError(msg) from None
