"""What a contract is made of: tables, their columns, and the sources that they come from."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from stedi_assets.contracts import rules
from stedi_assets.contracts.rules import Rule

_IDENTIFYING = ("user.name", "user.contact", "user.birth", "user.device", "user.account")


class Zone(str, Enum):
    """A zone of the lake; also the Dagster group of its assets."""

    LANDING = "landing"
    TRUSTED = "trusted"
    CURATED = "curated"


class Type(str, Enum):
    """A column type, by its Spark SQL name."""

    STRING = "string"
    BIGINT = "bigint"
    DOUBLE = "double"
    BINARY = "binary"
    BOOLEAN = "boolean"
    STRINGS = "array<string>"


class Form(str, Enum):
    """How a value must be written in a landing file to be accepted."""

    SERIAL_NUMBER = "serial number"
    EMAIL = "email"
    TEXT_OR_NUMBER = "text or number"
    INSTANT = "instant"
    SHARE_INSTANT = "share instant"
    NUMBER = "number"


@dataclass(frozen=True)
class Column:
    """A column. `form` is how a landing file writes it; only landing columns have one.

    `personal_data` is its kind of data, in the terms of the Fides taxonomy: `user…` is a person's, `system…` is not.
    `made_from` names the input columns that it is made from, as `table.column`; if empty, it is made from the column of
    the same name in the first input that has one. `unit` is the unit of its numbers.
    """

    name: str
    type: Type
    description: str
    required: bool = False
    personal_data: str = "user"
    form: Form | None = None
    made_from: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the lake: what a row is, its columns, and the key that no two rows share (empty: rows may repeat).

    `path` is the table's folder below the lake. `inputs` are the tables it is computed from. `policy_applies` says
    whether the policy switches decide its rows, which they do everywhere but in the landing zone. A table that is given
    to others has a data card (`has_data_card`). A table of readings is partitioned by the UTC day of column `instant`.
    """

    name: str
    zone: Zone
    path: str
    row: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    description: str = ""
    own_rules: tuple[Rule, ...] = ()
    has_data_card: bool = False
    instant: str | None = None

    @property
    def policy_applies(self) -> bool:
        """Whether the policy switches decide this table's rows."""
        return self.zone is not Zone.LANDING

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names, in contract order."""
        return tuple(column.name for column in self.columns)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule of the table: those that follow from its columns and key, and its own."""
        required = tuple(column.name for column in self.columns if column.required)
        key = (rules.unique_key(self.key),) if self.key else ()
        return (rules.AS_PUBLISHED, rules.required_values(required), *key, *self.own_rules)

    @property
    def identifies_people(self) -> bool:
        """Whether a column names or describes a person, rather than what a sensor measured."""
        return any(column.personal_data.startswith(_IDENTIFYING) for column in self.columns)


@dataclass(frozen=True)
class Source:
    """A source of landing files: its raw folder, and its tables of accepted records, quarantined records, and files."""

    name: str
    landing: Table
    quarantine: Table
    files: Table

    @property
    def raw_path(self) -> str:
        """The folder of the raw files below the lake."""
        return f"{self.name}/landing"

    @property
    def record_columns(self) -> tuple[Column, ...]:
        """The columns that a record itself carries: the landing table's without `_source_file`."""
        return tuple(column for column in self.landing.columns if column.form is not None)

    @cached_property
    def field_names(self) -> frozenset[str]:
        """The names of a record's fields, in lower case."""
        return frozenset(column.name.lower() for column in self.record_columns)

    @cached_property
    def required_names(self) -> frozenset[str]:
        """The names of the fields that a record must have, in lower case."""
        return frozenset(column.name.lower() for column in self.record_columns if column.required)
