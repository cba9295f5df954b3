"""Relocation: the tables of a lake that was moved, copied or restored elsewhere name their files where they lie now.

Iceberg's metadata hold absolute paths. They are written anew here, snapshot by snapshot and under the same ids; the
files that hold rows stay as they are.
"""

import secrets
from typing import Final

from pyiceberg.io import InputFile, OutputFile
from pyiceberg.manifest import ManifestFile, read_manifest_list, write_manifest, write_manifest_list
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

from stedi_assets.contracts import ALL_TABLES, Table
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.errors import CatalogError, CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.catalog import UNREADABLE, forget, load, metadata_files, register, version_of
from stedi_assets.tables.file_io import LakeFileIO, plain

_COMPRESSION: Final = "deflate"
# Where PyIceberg's records have a path, and the length of what lies there.
_FILE_PATH = 1
_MANIFEST_PATH, _MANIFEST_LENGTH = 0, 1


def relocate(lake: Lake) -> list[Table]:
    """Have the tables of a lake name their files where they lie now, and the catalog know them; return which did not.

    Nobody may write the lake meanwhile. Doing it again finishes what one that died has left. Raises `CatalogError`
    where a catalog that is not the lake's own knows tables that lie elsewhere, and `CorruptTableError` where the
    metadata of a table cannot be read.
    """
    return [table for table in ALL_TABLES.values() if _is_elsewhere(lake, table) and _relocate(lake, table)]


def _is_elsewhere(lake: Lake, table: Table) -> bool:
    try:
        load(lake, table)
    except CatalogError:
        return True
    except CorruptTableError:
        # The catalog does not know it, or only by metadata that are not there.
        return True
    return False


def _relocate(lake: Lake, table: Table) -> bool:
    found = metadata_files(lake, table)
    if not found:
        return False
    content = lake.storage.read(found[0])
    try:
        metadata = TableMetadataUtil.parse_raw(content.content.decode() if content else "")
    except UNREADABLE:
        msg = f"The newest metadata of {table.name} in {lake.location}, {lake.storage.shown(found[0])}, are damaged."
        raise CorruptTableError(msg) from None
    before = plain(metadata.location).removesuffix(table.path)
    here, newest = plain(lake.storage.shown("")), found[0]
    if before != here:
        moved = _Moved(lake, table, before).metadata(metadata)
        newest = f"{table.path}/metadata/{version_of(newest) + 1:05d}-{secrets.token_hex(16)}.metadata.json"
        ToOutputFile.table_metadata(moved, _output(lake, newest))
    _forget(lake, table)
    if not register(lake, table, newest):
        msg = f"The metadata of {table.name} in {lake.location}, {lake.storage.shown(newest)}, cannot be read."
        raise CorruptTableError(msg)
    return True


def _forget(lake: Lake, table: Table) -> None:
    """Have the catalog know a table no longer by where it was. A copy may share it with the lake that it is of."""
    if lake.catalog.kind is CatalogKind.SQLITE:
        forget(lake, table)
        return
    try:
        load(lake, table)
    except CorruptTableError:
        forget(lake, table)
    except CatalogError:
        msg = (
            f"The catalog of {lake.location}, {lake.catalog.uri}, knows {table.name} in the namespace {lake.namespace} "
            "as one that lies elsewhere. If that lake is in use still, set STEDI_NAMESPACE to another name for this "
            "one; if not, drop its tables from the catalog, without their files. Then run `stedi relocate` again."
        )
        raise CatalogError(msg) from None


class _Moved:
    """Writes anew what names files by where the lake was, its path `before`."""

    def __init__(self, lake: Lake, table: Table, before: str) -> None:
        self._lake, self._table, self._before = lake, table, before
        self._io = LakeFileIO(lake, {})
        self._manifests: dict[str, ManifestFile] = {}

    def metadata(self, metadata: TableMetadata) -> TableMetadata:
        return metadata.model_copy(
            update={
                "location": self._now(metadata.location),
                "snapshots": [self._snapshot(metadata, snapshot) for snapshot in metadata.snapshots],
                # They name what lies where the lake was.
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
        """Return where a file lies that is named by where the lake was."""
        path = plain(location)
        if not path.startswith(self._before):
            msg = f"{self._table.name} names files that never lay in the lake. Nothing was changed."
            raise LakeError(msg)
        return self._lake.storage.shown(path.removeprefix(self._before))

    def _input(self, location: str) -> InputFile:
        return self._io.new_input(self._now(location))

    def _new(self, kind: str) -> OutputFile:
        return _output(self._lake, f"{self._table.path}/metadata/{kind}-{secrets.token_hex(16)}.avro")


def _output(lake: Lake, path: str) -> OutputFile:
    return LakeFileIO(lake, {}).new_output(lake.storage.shown(path))
