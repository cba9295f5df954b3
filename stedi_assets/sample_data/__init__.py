"""Invented landing files of the three sources, to try out and test the lakehouse, and the truth about them.

    python -m stedi_assets.sample_data LAKE [--customers 956] [--seed 7] [--broken cut_off=3] [--truth FOLDER] …
    python -m stedi_assets.sample_data LAKE --every 5s --records-per-file 500

Without options a sample has the size and shape of the public course data and no defects. A seed gives the same records
on every machine and Python version, and a defect changes only what it is about. Memory stays bounded at any size.

Belongs here: what deliveries look like and what can be wrong with them, from the writer's side. Does not: how they are
read and validated (`ingest`), and anything but the standard library.
"""

from stedi_assets.sample_data.broken_kinds import BROKEN_KINDS, BrokenKind
from stedi_assets.sample_data.options import Amount, SampleOptions, SampleRefused
from stedi_assets.sample_data.truth import SampleSummary, SourceSummary
from stedi_assets.sample_data.writing import deliver_sample, write_sample

__all__ = [
    "BROKEN_KINDS",
    "Amount",
    "BrokenKind",
    "SampleOptions",
    "SampleRefused",
    "SampleSummary",
    "SourceSummary",
    "deliver_sample",
    "write_sample",
]
