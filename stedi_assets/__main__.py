"""`python -m stedi_assets` is the command `stedi`."""

import sys

from stedi_assets.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
