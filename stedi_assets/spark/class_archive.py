"""Spark's classes in a form that Java maps into memory, so that a start need not load 25,000 of them one by one.

Java calls it a class-data archive. The first run on a machine lists the classes that it loads; when it has ended, a
process in the background makes the archive of them, in under a minute. Later runs use it. It only works with the same
Java, pyspark and jars, which its name stands for; without it everything works, only slower.
"""

import atexit
import contextlib
import hashlib
import os
import subprocess
import threading
import time
from pathlib import Path

import pyspark
from py4j.clientserver import SHUTDOWN_FINALIZER_WORKER, FinalizerWorker
from pyspark import SparkContext

from stedi_assets.spark.java import NO_SETTINGS, Java, kept_cache

_SECONDS_TO_END = 30
# An archive takes 220 MB, and every virtual environment has its own.
_DAYS_KEPT, _MOST_KEPT = 30, 8
_SECONDS_TO_WRITE = 3600
_QUIET = ["-Xshare:auto", "-Xlog:cds=off", "-Xlog:class+load=off"]
_OWN_JARS = Path(pyspark.__file__).parent / "jars"
# Only a whole archive gets the name under which it is found.
_IN_THE_BACKGROUND = """
archive=$1 draft=$2 listed=$3
shift 3
nice "$@" && mv -f "$draft" "$archive"
rm -f "$draft" "$listed"
"""


def class_archive_options(java: Java, jars: str = "") -> list[str]:
    """Return the Java options that use the archive. If there is none, have it made when this process ends.

    `jars` are on the class path after Spark's own.
    """
    cache = kept_cache()
    if cache is None:
        return []
    archive = cache / "classes" / f"{_key(java, jars)}.jsa"
    try:
        archive.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return []  # no room, or no permission to write there: the archive only saves time
    if archive.exists():
        with contextlib.suppress(OSError):  # another user's cache
            archive.touch()
        return [f"-XX:SharedArchiveFile={archive}", *_QUIET]
    listed = archive.with_suffix(f".classes.{os.getpid()}")
    atexit.register(_make, java, jars, listed, archive)
    return [f"-XX:DumpLoadedClassList={listed}", *_QUIET]


def _key(java: Java, jars: str) -> str:
    identity = f"{java.home} {java.version} {pyspark.__version__} {_OWN_JARS} {_OWN_JARS.stat().st_mtime_ns} {jars}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _make(java: Java, jars: str, listed: Path, archive: Path) -> None:
    """Have the archive made in the background, unless another run does so or has done so."""
    if not _java_has_ended():
        return
    draft = archive.with_suffix(".jsa.draft")
    # As Spark's start puts it together: Java takes an archive for no other class path.
    class_path = ":".join(filter(None, (f"{java.home / NO_SETTINGS}/", f"{_OWN_JARS}/*", jars)))
    options = ["-XX:+UseSerialGC", "-Xshare:dump", f"-XX:SharedClassListFile={listed}"]
    command = [str(java.home / "bin" / "java"), *options, f"-XX:SharedArchiveFile={draft}", "-cp", class_path]
    with contextlib.suppress(OSError):
        _drop_unused(archive.parent)
        if archive.exists() or not _is_first(draft):
            listed.unlink(missing_ok=True)
            return
        subprocess.Popen(
            ["/bin/sh", "-c", _IN_THE_BACKGROUND, "sh", archive, draft, listed, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )


def _is_first(draft: Path) -> bool:
    try:
        draft.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _java_has_ended() -> bool:
    """End this process's Java, so that its list of classes is whole."""
    gateway = SparkContext._gateway  # noqa: SLF001  (pyspark has no public way to wait for its Java)
    process = getattr(gateway, "proc", None)
    if process is None:
        return False
    # py4j tells Java of each object that Python no longer needs, and would log a stack if Java had ended first.
    for worker in threading.enumerate():
        if isinstance(worker, FinalizerWorker):
            worker.deque.appendleft(SHUTDOWN_FINALIZER_WORKER)
            worker.join(_SECONDS_TO_END)
    try:
        process.stdin.close()
        return bool(process.wait(_SECONDS_TO_END) == 0)
    except (OSError, subprocess.SubprocessError):
        return False


def _drop_unused(folder: Path) -> None:
    """Remove archives that no run has used for long, such as those of virtual environments that are gone."""
    now = time.time()
    latest = sorted(folder.glob("*.jsa"), key=_last_used, reverse=True)[:_MOST_KEPT]
    kept = [archive for archive in latest if _last_used(archive) > now - _DAYS_KEPT * 24 * 3600]
    for file in folder.iterdir():
        if file not in kept and _last_used(file) < now - _SECONDS_TO_WRITE:
            file.unlink(missing_ok=True)


def _last_used(archive: Path) -> float:
    return archive.stat().st_mtime
