"""A lake that many tests begin from: kept once it is built, and brought back where it lies before each of them.

Iceberg's metadata hold absolute paths, so that a copy elsewhere would be no lake.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stedi_assets.storage.lake import DATABASE, Lake
from stedi_assets_tests.support.lakes import root_of


@dataclass(frozen=True)
class KeptLake:
    """A lake, and a copy of what was in it."""

    lake: Lake
    copy: Path

    @classmethod
    def of(cls, lake: Lake) -> "KeptLake":
        """Keep a lake as it is now."""
        copy = Path(tempfile.mkdtemp(dir=root_of(lake).parent)) / "lake"
        shutil.copytree(root_of(lake), copy, symlinks=True, ignore=shutil.ignore_patterns(f"{DATABASE}*"))
        _copy_database(root_of(lake) / DATABASE, copy / DATABASE)
        return cls(lake, copy)

    def restored(self) -> Lake:
        """Make the lake what it was, and return it."""
        root = root_of(self.lake)
        for place in root.iterdir():
            if not place.name.startswith(DATABASE):
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        shutil.copytree(self.copy, root, symlinks=True, ignore=shutil.ignore_patterns(DATABASE), dirs_exist_ok=True)
        _copy_database(self.copy / DATABASE, root / DATABASE)
        return self.lake


def _copy_database(file: Path, to: Path) -> None:
    """Have a SQLite file hold what another does, whoever has it open."""
    with contextlib.closing(sqlite3.connect(file)) as held, contextlib.closing(sqlite3.connect(to)) as other:
        held.backup(other)
