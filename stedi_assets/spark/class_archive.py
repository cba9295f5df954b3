"""Spark's classes in a form that Java maps into memory, so that a start need not load 25,000 of them one by one.

Java calls it a class-data archive. The first run on a machine writes it as it ends; later runs use it. It only works
with the same Java and the same pyspark, which its name stands for; without it everything works, only slower.
"""

import atexit
import contextlib
import hashlib
import os
import subprocess
import time
from pathlib import Path

import pyspark
from pyspark import SparkContext

from stedi_assets.spark.java import Java, kept_cache

_SECONDS_TO_WRITE = 120
# An archive takes 210 MB, and every virtual environment has its own.
_DAYS_KEPT, _MOST_KEPT = 30, 8
_QUIET = ["-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:class+load=off"]


def class_archive_options(java: Java, jars: str = "") -> list[str]:
    """Return the Java options that use the archive, or that write it when this process ends.

    `jars` are on the class path beside Spark's own.
    """
    cache, key = kept_cache(), _key(java, jars)
    if cache is None or ":" in str(cache):  # the separator of the two archives
        return []
    folder = cache / "classes"
    base, archive = folder / f"{key}-java.jsa", folder / f"{key}-spark.jsa"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if archive.exists():
            _mark_used(base, archive)
            return [f"-XX:SharedArchiveFile={base}:{archive}", *_QUIET]
        if not base.exists():
            _make_base(java, base)
    except (OSError, subprocess.SubprocessError):
        return []  # no room, or no permission to write there: the archive only saves time
    draft = archive.with_name(f"{archive.name}.{os.getpid()}")
    atexit.register(_finish, draft, archive)
    return [f"-XX:SharedArchiveFile={base}", f"-XX:ArchiveClassesAtExit={draft}", *_QUIET]


def _key(java: Java, jars: str) -> str:
    own = Path(pyspark.__file__).parent / "jars"
    identity = f"{java.home} {java.version} {pyspark.__version__} {own} {own.stat().st_mtime_ns} {jars}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _make_base(java: Java, base: Path) -> None:
    """Archive Java's own classes, on which Spark's archive builds. Not every Java comes with that archive."""
    draft = base.with_name(f"{base.name}.{os.getpid()}")
    command = [str(java.home / "bin" / "java"), "-XX:+UseSerialGC", "-Xshare:dump", f"-XX:SharedArchiveFile={draft}"]
    subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS_TO_WRITE)
    draft.replace(base)


def _finish(draft: Path, archive: Path) -> None:
    """End this process's Java, which then writes the archive, and move that to its place once it is whole."""
    gateway = SparkContext._gateway  # noqa: SLF001  (pyspark has no public way to wait for its Java)
    process = getattr(gateway, "proc", None)
    if gateway is None or process is None:
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        process.stdin.close()
        if process.wait(timeout=_SECONDS_TO_WRITE) == 0 and draft.exists():
            draft.replace(archive)
            _drop_unused(archive.parent)
    draft.unlink(missing_ok=True)


def _mark_used(*archives: Path) -> None:
    with contextlib.suppress(OSError):  # another user's cache
        for archive in archives:
            archive.touch()


def _drop_unused(folder: Path) -> None:
    """Remove archives that no run has used for long, such as those of virtual environments that are gone."""
    oldest = time.time() - _DAYS_KEPT * 24 * 3600
    newest = sorted(folder.glob("*-spark.jsa"), key=_last_used, reverse=True)[:_MOST_KEPT]
    kept = {archive.name.removesuffix("-spark.jsa") for archive in newest if _last_used(archive) >= oldest}
    for archive in folder.glob("*.jsa*"):
        # What is younger than an hour may be part of one that another process is writing.
        if archive.name.split("-")[0] not in kept and _last_used(archive) < time.time() - 3600:
            archive.unlink(missing_ok=True)


def _last_used(archive: Path) -> float:
    return archive.stat().st_mtime
