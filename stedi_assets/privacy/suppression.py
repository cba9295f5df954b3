"""The list of erased people, `_suppressed.json`: keyed hashes that keep them out of every later landing table.

It holds no personal data, only hashes under the suppression key, and a check value that tells whether a key is the
right one: under another key the list would suppress nobody, so a run with one refuses to go on. The list only grows.
Each receipt of an erasure says how many people were on it, and when, so that a lost or old list is recognised.
"""

import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import Source, Type
from stedi_assets.ingest.identity import person_of
from stedi_assets.privacy.keys import hmac_pads
from stedi_assets.privacy.known_keys import keep_suppression_key, require_suppression_check, suppression_check
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.interface import Small
from stedi_assets.storage.lake import RECEIPTS, SUPPRESSED, Lake
from stedi_assets.tables.arrow_types import ARROW_TYPES
from stedi_assets.transforms import suppression as theirs

_HASH = {"hash": Type.STRING}


@dataclass(frozen=True)
class Erased:
    """An erased person: since when, and whether they are back. Instants are epoch milliseconds; the rest, keyed hashes.

    `devices` are those that nobody else holds. `shared` are the other devices, each with the instant from which others
    have it, 0 if they always had; `readings` are what devices may have taken while the person's phone was active.
    `active_until` is when the person's phone was last active before the erasure. `back_since` is when a consent from
    after it was recorded.
    `known_consent` is one that was known at the erasure and lay ahead: it brings nobody back. `seen_consent` is the
    latest in a record that has come since. `back_from` is when one that still lies ahead will bring the person back, 0
    if there is none.
    """

    erased_at: int
    back_since: int | None = None
    devices: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    shared: dict[str, int] = field(default_factory=dict)
    known_consent: int = 0
    active_until: int = 0
    seen_consent: int = 0
    back_from: int = 0

    @property
    def all_devices(self) -> tuple[str, ...]:
        """All devices that the person is known to have held."""
        return (*self.devices, *self.shared)


@dataclass(frozen=True)
class SuppressionList:
    """The erased people by their keyed hashes, and the key."""

    people: dict[str, Erased]
    key: bytes = field(repr=False)
    version: str | None = field(default=None, compare=False, repr=False)

    @property
    def has_devices(self) -> bool:
        """Whether anybody on the list held a device."""
        return any(found.all_devices for found in self.people.values())

    def pads(self, spark: SparkSession) -> DataFrame:
        """Return the key in the form that Spark gets."""
        return hmac_pads(spark, self.key)

    def hashes(self, spark: SparkSession, *, of_dated: bool = True) -> DataFrame:
        """Return every hash that is suppressed, and until when: `hash`, `back_since`.

        Shared devices, and single readings, are among them for records with a date that can be trusted.
        """
        rows = [
            (hashed, erased.back_since)
            for person, erased in self.people.items()
            for hashed in (person, *erased.devices, *(erased.readings if of_dated else ()))
        ]
        until = [
            (device, min(since, erased.back_since or since))
            for erased in self.people.values()
            for device, since in erased.shared.items()
        ]
        return _frame(spark, {"hash": Type.STRING, "back_since": Type.BIGINT}, [*rows, *(until if of_dated else ())])

    def accepted(self, rows: DataFrame, source: Source) -> DataFrame:
        """Return the accepted records without those of erased people."""
        spark = rows.sparkSession
        return theirs.unsuppressed(rows, source, self.pads(spark), self.hashes(spark))

    def quarantined(self, rows: DataFrame, source: Source) -> DataFrame:
        """Return the quarantined records without those that may name erased people."""
        spark = rows.sparkSession
        return theirs.unsuppressed_quarantine(rows, source, self.pads(spark), self.hashes(spark, of_dated=False))

    def quarantined_of_erased(self, rows: DataFrame, source: Source) -> DataFrame:
        """Return the quarantined records that may name erased people."""
        spark = rows.sparkSession
        return theirs.quarantined_of_erased(rows, source, self.pads(spark), self.hashes(spark, of_dated=False))

    def with_those_back(self, customers: DataFrame, as_of: int) -> "SuppressionList":
        """Return the list, with the erased people marked who have consented again in these customers' records."""
        spark = customers.sparkSession
        columns = {"hash": Type.STRING, "erased_at": Type.BIGINT, "known_consent": Type.BIGINT}
        known = [(person, found.erased_at, found.known_consent) for person, found in self.people.items()]
        erased = _frame(spark, columns, known)
        # A row for each erased person who is in these records.
        found = {row["hash"]: row for row in theirs.came_back(customers, self.pads(spark), erased, as_of).collect()}

        def with_theirs(person: str, erased: Erased) -> Erased:
            row = found.get(person) or {"back_since": None, "back_from": None, "latest_consent": None}
            seen = max(erased.seen_consent, row["latest_consent"] or 0)
            back_from = 0 if row["back_since"] else row["back_from"] or 0
            return replace(erased, back_since=row["back_since"], back_from=back_from, seen_consent=seen)

        return replace(self, people={person: with_theirs(person, erased) for person, erased in self.people.items()})

    def with_devices(self, customers: DataFrame, quarantined: DataFrame | None) -> "SuppressionList":
        """Return the list with the devices that these customers' records give erased people, and who else holds them.

        Whoever consents to nothing holds a device all the same; whoever is erased and not back does not.
        """
        spark = customers.sparkSession
        people = _frame(spark, _HASH, [(person,) for person in self.people])
        known = _frame(spark, _HASH, [(device,) for found in self.people.values() for device in found.all_devices])
        held = theirs.holders_of_devices(customers, quarantined, self.pads(spark), people, known)
        holders: dict[str, dict[str, int]] = {}
        # Keyed hashes, of the devices of erased people alone.
        for person, device, since in held.select("person", "device", "since").collect():
            holders.setdefault(device, {}).setdefault(person, since)
            holders[device][person] = min(since, holders[device][person])
        gone = {person for person, found in self.people.items() if found.back_since is None}

        def with_theirs(person: str, found: Erased) -> Erased:
            devices = {*found.all_devices, *(device for device, held_by in holders.items() if person in held_by)}
            shared = {}
            for device in devices:
                others = [since for other, since in holders.get(device, {}).items() if other not in {*gone, person}]
                if others:
                    # Of a device that was the person's alone, all readings until somebody else has it. Until
                    # `active_until` they are the person's whatever others say: the phone's files may be gone by now.
                    first = max(min(others), found.active_until + 1) if device in found.all_devices else 0
                    shared[device] = min(first, found.shared.get(device, first))
            alone = tuple(sorted(devices - shared.keys()))
            return replace(found, devices=alone, shared=dict(sorted(shared.items())))

        return replace(self, people={person: with_theirs(person, found) for person, found in self.people.items()})

    def with_readings(self, phone_readings: DataFrame) -> "SuppressionList":
        """Return the list with what their devices may have taken while erased people's phones took these readings.

        Of a device that is nobody else's, all is suppressed until `active_until`; of whoever is back, nothing since.
        """
        spark = phone_readings.sparkSession
        held = [
            (person, device, found.active_until if device in found.devices else 0, found.back_since)
            for person, found in self.people.items()
            for device in found.all_devices
        ]
        columns = {"person": Type.STRING, "device": Type.STRING, "after": Type.BIGINT, "until": Type.BIGINT}
        devices = _frame(spark, columns, held)
        readings: dict[str, set[str]] = {}
        for person, reading in theirs.hashes_while_active(phone_readings, self.pads(spark), devices).collect():
            readings.setdefault(person, set()).add(reading)
        more = {
            person: replace(self.people[person], readings=tuple(sorted(hashes | {*self.people[person].readings})))
            for person, hashes in readings.items()
        }
        return replace(self, people={**self.people, **more})

    def instants(self, stored: DataFrame, source: Source) -> DataFrame:
        """Return when the readings of a landing table were taken that the list suppresses: `instant`."""
        spark = stored.sparkSession
        keys = [(key,) for person, found in self.people.items() for key in (person, *found.all_devices)]
        hashes, keys_of_list = self.hashes(spark), _frame(spark, _HASH, keys)
        return theirs.suppressed_instants(stored, source, self.pads(spark), hashes, keys_of_list)


def read_suppressed(lake: Lake, key: Callable[[], bytes]) -> SuppressionList | None:
    """Return the list, or None if nobody was erased. `key` returns the suppression key.

    Raises `WrongKey` if the list was begun with another key, and what `require_suppressed` raises.
    """
    if (found := _read(lake)) is None:
        return None
    stored, people, check = found
    secret = key()
    require_suppression_check(lake, secret, check)
    return SuppressionList(people, secret, stored.version)


def digest_of(people: Mapping[str, Erased], now: int, *, with_readings: bool) -> str:
    """Return a digest of the list of erased people. It is made of keyed hashes, and tells nothing of anybody.

    It changes when `now`, in epoch milliseconds, reaches the instant from which somebody is back. `with_readings`, it
    changes with single readings, too: more of those suppress more, and let nothing in.
    """
    unsaid: dict[str, Any] = {"seen_consent": 0} | ({} if with_readings else {"readings": ()})

    def as_of_now(erased: Erased) -> dict[str, Any]:
        return asdict(replace(erased, **unsaid, back_from=erased.back_from if erased.back_from <= now else 0))

    listed = {person: as_of_now(erased) for person, erased in people.items()}
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def digest_for(lake: Lake, source: Source) -> str:
    """Return the digest of what the stored list tells of a source. Raises as `require_suppressed`."""
    found = _read(lake)
    now = int(time.time() * 1000)
    return digest_of(found[1] if found else {}, now, with_readings=source.name == "step_trainer")


def require_suppressed(lake: Lake) -> None:
    """Raise `LakeError` if the list is gone although people have been erased, or is damaged or an old one."""
    _read(lake)


def change_suppressed(
    lake: Lake, key: Callable[[], bytes], change: Callable[[SuppressionList], SuppressionList]
) -> SuppressionList:
    """Change the list, which is begun if there is none, and return it. Raises as `read_suppressed`."""
    while True:
        before = read_suppressed(lake, key) or SuppressionList({}, key())
        after = change(before)
        people = {person: asdict(erased) for person, erased in after.people.items()}
        content = json.dumps({"check": suppression_check(after.key), "people": people}, indent=1).encode()
        if after.people == before.people:
            return after
        keep_suppression_key(lake, after.key)
        # If another process has changed it meanwhile, change its list.
        if lake.storage.replace(SUPPRESSED, content, before.version):
            return after


def _read(lake: Lake) -> tuple[Small, dict[str, Erased], str] | None:
    """Return the list as stored: the file, the people and the check value; None if nobody was erased."""
    stored, path = lake.storage.read(SUPPRESSED), lake.storage.shown(SUPPRESSED)
    people: dict[str, Erased] = {}
    check = ""
    if stored is not None:
        try:
            found = json.loads(stored.content)
            people = {person: _entry(stored_entry) for person, stored_entry in found["people"].items()}
            check = found["check"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            msg = f"The list of erased people, {path}, is damaged. Restore it; nothing can be landed without it."
            raise LakeError(msg) from error
    erased, last = _last_erasure(lake)
    if len(people) < erased or last > max((entry.erased_at for entry in people.values()), default=0):
        what = "is missing" if stored is None else "is an old one, or another lake's"
        lacks = f"{erased:,}, and it names {len(people):,}" if len(people) < erased else "an erasure that it lacks"
        msg = (
            f"The list of erased people, {path}, {what}: the receipts in {lake.storage.shown(RECEIPTS)} know of "
            f"{lacks}. Without it people who were erased would be let in again, so nothing is landed or erased. "
            f"Restore the newest {SUPPRESSED} from a backup; there is no other way."
        )
        raise LakeError(msg)
    return (stored, people, check) if stored is not None else None


def _entry(stored: Mapping[str, Any]) -> Erased:
    entry: dict[str, Any] = {name: tuple(found) if isinstance(found, list) else found for name, found in stored.items()}
    return Erased(**entry)


def _last_erasure(lake: Lake) -> tuple[int, int]:
    """Return how many people were on the list after the newest erasure by its receipt, and when it was.

    That is in epoch milliseconds. A receipt that says neither counts as one person, at 0.
    """
    # Receipts are named by when the erasure began.
    found = (path.rpartition("/") for path in lake.storage.files(RECEIPTS) if path.endswith(".json"))
    newest = max((name for folder, _, name in found if folder == RECEIPTS), default=None)
    if newest is None:
        return 0, 0
    receipt = lake.storage.read(f"{RECEIPTS}/{newest}")
    people = at = 0
    with contextlib.suppress(ValueError, TypeError, KeyError):
        said = json.loads(receipt.content if receipt else b"")
        people = int(said["people_on_the_list"])
        at = int(datetime.fromisoformat(said["erased_at"]).timestamp() * 1000)
    return max(1, people), at


def person_hash(email: str, key: bytes) -> str:
    """Return a person's hash on the list: the keyed hash of the key that the landing gate stores.

    Raises `LakeError` if the text is not one e-mail address.
    """
    person = person_of(email)
    if person is None:
        msg = "That is not one e-mail address. Write one, and nothing else, to standard input."
        raise LakeError(msg)
    return hmac.new(key, person.encode(), hashlib.sha256).hexdigest()


def _frame(spark: SparkSession, columns: Mapping[str, Type], rows: Sequence[tuple[object, ...]]) -> DataFrame:
    found = [pa.array([row[place] for row in rows], ARROW_TYPES[kind]) for place, kind in enumerate(columns.values())]
    # Without rows, Spark Connect cannot tell the types from the table.
    types = ", ".join(f"{name} {kind.value}" for name, kind in columns.items())
    return spark.createDataFrame(pa.table(found, names=list(columns)), types)
