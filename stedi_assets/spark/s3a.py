"""Spark's way to S3: Hadoop's S3A, of exactly the version of the Hadoop that pyspark brings.

It comes with the whole AWS SDK, some 650 MB, and so not with the installation: it is fetched once, when a lake on S3 is
first used or `stedi fetch-s3` is run, by Spark's own resolver, from Maven Central.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark

from stedi_assets.spark.java import Java, user_cache
from stedi_assets.spark.surroundings import own_installation, shielded
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.interface import ATTEMPTS

if TYPE_CHECKING:
    from stedi_assets.storage.s3 import S3Bucket

# Ends when Spark has what it was told to fetch.
_FETCH = "from pyspark.sql import SparkSession; SparkSession.builder.getOrCreate().stop()"


def s3a_package() -> str:
    """Return the Maven coordinates of the S3A that belongs to the installed pyspark."""
    jars = Path(pyspark.__file__).parent / "jars"
    (api,) = jars.glob("hadoop-client-api-*.jar")
    return f"org.apache.hadoop:hadoop-aws:{api.stem.removeprefix('hadoop-client-api-')}"


def s3a_jars(java: Java) -> str:
    """Return the class path of S3A, which is fetched if it is not there.

    Raises `LakeError` where it cannot be.
    """
    package = s3a_package()
    folder = user_cache() / "jars" / package.replace(":", "-")
    if not folder.exists():
        _fetch(package, folder, java)
    return f"{folder}/*"


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


def _fetch(package: str, folder: Path, java: Java) -> None:
    print(  # noqa: T201  (a log would not be seen before it has ended)
        f"Fetching {package} with the AWS SDK, some 650 MB, once, to {folder}", file=sys.stderr
    )
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    there = shlex.quote(f"spark.jars.ivy={draft}")
    submit = f"--master local[1] --packages {package} --conf {there} --conf spark.ui.enabled=false"
    with shielded(own_installation(java)):
        environment = {**os.environ, "PYSPARK_SUBMIT_ARGS": f"{submit} pyspark-shell"}
    try:
        draft.mkdir(mode=0o700, parents=True)
        # Its progress is shown as it comes.
        subprocess.run([sys.executable, "-c", _FETCH], env=environment, stdout=sys.stderr, check=True)
        (draft / "jars").rename(folder)
    except (OSError, subprocess.SubprocessError) as error:
        if folder.exists():
            return  # another process was faster
        msg = (
            f"{package} could not be fetched from Maven Central to {folder} ({type(error).__name__}; what the resolver "
            "said stands above). Run `stedi fetch-s3` where Maven Central or a mirror of it can be reached, and copy "
            "that folder here."
        )
        raise LakeError(msg) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
