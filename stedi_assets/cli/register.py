"""`stedi register`."""

import sys

from stedi_assets.cli.lake import lake_of
from stedi_assets.contracts import QUARANTINE_TABLES, TABLES
from stedi_assets.settings import Settings
from stedi_assets.tables.publishing import register
from stedi_assets.tables.snapshots import read_pointer


def run(settings: Settings) -> int:
    """Register every table as it is published now in the Glue database that STEDI_GLUE_DATABASE names."""
    lake = lake_of(settings)
    if lake.catalog is None:
        print("There is no catalog to register tables in. Set STEDI_GLUE_DATABASE.", file=sys.stderr)
        return 1
    for table in (*TABLES.values(), *QUARANTINE_TABLES.values()):
        if pointer := read_pointer(lake, table):
            register(lake, table, pointer)
            print(f"{table.name}: {pointer.snapshot}, {pointer.rows:,} rows")
    return 0
