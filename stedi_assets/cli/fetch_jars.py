"""`stedi fetch-jars`."""

import argparse

from stedi_assets.settings import Settings
from stedi_assets.spark.jars import fetch_jars


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Fetch the jars that Spark needs from the Maven repository in STEDI_MAVEN, and check those that exist."""
    print(f"Spark finds its jars in {fetch_jars(settings.maven)}")
    return 0
