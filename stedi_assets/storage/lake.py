"""Which folder of the lake holds what."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stedi_assets.contracts import SOURCES
from stedi_assets.storage.catalog_address import CatalogAddress, CatalogKind
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.interface import RawFiles, Storage
from stedi_assets.storage.landing import LandingElsewhere
from stedi_assets.storage.local import LocalFolder

NAMESPACE = "stedi"

PURPOSE = "_purpose.json"
KEYS = "_keys.json"
SUPPRESSED = "_suppressed.json"
RECEIPTS = "_erasures"
# The last results of each table's checks. Not in its own folder, where every file is one of Iceberg's.
CHECKS = "_checks"
# The catalog of a lake that keeps it in SQLite.
DATABASE = "catalog.db"

POSSIBLE_LOCATIONS = "Use a folder, or s3://bucket/prefix."
_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:/")


@dataclass(frozen=True)
class Lake:
    """A lake: tables and raw files, in the folders that the contracts name.

    `namespace` is that of its tables in the Iceberg catalog, `catalog`. `elsewhere` has the raw files of sources that
    deliver to other places.
    """

    storage: Storage
    namespace: str = NAMESPACE
    catalog: CatalogAddress = field(default_factory=CatalogAddress)
    elsewhere: LandingElsewhere | None = None

    @classmethod
    def at(
        cls,
        location: str,
        *,
        kms_key: str | None = None,
        namespace: str = NAMESPACE,
        catalog: CatalogAddress | None = None,
        s3: Callable[[], Any] | None = None,
        landing: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> "Lake":
        """Return the lake at a folder, made absolute, or at `s3://bucket/prefix`.

        On S3, `kms_key` encrypts what is written, and `s3` makes the boto3 client; by default the standard chain does.
        `namespace` is that of the tables in the catalog; in Glue, the database. `catalog` defaults to a file in the
        folder, and to Glue for a lake on S3. `landing` are the locations of raw files that do not lie in the lake, by
        the folder of the lake that they stand for.

        Raises `LakeError` if the location cannot be a lake.
        """
        if not is_possible(location):
            msg = f"STEDI_LAKE={location} is not possible. {POSSIBLE_LOCATIONS}"
            raise LakeError(msg)
        if is_on_s3(location):
            # Loaded only for lakes on S3: boto3 takes a second.
            from stedi_assets.storage.s3 import S3Bucket, s3_client  # noqa: PLC0415  (loads boto3)

            storage: Storage = S3Bucket.at(location, kms_key, s3 or s3_client)
        else:
            root = Path(location).expanduser().absolute()
            if root.exists() and not root.is_dir():
                msg = f"STEDI_LAKE={location} is a file, not a folder. Set it to the folder that holds the lake."
                raise LakeError(msg)
            storage = LocalFolder(root)
        elsewhere = LandingElsewhere.of(storage, landing) if landing else None
        return cls(storage, namespace, catalog or default_catalog(location), elsewhere)

    @property
    def location(self) -> str:
        """The lake's location, for people."""
        return self.storage.location

    @property
    def raw(self) -> RawFiles:
        """The raw files."""
        return self.elsewhere or self.storage

    def has_raw_bytes(self, at_least: int) -> bool:
        """Whether the raw files of all sources have so many bytes."""
        sizes = (entry.size for source in SOURCES.values() for entry in self.raw.entries(source.raw_path))
        return any(total >= at_least for total in accumulate(sizes))


def default_catalog(location: str) -> CatalogAddress:
    """Return the catalog of a lake whose settings name none."""
    return CatalogAddress(CatalogKind.GLUE.value if is_on_s3(location) else CatalogKind.SQLITE.value)


def is_on_s3(location: str) -> bool:
    """Whether a location names a lake on S3."""
    return location.startswith(("s3://", "s3a://"))


def lies_in_folders(location: str, landing: Mapping[str, Sequence[str]]) -> bool:
    """Whether a lake and its raw files are all in folders. `landing` is as for `Lake.at`."""
    return not any(map(is_on_s3, [location, *chain.from_iterable(landing.values())]))


def is_possible(location: str) -> bool:
    """Whether a location can be a lake. One with another scheme than S3's would become a folder of that name."""
    return is_on_s3(location) or not _SCHEME.match(location)
