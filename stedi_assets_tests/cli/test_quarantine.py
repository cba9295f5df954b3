"""`stedi quarantine`: a broken record is found by its file, its line and the reason; its bytes only if asked for."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.cli.main import main
from stedi_assets.contracts.reasons import REASONS
from stedi_assets.ingest import validation
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    customer,
    lines,
    local_lake,
    materialise,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.terminals import on_terminal, without_codes

BROKEN = b'{"email": "dora@example.com", "serialNumber": \'single\'}'
KEYLESS = lines({"customerName": "dora lovelace", "email": "dora@example.com"}).rstrip()
LANDING = dg.AssetSelection.assets("customer_landing", "accelerometer_landing", "step_trainer_landing")
# A string that nobody chose: the bytes of a broken record as they came.
HOSTILE = b'{"email": "\x1b[31mdora@example.com'


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Lake:
    """A lake with broken customers' records: in a plain file, in a packed one, and in one that is cut off."""
    lake = local_lake(tmp_path_factory.mktemp("quarantine"))
    write_ada_and_ben(lake)
    landing = root_of(lake) / "customer" / "landing"
    good = lines(customer("cleo", CONSENTED, CONSENTED))
    (landing / "plain.json").write_bytes(good + b"\n" + BROKEN + b"\n" + good + KEYLESS + b"\n")
    (landing / "[red]packed.json.gz").write_bytes(gzip.compress(good * 3 + KEYLESS + b"\n"))
    (landing / "dora@example.com.json").write_bytes(good + HOSTILE)
    (root_of(lake) / "accelerometer" / "landing" / "manifest.json").write_bytes(b'{"files": [{"path": "two.json"}]}')
    materialise(lake, spark_resource, tables=LANDING)
    return lake


@pytest.fixture(autouse=True)
def _of_the_lake(lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEDI_LAKE", lake.location)


def test_every_file_in_trouble_is_named_with_the_reasons_and_what_to_tell_its_owner(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["quarantine"]) == 0
    printed = capsys.readouterr().out
    first, *rest = printed.splitlines()
    assert first == "customer: 4 of 12 records in quarantine; trouble in 3 of 4 files"
    assert "  plain.json: 4 records, 2 records in quarantine: malformed_json 1, missing_serialNumber 1" in rest
    assert "  [red]packed.json.gz: 4 records, 1 record in quarantine: missing_serialNumber 1" in rest
    assert re.search(
        r"\*\*\*[0-9a-f]{12}\.json: 2 records, cut off, 1 record in quarantine: malformed_json 1$",
        printed,
        re.MULTILINE,
    )
    assert "    missing_serialNumber: serialNumber is missing or null. Every record needs it." in rest
    missing = "1 of 1 listed file missing or different"
    assert any(line.startswith("    cut off: The named files were cut off") for line in rest)
    place = rest.index(f"accelerometer: 0 of 4 records in quarantine; trouble in 0 of 1 file; {missing}")
    assert rest[place + 1] == "  two.json: missing (listed in manifest.json)"
    assert "dora" not in printed


def test_a_terminal_shows_the_same_in_colour(capsys: pytest.CaptureFixture[str]) -> None:
    stedi = [sys.executable, "-m", "stedi_assets", "quarantine"]
    for command in ([], ["--file", "[red]packed.json.gz"]):
        assert main(["quarantine", *command]) == 0
        shown = on_terminal([*stedi, *command])
        assert without_codes(shown) == capsys.readouterr().out
        assert "\x1b[1m[red]packed.json.gz\x1b[0m: 4 records, \x1b[33m1 record in quarantine" in shown
        assert "\x1b[33mmissing_serialNumber\x1b[0m" in shown
    raw = on_terminal([*stedi, "--file", "[red]packed.json.gz", "--raw"])
    assert raw == without_codes(raw)
    assert "customer: [red]packed.json.gz: 4 records, 1 record in quarantine\n" in raw
    assert f"{KEYLESS.decode()}\n" in raw


def test_a_record_is_found_by_its_line_and_byte(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--file", "plain.json"]) == 0
    printed = capsys.readouterr().out
    good = len(lines(customer("cleo", CONSENTED, CONSENTED)))
    assert f"  line 3, byte {good + 1:,}, {len(BROKEN)} bytes: malformed_json\n" in printed
    assert f"  line 5, byte {2 * good + 2 + len(BROKEN):,}, {len(KEYLESS)} bytes: missing_serialNumber\n" in printed
    assert "dora" not in printed
    assert main(["quarantine", "--source", "customer", "--file", "[red]packed.json.gz"]) == 0
    assert f"  line 4, byte {3 * good:,}, " in capsys.readouterr().out


def test_of_a_file_that_has_changed_the_byte_is_said_and_no_line(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    file = root_of(lake) / "customer" / "landing" / "plain.json"
    landed = file.read_bytes()
    file.write_bytes(b"\n" + landed)
    assert main(["quarantine", "--file", "plain.json"]) == 0
    file.write_bytes(landed)
    printed = capsys.readouterr().out
    assert "line" not in printed
    assert re.search(r"^  byte \d+, 55 bytes: malformed_json$", printed, re.MULTILINE)


def test_the_bytes_are_printed_as_they_came_if_they_are_asked_for(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["quarantine", "--file", "plain.json", "--raw"]) == 0
    printed = capfdbinary.readouterr()
    assert printed.out == BROKEN + b"\n" + KEYLESS + b"\n"
    assert b"line 3" in printed.err
    assert b"dora" not in printed.err


def test_a_terminal_gets_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["quarantine", "--source", "customer", "--raw"]) == 0
    printed = capsys.readouterr().out
    assert "\\x1b[31mdora@example.com" in printed
    assert "\x1b" not in printed


def test_it_shows_no_more_places_than_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--file", "plain.json", "--most", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("  line ") == 1
    assert "  … and 1 more: --most 2\n" in printed


@pytest.mark.parametrize("most", ["-1", "1.5", "many", ""])
def test_how_many_is_a_whole_number(most: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["quarantine", "--most", most])
    assert "is not a whole number" in capsys.readouterr().err


def test_whoever_reads_the_first_line_alone_sees_no_error(lake: Lake) -> None:
    command = f"{sys.executable} -m stedi_assets quarantine --source customer --raw --most 100000 | head -c 1"
    done = subprocess.run(["bash", "-c", command], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout == "{"
    assert "Error" not in done.stderr
    assert "Broken" not in done.stderr


def test_a_file_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--file", "other.json"]) == 1
    assert capsys.readouterr().err == "No file other.json has landed. `stedi quarantine` names those in trouble.\n"


def test_every_reason_has_its_advice() -> None:
    source = Path(validation.__file__).read_text("utf-8")
    given = {*re.findall(r'_Refused\("(\w+)"', source), *re.findall(r'_quarantine\([^()]*raw, "(\w+)"', source)}
    given |= {*re.findall(r'\{"(too_many_fields)"\}', source), *re.findall(r'QuarantinedRecord\(\("(\w+)"', source)}
    assert given | {"ambiguous_text", "missing_…"} == set(REASONS)
