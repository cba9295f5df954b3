"""Spark's settings for `S3FileIO`, Iceberg's own access to S3, for catalogs of lakes on S3."""

from typing import Any

from stedi_assets.storage.lake import Lake
from stedi_assets.storage.s3 import S3Bucket


def s3_file_io(lake: Lake) -> dict[str, str]:
    """Return the settings, below the catalog's name. None is secret: the AWS SDK's own chain finds credentials."""
    bucket = lake.storage
    if not isinstance(bucket, S3Bucket):
        raise TypeError(lake.location)
    s3 = bucket.client.meta
    return {
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": s3.region_name or "us-east-1",
        "s3.sse.type": "kms" if bucket.kms_key else "s3",
        **({"s3.sse.key": bucket.kms_key} if bucket.kms_key else {}),
        # A store other than AWS has the bucket's name in the path.
        **({} if is_aws(s3) else {"s3.endpoint": s3.endpoint_url, "s3.path-style-access": "true"}),
    }


def is_aws(client: Any) -> bool:
    """Whether a boto3 client talks to AWS itself, by its `meta`."""
    return "amazonaws.com" in client.endpoint_url
