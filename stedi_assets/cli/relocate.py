"""`stedi relocate`."""

from stedi_assets.cli.lake import lake_of
from stedi_assets.settings import Settings
from stedi_assets.tables.relocation import relocate


def run(settings: Settings) -> int:
    """Have the tables of a lake that was moved, copied or restored name their files where they lie now."""
    lake = lake_of(settings)
    moved = relocate(lake)
    for table in moved:
        print(f"{table.name} lies in {lake.storage.shown(table.path)}")
    if not moved:
        print(f"The tables of {lake.location} lie where they say, or there are none.")
    return 0
