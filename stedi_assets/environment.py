"""`.env`, read as Dagster's command line reads it, and the home for Dagster that it names.

Dagster lets the `.env` of the working directory override the environment before any of our code runs. `stedi` does the
same, so that both have the same settings.
"""

import io
import os
import re
import shutil
import sys
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from stedi_assets.settings import SettingsError

# Beside this file, for people who run Dagster without this command.
_DAGSTER_YAML = Path(__file__).with_name("dagster.yaml")
# The user is told if these are overridden.
_OURS = ("STEDI_", "DAGSTER_", "AWS_")


def read_env_file(folder: Path) -> None:
    """Set the variables of a folder's `.env`, and report those that have another value in the environment.

    Raises `SettingsError` if the file cannot be read.
    """
    file = folder / ".env"
    try:
        found = {name: value for name, value in dotenv_values(file).items() if value is not None}
        overruled = [name for name, value in found.items() if os.environ.get(name, value) != value]
        os.environ.update(found)
    except UnicodeDecodeError:
        raise SettingsError(f"{file} is not UTF-8. Save it as UTF-8.") from None
    except ValueError:
        raise SettingsError(
            f"{file} has a NUL in a value, or a = in a name. Remove it, and save the file as UTF-8."
        ) from None
    if told := [name for name in overruled if name.startswith(_OURS)]:
        print(
            f"{file} overrides the environment, as in Dagster, and has another value of {', '.join(told)}. To use the "
            "environment's, remove the line from the file.",
            file=sys.stderr,
        )


def dagster_home() -> Path | None:
    """Return the home of Dagster that the environment names, or None."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).expanduser() if named else None


def prepare_dagster(folder: Path) -> None:
    """Make a home for Dagster, so that its runs and cursors outlive this process, and name it in `.env`.

    Raises `SettingsError` if that is not possible.
    """
    if named := dagster_home():
        if not (named.is_absolute() and named.is_dir()):
            raise SettingsError(
                f"DAGSTER_HOME={named} is not possible. Use the absolute path of a folder that exists, or unset it, "
                "in .env too: then .dagster is created here."
            )
        return
    home = folder / ".dagster"
    home.mkdir(mode=0o700, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(_DAGSTER_YAML, home / "dagster.yaml")
    _add_dagster_home(folder / ".env", str(home))
    os.environ["DAGSTER_HOME"] = str(home)


def _add_dagster_home(file: Path, home: str) -> None:
    """Add a line to `.env`, without changing the lines before it, if all of it will be read as meant."""
    # python-dotenv replaces ${…} in any quotes, and knows no escape; an empty name with a default serves as one.
    value = home.replace("${", "${:-$}{")
    try:
        before = file.read_bytes() if file.exists() else b""
        line_end = b"\r\n" if b"\r\n" in before else b"\n"
        added = b"" if not before or before.endswith((b"\n", b"\r")) else line_end
        added += f"DAGSTER_HOME={_quoted(value)}".encode() + line_end
        if _bindings(before + added) == [*_bindings(before), ("DAGSTER_HOME", value)]:
            with file.open("ab") as opened:
                opened.write(added)
            return
        reason = "the line would not be read as meant. A quote in the file may be unclosed"
    except UnicodeEncodeError:
        reason = "its path is not UTF-8"
    except OSError as error:
        reason = str(error.strerror)
    raise SettingsError(
        f"DAGSTER_HOME={home} could not be added to {file}: {reason}. Fix that, or set DAGSTER_HOME yourself."
    )


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _bindings(text: bytes) -> list[tuple[str, str | None]]:
    """Return the lines of `.env` that set a variable, as python-dotenv reads them from a file."""
    stream = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8")
    return [(found.key, found.value) for found in parse_stream(stream) if found.key is not None]
