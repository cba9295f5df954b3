"""Relocation: make the tables of a lake that was moved, copied or restored name their files where they lie now.

Iceberg's metadata holds absolute paths. It is rewritten here, snapshot by snapshot and under the same ids; the files
that hold rows stay as they are.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from pyiceberg.io import InputFile, OutputFile
from pyiceberg.manifest import ManifestFile, read_manifest_list, write_manifest, write_manifest_list
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

from stedi_assets.contracts import ALL_TABLES, Table
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.errors import CatalogError, CorruptTableError, ElsewhereError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.catalog import UNREADABLE, forget, load, metadata_files, register, version_of
from stedi_assets.tables.file_io import LakeFileIO, plain

_COMPRESSION: Final = "deflate"
# Where PyIceberg's records have the path, and the length of that file.
_FILE_PATH = 1
_MANIFEST_PATH, _MANIFEST_LENGTH = 0, 1


@dataclass(frozen=True)
class Relocated:
    """A relocated table. If the catalog does not know it, `stedi repair` has to register it."""

    table: Table
    is_known: bool


def relocate(lake: Lake) -> list[Relocated]:
    """Make the tables of a lake name their files where they lie now; return those that did not.

    The catalog says what is current. If it does not know a table, the newest metadata is rewritten but not registered:
    it may be of a commit that never happened, or hold people who have left, and `stedi repair` looks into that.

    Nobody may write to the lake meanwhile. If a relocation dies, running it again finishes it. Raises `CatalogError` if
    the catalog cannot be used, or is not the lake's own and knows tables that lie elsewhere, and `CorruptTableError` if
    the metadata of a table cannot be read.
    """
    return [done for table in ALL_TABLES.values() if (done := _relocate_if_elsewhere(lake, table))]


def _relocate_if_elsewhere(lake: Lake, table: Table) -> Relocated | None:
    try:
        load(lake, table)
    except ElsewhereError as error:
        if lake.catalog.kind is not CatalogKind.SQLITE:
            raise _of_another_lake(lake, table) from None
        newest = _rewrite(lake, table, f"{table.path}/metadata/{error.location.rpartition('/')[2]}")
        forget(lake, table)
        if newest is None or not register(lake, table, newest):
            msg = f"{table.name} in {lake.location} is damaged, and could not be registered. Run `stedi repair`."
            raise CorruptTableError(msg) from None
        return Relocated(table, is_known=True)
    except CorruptTableError:
        found = metadata_files(lake, table)
        if found and _rewrite(lake, table, found[0]):
            return Relocated(table, is_known=False)
    return None


def _rewrite(lake: Lake, table: Table, path: str) -> str | None:
    """Rewrite metadata that names files elsewhere, and return the new file; None if it names files here already."""
    content = lake.storage.read(path)
    try:
        metadata = TableMetadataUtil.parse_raw(content.content.decode() if content else "")
    except UNREADABLE:
        msg = f"The newest metadata of {table.name} in {lake.location}, {lake.storage.shown(path)}, are damaged."
        raise CorruptTableError(msg) from None
    before = plain(metadata.location).removesuffix(table.path)
    if before.rstrip("/") == lake.storage.shown("").rstrip("/"):
        return None
    moved = _Moved(lake, table, before).metadata(metadata)
    # Above all that exist: if several files had one version, nobody could tell which is the table's.
    version = 1 + max(map(version_of, lake.storage.below(f"{table.path}/metadata")))
    newest = f"{table.path}/metadata/{version:05d}-{secrets.token_hex(16)}.metadata.json"
    ToOutputFile.table_metadata(moved, _output(lake, newest))
    return newest


def _of_another_lake(lake: Lake, table: Table) -> CatalogError:
    msg = (
        f"The catalog of {lake.location}, {lake.catalog.uri}, knows {table.name} in the namespace {lake.namespace} "
        "as one that lies elsewhere. If that lake is still in use, set STEDI_NAMESPACE to another name for this "
        "one; if not, drop its tables from the catalog, but keep their files. Then run `stedi relocate` again."
    )
    return CatalogError(msg)


class _Moved:
    """Rewrites metadata that names files by the lake's former path, `before`."""

    def __init__(self, lake: Lake, table: Table, before: str) -> None:
        self._lake, self._table, self._before = lake, table, before
        self._io = LakeFileIO(lake)
        self._manifests: dict[str, ManifestFile] = {}

    def metadata(self, metadata: TableMetadata) -> TableMetadata:
        return metadata.model_copy(
            update={
                "location": self._now(metadata.location),
                "snapshots": [self._snapshot(metadata, snapshot) for snapshot in metadata.snapshots],
                # The log names files at the former place.
                "metadata_log": [],
            }
        )

    def _snapshot(self, metadata: TableMetadata, snapshot: IcebergSnapshot) -> IcebergSnapshot:
        manifests = [
            self._manifest(metadata, manifest) for manifest in read_manifest_list(self._input(snapshot.manifest_list))
        ]
        output = self._new("snap")
        with write_manifest_list(
            metadata.format_version,
            output,
            snapshot.snapshot_id,
            snapshot.parent_snapshot_id,
            snapshot.sequence_number,
            _COMPRESSION,
        ) as writer:
            writer.add_manifests(manifests)
        return snapshot.model_copy(update={"manifest_list": output.location})

    def _manifest(self, metadata: TableMetadata, manifest: ManifestFile) -> ManifestFile:
        if manifest.manifest_path not in self._manifests:
            self._manifests[manifest.manifest_path] = self._written(metadata, manifest)
        return self._manifests[manifest.manifest_path]

    def _written(self, metadata: TableMetadata, manifest: ManifestFile) -> ManifestFile:
        manifest[_MANIFEST_PATH] = self._now(manifest.manifest_path)
        entries = manifest.fetch_manifest_entry(self._io, discard_deleted=False)
        output = self._new("manifest")
        spec = metadata.specs()[manifest.partition_spec_id]
        added_by = manifest.added_snapshot_id or 0
        with write_manifest(metadata.format_version, spec, metadata.schema(), output, added_by, _COMPRESSION) as writer:
            for entry in entries:
                entry.data_file[_FILE_PATH] = self._now(entry.data_file.file_path)
                writer.add_entry(entry)
        manifest[_MANIFEST_PATH], manifest[_MANIFEST_LENGTH] = output.location, len(output)
        return manifest

    def _now(self, location: str) -> str:
        """Return where a file lies now, from its former location."""
        path = plain(location)
        if not path.startswith(self._before):
            msg = f"{self._table.name} names files that were never in the lake. Nothing was changed."
            raise LakeError(msg)
        return self._lake.storage.shown(path.removeprefix(self._before))

    def _input(self, location: str) -> InputFile:
        return self._io.new_input(self._now(location))

    def _new(self, kind: str) -> OutputFile:
        return _output(self._lake, f"{self._table.path}/metadata/{kind}-{secrets.token_hex(16)}.avro")


def _output(lake: Lake, path: str) -> OutputFile:
    return LakeFileIO(lake).new_output(lake.storage.shown(path))
