"""The jars that Spark needs beside its own: which they are, where they lie, and how they are fetched.

pip has no jars, so they are not installed: they are fetched once, when first needed or by `stedi fetch-jars`.
"""

import hashlib
import os
from pathlib import Path

import pyspark

from stedi_assets.spark.java import kept_cache, named_cache, user_cache
from stedi_assets.spark.maven import Artifact, fetch
from stedi_assets.storage.errors import LakeError

_HADOOP = "3.4.2"
_ICEBERG = "1.12.0"
# The version of the SDK in Iceberg's bundle, which S3A uses instead of the whole SDK of 650 MB.
_AWS_SDK = "2.54.17"

# Iceberg tables, and their catalog in SQLite.
ICEBERG = (
    Artifact(
        f"org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:{_ICEBERG}",
        48_309_426,
        "3123c3798af642dd537230923548e013ef41cc28b6626e5225808cf5670a0f82",
    ),
    Artifact(
        "org.xerial:sqlite-jdbc:3.50.3.0",
        14_346_720,
        "a3f53a2aa15ae9425a9e793bbe9c8e5288febeb4b65ef5c1a4e80d4c2045cf08",
    ),
)
# The driver for a catalog in PostgreSQL.
POSTGRESQL = (
    Artifact(
        "org.postgresql:postgresql:42.7.14",
        1_221_004,
        "73914527305a40cce504b0d3d90b23caf565136912d607ae8ae7c5895512332c",
    ),
)
# S3A, which is Hadoop's access to S3, and what it uses of the AWS SDK.
S3 = (
    Artifact(
        f"org.apache.hadoop:hadoop-aws:{_HADOOP}",
        936_997,
        "d2d24e6b715b5656b9d238bf13b6682a07e2004dd36aad74a73aeb854319f4d9",
    ),
    Artifact(
        f"org.apache.iceberg:iceberg-aws-bundle:{_ICEBERG}",
        69_034_612,
        "dd7e49ffa4ac9b215bed846581991259e3aec9bb2fa08d6cec029c46cd66d957",
    ),
    Artifact(
        f"software.amazon.awssdk:s3-transfer-manager:{_AWS_SDK}",
        282_942,
        "7bef0ea4efd5e0860bab63e08317040951edb51b72a5be734284c28b8324ab87",
    ),
    Artifact(
        f"software.amazon.awssdk:apache-client:{_AWS_SDK}",
        77_826,
        "0b00ae3d55c3d1213ca47b5651dc4c2a0080fc9b6192dde3d53c3da6c1811bcb",
    ),
)


def class_path(maven: str, *, on_s3: bool, on_postgresql: bool = False) -> str:
    """Return the class path of what a session needs; fetch missing jars from the repository `maven`.

    `on_s3` is for a lake on S3, `on_postgresql` for a catalog in PostgreSQL.

    Raises `LakeError` if jars cannot be fetched, or if pyspark's Hadoop has another version than S3A.
    """
    if on_s3:
        require_same_hadoop()
    wanted = _needed(on_s3=on_s3, on_postgresql=on_postgresql)
    folder = _folder_with(wanted, maven)
    if os.pathsep in str(folder):
        msg = f"{folder} cannot be on a class path: it has a {os.pathsep}. Set XDG_CACHE_HOME to another folder."
        raise LakeError(msg)
    return os.pathsep.join(str(folder / jar.file) for jar in wanted)


def fetch_jars(maven: str) -> Path:
    """Fetch all jars into the user's cache, whole and with the right digest, and return their folder.

    Raises `LakeError` if that fails.
    """
    cache = kept_cache()
    if cache is None:
        msg = (
            f"There is nowhere to keep Spark's jars: {named_cache() or 'a home of this user'} cannot be written to. "
            "Set XDG_CACHE_HOME to a folder that can."
        )
        raise LakeError(msg)
    folder = cache / "jars"
    jars = _needed(on_s3=True, on_postgresql=True)
    fetch([jar for jar in jars if not _is_right(folder / jar.file, jar)], maven, folder)
    return folder


def cluster_settings(*, on_s3: bool, on_postgresql: bool = False) -> dict[str, str]:
    """Return the settings by which a cluster's Spark fetches the same versions itself. Arguments as for `class_path`.

    Raises `LakeError` if pyspark's Hadoop has another version.
    """
    if on_s3:
        require_same_hadoop()
    return {
        "spark.jars.packages": ",".join(jar.coordinates for jar in _needed(on_s3=on_s3, on_postgresql=on_postgresql)),
        # The whole SDK, which hadoop-aws asks for and we do not need.
        "spark.jars.excludes": "software.amazon.awssdk:bundle",
    }


def _needed(*, on_s3: bool, on_postgresql: bool) -> tuple[Artifact, ...]:
    return (*ICEBERG, *(POSTGRESQL if on_postgresql else ()), *(S3 if on_s3 else ()))


def require_same_hadoop() -> None:
    """Raise `LakeError` unless S3A has the version of pyspark's Hadoop; it does not work with another."""
    jars = Path(pyspark.__file__).parent / "jars"
    found = [jar.stem.removeprefix("hadoop-client-api-") for jar in jars.glob("hadoop-client-api-*.jar")]
    if found != [_HADOOP]:
        msg = (
            f"pyspark {pyspark.__version__} brings Hadoop {' and '.join(found) or 'in no version'}, and S3A is of "
            f"Hadoop {_HADOOP}: they must be the same. Install the pyspark that this project asks for: pip "
            "install 'pyspark>=4.1.1,<4.2'."
        )
        raise LakeError(msg)


def _folder_with(wanted: tuple[Artifact, ...], maven: str) -> Path:
    """Return the folder that holds some jars, after fetching those that are missing."""
    # Look there without writing: the folder may hold all of them and be read-only.
    named = named_cache()
    if named and not _missing(wanted, named / "jars"):
        return named / "jars"
    folder = user_cache() / "jars"
    fetch(_missing(wanted, folder), maven, folder)
    return folder


def _missing(wanted: tuple[Artifact, ...], folder: Path) -> list[Artifact]:
    """Return the jars that a folder does not hold whole. Their digests were checked when they were fetched."""
    return [jar for jar in wanted if _size(folder / jar.file) != jar.size]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _is_right(path: Path, jar: Artifact) -> bool:
    return _size(path) == jar.size and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256
