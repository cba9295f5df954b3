"""Which folder of the lake holds what."""

import os
from dataclasses import dataclass
from pathlib import Path

from stedi_assets.contracts import Source, Table
from stedi_assets.lake.errors import LakeError


@dataclass(frozen=True)
class Lake:
    """A lake in a local folder."""

    root: Path

    @classmethod
    def at(cls, location: str) -> "Lake":
        """Return the lake at a folder, made absolute.

        Raises `LakeError` where the path cannot be a lake.
        """
        if location.startswith(("s3://", "s3a://")):
            msg = f"STEDI_LAKE={location}: a lake on S3 is not supported yet. Set STEDI_LAKE to a local folder."
            raise LakeError(msg)
        root = Path(location).expanduser().absolute()
        if root.exists() and not root.is_dir():
            msg = f"STEDI_LAKE={location} is a file, not a folder. Set STEDI_LAKE to the folder that holds the lake."
            raise LakeError(msg)
        return cls(root)

    def raw_folder(self, source: Source) -> Path:
        """Return the folder of a source's raw files."""
        return self.root / source.raw_path

    def table_folder(self, table: Table) -> Path:
        """Return the folder of a table's snapshots and pointer."""
        return self.root / table.path

    def require_writable(self) -> None:
        """Raise `LakeError` unless tables can be written here."""
        existing = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            msg = f"No permission to write to the lake {self.root}. Change its owner or mode, or set STEDI_LAKE."
            raise LakeError(msg)


def masked(name: str) -> str:
    """Return a file name as it may be shown: one that holds an `@` could be somebody's e-mail address."""
    return "/".join("***" if "@" in part else part for part in name.split("/"))
