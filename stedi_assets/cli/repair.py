"""`stedi repair`."""

import argparse

from stedi_assets.privacy.keys import pseudonym_key, suppression_key
from stedi_assets.privacy.known_keys import require_pseudonym_key, require_suppression_key
from stedi_assets.privacy.repair import Keys, repair
from stedi_assets.settings import Settings
from stedi_assets.storage.names import counted


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Go back to the newest whole snapshot of each table that is damaged, or that the catalog does not know."""
    lake = settings.open_lake()
    keys = Keys(
        lambda: require_pseudonym_key(lake, pseudonym_key(settings.pseudonym_key, lake)),
        lambda: require_suppression_key(lake, suppression_key(settings.suppression_key, lake)),
    )
    done = repair(lake, keys)
    for found in done:
        print(found.damage)
        if found.snapshot:
            print(f"  repaired: {found.table.name} is {found.snapshot.id} again, {found.snapshot.rows:,} rows")
        else:
            print(f"  no snapshot of {found.table.name} can be restored: materialise it")
    print(f"{counted(len(done), 'damaged table')} in {lake.location}")
    return 0 if all(found.snapshot for found in done) else 1
