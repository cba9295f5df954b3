"""Make the files of a sample arrive one after the other, as devices deliver them: `deliver_sample`."""

import os
import tempfile
import time
from collections.abc import Generator
from itertools import zip_longest
from pathlib import Path

from stedi_assets.sample_data.folders import empty_truth_folder, local_folder, refuse_used
from stedi_assets.sample_data.options import SampleOptions
from stedi_assets.sample_data.sources import SOURCES
from stedi_assets.sample_data.writing import write_sample


def deliver_sample(
    lake: str | os.PathLike[str],
    every: float,
    options: SampleOptions = SampleOptions(),
    truth: str | os.PathLike[str] | None = None,
) -> Generator[str, None, None]:
    """Make one file of a sample arrive every so many seconds, and yield the path of each.

    The sources take turns, customers first. Each file appears whole. Raises `SampleRefused` as `write_sample` does.
    """
    root = local_folder(lake)
    for source in SOURCES:
        refuse_used(root / source.name / "landing")
    if truth is not None:
        empty_truth_folder(truth, root)
    root.mkdir(parents=True, exist_ok=True)
    # On the lake's disk, so that a file appears in one step.
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=root) as folder:
        write_sample(folder, options, truth)
        waiting = [
            sorted(path for path in (Path(folder) / source.name).rglob("*") if path.is_file()) for source in SOURCES
        ]
        for place, path in enumerate(path for turn in zip_longest(*waiting) for path in turn if path):
            if place:
                time.sleep(every)
            arrived = root / path.relative_to(folder)
            arrived.parent.mkdir(parents=True, exist_ok=True)
            path.replace(arrived)
            yield str(arrived)
