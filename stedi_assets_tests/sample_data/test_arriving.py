"""File by file it is the same sample, and no file can be seen before it arrives."""

from dataclasses import replace
from pathlib import Path

import pytest

from stedi_assets.sample_data import SampleRefused, deliver_sample, write_sample
from stedi_assets_tests.support.oracle import SOURCES
from stedi_assets_tests.support.samples import SMALL, digest_of, files_of

SPLIT = replace(SMALL, records_per_file=50)


def test_what_arrives_file_by_file_is_the_same_sample(tmp_path: Path) -> None:
    write_sample(tmp_path / "at once", SPLIT)
    arrived = list(deliver_sample(tmp_path / "later", 0, SPLIT))
    assert digest_of(tmp_path / "later") == digest_of(tmp_path / "at once")
    assert sorted(arrived) == sorted(str(path) for source in SOURCES for path in files_of(tmp_path / "later", source))
    assert len(arrived) == 1 + 10 + 4
    sources = [Path(path).parts[-3] for path in arrived]
    assert sources[:4] == ["customer", "accelerometer", "step_trainer", "accelerometer"]


def test_of_what_is_to_come_nothing_can_be_seen(tmp_path: Path) -> None:
    files = deliver_sample(tmp_path, 0, SPLIT)
    first = next(files)
    seen = [path for path in tmp_path.rglob("*") if path.is_file() and ".arriving-" not in str(path)]
    assert seen == [Path(first)]
    files.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Path(first)]


def test_an_arriving_sample_is_refused_as_any_other(tmp_path: Path) -> None:
    with pytest.raises(SampleRefused, match="is inside the lake"):
        next(deliver_sample(tmp_path / "lake", 0, SPLIT, tmp_path / "lake" / "customer" / "landing" / "truth"))
    write_sample(tmp_path / "used", SMALL)
    with pytest.raises(SampleRefused, match="already holds files"):
        next(deliver_sample(tmp_path / "used", 0, SPLIT))
