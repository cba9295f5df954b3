"""`stedi fetch-s3`."""

from stedi_assets.settings import Settings
from stedi_assets.spark.java import find_java
from stedi_assets.spark.s3a import s3a_jars


def run(_: Settings) -> int:
    """Fetch what Spark needs for a lake on S3, some 650 MB, from Maven Central; it is fetched once."""
    print(f"Spark finds S3A in {s3a_jars(find_java())}")
    return 0
