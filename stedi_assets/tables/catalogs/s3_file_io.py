"""What Spark is told of Iceberg's own way to S3, `S3FileIO`, by catalogs of lakes that lie there."""

from typing import Any

from stedi_assets.storage.lake import Lake
from stedi_assets.storage.s3 import S3Bucket


def s3_file_io(lake: Lake) -> dict[str, str]:
    """Return the settings, below the catalog's name. Nothing secret: the AWS SDK's own chain finds credentials."""
    bucket = lake.storage
    if not isinstance(bucket, S3Bucket):
        raise TypeError(lake.location)
    s3 = bucket.client.meta
    return {
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": s3.region_name or "us-east-1",
        "s3.sse.type": "kms" if bucket.kms_key else "s3",
        **({"s3.sse.key": bucket.kms_key} if bucket.kms_key else {}),
        # A store of one's own names buckets in the path.
        **({} if is_aws(s3) else {"s3.endpoint": s3.endpoint_url, "s3.path-style-access": "true"}),
    }


def is_aws(client: Any) -> bool:
    """Whether a boto3 client speaks with AWS itself, by its `meta`."""
    return "amazonaws.com" in client.endpoint_url
