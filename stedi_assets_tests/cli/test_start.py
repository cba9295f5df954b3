"""`stedi start` before it builds anything. What it builds is in `orchestration/test_runs.py`."""

from pathlib import Path

import pytest

from stedi_assets.cli.main import main


def test_a_mistyped_lake_is_named_and_does_not_come_into_being(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEDI_LAKE", "misstyped")
    assert main(["start"]) == 1
    said = capsys.readouterr().err
    assert "No landing files in " in said
    assert all(f"{tmp_path}/misstyped/{source}/landing" in said for source in ("customer", "accelerometer"))
    assert not list(tmp_path.iterdir())
