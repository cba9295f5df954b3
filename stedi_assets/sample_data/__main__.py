"""`python -m stedi_assets.sample_data` writes a sample."""

import sys

from stedi_assets.sample_data.command_line import main

if __name__ == "__main__":
    sys.exit(main())
