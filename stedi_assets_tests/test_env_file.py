"""`.env`: `stedi` and Dagster read the same values from it, and naming Dagster's home in it damages nothing.

Belongs here: how the file is read and written. What a setting then may be is tested in test_settings.py.
"""

import codecs
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from dagster._core.secrets.env_file import get_env_var_dict

from stedi_assets.environment import prepare_dagster, read_env_file
from stedi_assets.privacy.suppression import person_hash
from stedi_assets.settings import SettingsError

_BIN = Path(sys.executable).parent

# What each line gives, in an environment of _OUTSIDE.
_LINES = r"""
# STEDI_SPARK_LOG=info
STEDI_LAKE='la ke # one'
export STEDI_SPARK_MASTER="local[2]"  # two cores
STEDI_READINGS=since_consent # only these
STEDI_PSEUDONYM_KEY=${OUTSIDE}-${STEDI_READINGS}-${NOWHERE:-default}
STEDI_KEEP_SNAPSHOTS = 3
STEDI_S3_KMS_KEY='it\'s "${STEDI_LAKE}"'
STEDI_SUPPRESSION_KEY="tab\t'#' \\ end"
STEDI_SETTLED_SECONDS=
STEDI_PURPOSE
STEDI_READINGS is no line
STEDI_SENSOR_SECONDS=7
STEDI_SENSOR_SECONDS=8
STEDI_FRESH_WARN_HOURS=${STEDI_FRESH_WARN_HOURS:-9}
STEDI_FRESH_FAIL_HOURS=25"""
_OUTSIDE = {
    "OUTSIDE": "outside",
    "STEDI_LAKE": "/not/this",
    "STEDI_SETTLED_SECONDS": "77",
    "STEDI_PURPOSE": "comparison",
    "STEDI_FRESH_WARN_HOURS": "11",
    "STEDI_ALERTS_SNS_TOPIC": "arn:aws:sns:eu-central-1:123456789012:lake-alerts",
}
_READ = {
    "lake": "la ke # one",
    "spark_master": "local[2]",
    "readings": "since_consent",
    "pseudonym_key": "outside-since_consent-default",
    "keep_snapshots": 3,
    "s3_kms_key": 'it\'s "la ke # one"',
    "suppression_key": "tab\t'#' \\ end",
    "settled_seconds": 10,
    "purpose": "comparison",
    "sensor_seconds": 8,
    "fresh_warn_hours": 11,
    "fresh_fail_hours": 25,
    "spark_log": "off",
    "alerts_sns_topic": "arn:aws:sns:eu-central-1:123456789012:lake-alerts",
}
_FILES = {
    "plain": _LINES.lstrip("\n").encode(),
    "byte-order mark, Windows": codecs.BOM_UTF8 + _LINES.strip("\n").split("\n", 1)[1].replace("\n", "\r\n").encode(),
}

# Whatever loads it keeps the settings as they are then.
_PROBE = """
import dagster as dg
from stedi_assets.settings import read_settings
open("read.json", "w").write(read_settings().model_dump_json())
@dg.asset
def nothing(): return None
defs = dg.Definitions(assets=[nothing], jobs=[dg.define_asset_job("all_of_it", selection="nothing")])
"""
_STEDI = "from stedi_assets.cli.main import main; main(['status']); import probe"
_ENTRY_POINTS = {
    "stedi": [sys.executable, "-c", _STEDI],
    "dagster definitions validate": [str(_BIN / "dagster"), "definitions", "validate", "-m", "probe"],
    "dagster job execute": [str(_BIN / "dagster"), "job", "execute", "-m", "probe", "-j", "all_of_it"],
    "dagster asset materialize": [str(_BIN / "dagster"), "asset", "materialize", "-m", "probe", "--select", "nothing"],
}


def run(command: list[str], folder: Path, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, in an environment of these variables alone."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder), **variables}
    return subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("entry_point", "file"),
    [
        *[(entry_point, "plain") for entry_point in _ENTRY_POINTS],
        ("stedi", "byte-order mark, Windows"),
        ("dagster definitions validate", "byte-order mark, Windows"),
    ],
)
def test_every_entry_point_reads_the_same_values(entry_point: str, file: str, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(_PROBE)
    (tmp_path / ".env").write_bytes(_FILES[file])
    done = run(_ENTRY_POINTS[entry_point], tmp_path, **_OUTSIDE)
    assert done.returncode == 0, done.stderr
    read = json.loads((tmp_path / "read.json").read_text())
    assert {name: read[name] for name in _READ} == _READ
    assert "could not parse statement starting at line" in done.stderr


def test_a_command_reads_it_and_says_once_what_it_overrules_without_a_value(tmp_path: Path) -> None:
    lines = ["STEDI_SUPPRESSION_KEY='the suppression key # of ${x} tests'", "AWS_PROFILE=one", "X=1"]
    (tmp_path / ".env").write_text("\n".join([*lines, "STEDI_LAKE=${STEDI_LAKE}"]))
    other = "another key, of 32 bytes and more than that"
    outside = {"STEDI_SUPPRESSION_KEY": other, "AWS_PROFILE": "two", "STEDI_LAKE": "./here", "X": "2", "x": "x"}
    done = run([str(_BIN / "stedi"), "hash-person"], tmp_path, "ada@example.com\n", **outside)
    expected = person_hash("ada@example.com", b"the suppression key # of x tests")
    assert expected in done.stdout, done.stderr
    assert done.stderr == (
        f"{tmp_path}/.env overrides the environment, as in Dagster, and has another value of "
        "STEDI_SUPPRESSION_KEY, AWS_PROFILE. To use the environment's, remove the line from the file.\n"
    )


def test_where_the_two_agree_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STEDI_LAKE=./here\n")
    done = run([str(_BIN / "stedi"), "status"], tmp_path, STEDI_LAKE="./here")
    assert done.stdout.startswith(f"{tmp_path}/here\n")
    assert done.stderr == ""


def test_dagster_and_stedi_refuse_a_lake_of_another_scheme_in_the_same_words(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STEDI_LAKE=gs://bucket/lake\n")
    said = "STEDI_LAKE=gs://bucket/lake is not possible. Use a folder, or s3://bucket/prefix."
    for command in (["stedi", "start"], ["dagster", "definitions", "validate", "-m", "stedi_assets.definitions"]):
        done = run([str(_BIN / command[0]), *command[1:]], tmp_path)
        assert done.returncode == 1
        assert said in done.stderr + done.stdout
        assert "pydantic" not in done.stderr + done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {".env"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (codecs.BOM_UTF16_LE + "STEDI_LAKE=./x\n".encode("utf-16-le"), "/.env is not UTF-8. Save it as UTF-8."),
        (b"STEDI_LAKE=./caf\xe9\n", "/.env is not UTF-8. Save it as UTF-8."),
        ("STEDI_LAKE=./x\n".encode("utf-16-le"), "/.env has a NUL in a value, or a = in a name."),
        (b"'STEDI=LAKE'=./x\n", "/.env has a NUL in a value, or a = in a name."),
    ],
    ids=["UTF-16", "Latin-1", "UTF-16 without a mark", "a = in a name"],
)
def test_a_file_that_cannot_be_read_gives_one_message(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    done = run([str(_BIN / "stedi"), "status"], tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path}{said}")
    assert len(done.stderr.splitlines()) == 1


@contextmanager
def clean_environment() -> Iterator[None]:
    """Leave the environment of this process as it was, and have no home for Dagster in it."""
    with patch.dict(os.environ):
        os.environ.pop("DAGSTER_HOME", None)
        yield


def prepare(folder: Path) -> dict[str, str]:
    """Do in a folder what `stedi start` does first, and return what Dagster then reads from its `.env`."""
    with clean_environment():
        read_env_file(folder)
        prepare_dagster(folder)
        read = get_env_var_dict(str(folder))
        assert os.environ["DAGSTER_HOME"] == read["DAGSTER_HOME"]
    return read


@pytest.mark.parametrize(
    ("before", "added", "others"),
    [
        (b"", b"DAGSTER_HOME={}\n", {}),
        (b"STEDI_LAKE=./a\n", b"DAGSTER_HOME={}\n", {"STEDI_LAKE": "./a"}),
        (b"STEDI_LAKE=./a", b"\nDAGSTER_HOME={}\n", {"STEDI_LAKE": "./a"}),
        (b"STEDI_LAKE=./a # DAGSTER_HOME=x", b"\nDAGSTER_HOME={}\n", {"STEDI_LAKE": "./a"}),
        (b"STEDI_LAKE=./a\r\nX='1'", b"\r\nDAGSTER_HOME={}\r\n", {"STEDI_LAKE": "./a", "X": "1"}),
        (b"STEDI_LAKE=./a\r\n", b"DAGSTER_HOME={}\r\n", {"STEDI_LAKE": "./a"}),
        (codecs.BOM_UTF8, b"\nDAGSTER_HOME={}\n", {}),
        (codecs.BOM_UTF8 + b"STEDI_LAKE=./a", b"\nDAGSTER_HOME={}\n", {"STEDI_LAKE": "./a"}),
        (b"# DAGSTER_HOME=/x\n", b"DAGSTER_HOME={}\n", {}),
        (b"DAGSTER_HOME=\nX=1", b"\nDAGSTER_HOME={}\n", {"X": "1"}),
        (b"DAGSTER_HOME\n", b"DAGSTER_HOME={}\n", {}),
        (b'X="two\nlines"', b"\nDAGSTER_HOME={}\n", {"X": "two\nlines"}),
        (b"X='not closed\n", b"DAGSTER_HOME={}\n", {}),
        (b"X=it's\nnonsense here\n\n", b"DAGSTER_HOME={}\n", {"X": "it's"}),
    ],
)
def test_naming_the_home_changes_nothing_that_stands_in_the_file(
    before: bytes, added: bytes, others: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(before)
    home = str(tmp_path / ".dagster")
    assert prepare(tmp_path) == {**others, "DAGSTER_HOME": home}
    assert (tmp_path / ".env").read_bytes() == before + added.replace(b"{}", home.encode())
    # Once is enough.
    assert prepare(tmp_path)["DAGSTER_HOME"] == home
    assert (tmp_path / ".env").read_bytes() == before + added.replace(b"{}", home.encode())


@pytest.mark.parametrize(
    "name",
    [
        *("with blank", "hash #1", "it's", 'a "b"', "${HOME}", "$HOME", "back\\slash\\", "a=b", "\u00fcml\u00e4ut"),
        *("two\nlines", "%41", "`ls`", "'", "'${X:-y}'\\", "trailing "),
    ],
)
def test_a_home_of_any_name_is_read_back_by_dagster(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / ".env").write_bytes(b"X=1")
    assert prepare(folder) == {"X": "1", "DAGSTER_HOME": str(folder / ".dagster")}
    assert (folder / ".dagster" / "dagster.yaml").is_file()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a blank", b"X='\n", "would not be read as meant. A quote in the file may be unclosed."),
        ("it's", b"X='", "would not be read as meant. A quote in the file may be unclosed."),
        ("carriage\rreturn", b"X=1\n", "would not be read as meant"),
        ("no \udcff text", b"X=1\n", "its path is not UTF-8"),
    ],
)
def test_where_the_line_would_be_misread_nothing_is_written(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / ".env").write_bytes(content)
    with clean_environment(), pytest.raises(SettingsError, match=re.escape(reason)):
        prepare_dagster(folder)
    assert (folder / ".env").read_bytes() == content


def test_a_file_that_may_not_be_written_gives_one_message() -> None:
    # Not below pytest's folder, where only its owner may look.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / ".env").write_text("X=1\n")
        (folder / ".env").chmod(0o444)
        with clean_environment(), as_nobody(), pytest.raises(SettingsError) as told:
            prepare_dagster(folder)
        assert re.fullmatch(
            r"DAGSTER_HOME=.*/\.dagster could not be added to .*/\.env: Permission denied\. "
            r"Fix that, or set DAGSTER_HOME yourself\.",
            str(told.value),
        )
        assert (folder / ".env").read_text() == "X=1\n"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Have no more rights than others, if it is root who tests."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize("home", [".dagster", "/absolute/path/to/.dagster", "{folder}/.env"])
def test_a_home_that_dagster_would_refuse_gives_one_message(home: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DAGSTER_HOME=" + home.format(folder=tmp_path))
    done = run([str(_BIN / "stedi"), "start"], tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(
        r"\nNot built\. DAGSTER_HOME=.* is not possible\. Use the absolute path of a folder that exists, .*\n",
        done.stderr,
    ), done.stderr
