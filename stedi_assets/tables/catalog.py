"""Published tables in the AWS Glue Data Catalog, where Athena and Glue jobs find them.

The catalog follows the lake: a table is registered once it is published, with its current snapshot as its location. To
Athena's readers the switch of that location is the publication. A catalog that is down costs them only time: whatever
is current can be registered again, as often as you like. Our tables need no crawler.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stedi_assets.contracts import Table
from stedi_assets.storage.errors import CatalogError
from stedi_assets.tables.pointers import Pointer

CREATED_BY = "stedi-lakehouse"

# In seconds, before each try.
_PAUSES = (0, 0.1, 0.2, 0.4, 0.8, 1.6)

_MISSING = "EntityNotFoundException"
_MOVED = {"ConcurrentModificationException", "AlreadyExistsException", _MISSING}

# What Glue's limits are counted in is told in two ways, as bytes and as characters; bytes keep to both.
_COMMENT_BYTES = 255
_DESCRIPTION_BYTES = 2048

_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"
_FILES = {
    "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
    "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe",
        "Parameters": {"serialization.format": "1"},
    },
}
# An update replaces a table's whole description. These parts of it are none of ours.
_OF_OTHERS = ("Owner", "Retention", "LastAccessTime", "LastAnalyzedTime")


def glue_client() -> Any:
    """Return a boto3 client by the standard chain."""
    return boto3.client("glue", config=Config(retries={"mode": "standard"}))


@dataclass(frozen=True)
class Catalog:
    """A database of the Glue Data Catalog. `make_client` gives a boto3 client."""

    make_client: Callable[[], Any] = field(repr=False, compare=False)
    database: str

    @cached_property
    def glue(self) -> Any:
        """The boto3 client, made when it is first needed."""
        return self.make_client()

    def register(self, table: Table, pointer: Pointer, location: str, is_current: Callable[[], bool]) -> None:
        """Have the catalog show a table's current snapshot; make table and database where they are missing.

        `location` is the snapshot's folder on S3. `is_current` reads the lake anew and says whether `pointer` is still
        the table's; where it is not, nothing is changed, for whoever has replaced it registers theirs.

        Raises `CatalogError` where the catalog cannot be reached or refuses, or has such a table that is not ours.
        """
        location = location.rstrip("/") + "/"
        for pause in _PAUSES:
            time.sleep(pause)
            # Look first, then ask: whoever publishes after the lake has said yes also registers after it, and by that
            # makes our look too old for the catalog to take an update from it. This holds only if everybody writes,
            # even what is shown already: where an older snapshot is current again, a late one could still undo that.
            shown = self._shown(table)
            if not is_current():
                return
            if shown and not _is_ours(shown, location):
                raise self._not_ours(table)
            if self._replace(table, shown, _described(table, pointer, location, shown or {})):
                return
        raise self._not_registered(table, "others keep changing it there")

    def _shown(self, table: Table) -> dict[str, Any] | None:
        """Return what the catalog shows of a table, None if there is none."""
        with self._reported(table):
            try:
                shown: dict[str, Any] = self.glue.get_table(DatabaseName=self.database, Name=table.name)["Table"]
            except ClientError as error:
                if _code(error) != _MISSING:
                    raise
                return None
        return shown

    def _replace(self, table: Table, shown: Mapping[str, Any] | None, described: Mapping[str, Any]) -> bool:
        """Put a description in the place of what was shown. Return whether that stood there still."""
        with self._reported(table):
            try:
                if shown:
                    self.glue.update_table(
                        DatabaseName=self.database,
                        TableInput=described,
                        VersionId=shown["VersionId"],
                        SkipArchive=True,
                    )
                else:
                    self._make_database()
                    self.glue.create_table(DatabaseName=self.database, TableInput=described)
            except ClientError as error:
                if _code(error) not in _MOVED:
                    raise
                return False
        return True

    def _make_database(self) -> None:
        # Not everybody who may make tables may make databases.
        try:
            self.glue.get_database(Name=self.database)
        except ClientError as error:
            if _code(error) != _MISSING:
                raise
            self.glue.create_database(DatabaseInput={"Name": self.database})

    @contextmanager
    def _reported(self, table: Table) -> Iterator[None]:
        """Turn what the catalog's client raises into a `CatalogError`."""
        try:
            yield
        except ClientError as error:
            # The service's own message, and with it the error as a cause, can hold an account's number and roles.
            raise self._not_registered(table, f"{error.operation_name}: {_code(error)}") from None
        except BotoCoreError as error:
            raise self._not_registered(table, type(error).__name__) from None

    def _not_registered(self, table: Table, problem: str) -> CatalogError:
        return CatalogError(
            f"{table.name} is published in the lake, but not registered in the Glue database {self.database}: "
            f"{problem}. Athena still shows the one before. Run `stedi register`, or materialise the table again."
        )

    def _not_ours(self, table: Table) -> CatalogError:
        return CatalogError(
            f"{table.name} is published in the lake, but not registered: the table {table.name} in the Glue database "
            f"{self.database} is not from this lake, and stays as it is. Delete it there, or set STEDI_GLUE_DATABASE "
            "to another database; then run `stedi register`."
        )


def _is_ours(shown: Mapping[str, Any], location: str) -> bool:
    """Return whether a table was registered by us, from the folder that `location` lies in."""
    marked = shown.get("Parameters", {}).get("created_by") == CREATED_BY
    return marked and _parent(shown.get("StorageDescriptor", {}).get("Location", "")) == _parent(location)


def _described(table: Table, pointer: Pointer, location: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table as Glue takes it, with what others have put on the one that is shown."""
    ours = {
        "EXTERNAL": "TRUE",
        "classification": "parquet",
        "created_by": CREATED_BY,
        # Glue's name for it, and Hive's, by which Redshift Spectrum and Trino plan.
        "recordCount": str(pointer.rows),
        "numRows": str(pointer.rows),
        "snapshot": pointer.snapshot,
        "run_id": pointer.run_id,
        "published_at": pointer.published_at,
        "purpose": pointer.purpose,
    }
    return {
        **{name: shown[name] for name in _OF_OTHERS if name in shown},
        "Name": table.name,
        "Description": _cut(f"A row is {table.row}. {table.description}", _DESCRIPTION_BYTES),
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [],
        "Parameters": {**shown.get("Parameters", {}), **ours},
        "StorageDescriptor": {**_FILES, "Columns": _columns(table), "Location": location},
    }


def _columns(table: Table) -> list[dict[str, str]]:
    """Return a table's columns as Glue has them.

    Glue keeps names in lower case, and would fold them itself; by them Athena finds those in the files, in any case.
    """
    return [
        {"Name": c.name.lower(), "Type": c.type.value, "Comment": _cut(c.description, _COMMENT_BYTES)}
        for c in table.columns
    ]


def _cut(text: str, most: int) -> str:
    """Return a text in one line of at most so many bytes; dots stand for what was too long."""
    line = " ".join(text.split())
    if len(line.encode()) <= most:
        return line
    return line.encode()[: most - 3].decode(errors="ignore") + "..."


def _parent(location: str) -> str:
    return location.rstrip("/").rpartition("/")[0]


def _code(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "an answer without a code")
    return code
