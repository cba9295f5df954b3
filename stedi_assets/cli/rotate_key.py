"""`stedi rotate-key`."""

import argparse

from stedi_assets.cli.lake import lake_of
from stedi_assets.privacy.keys import pseudonym_key
from stedi_assets.privacy.known_keys import rotate_pseudonym_key
from stedi_assets.settings import Settings


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Make the pseudonym key in force the lake's, and remove the ML table of the old one, which is to be made again."""
    lake = lake_of(settings)
    removed = rotate_pseudonym_key(lake, pseudonym_key(settings.pseudonym_key, lake))
    print(f"The pseudonym key of {lake.location} is the one in force now. Every subject gets a new id.")
    print(f"machine_learning_curated: {removed} snapshots of the old key removed. To make it again:")
    print("  .venv/bin/dagster job execute -m stedi_assets.definitions -j rebuild_lakehouse")
    return 0
