"""The switches that decide whose readings are used and how exactly, and the purpose that allows the unusual ones."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum


class ConsentRecord(str, Enum):
    """Which record of a person decides consent."""

    LATEST = "latest"
    ANY = "any"


class Readings(str, Enum):
    """Whether readings from before the consent instant are used."""

    ALL = "all"
    SINCE_CONSENT = "since_consent"


class MatchOn(str, Enum):
    """How device readings are matched with phone readings."""

    CUSTOMER_AND_TIMESTAMP = "customer_and_timestamp"
    TIMESTAMP = "timestamp"


class PublishedTime(str, Enum):
    """How exact the instants are in the table that a model is trained on."""

    MILLISECOND = "millisecond"
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def milliseconds(self) -> int:
        """How many milliseconds are published as one instant, the first of them."""
        return {"millisecond": 1, "second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}[self.value]


class Purpose(str, Enum):
    """What a lake is for. Only a comparison lake may hold tables that use or mix people without their consent."""

    PRODUCTION = "production"
    COMPARISON = "comparison"


@dataclass(frozen=True)
class Policy:
    """The policy that trusted and curated tables are made under. Only the defaults are fit for production."""

    consent_record: ConsentRecord = ConsentRecord.LATEST
    readings: Readings = Readings.ALL
    match_on: MatchOn = MatchOn.CUSTOMER_AND_TIMESTAMP
    published_time: PublishedTime = PublishedTime.MILLISECOND

    @property
    def needs_comparison(self) -> bool:
        """Whether this policy uses people who withdrew, or mixes people."""
        return self.consent_record is ConsentRecord.ANY or self.match_on is MatchOn.TIMESTAMP

    @property
    def is_default(self) -> bool:
        """Whether every switch that decides whose readings are used is at its default."""
        return replace(self, published_time=PublishedTime.MILLISECOND) == Policy()

    def has(self, value: ConsentRecord | Readings | MatchOn) -> bool:
        """Whether a switch is set to a value."""
        return value in (self.consent_record, self.readings, self.match_on)

    @classmethod
    def from_dict(cls, found: Mapping[str, str] | None) -> "Policy":
        """Return the policy from a snapshot's summary; the default for one without any, as in the landing zone."""
        if found is None:
            return cls()
        return cls(
            ConsentRecord(found["consent_record"]),
            Readings(found["readings"]),
            MatchOn(found["match_on"]),
            PublishedTime(found.get("published_time", PublishedTime.MILLISECOND)),
        )

    def as_dict(self) -> dict[str, str]:
        """Return the switches by name, as a snapshot keeps them."""
        return {name: value.value for name, value in asdict(self).items()}
