"""Spark's settings for Hadoop's way to S3, S3A."""

from typing import TYPE_CHECKING

from stedi_assets.storage.interface import ATTEMPTS

if TYPE_CHECKING:
    from stedi_assets.storage.s3 import S3Bucket


def s3a_settings(bucket: "S3Bucket") -> dict[str, str]:
    """Return Spark's settings for a bucket. Nothing secret: credentials are found by the AWS SDK's own chain."""
    client = bucket.client.meta
    settings = {
        "aws.credentials.provider": "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
        "endpoint": client.endpoint_url,
        "endpoint.region": client.region_name or "us-east-1",
        "path.style.access": str("amazonaws.com" not in client.endpoint_url).lower(),
        "connection.ssl.enabled": str(client.endpoint_url.startswith("https")).lower(),
        "attempts.maximum": str(ATTEMPTS),
        # Checked by S3 as it arrives. Without it, nothing is.
        "create.checksum.algorithm": "CRC32C",
        # The stream of long standing. The new one gives up on a connection that breaks within an answer.
        "input.stream.type": "classic",
        "encryption.algorithm": "SSE-KMS" if bucket.kms_key else "AES256",
        **({"encryption.key": bucket.kms_key} if bucket.kms_key else {}),
    }
    return {
        **{f"spark.hadoop.fs.s3a.{name}": value for name, value in settings.items()},
        # Reads of several ranges at once, which S3A does not repeat where an answer breaks off.
        "spark.hadoop.parquet.hadoop.vectored.io.enabled": "false",
        # A listing takes a request for each file: above these, tasks share them.
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "32",
    }
