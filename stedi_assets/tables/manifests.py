"""A snapshot's manifests, and the data files that they list.

Iceberg never changes a manifest, and a run asks for the same ones again and again, so what was read last is kept. It is
kept by the catalog's file IO, of which a process has one for each lake.
"""

from functools import lru_cache
from typing import NamedTuple

from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestFile, read_manifest_list


class Entry(NamedTuple):
    """A data file as a manifest lists it. `partition` is its first value, None if there is none."""

    location: str
    bytes: int
    rows: int
    partition: int | None


@lru_cache(maxsize=512)
def manifests_in(io: FileIO, manifest_list: str) -> tuple[ManifestFile, ...]:
    """Return the manifests in a snapshot's list of them. Raises whatever PyIceberg raises if it is gone or damaged."""
    return tuple(read_manifest_list(io.new_input(manifest_list)))


# Fewer: a manifest can list thousands of files.
@lru_cache(maxsize=128)
def files_in(io: FileIO, manifest: ManifestFile) -> tuple[Entry, ...]:
    """Return the data files that a manifest lists and that are not deleted. Raises as `manifests_in`."""
    with io.new_input(manifest.manifest_path).open() as file:
        # Of a file that is cut, PyIceberg reads memory beyond the end.
        if len(file.read()) != manifest.manifest_length:
            raise EOFError
    files = [entry.data_file for entry in manifest.fetch_manifest_entry(io, discard_deleted=True)]
    return tuple(
        Entry(
            file.file_path,
            file.file_size_in_bytes,
            file.record_count,
            file.partition[0] if len(file.partition) else None,
        )
        for file in files
    )
