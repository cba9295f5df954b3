"""What there is to do in a lake: landing files that their table does not hold yet, and tables behind their inputs.

The truth is what lies in the lake: the files as they are listed now, against `_files.json` of the published landing
tables, and the snapshots that each pointer was made of. Nothing of it is remembered anywhere else, so that nothing is
lost or done twice with what remembers. Nothing is opened but those few files.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from stedi_assets.contracts import LANDING_TABLES, SOURCES, TABLES, Source, Table
from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.landing import read_file_reports
from stedi_assets.lake.landing_files import find_landing_files
from stedi_assets.lake.layout import Lake
from stedi_assets.lake.pointers import Pointer
from stedi_assets.lake.snapshots import read_pointer
from stedi_assets.lake.storage import Entry

# So many keys take S3 less than half a minute to list, a thousand a request.
MOST_FILES = 100_000


@dataclass(frozen=True)
class Arrivals:
    """What a source's landing folder holds, against what its published table was made from.

    `changed` are new and replaced files that have settled, in order of their paths, `unsettled` those that have not,
    and `gone` the paths of files that the table was made from and that are not there. `content` tells the settled
    files from any others.
    """

    source: Source
    changed: tuple[Entry, ...]
    unsettled: int
    gone: tuple[str, ...]
    content: str


def find_arrivals(lake: Lake, settled_before: int, most_files: int = MOST_FILES) -> dict[str, Arrivals]:
    """List every landing folder once, and return what arrived, by source. Empty folders count as well.

    A file has settled when it last changed before `settled_before`, in epoch milliseconds.

    Raises `LakeError` above `most_files` files, and `NotWhole` where a published table is damaged.
    """
    count = _counter(lake, most_files)
    return {source.name: _arrivals(lake, source, settled_before, count) for source in SOURCES.values()}


def published_tables(lake: Lake) -> dict[str, Pointer]:
    """Return the pointers of the tables that are published, by name."""
    found = {name: read_pointer(lake, table) for name, table in TABLES.items()}
    return {name: pointer for name, pointer in found.items() if pointer}


def tables_behind(published: Mapping[str, Pointer]) -> dict[str, frozenset[str]]:
    """Return the tables that were not made from their inputs as those are now, each with the sources to make it from.

    Those are the sources of the inputs that have moved. A table that lacks a published input cannot be made yet, and is
    left out.
    """
    behind = {}
    for table in TABLES.values():
        if table.inputs and published.keys() >= set(table.inputs):
            made_from = published[table.name].inputs if table.name in published else {}
            moved = [name for name in table.inputs if made_from.get(name) != published[name].snapshot]
            if moved:
                behind[table.name] = frozenset().union(*(sources_of(TABLES[name]) for name in moved))
    return behind


def tables_to_make(sources: Collection[str], published: Collection[str]) -> list[str]:
    """Return the tables that depend on any of these sources, in an order to make them in.

    A table with an input that is neither published nor among them cannot be made, and is left out.
    """
    made: list[str] = []
    for table in TABLES.values():
        if sources_of(table) & set(sources) and {*made, *published} >= set(table.inputs):
            made.append(table.name)
    return made


def sources_of(table: Table) -> frozenset[str]:
    """Return the names of the sources that a table is made from, through whatever other tables."""
    if table.name in LANDING_TABLES:
        return frozenset({LANDING_TABLES[table.name].name})
    return frozenset[str]().union(*(sources_of(TABLES[name]) for name in table.inputs))


def _arrivals(
    lake: Lake, source: Source, settled_before: int, count: Callable[[Iterator[Entry]], Iterator[Entry]]
) -> Arrivals:
    pointer = read_pointer(lake, source.landing)
    reports = {file.path: file for file in read_file_reports(lake, source, pointer)} if pointer else {}
    found = find_landing_files(count(lake.storage.entries(source.raw_path))).entries

    held = {(file.path, file.fingerprint) for file in reports.values()}
    arrived = [entry for entry in found if (entry.path, entry.fingerprint) not in held]
    changed = tuple(entry for entry in arrived if entry.changed_at <= settled_before)
    unsettled = {entry.path for entry in arrived} - {entry.path for entry in changed}
    there = {entry.path for entry in found}
    gone = sorted(path for path, file in reports.items() if not file.error and path not in there)
    settled = "".join(f"{e.path}\0{e.fingerprint}\n" for e in found if e.path not in unsettled)
    return Arrivals(source, changed, len(unsettled), tuple(gone), hashlib.sha256(settled.encode()).hexdigest()[:32])


def _counter(lake: Lake, most: int) -> Callable[[Iterator[Entry]], Iterator[Entry]]:
    """Return a pass-through that stops when all that went through it is more than `most`."""
    seen = 0

    def counted(entries: Iterator[Entry]) -> Iterator[Entry]:
        nonlocal seen
        for entry in entries:
            seen += 1
            if seen > most:
                msg = (
                    f"More than {most:,} landing files in {lake.location}: listing them again and again would take too "
                    "long. On S3, have event notifications start rebuild_lakehouse instead and stop this sensor (the "
                    "README says how); or have their owner move old files together into fewer."
                )
                raise LakeError(msg)
            yield entry

    return counted
