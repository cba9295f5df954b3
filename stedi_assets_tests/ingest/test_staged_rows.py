"""Validated rows in a Parquet file of a task: all of them, in groups of bounded size; whole or not there."""

import errno
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest import staged_rows as module
from stedi_assets.ingest.gate import Piece, read_piece
from stedi_assets.ingest.staged_rows import StagingFailed, staged_rows
from stedi_assets.storage.local import LocalFolder
from stedi_assets.tables.arrow_types import arrow_schema

SCHEMA = pa.schema([("number", pa.int64()), ("words", pa.list_(pa.field("element", pa.string())))])


def batch(numbers: Iterable[int]) -> pa.RecordBatch:
    """Return rows of the schema, the first of them without words."""
    return pa.RecordBatch.from_pylist([{"number": n, "words": ["a", "b"] if n else None} for n in numbers], SCHEMA)


@pytest.mark.parametrize("group", [1, 1 << 30])
def test_all_rows_are_in_one_file_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(module, "_GROUP", group)
    batches = [batch(range(3)), batch(range(3, 4)), batch(range(4, 9))]
    with staged_rows(LocalFolder(tmp_path), "stage", SCHEMA) as rows:
        for found in batches:
            rows.write(found)
    (file,) = (tmp_path / "stage").iterdir()
    assert rows.path == f"stage/{file.name}"
    assert file.stat().st_mode & 0o777 == 0o600
    stored = pq.ParquetFile(file)
    assert stored.read().to_pylist() == pa.Table.from_batches(batches).to_pylist()
    assert stored.num_row_groups == (3 if group == 1 else 1)


def test_without_rows_there_is_no_file(tmp_path: Path) -> None:
    with staged_rows(LocalFolder(tmp_path), "stage", SCHEMA) as rows:
        pass
    assert not rows.path
    assert not list(tmp_path.iterdir())


def test_two_attempts_at_a_task_have_two_files(tmp_path: Path) -> None:
    paths = set()
    for _ in range(2):
        with staged_rows(LocalFolder(tmp_path), "stage", SCHEMA) as rows:
            rows.write(batch(range(3)))
        paths.add(rows.path)
    assert len(paths) == 2


def test_what_fails_half_way_is_not_taken_for_a_whole_file(tmp_path: Path) -> None:
    """As in a bucket: an object appears when its content was written to the end."""
    whole = []

    class Bucket(LocalFolder):
        @contextmanager
        def writing(self, path: str) -> Iterator[BinaryIO]:
            with super().writing(path) as file:
                yield file
            whole.append(path)

    def write(failure: type[Exception] | None) -> None:
        with staged_rows(Bucket(tmp_path), "stage", SCHEMA) as rows:
            rows.write(batch(range(3)))
            if failure:
                raise failure

    with pytest.raises(ZeroDivisionError):
        write(ZeroDivisionError)
    assert whole == []
    write(None)
    assert len(whole) == 1


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_a_stage_that_cannot_be_written_is_no_fault_of_the_raw_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, *, at_the_end: bool
) -> None:
    """It would be called unreadable, and the table would land without it. Some disks refuse only at the end."""

    class Refuses(LocalFolder):
        @contextmanager
        def writing(self, path: str) -> Iterator[BinaryIO]:
            if at_the_end:
                yield io.BytesIO()
            raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr(module, "_GROUP", 1)
    content = b'{"user":"a@example.com","timestamp":1655564376361,"x":1,"y":2,"z":3}\n'
    source, piece = SOURCES["accelerometer"], Piece("a.json", "a.json", 0, len(content))
    schema = arrow_schema(source.landing)
    with (
        pytest.raises(StagingFailed, match=os.strerror(error)),
        staged_rows(Refuses(tmp_path), "stage", schema) as rows,
    ):
        read_piece(lambda _, start: io.BytesIO(content[start:]), source, piece, rows.write, rows.write)
