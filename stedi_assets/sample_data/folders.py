"""Where a sample may be written: empty local folders, the truth outside of the lake."""

import os
import re
from pathlib import Path

from stedi_assets.sample_data.options import SampleRefused


def local_folder(place: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a local folder. Raise `SampleRefused` when the place is anywhere else."""
    # One slash is enough: pathlib turns "s3://" into "s3:/".
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(place)):
        raise SampleRefused(f"{os.fspath(place)}: only local folders can be written to")
    return Path(place).expanduser().resolve()


def refuse_used(folder: Path) -> None:
    """Raise `SampleRefused` when the folder holds a file that is not hidden, or there is a file in its place."""
    for existing in (folder, *folder.parents):
        if existing.exists() and not existing.is_dir():
            raise SampleRefused(f"{existing} is a file where a folder is needed")
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(not name.startswith(".") for name in files):
            raise SampleRefused(f"{folder} already holds files: choose another place or empty it first")


def empty_truth_folder(place: str | os.PathLike[str], lake: Path) -> Path:
    """Return the absolute path of the truth folder. Raise `SampleRefused` when it is used or inside the lake."""
    folder = local_folder(place)
    if folder.is_relative_to(lake):
        raise SampleRefused(f"{folder} is inside the lake: whoever reads the lake must not find the truth there")
    refuse_used(folder)
    return folder
