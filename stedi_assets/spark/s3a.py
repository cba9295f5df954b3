"""Spark's settings for S3A, Hadoop's access to S3."""

from stedi_assets.storage.interface import ATTEMPTS


def s3a_settings(lake: str, kms_key: str | None) -> dict[str, str]:
    """Return Spark's settings for a lake on S3. None is secret: the AWS SDK's own chain finds credentials."""
    from stedi_assets.storage.s3 import S3Bucket  # noqa: PLC0415  (loads boto3)

    client = S3Bucket.at(lake, kms_key).client.meta
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
        "encryption.algorithm": "SSE-KMS" if kms_key else "AES256",
        **({"encryption.key": kms_key} if kms_key else {}),
    }
    return {
        **{f"spark.hadoop.fs.s3a.{name}": value for name, value in settings.items()},
        # S3A does not repeat a read of several ranges if an answer breaks off.
        "spark.hadoop.parquet.hadoop.vectored.io.enabled": "false",
        # A listing takes a request for each file: above this number, tasks share them.
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "32",
    }
