"""What became of each raw file that a landing table was made from, as it is kept with the table's snapshot."""

from dataclasses import asdict, dataclass
from typing import Any

from stedi_assets.contracts import Source
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.pointers import Pointer
from stedi_assets.tables.snapshots import read_beside

FILES = "_files.json"


@dataclass(frozen=True)
class FileReport:
    """What became of a raw file: one entry of a landing table's `_files.json`.

    `path` is what the file is called. `bytes` is how long its content is, unpacked: those of accepted and quarantined
    records and of separators. `digest` is of the file as it lies, so that a renamed file is known again. `cut_off`: its
    last record is broken off. Of records that are superseded nothing is counted here.
    """

    path: str
    size: int
    fingerprint: str
    bytes: int = 0
    digest: str = ""
    records: int = 0
    accepted: int = 0
    accepted_bytes: int = 0
    quarantined: int = 0
    quarantined_bytes: int = 0
    suppressed: int = 0
    separator_bytes: int = 0
    gzip: bool = False
    cut_off: bool = False
    error: str | None = None
    forgotten: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON holds it."""
        return asdict(self)


def read_file_reports(lake: Lake, source: Source, pointer: Pointer) -> tuple[FileReport, ...]:
    """Return what became of each file that a snapshot of a landing table was made from."""
    entries = read_beside(lake, source.landing, pointer.snapshot, FILES)["files"]
    return tuple(FileReport(**entry) for entry in entries)
