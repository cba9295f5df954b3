"""What a landing table's snapshot records of the delivery manifests that lay beside the raw files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stedi_assets.tables.snapshots import Snapshot

# The name of the report in `Snapshot.delivery`.
_KEPT_AS = "manifests"


@dataclass(frozen=True)
class Mismatch:
    """A file that is not as a manifest says, or a manifest that cannot be used, and what is wrong with it.

    `file` and `manifest` are names of files in reports; `manifest` is empty if the file is itself the manifest.
    """

    file: str
    trouble: str
    manifest: str = ""

    @property
    def details(self) -> str:
        """What is wrong with the file, and which manifest lists it."""
        return f"{self.trouble} (listed in {self.manifest})" if self.manifest else self.trouble

    @property
    def in_words(self) -> str:
        """The file, what is wrong with it, and which manifest lists it."""
        return f"{self.file}: {self.details}"


@dataclass(frozen=True)
class ManifestReport:
    """How a source's files compare with what its manifests say.

    `seen` is a digest of the manifests that were read, empty if there were none; `unusable` is how many of them cannot
    be used. `listed` is how many files the others list, and `differing` how many of those do not match. `named` are the
    first of both.
    """

    seen: str = ""
    unusable: int = 0
    listed: int = 0
    differing: int = 0
    named: tuple[Mismatch, ...] = ()

    def as_delivery(self) -> dict[str, object]:
        """Return it as a part of `Snapshot.delivery`."""
        return {_KEPT_AS: asdict(self)}


def read_manifest_report(snapshot: Snapshot) -> ManifestReport:
    """Return what a landing table's snapshot records of manifests. One from before there were any records nothing."""
    kept: Mapping[str, Any] = snapshot.delivery.get(_KEPT_AS, {})
    return ManifestReport(**{**kept, "named": tuple(Mismatch(**found) for found in kept.get("named", ()))})
