"""The Parquet files in which a task stages validated records, each with many rows of one table."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.interface import Storage

# So many bytes wait to be written together.
_GROUP = 32 << 20


class StagingFailed(LakeError):
    """Rows cannot be staged. It is no `OSError`: that would be one of the raw file that is being read."""


class StagedRows:
    """Rows for one Parquet file of a folder. `path` is empty until some are written. `opened` closes the file."""

    def __init__(self, storage: Storage, folder: str, schema: pa.Schema, opened: ExitStack) -> None:
        self.path = ""
        self._storage, self._folder, self._schema, self._opened = storage, folder, schema, opened
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows. Raises `StagingFailed`."""
        self._waiting.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= _GROUP:
            self._write_group()

    def finish(self) -> None:
        """Write what is waiting, and the file's end. Raises `StagingFailed`."""
        self._write_group()
        if self._writer:
            with _as_failed_staging():
                self._writer.close()

    def _write_group(self) -> None:
        if not self._waiting:
            return
        with _as_failed_staging():
            if self._writer is None:
                # Another attempt at the same task gets another file.
                self.path = f"{self._folder}/{secrets.token_hex(16)}.parquet"
                file = self._opened.enter_context(self._storage.writing(self.path))
                self._writer = pq.ParquetWriter(file, self._schema)
            self._writer.write_table(pa.Table.from_batches(self._waiting))
        self._waiting, self._bytes = [], 0


@contextmanager
def staged_rows(storage: Storage, folder: str, schema: pa.Schema) -> Iterator[StagedRows]:
    """Have rows written into a new file of a folder, if there are any. A file that fails half-way is never read."""
    with ExitStack() as opened:
        rows = StagedRows(storage, folder, schema, opened)
        yield rows
        rows.finish()
        with _as_failed_staging():
            # What is small reaches the disk only now.
            opened.close()


@contextmanager
def _as_failed_staging() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"Validated records cannot be written to the lake: {error.strerror or type(error).__name__}. "
            "The published tables stay as they were. Fix that and run again."
        )
        raise StagingFailed(msg) from error
