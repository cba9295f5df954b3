"""A snapshot's manifests, and the data files that they list.

Iceberg never changes a manifest, and a run asks for the same ones again and again, so what was read last is kept.
"""

from dataclasses import dataclass
from functools import lru_cache

from pyiceberg.manifest import DataFile, ManifestFile, read_manifest_list

from stedi_assets.storage.lake import Lake
from stedi_assets.tables.days import day_of
from stedi_assets.tables.file_io import LakeFileIO, path_of


@dataclass(frozen=True)
class ListedFile:
    """A data file as a manifest lists it. `day` is that of its rows, None if the table is not partitioned."""

    path: str
    bytes: int
    rows: int
    day: str | None


@lru_cache(maxsize=512)
def manifests_in(lake: Lake, manifest_list: str) -> tuple[ManifestFile, ...]:
    """Return the manifests in a snapshot's list of them.

    Raises `ElsewhereError` if it lies outside the lake, and whatever PyIceberg raises if it is gone or damaged.
    """
    return tuple(read_manifest_list(LakeFileIO(lake).new_input(manifest_list)))


# Fewer: a manifest can list thousands of files.
@lru_cache(maxsize=128)
def files_in(lake: Lake, manifest: ManifestFile) -> tuple[ListedFile, ...]:
    """Return the data files that a manifest lists and that are not deleted. Raises as `manifests_in`."""
    entries = manifest.fetch_manifest_entry(LakeFileIO(lake), discard_deleted=True)
    return tuple(_as_listed(lake, entry.data_file) for entry in entries)


def _as_listed(lake: Lake, file: DataFile) -> ListedFile:
    # A row without an instant has no day.
    start = file.partition[0] if len(file.partition) else None
    day = None if start is None else day_of(start)
    return ListedFile(path_of(lake, file.file_path), file.file_size_in_bytes, file.record_count, day)
