"""A seed gives the same bytes everywhere, and another seed gives other people."""

from dataclasses import replace
from pathlib import Path

from stedi_assets.sample_data import write_sample
from stedi_assets_tests.support.oracle import SOURCES
from stedi_assets_tests.support.samples import EVERY_DEFECT, SMALL, digest_of, lines_of


def test_a_seed_gives_the_same_bytes_in_every_process_and_python(tmp_path: Path) -> None:
    # gzip does not give the same bytes everywhere.
    not_packed = {"packed_named_json": 0, "truncated_gzip": 0}
    options = replace(EVERY_DEFECT, broken={**EVERY_DEFECT.broken, **not_packed})
    write_sample(tmp_path / "lake", options, tmp_path / "truth")

    # Changes only when samples are meant to change.
    assert digest_of(tmp_path) == "dad2d175c9c53b00fb381fcffacaed01706f0ea92bbd67abb3f021a7c39706b4"


def test_another_seed_gives_other_people_and_readings(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_sample(tmp_path / str(seed), replace(SMALL, seed=seed))

    for source in SOURCES:
        assert not set(lines_of(tmp_path / "1", source)) & set(lines_of(tmp_path / "2", source))
