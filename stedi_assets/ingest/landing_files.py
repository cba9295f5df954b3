"""A source's raw files: which there are, the name of each in reports, and what becomes of it.

Every directory entry is read, ignored, hidden, or reported as a file error. Nothing is opened here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stedi_assets.storage.interface import Entry, RawFiles, is_hidden
from stedi_assets.storage.names import alias, masked, no_key
from stedi_assets.tables.file_reports import FileReport

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class LandingFile:
    """A raw file as it was listed.

    `path` is below the source's landing folder. `name` is its name from here on: the path, or an alias if that could
    hold personal data. `fingerprint` changes whenever the file may have changed.
    """

    path: str
    name: str
    size: int
    fingerprint: str
    error: str | None = None


@dataclass(frozen=True)
class Found:
    """What lies in a source's landing folder: what to read, in order of the paths, and what is passed over.

    A link to a file that is read already is passed over. `manifests` list files, and are no files to land.
    """

    entries: tuple[Entry, ...]
    ignored: tuple[str, ...]
    hidden: tuple[str, ...]
    manifests: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The files to read, in order of their paths, and those passed over, under names that may be shown.

    `unsettled` are the names of files that are left for later, mostly because they may still be being written.
    `dated_ahead` are those dated in the future. `manifests` are the delivery manifests that have settled, and
    `passed_over` what else lies there and is not read, named as files are; empty where no manifest can list it.
    """

    files: tuple[LandingFile, ...]
    ignored: tuple[str, ...]
    hidden: tuple[str, ...]
    unsettled: tuple[str, ...] = ()
    dated_ahead: tuple[str, ...] = ()
    manifests: tuple[LandingFile, ...] = ()
    passed_over: frozenset[str] = frozenset()


def find_landing_files(entries: Iterable[Entry]) -> Found:
    """Sort what lies in a source's landing folder by what will become of it, without opening anything."""
    hidden: list[str] = []
    ignored: list[str] = []
    read: list[Entry] = []
    manifests: list[Entry] = []
    for entry in entries:
        # A folder that cannot be listed may be the landing folder itself, ".".
        if not entry.error and any(is_hidden(part) for part in entry.path.split("/")):
            hidden.append(entry.path)
        elif entry.is_file and is_manifest(entry.path):
            manifests.append(entry)
        elif entry.error or (entry.is_file and _is_record_file(entry.path)):
            read.append(entry)
        else:
            ignored.append(entry.path)
    files_first = sorted(read, key=lambda entry: (entry.leads_to is not None, entry.path))
    once: dict[str, Entry] = {}
    again = [entry.path for entry in files_first if once.setdefault(entry.leads_to or entry.path, entry) is not entry]
    return Found(
        _in_order(once.values()), tuple(sorted([*ignored, *again])), tuple(sorted(hidden)), _in_order(manifests)
    )


def is_manifest(path: str) -> bool:
    """Whether a file is a delivery manifest, by its name."""
    name = path.rpartition("/")[2].lower()
    return name == _MANIFEST or name.endswith(f".{_MANIFEST}")


def _in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.path))


def list_landing_files(
    raw: RawFiles,
    folder: str,
    known: Mapping[str, FileReport],
    settled_before: int | None = None,
    *,
    key: Callable[[], bytes] = no_key,
) -> Listing:
    """List a source's raw files.

    `known` are the reports of the last snapshot, by name. Files that differ from those, and have changed since
    `settled_before`, in epoch milliseconds, are left alone: they may still be being written. `key` returns the secret
    that hides names which could hold personal data.
    """
    found = find_landing_files(raw.entries(folder))
    read: list[LandingFile] = []
    unsettled: list[str] = []
    for entry in found.entries:
        file = _as_listed(entry, key)
        is_known = file.name in known and known[file.name].fingerprint == file.fingerprint
        if is_known or settled_before is None or entry.changed_at <= settled_before:
            read.append(file)
        else:
            unsettled.append(file.name)
    ahead = tuple(masked(entry.path) for entry in found.entries if entry.dated_ahead)
    ignored, hidden = (tuple(map(masked, paths)) for paths in (found.ignored, found.hidden))
    manifests = tuple(
        _as_listed(entry, key)
        for entry in found.manifests
        if settled_before is None or entry.changed_at <= settled_before
    )
    others = (*found.ignored, *found.hidden, *(entry.path for entry in found.manifests)) if manifests else ()
    passed_over = frozenset(alias(path, key) for path in others)
    return Listing(tuple(read), ignored, hidden, tuple(unsettled), ahead, manifests, passed_over)


def changed_since(raw: RawFiles, folder: str, files: Iterable[LandingFile]) -> frozenset[str]:
    """Return the names of files that are gone, or whose content may have changed since they were listed."""
    now = {entry.path: entry.fingerprint for entry in raw.entries(folder) if entry.is_file}
    return frozenset(file.name for file in files if now.get(file.path) != file.fingerprint)


def _as_listed(entry: Entry, key: Callable[[], bytes]) -> LandingFile:
    error = entry.error
    try:
        entry.path.encode()
    except UnicodeEncodeError:
        error = error or "its name is not UTF-8; have it renamed"
    return LandingFile(entry.path, alias(entry.path, key), entry.size, entry.fingerprint, error)


def _is_record_file(path: str) -> bool:
    return path.lower().removesuffix(".gz").endswith(_SUFFIXES)
