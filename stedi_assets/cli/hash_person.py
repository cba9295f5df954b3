"""`stedi hash-person`."""

import argparse
import sys
from getpass import getpass

from stedi_assets.privacy.keys import suppression_key
from stedi_assets.privacy.known_keys import require_suppression_key
from stedi_assets.privacy.suppression import person_hash, read_suppressed
from stedi_assets.settings import Settings


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Read an e-mail address from standard input, and print the run config that erases this person, by a keyed hash."""
    lake = settings.open_lake()
    key = require_suppression_key(lake, suppression_key(settings.suppression_key, lake))
    # If the list is gone or was made with another key, report it now rather than at the erasure.
    read_suppressed(lake, lambda: key)
    email = getpass("E-mail: ") if sys.stdin.isatty() else sys.stdin.readline()
    print(f'ops: {{erase_from_lake: {{config: {{person: "{person_hash(email, key)}"}}}}}}')
    return 0
