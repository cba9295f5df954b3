"""`stedi rotate-key`."""

import argparse

from stedi_assets.privacy.keys import pseudonym_key
from stedi_assets.privacy.known_keys import rotate_pseudonym_key
from stedi_assets.settings import Settings


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Switch the lake to the current pseudonym key, and remove the old key's ML table, which has to be rebuilt."""
    lake = settings.open_lake()
    removed = rotate_pseudonym_key(lake, pseudonym_key(settings.pseudonym_key, lake))
    print(f"{lake.location} now uses the current pseudonym key. Every subject gets a new id.")
    print(f"machine_learning_curated: removed {removed} snapshots made with the old key. To rebuild it:")
    print("  .venv/bin/dagster job execute -m stedi_assets.definitions -j rebuild_lakehouse")
    return 0
