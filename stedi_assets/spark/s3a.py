"""Spark's settings for S3A, Hadoop's access to S3."""

from typing import TYPE_CHECKING

from stedi_assets.storage.interface import ATTEMPTS

if TYPE_CHECKING:
    from stedi_assets.storage.s3 import S3Bucket


def s3a_settings(bucket: "S3Bucket") -> dict[str, str]:
    """Return Spark's settings for a bucket. None is secret: the AWS SDK's own chain finds credentials."""
    client = bucket.client.meta
    settings = {
        "aws.credentials.provider": "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
        "endpoint": client.endpoint_url,
        "endpoint.region": client.region_name or "us-east-1",
        "path.style.access": str("amazonaws.com" not in client.endpoint_url).lower(),
        "connection.ssl.enabled": str(client.endpoint_url.startswith("https")).lower(),
        "attempts.maximum": str(ATTEMPTS),
        # S3 checks it as the data arrives. Without it, nothing is checked.
        "create.checksum.algorithm": "CRC32C",
        # The older stream. The new one gives up if a connection breaks within an answer.
        "input.stream.type": "classic",
        "encryption.algorithm": "SSE-KMS" if bucket.kms_key else "AES256",
        **({"encryption.key": bucket.kms_key} if bucket.kms_key else {}),
    }
    return {
        **{f"spark.hadoop.fs.s3a.{name}": value for name, value in settings.items()},
        # S3A does not repeat a read of several ranges if an answer breaks off.
        "spark.hadoop.parquet.hadoop.vectored.io.enabled": "false",
        # A listing takes a request for each file: above this number, tasks share them.
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "32",
    }
