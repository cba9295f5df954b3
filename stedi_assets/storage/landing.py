"""Where raw files lie: in the lake, or wherever the settings say, which can be several folders and other buckets."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from stedi_assets.storage.interface import Entry, Storage
from stedi_assets.storage.local import LocalFolder


@dataclass(frozen=True)
class _Place:
    """A folder with raw files of a source. `name` begins their paths, and is empty for the only place."""

    name: str
    location: str
    storage: Storage
    folder: str

    def entries(self) -> Iterator[Entry]:
        if isinstance(self.storage, LocalFolder) and not (self.storage.root / self.folder).exists():
            yield Entry(f"{self.name}.", is_file=False, error="there is no such folder")
        for entry in self.storage.entries(self.folder):
            leads_to = entry.leads_to and f"{self.name}{entry.leads_to}"
            yield replace(entry, path=f"{self.name}{entry.path}", leads_to=leads_to)

    def open(self, path: str, start: int) -> BinaryIO:
        below = path.removeprefix(self.name)
        return self.storage.open(f"{self.folder}/{below}" if self.folder else below, start)


@dataclass(frozen=True)
class LandingElsewhere:
    """The raw files of a lake, if some sources deliver elsewhere. `places` are by the folder that they stand for.

    If a source has several places, the path of a file begins with its place.
    """

    lake: Storage
    places: tuple[tuple[str, tuple[_Place, ...]], ...]

    @classmethod
    def of(cls, lake: Storage, locations: Mapping[str, Sequence[str]]) -> "LandingElsewhere":
        """Return the raw files of a lake. `locations`, by folder, are folders or `s3://bucket/prefix`."""
        return cls(lake, tuple((folder, _places(found)) for folder, found in sorted(locations.items())))

    def shown(self, path: str) -> str:
        """Return where something lies, for people."""
        places = dict(self.places).get(path)
        return " and ".join(place.location for place in places) if places else self.lake.shown(path)

    def open(self, path: str, start: int = 0) -> BinaryIO:
        """Open a file for reading, from a byte on."""
        for folder, places in self.places:
            if path.startswith(f"{folder}/"):
                below = path.removeprefix(f"{folder}/")
                return next(place for place in places if below.startswith(place.name)).open(below, start)
        return self.lake.open(path, start)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Yield what lies in a folder, at any depth."""
        places = dict(self.places).get(folder)
        if places is None:
            yield from self.lake.entries(folder)
            return
        for place in places:
            yield from place.entries()


def split_locations(text: str) -> list[str]:
    """Return the locations that a setting names, separated by commas."""
    return [location for part in text.split(",") if (location := part.strip())]


def is_landing(location: str) -> bool:
    """Whether a location can hold raw files: a folder, or a prefix in a bucket."""
    return bool(re.fullmatch(r"s3a?://[^/]+/+[^/].*", location)) or "://" not in location


def lies_in(location: str, other: str) -> bool:
    """Whether a location is another one, or lies in it."""
    return f"{_exactly(location)}/".startswith(f"{_exactly(other)}/")


def overlap(location: str, other: str) -> bool:
    """Whether some files would lie in both of two locations, or would have the same names in reports."""
    one, two = name_of(location), name_of(other)
    return lies_in(location, other) or lies_in(other, location) or one.startswith(two) or two.startswith(one)


def _exactly(location: str) -> str:
    return location.partition("://")[2].rstrip("/") if "://" in location else str(_folder(location))


def name_of(location: str) -> str:
    """Return the beginning of a location's paths if there are several locations. No part of it is hidden."""
    is_here = "://" not in location
    parts = (str(_folder(location)) if is_here else re.sub("^[a-z0-9]+://", "", location)).split("/")
    return "".join(f"{part.lstrip('._') or 'hidden'}/" for part in parts if part)


def _places(locations: Sequence[str]) -> tuple[_Place, ...]:
    return tuple(_place(location, name_of(location) if len(locations) > 1 else "") for location in locations)


def _folder(location: str) -> Path:
    return Path(os.path.abspath(Path(location).expanduser()))


def _place(location: str, name: str) -> _Place:
    if not location.startswith(("s3://", "s3a://")):
        root = _folder(location)
        return _Place(name, str(root), LocalFolder(root), "")
    from stedi_assets.storage.s3 import S3Bucket  # noqa: PLC0415  (loads boto3)

    parent, _, folder = location.rstrip("/").rpartition("/")
    return _Place(name, location, S3Bucket.at(parent), folder)
