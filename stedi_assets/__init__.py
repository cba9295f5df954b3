"""The STEDI Human Balance lakehouse as a Dagster asset graph: eight tables in three zones, computed by PySpark.

`open_table` and `read` open its tables without Spark.
"""

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa
    from pyiceberg.table import Table as IcebergTable

    from stedi_assets.storage.lake import Lake


def open_table(name: str, *, lake: "str | PathLike[str] | None" = None) -> "IcebergTable":
    """Open a table with PyIceberg.

    `lake` is a folder or `s3://bucket/prefix`; if left out, it is STEDI_LAKE. Settings are read as `stedi` reads them,
    from the environment and from the `.env` of the working folder.

    Raises `LakeError` if there is no such table, and `SettingsError` if a setting cannot be used.
    """
    from stedi_assets.tables import opening  # noqa: PLC0415  (loads PyIceberg and PySpark)

    return opening.open_table(_lake(lake), name)


def read(name: str, *, lake: "str | PathLike[str] | None" = None, as_of: "int | datetime | None" = None) -> "pa.Table":
    """Read a table into memory, as Arrow, in the columns of its contract.

    `lake` is as for `open_table`. `as_of` is the id of a snapshot that is kept, or an instant at which it was current;
    if left out, the table is read as it is now.

    Raises `LakeError` if there is no such table or snapshot or a part of it is gone, and `SettingsError` if a setting
    cannot be used.
    """
    from stedi_assets.tables import opening  # noqa: PLC0415  (loads PyIceberg and PySpark)

    return opening.read_rows(_lake(lake), name, as_of)


def _lake(location: "str | PathLike[str] | None") -> "Lake":
    from stedi_assets.environment import read_env_file  # noqa: PLC0415  (loads pydantic)
    from stedi_assets.settings import read_settings  # noqa: PLC0415  (loads pydantic)
    from stedi_assets.storage.lake import Lake  # noqa: PLC0415  (keeps `import stedi_assets` quick)

    read_env_file(Path.cwd())
    settings = read_settings()
    place = settings.lake if location is None else fspath(location)
    # The catalog in the settings is that of the lake that they name.
    catalog = settings.catalog_address if place == settings.lake else None
    return Lake.at(place, kms_key=settings.s3_kms_key, namespace=settings.namespace, catalog=catalog)
