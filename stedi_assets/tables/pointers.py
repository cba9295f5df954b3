"""What a table's `_current.json` holds: the pointer to its current snapshot."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 2


@dataclass(frozen=True)
class Replaced:
    """A snapshot that was current once, and until when."""

    snapshot: str
    until: str


@dataclass(frozen=True)
class Pointer:
    """What `_current.json` says: which snapshot is current, and what it was made of.

    `as_of` is in epoch milliseconds, null for landing tables; so is `policy`. `inputs` are snapshot ids by table; a
    landing table's is that of the quarantine that belongs to it. `previous_rows` are those of the last run before,
    `rows_of_run` those that the run has made: people may have left since.
    `fence` is the snapshot of customer_trusted after whose withdrawals the table was looked through. `switched_at` is
    when the pointer was written, so that none is ever written twice alike. `version` is not kept: it is that of the
    file the pointer was read from.
    """

    snapshot: str
    rows: int
    run_id: str
    published_at: str
    purpose: str
    as_of: int | None = None
    policy: dict[str, str] | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    previous_rows: int | None = None
    rows_of_run: int | None = None
    replaced: tuple[Replaced, ...] = ()
    fence: str | None = None
    switched_at: str | None = None
    format: int = FORMAT
    version: str | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the pointer as JSON holds it."""
        return {name: value for name, value in asdict(self).items() if name != "version"}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], version: str | None = None) -> "Pointer":
        """Return the pointer that JSON holds. Raises `TypeError` or `KeyError` where it is none."""
        return cls(**{**found, "replaced": tuple(Replaced(**old) for old in found["replaced"]), "version": version})
