"""What a task does around the reading of its files. What is read is tested in `test_landing_gate`."""

import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from zipfile import ZipFile
from zipimport import zipimporter

import pytest

from stedi_assets.ingest import reading


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
