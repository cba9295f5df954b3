"""`stedi purge`."""

import argparse

from stedi_assets.contracts import TABLES
from stedi_assets.settings import Settings
from stedi_assets.tables.publishing import drop_old


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Remove at once every snapshot that is not current, and what killed runs left behind."""
    lake = settings.open_lake()
    for table in TABLES.values():
        print(f"{table.name}: {drop_old(lake, table)} snapshots removed")
    return 0
