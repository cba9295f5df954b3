"""The three switches that decide whose readings are used, and the purpose that allows the unusual ones."""

from dataclasses import asdict, dataclass
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
    """How device readings meet phone readings."""

    CUSTOMER_AND_TIMESTAMP = "customer_and_timestamp"
    TIMESTAMP = "timestamp"


class Purpose(str, Enum):
    """What a lake is for. Only a comparison lake may hold tables that use or mix people without their consent."""

    PRODUCTION = "production"
    COMPARISON = "comparison"


@dataclass(frozen=True)
class Policy:
    """The policy that trusted and curated tables are made under. The defaults are the only ones fit for production."""

    consent_record: ConsentRecord = ConsentRecord.LATEST
    readings: Readings = Readings.ALL
    match_on: MatchOn = MatchOn.CUSTOMER_AND_TIMESTAMP

    @property
    def needs_comparison(self) -> bool:
        """Whether this policy uses people who withdrew, or mixes people."""
        return self.consent_record is ConsentRecord.ANY or self.match_on is MatchOn.TIMESTAMP

    def as_dict(self) -> dict[str, str]:
        """Return the switches by name, as a pointer keeps them."""
        return {name: value.value for name, value in asdict(self).items()}
