"""Who reads the files, and what is around the reading. What is read is tested in `test_landing_gate`."""

import sys
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zipimport import zipimporter

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import SOURCES
from stedi_assets.ingest import reading
from stedi_assets.ingest.landing import land
from stedi_assets.storage.errors import LakeError
from stedi_assets_tests.support.lakes import local_lake, root_of

LINE = b'{"user":"a@example.com","timestamp":1655564376361,"x":1,"y":2,"z":3}\n'


def test_an_archive_that_is_forgotten_can_still_be_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "modules.zip"
    with ZipFile(archive, "w") as modules:
        modules.writestr("imported_before.py", "")
        modules.writestr("imported_after.py", "")
    monkeypatch.syspath_prepend(str(archive))
    import_module("imported_before")
    assert str(archive) in sys.path_importer_cache
    reading._forget_archives()
    assert not any(isinstance(finder, zipimporter) for finder in sys.path_importer_cache.values())
    # As Spark does when a task begins.
    invalidate_caches()
    assert import_module("imported_after").__file__ == f"{archive}/imported_after.py"


@pytest.mark.parametrize(
    ("files", "little", "by_tasks"), [(2, 1_000, False), (2, len(LINE), True), (reading._FEW + 1, 1 << 20, True)]
)
def test_a_spark_job_reads_what_is_much_or_many(
    files: int, little: int, *, by_tasks: bool, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def noted(name: str, original: Callable[..., Any]) -> None:
        def noting(*given: Any) -> Any:
            used.append(name)
            return original(*given)

        monkeypatch.setattr(reading, name, noting)

    noted("_in_silence", reading._in_silence)
    noted("_in_this_process", reading._in_this_process)
    monkeypatch.setattr(reading, "_LITTLE", little)
    lake = local_lake(tmp_path)
    folder = root_of(lake) / SOURCES["accelerometer"].raw_path
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number}.json").write_bytes(LINE)
    found = land(lambda: spark, lake, SOURCES["accelerometer"])
    assert found.accepted is not None
    assert found.accepted.count() == files
    assert used == ["_in_silence" if by_tasks else "_in_this_process"]
    found.stage.discard()


def test_an_unforeseen_error_shows_nothing_of_the_record() -> None:
    def read(_: object) -> list[pa.RecordBatch]:
        raise ValueError(LINE)

    with pytest.raises(LakeError, match=r"Reading stopped with ValueError at test_reading\.py:\d+\.") as raised:
        reading._in_this_process(read, pa.table({}))
    assert "@" not in str(raised.value)
    assert raised.value.__suppress_context__
