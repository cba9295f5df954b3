"""`stedi upgrade`."""

import argparse

from stedi_assets.privacy.old_layout import upgrade
from stedi_assets.settings import Settings


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Upgrade a lake from before its tables were Iceberg tables, and remove the old tables."""
    lake = settings.open_lake()
    if not (removed := upgrade(lake)):
        print(f"The tables of {lake.location} are Iceberg tables already, or there are none.")
        return 0
    print(f"{removed} tables of the old layout were taken over and removed from {lake.location}. To rebuild them:")
    print("  .venv/bin/dagster job execute -m stedi_assets.definitions -j rebuild_lakehouse")
    return 0
