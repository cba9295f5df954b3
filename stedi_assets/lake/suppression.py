"""The list of erased people, `_suppressed.json`: keyed hashes that keep them out of every later landing table.

It holds no personal data, only hashes under the suppression key, and a check value that tells whether a key is the
right one: under another key the list would suppress nobody, so that a run with one refuses.
"""

import hashlib
import hmac
import json
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import Source
from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.keys import hmac_pads
from stedi_assets.lake.layout import SUPPRESSED, Lake
from stedi_assets.transforms import suppression as theirs

_CHECKED = b"the suppression list of a STEDI lakehouse"


@dataclass(frozen=True)
class Erased:
    """An erased person: since when, and whether back. Instants are epoch milliseconds; the others keyed hashes.

    `devices` are those that only this person held, `readings` those of shared devices from when the person's phone
    was active. `back_since` is a consent dated after the erasure.
    """

    erased_at: int
    back_since: int | None = None
    devices: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SuppressionList:
    """The erased people by their keyed hashes, and the key."""

    people: dict[str, Erased]
    key: bytes = field(repr=False)
    version: str | None = field(default=None, compare=False, repr=False)

    def pads(self, spark: SparkSession) -> DataFrame:
        """Return the key as Spark gets it."""
        return hmac_pads(spark, self.key)

    def hashes(self, spark: SparkSession) -> DataFrame:
        """Return every hash that is suppressed: `hash`, `back_since`."""
        rows = [
            (hashed, erased.back_since)
            for person, erased in self.people.items()
            for hashed in (person, *erased.devices, *erased.readings)
        ]
        return _frame(spark, "back_since", rows)

    def accepted(self, rows: DataFrame, source: Source) -> DataFrame:
        """Return the accepted records without those of erased people."""
        spark = rows.sparkSession
        return theirs.unsuppressed(rows, source, self.pads(spark), self.hashes(spark))

    def quarantined(self, rows: DataFrame, source: Source) -> DataFrame:
        """Return the quarantined records without those that name erased people."""
        spark = rows.sparkSession
        return theirs.unsuppressed_quarantine(rows, source, self.pads(spark), self.hashes(spark))

    def with_those_back(self, customers: DataFrame, as_of: int) -> "SuppressionList":
        """Return the list with the erased people who have consented again, by customers' records that have come."""
        spark = customers.sparkSession
        erased = _frame(spark, "erased_at", [(person, found.erased_at) for person, found in self.people.items()])
        back = theirs.came_back(customers, self.pads(spark), erased, as_of).collect()
        since = {row["hash"]: row["back_since"] for row in back}
        people = {person: replace(found, back_since=since.get(person)) for person, found in self.people.items()}
        return replace(self, people=people)


def read_suppressed(lake: Lake, key: Callable[[], bytes]) -> SuppressionList | None:
    """Return the list, None where nobody was erased. `key` gives the suppression key.

    Raises `LakeError` where the key is not the one that the list was begun with.
    """
    stored = lake.storage.read(SUPPRESSED)
    if stored is None:
        return None
    path = lake.storage.shown(SUPPRESSED)
    try:
        found = json.loads(stored.content)
        people = {
            person: Erased(**{**entry, "devices": tuple(entry["devices"]), "readings": tuple(entry["readings"])})
            for person, entry in found["people"].items()
        }
        check = found["check"]
    except (ValueError, TypeError, KeyError) as error:
        msg = f"The list of erased people, {path}, is damaged. Restore it; nothing can be landed without it."
        raise LakeError(msg) from error
    secret = key()
    if not hmac.compare_digest(check, _check_value(secret)):
        msg = (
            f"The suppression key is not the one that the list of erased people, {path}, was made with. Set "
            "STEDI_SUPPRESSION_KEY to that one: under another, people who were erased would be let in again."
        )
        raise LakeError(msg)
    return SuppressionList(people, secret, stored.version)


def change_suppressed(
    lake: Lake, key: Callable[[], bytes], change: Callable[[SuppressionList], SuppressionList]
) -> SuppressionList:
    """Change the list, which is begun if there is none, and return it. Raises as `read_suppressed` does."""
    while True:
        before = read_suppressed(lake, key) or SuppressionList({}, key())
        after = change(before)
        people = {person: asdict(erased) for person, erased in after.people.items()}
        content = json.dumps({"check": _check_value(after.key), "people": people}, indent=1).encode()
        # Where somebody else has changed it meanwhile, theirs is changed.
        if after.people == before.people or lake.storage.replace(SUPPRESSED, content, before.version):
            return after


def person_hash(email: str, key: bytes) -> str:
    """Return what stands for a person on the list: the keyed hash of the e-mail, normalised as in the tables."""
    start, end = 0, len(email)
    while start < end and _is_edge(email[start]):
        start += 1
    while end > start and _is_edge(email[end - 1]):
        end -= 1
    return hmac.new(key, email[start:end].lower().encode(), hashlib.sha256).hexdigest()


def _is_edge(character: str) -> bool:
    return character.isspace() or unicodedata.category(character)[0] in "ZC"


def _check_value(key: bytes) -> str:
    return hmac.new(key, _CHECKED, hashlib.sha256).hexdigest()


def _frame(spark: SparkSession, number: str, rows: Iterable[tuple[str, int | None]]) -> DataFrame:
    columns = list(zip(*rows, strict=True)) or [(), ()]
    schema = pa.schema([("hash", pa.string()), (number, pa.int64())])
    return spark.createDataFrame(pa.table([list(column) for column in columns], schema=schema))
