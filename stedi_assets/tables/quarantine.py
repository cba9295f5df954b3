"""The quarantine of a source: how many records of which files it holds, why, and where they are in their files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from stedi_assets.contracts import Source
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot, dataset, named_snapshot

_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Place:
    """Where a quarantined record stands: `offset` and `length` are bytes of the file's unpacked content.

    `raw` is the record's bytes, if they were asked for.
    """

    offset: int
    length: int
    reasons: tuple[str, ...]
    raw: bytes = b""


def quarantine_of(lake: Lake, source: Source, landing: Snapshot) -> Snapshot:
    """Return the snapshot of the quarantine that belongs to one of the landing table."""
    return named_snapshot(lake, source.quarantine, landing.inputs[source.quarantine.name])


def count_reasons(lake: Lake, source: Source, quarantine: Snapshot) -> dict[str, int]:
    """Count all records of a quarantine by each of their reasons, the most frequent first."""
    if quarantine.rows == 0:
        return {}
    stored = dataset(lake, source.quarantine, quarantine.id).to_table(columns=["reasons"])
    return _sorted(Counter(pc.list_flatten(stored["reasons"]).to_pylist()))


def reasons_by_file(lake: Lake, source: Source, quarantine: Snapshot) -> dict[str, dict[str, int]]:
    """Count the records that files still hold, by file and by each of their reasons, the most frequent first."""
    if quarantine.rows == 0:
        return {}
    stored = _stored(lake, source, quarantine, ["_source_file", "reasons"])
    single = pa.table(
        {
            "file": stored["_source_file"].take(pc.list_parent_indices(stored["reasons"])),
            "reason": pc.list_flatten(stored["reasons"]),
        }
    )
    found: dict[str, Counter[str]] = {}
    for row in single.group_by(["file", "reason"]).aggregate([([], "count_all")]).to_pylist():
        found.setdefault(row["file"], Counter())[row["reason"]] = row["count_all"]
    return {file: _sorted(reasons) for file, reasons in found.items()}


def places(lake: Lake, source: Source, quarantine: Snapshot, file: str, *, raw: bool) -> Iterator[Place]:
    """Yield where the quarantined records of a file stand, in their order; `raw` with their bytes."""
    if quarantine.rows == 0:
        return
    columns = ["_offset", "_length", "reasons"]
    found = _stored(lake, source, quarantine, [*columns, "raw"] if raw else columns, file)
    for row in found.sort_by("_offset").to_pylist():
        offset, length, reasons = (row[name] for name in columns)
        yield Place(offset, length, tuple(reasons), row.get("raw", b""))


def in_words(reasons: dict[str, int]) -> str:
    """Return the most frequent reasons in words, with their numbers of records."""
    first = [f"{reason} {count:,}" for reason, count in list(reasons.items())[:_REASONS_SHOWN]]
    return ", ".join([*first, *(["…"] if len(reasons) > len(first) else [])])


def _stored(lake: Lake, source: Source, quarantine: Snapshot, columns: list[str], file: str | None = None) -> pa.Table:
    wanted = pc.scalar(value=True) if file is None else ds.field("_source_file") == file
    if "_superseded" in source.quarantine.column_names:
        wanted &= ~ds.field("_superseded")
    return dataset(lake, source.quarantine, quarantine.id).to_table(columns=columns, filter=wanted)


def _sorted(reasons: Counter[str]) -> dict[str, int]:
    return dict(sorted(reasons.items(), key=lambda found: (-found[1], found[0])))
