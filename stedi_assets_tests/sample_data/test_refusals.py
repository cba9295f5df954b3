"""What cannot be written as asked is refused in one line, before anything is written."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stedi_assets.sample_data import SampleRefused, write_sample
from stedi_assets.sample_data.__main__ import main
from stedi_assets_tests.support.samples import SMALL


def refusal(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a refused command says."""
    assert main([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


@pytest.mark.parametrize("name", ["customer/landing/old.json", "step_trainer/landing/2022/06/old.txt"])
def test_a_used_landing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.touch()

    assert "already holds files" in refusal(tmp_path, capsys=capsys)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_hidden_files_are_no_reason_to_refuse(tmp_path: Path) -> None:
    for name in (".gitkeep", ".trash/old.json"):
        path = tmp_path / "customer" / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert write_sample(tmp_path, SMALL).customers == 40


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lake").touch()

    assert "is a file" in refusal(tmp_path / "lake", capsys=capsys)


@pytest.mark.parametrize("place", ["s3://bucket/lake", "S3A://bucket/lake", "file:///lake", Path("s3://bucket/lake")])
def test_only_local_folders_are_written_to(
    tmp_path: Path, place: str | Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "only local folders" in refusal(place, capsys=capsys)
    assert "only local folders" in refusal(tmp_path / "lake", "--truth", place, capsys=capsys)
    assert list(tmp_path.iterdir()) == []


def test_truth_inside_the_lake_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lake")

    for truth in ("lake", "lake/truth", "link/truth", "lake/../lake/truth"):
        assert "inside the lake" in refusal(tmp_path / "lake", "--truth", tmp_path / truth, capsys=capsys)
    assert list((tmp_path / "lake").iterdir()) == []


def test_a_used_truth_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "summary.json").touch()

    assert "already holds files" in refusal(tmp_path / "lake", "--truth", tmp_path / "truth", capsys=capsys)
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"customers": 0}, "customers must be at least 1"),
        ({"serials_shared_by": 0}, "serials_shared_by must be at least 1"),
        ({"readings_per_phone": 4}, "readings_per_phone"),
        ({"readings_per_phone": 91}, "readings_per_phone"),
        ({"repeated_emails": 41}, "repeated_emails=41 must be from 0 to 40"),
        ({"withdrawals": 21}, "withdrawals=21 must be from 0 to 20"),
        ({"respelled_keys": 1.5}, "respelled_keys=1.5 must be from 0 to 1.0"),
        ({"late_deliveries": -1}, "late_deliveries=-1"),
        ({"repeated_deliveries": float("nan")}, "repeated_deliveries=nan"),
        ({"broken": {"cutt_off": 1}}, "there is no kind cutt_off; the kinds are glued"),
        ({"broken": {"glued": 21}}, "42 records of customer are needed that are not late, only 40"),
        ({"broken": {"comma_at_end": 31}, "late_deliveries": 10}, "31 records of customer"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SampleRefused, match=re.escape(message)):
        write_sample(tmp_path / "lake", replace(SMALL, **options))
    assert not (tmp_path / "lake").exists()
