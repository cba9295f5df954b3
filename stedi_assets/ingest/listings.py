"""What lies in a lake's landing folders, listed in portions: there can be very many files."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice

from stedi_assets.contracts import SOURCES
from stedi_assets.storage.interface import Entry
from stedi_assets.storage.lake import Lake

Listed = Mapping[str, Sequence[Entry]]


class PortionedListing:
    """A listing of every landing folder that can be interrupted: `found` by source, and how many these are, so far."""

    def __init__(self, lake: Lake) -> None:
        """Nothing is listed yet."""
        self.found: dict[str, list[Entry]] = defaultdict(list)
        self.count = 0
        self._left = (
            (source.name, entry) for source in SOURCES.values() for entry in lake.raw.entries(source.raw_path)
        )

    def list_further(self, most_files: int) -> bool:
        """List up to so many more files, and return whether there may be more."""
        before = self.count
        for name, entry in islice(self._left, most_files):
            self.found[name].append(entry)
            self.count += 1
        return self.count - before == most_files
