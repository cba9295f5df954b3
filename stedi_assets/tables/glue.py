"""The AWS Glue Data Catalog as the catalog of a lake on S3. Loaded for those alone: boto3 takes a second."""

from typing import Any

import boto3
from botocore.config import Config
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.io import FileIO

from stedi_assets.storage.interface import ATTEMPTS
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.s3 import S3Bucket


class LakeGlueCatalog(GlueCatalog):
    """PyIceberg's Glue catalog, with the lake's own files."""

    def __init__(self, name: str, file_io: FileIO, properties: dict[str, str]) -> None:
        super().__init__(name, _client(), **properties)
        self._file_io = file_io

    def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:  # noqa: ARG002
        return self._file_io


def spark_on_s3(lake: Lake) -> dict[str, str]:
    """Return the settings of Spark's Glue catalog. Nothing secret: credentials are found by the AWS SDK's own chain."""
    bucket = lake.storage
    if not isinstance(bucket, S3Bucket):
        raise TypeError(lake.location)
    s3, glue = bucket.client.meta, _client().meta
    return {
        "catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": s3.region_name or "us-east-1",
        "s3.sse.type": "kms" if bucket.kms_key else "s3",
        **({"s3.sse.key": bucket.kms_key} if bucket.kms_key else {}),
        # A store of one's own names buckets in the path.
        **({} if _is_aws(s3) else {"s3.endpoint": s3.endpoint_url, "s3.path-style-access": "true"}),
        **({} if _is_aws(glue) else {"glue.endpoint": glue.endpoint_url}),
    }


def _client() -> Any:
    """Return a boto3 client of Glue, by the standard chain."""
    return boto3.client("glue", config=Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS}))


def _is_aws(client: Any) -> bool:
    return "amazonaws.com" in client.endpoint_url
