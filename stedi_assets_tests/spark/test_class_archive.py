"""The archive of Spark's classes: when it is used, when it is made, and that old ones do not pile up."""

import atexit
import os
import time
from pathlib import Path

import pytest

from stedi_assets.spark import class_archive
from stedi_assets.spark.java import find_java

DAY = 24 * 3600


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder for archives, and have nothing registered for the end of this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(atexit, "register", lambda *_: None)
    return tmp_path / "stedi" / "classes"


def written(path: Path, *, days_ago: int) -> Path:
    path.write_bytes(b"archive")
    then = time.time() - days_ago * DAY
    os.utime(path, (then, then))
    return path


def test_an_archive_that_is_there_is_used_and_stays(cache: Path) -> None:
    java = find_java()
    making = class_archive.class_archive_options(java)
    assert any(option.startswith("-XX:ArchiveClassesAtExit=") for option in making)
    (base,) = cache.glob("*-java.jsa")
    archive = written(base.with_name(base.name.replace("-java", "-spark")), days_ago=40)
    unused = written(cache / "gone-spark.jsa", days_ago=40)

    assert f"-XX:SharedArchiveFile={base}:{archive}" in class_archive.class_archive_options(java)
    class_archive._drop_unused(cache)
    assert archive.exists()
    assert base.exists()
    assert not unused.exists()


def test_a_cache_that_cannot_be_written_costs_only_time(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    assert class_archive.class_archive_options(find_java()) == []
