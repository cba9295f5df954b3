"""What became of each raw file of a landing table. These reports are a table of their own."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from stedi_assets.contracts import Source
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import counted
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.snapshots import Snapshot, dataset

_SHA256_DIGITS = 64


@dataclass(frozen=True)
class FileReport:
    """What became of a raw file: a row of its source's table of files.

    `path` is the file's name. `bytes` is the length of its unpacked content: accepted and quarantined records, and
    separators. `digest` is of the file as it lies, so that a renamed file is recognised: the SHA-256 hash of each part
    that was read. `sha256` is that of a whole file of several parts, if a manifest gives one. `cut_off`: its last
    record is incomplete. Superseded records are not counted here. `days` are those of its accepted readings.
    `unknown_fields` are names of fields that the contract does not know, `other_names` is how many are not shown.
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
    days: tuple[str, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    other_names: int = 0
    sha256: str = ""

    @property
    def known_sha256(self) -> str:
        """The SHA-256 hash of the file as stored; empty if it is not known."""
        return self.digest if len(self.digest) == _SHA256_DIGITS else self.sha256


def trouble_of(file: FileReport) -> str:
    """Return in words what is wrong with a file; nothing if it is whole, and all its records were accepted."""
    if file.error:
        return f"{file.error}{' (it may be missing)' if file.forgotten else ''}"
    if file.quarantined and not file.accepted and not file.suppressed:
        return "all records are in quarantine"
    found = (file.cut_off and "cut off", file.quarantined and f"{counted(file.quarantined, 'record')} in quarantine")
    return ", ".join(words for words in found if words)


def as_rows(source: Source, files: Sequence[FileReport]) -> pa.Table:
    """Return reports as rows of the source's table of files."""
    return pa.Table.from_pylist([asdict(file) for file in files], schema=arrow_schema(source.files))


def read_file_reports(lake: Lake, source: Source, snapshot: Snapshot) -> tuple[FileReport, ...]:
    """Return the report of each file that a snapshot of a landing table was made from."""
    rows = dataset(lake, source.files, snapshot.inputs[source.files.name]).to_table()
    return tuple(_report(row) for row in sorted(rows.to_pylist(), key=lambda row: row["path"]))


def _report(row: dict[str, Any]) -> FileReport:
    # Rows from before a column was added have none.
    given: dict[str, Any] = {name: value for name, value in row.items() if value is not None}
    return FileReport(**given | {name: tuple(value) for name, value in given.items() if isinstance(value, list)})
