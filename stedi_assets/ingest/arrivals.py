"""What there is to do in a lake: landing files that their table does not hold yet, and tables behind their inputs.

The lake alone decides: the files as they are listed now, the files that the published landing tables were made from,
and the snapshots that each table was made of. Nothing is remembered elsewhere, so nothing can be lost or done twice
because of such a memory. Only what published tables record about themselves is opened.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from stedi_assets.contracts import SOURCES, TABLES, Source
from stedi_assets.ingest.landing_files import find_landing_files
from stedi_assets.ingest.manifests import digest_of_manifests
from stedi_assets.storage.interface import Entry
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import alias, no_key
from stedi_assets.tables.file_reports import read_file_reports
from stedi_assets.tables.manifest_report import read_manifest_report
from stedi_assets.tables.snapshots import Snapshot, read_snapshot_of

Listed = Mapping[str, Sequence[Entry]]


class PortionedListing:
    """A listing of every landing folder that can be interrupted, as there can be very many files.

    `found` are those so far, by source, and `count` is how many these are.
    """

    def __init__(self, lake: Lake) -> None:
        """Nothing is listed yet."""
        self.found: dict[str, list[Entry]] = defaultdict(list)
        self.count = 0
        self._left = (
            (source.name, entry) for source in SOURCES.values() for entry in lake.raw.entries(source.raw_path)
        )

    def list_further(self, most_files: int) -> bool:
        """List up to so many more files, and return whether there may be more."""
        before = self.count
        for name, entry in islice(self._left, most_files):
            self.found[name].append(entry)
            self.count += 1
        return self.count - before == most_files


@dataclass(frozen=True)
class Arrivals:
    """What a source's landing folder holds, compared with what its published table was made from.

    `changed` are the files to land, in order of their paths: new and replaced ones that have settled, and those that
    could not be read the last time. `unsettled` is how many may still be being written. `gone` are the paths of files
    that the table was made from and that are missing, unless a file of the same size has arrived under a new name.
    `content` is a digest of what has settled here. `dated_ahead` are the paths of files dated in the future: nobody can
    tell when they last changed, and they count as settled. `files` and `bytes` are of all that are there.
    `manifests_changed`: the table was compared with other delivery manifests than those that are there, all settled.
    """

    source: Source
    changed: tuple[Entry, ...]
    unsettled: int
    gone: tuple[str, ...]
    content: str
    dated_ahead: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0
    manifests_changed: bool = False


def find_arrivals(
    lake: Lake, settled_before: int, listed: Listed, *, key: Callable[[], bytes] = no_key
) -> dict[str, Arrivals]:
    """Return what arrived, by source. Empty folders count as well.

    A file has settled if it has not changed since `settled_before`, in epoch milliseconds. `listed` is what lies in the
    landing folders. Files have their names from `landing_files`; `key` returns the secret that hides those which could
    hold personal data.

    Raises `CorruptTableError` if a published table is damaged.
    """
    return {source.name: _arrivals(lake, source, settled_before, listed, key) for source in SOURCES.values()}


def published_tables(lake: Lake) -> dict[str, Snapshot]:
    """Return the current snapshots of the published tables, by name."""
    found = {name: read_snapshot_of(lake, table) for name, table in TABLES.items()}
    return {name: snapshot for name, snapshot in found.items() if snapshot}


def tables_behind(published: Mapping[str, Snapshot]) -> dict[str, str]:
    """Return the tables that were not made from their inputs' rows as they are now, each with its inputs' `content`.

    A table that lacks an input cannot be made yet, and is left out.
    """
    behind = {}
    for table in TABLES.values():
        if table.inputs and published.keys() >= set(table.inputs):
            made, inputs = published.get(table.name), {name: published[name] for name in table.inputs}
            if made is None or any(made.has_other(name, now) for name, now in inputs.items()):
                behind[table.name] = " ".join(now.content for now in inputs.values())
    return behind


def tables_to_make(moved: Collection[str], published: Collection[str]) -> list[str]:
    """Return some tables and those downstream of them, in an order in which they can be made.

    A table with an input that is neither published nor among them cannot be made, and is left out.
    """
    made: list[str] = []
    for table in TABLES.values():
        if (table.name in moved or {*made} & {*table.inputs}) and {*made, *published} >= {*table.inputs}:
            made.append(table.name)
    return made


def _arrivals(lake: Lake, source: Source, settled_before: int, by_source: Listed, key: Callable[[], bytes]) -> Arrivals:
    snapshot = read_snapshot_of(lake, source.landing)
    reports = read_file_reports(lake, source, snapshot) if snapshot else ()
    listed = find_landing_files(by_source.get(source.name, ()))
    found, manifests = (
        [replace(entry, path=alias(entry.path, key)) for entry in entries]
        for entries in (listed.entries, listed.manifests)
    )

    held = {(file.path, file.fingerprint) for file in reports if not file.error or file.forgotten}
    arrived = [entry for entry in found if (entry.path, entry.fingerprint) not in held]
    changed = tuple(entry for entry in arrived if entry.changed_at <= settled_before)
    unsettled = {entry.path for entry in arrived} - {entry.path for entry in changed}
    there, known = {entry.path for entry in found}, {file.path for file in reports}
    sizes = {entry.size for entry in arrived if entry.path not in known}
    gone = (file.path for file in reports if not file.error and file.path not in there and file.size not in sizes)
    settled = [f"{entry.path}\0{entry.fingerprint}" for entry in found if entry.path not in unsettled]
    waiting = sum(entry.changed_at > settled_before for entry in manifests)
    seen = digest_of_manifests((entry.path, entry.fingerprint) for entry in manifests)
    compared_with = read_manifest_report(snapshot).seen if snapshot else seen
    content = digest_of(lake.location, seen, *settled)
    ahead = tuple(entry.path for entry in found if entry.dated_ahead)
    return Arrivals(
        source,
        changed,
        len(unsettled) + waiting,
        tuple(sorted(gone)),
        content,
        ahead,
        files=len(found),
        bytes=sum(entry.size for entry in found),
        manifests_changed=not waiting and seen != compared_with,
    )


def digest_of(*words: str) -> str:
    """Return 32 hex digits that identify words. Words that come from file names may not be valid text."""
    return hashlib.sha256("\n".join(words).encode(errors="surrogateescape")).hexdigest()[:32]
