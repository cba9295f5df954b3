"""The AWS Glue Data Catalog, for lakes on S3."""

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.io import FileIO

from stedi_assets.storage.interface import ATTEMPTS
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.catalogs.s3_file_io import is_aws


class LakeGlueCatalog(GlueCatalog):
    """PyIceberg's Glue catalog, with the lake's own file IO."""

    def __init__(self, name: str, file_io: FileIO, properties: dict[str, str]) -> None:
        super().__init__(name, _client(), **properties)
        self._file_io = file_io

    def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:  # noqa: ARG002  (PyIceberg's)
        return self._file_io


def open_catalog(name: str, _: Lake, file_io: FileIO, properties: dict[str, str]) -> LakeGlueCatalog:
    """Return PyIceberg's catalog."""
    return LakeGlueCatalog(name, file_io, properties)


def spark_settings(_: Lake) -> dict[str, str]:
    """Return the settings of Spark's Glue catalog. None is secret: the AWS SDK's own chain finds credentials."""
    glue = _client().meta
    return {
        "catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
        **({} if is_aws(glue) else {"glue.endpoint": glue.endpoint_url}),
    }


def what_is_wrong(lake: Lake, error: Exception) -> str | None:
    """Return the message for an error of Glue; None for any other."""
    if not isinstance(error, (BotoCoreError, ClientError)):
        return None
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    client = _client().meta
    said = f"The Glue Data Catalog of {lake.location}, at {client.endpoint_url}, cannot be used"
    if is_aws(client):
        return (
            f"{said} ({code or type(error).__name__}). Check that the run may use Glue's databases and "
            "tables: docs/s3.md lists the permissions that it needs."
        )
    if isinstance(error, BotoConnectionError):
        return f"{said}: nothing answers there. Start it, or correct AWS_ENDPOINT_URL."
    return (
        f"{said} ({code or type(error).__name__}): AWS_ENDPOINT_URL names a store that may have no Glue. Set "
        "AWS_ENDPOINT_URL_S3 instead, for the store only; or set STEDI_CATALOG to a catalog in PostgreSQL or behind a "
        "REST server."
    )


def _client() -> Any:
    """Return a boto3 client for Glue, by the standard chain."""
    return boto3.client("glue", config=Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS}))
