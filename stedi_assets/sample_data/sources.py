"""The three sources, and how each of them spells a record as JSON."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A source, and the columns that its broken records change."""

    name: str
    identity: str
    instant: str
    number: str
    separators: tuple[str, str]
    """What stands between two values, and between a key and its value."""


CUSTOMER = Source("customer", "email", "registrationDate", "lastUpdateDate", (", ", ": "))
PHONE = Source("accelerometer", "user", "timestamp", "x", (",", ":"))
DEVICE = Source("step_trainer", "serialNumber", "sensorReadingTime", "distanceFromObject", (",", ":"))
SOURCES = (CUSTOMER, PHONE, DEVICE)

Values = dict[str, str]
"""A record: keys, and values as JSON spells them. Lone surrogates stand for bytes that are not UTF-8."""


def as_json(source: Source, values: Values) -> bytes:
    """Spell a record as its source does, without a line break."""
    between, after_key = source.separators
    text = "{" + between.join(f'"{key}"{after_key}{value}' for key, value in values.items()) + "}"
    return text.encode(errors="surrogateescape")


def values_of(line: bytes) -> Values:
    """Read a good line back."""
    return {key: json.dumps(value) for key, value in json.loads(line).items()}
