"""`stedi relocate`."""

import argparse

from stedi_assets.settings import Settings
from stedi_assets.tables.relocation import relocate


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Make the tables of a lake that was moved, copied or restored name their files where they lie now."""
    lake = settings.open_lake()
    moved = relocate(lake)
    for done in moved:
        print(f"{done.table.name} lies in {lake.storage.shown(done.table.path)}")
    if not all(done.is_known for done in moved):
        print("The catalog does not know some of them: run `stedi repair`, which registers those that break no rule.")
    if not moved:
        print(f"The tables of {lake.location} already name their files where they lie, or there are none.")
    return 0
