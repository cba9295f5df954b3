"""`stedi path TABLE`."""

import argparse
import sys

from stedi_assets.contracts import ALL_TABLES
from stedi_assets.settings import Settings
from stedi_assets.tables.catalog import load


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Print the metadata file of a table as it is published now, for Iceberg's readers."""
    lake, name = settings.open_lake(), chosen.table
    table = load(lake, ALL_TABLES[name]) if name in ALL_TABLES else None
    if table is None:
        known = "it has not been published yet" if name in ALL_TABLES else f"the tables are {', '.join(ALL_TABLES)}"
        print(f"There is no table {name} in {lake.location}: {known}.", file=sys.stderr)
        return 1
    print(table.metadata_location)
    return 0
