"""The command writes what the functions write, and refuses what is not an amount or a pause."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stedi_assets.sample_data import write_sample
from stedi_assets.sample_data.__main__ import main
from stedi_assets_tests.support.samples import EVERY_DEFECT, digest_of


def test_command_line_says_and_writes_what_the_function_writes(tmp_path: Path) -> None:
    write_sample(tmp_path / "function" / "lake", EVERY_DEFECT, tmp_path / "function" / "truth")
    arguments = (
        "--customers 400 --readings-per-phone 12 --readings-per-device 5 --seed 7 --repeated-emails 40 "
        "--withdrawals 20% --serials-shared-by 30 --respelled-keys 20 --late-deliveries 0.1 --repeated-deliveries 2 "
        "--broken all=2 --broken huge_text=0 --broken glued=5% --truth truth"
    )
    (tmp_path / "command").mkdir()
    # A process of its own, with its own hash seed.
    done = subprocess.run(
        [sys.executable, "-m", "stedi_assets.sample_data", "lake", *arguments.split()],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path / "command",
        env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert digest_of(tmp_path / "command") == digest_of(tmp_path / "function")
    assert done.stdout.startswith("400 customers, 162 of them consent")


@pytest.mark.parametrize("text", ["many", "1.2.3", "x%", ""])
def test_what_is_not_an_amount_ends_the_command(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["lake", "--broken", f"cut_off={text}"])
    assert "neither a number of times (3) nor a share (0.03 or 3%)" in capsys.readouterr().err


@pytest.mark.parametrize("pause", ["5 minutes", "-1s", "s", "nan"])
def test_what_is_not_a_pause_ends_the_command(pause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "lake"), f"--every={pause}"])
    assert "is not a time such as 5s or 0.5s" in capsys.readouterr().err


def test_the_command_says_what_has_arrived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--customers", "5", "--records-per-file", "200", "--every", "0.01s"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3 + 1
