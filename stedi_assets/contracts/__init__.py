"""What each table promises, and the policy it is made under.

Belongs here: tables, columns, types, keys, and the words the other layers share. Nothing here imports Spark or Dagster.
"""

from stedi_assets.contracts.policy import ConsentRecord, MatchOn, Policy, Purpose, Readings
from stedi_assets.contracts.tables import (
    LANDING_TABLES,
    QUARANTINE_TABLES,
    REQUIRED_VALUES,
    SOURCES,
    TABLES,
    UNIQUE_KEY,
    Column,
    Form,
    Source,
    Table,
    Type,
    Zone,
)

__all__ = [
    "LANDING_TABLES",
    "QUARANTINE_TABLES",
    "REQUIRED_VALUES",
    "SOURCES",
    "TABLES",
    "UNIQUE_KEY",
    "Column",
    "ConsentRecord",
    "Form",
    "MatchOn",
    "Policy",
    "Purpose",
    "Readings",
    "Source",
    "Table",
    "Type",
    "Zone",
]
