"""What each table promises, and the policy it is made under.

Belongs here: tables, columns, types, keys, rules, and the words the other layers share. Nothing here imports Spark or
Dagster.
"""

from stedi_assets.contracts.model import Column, Form, Source, Table, Type, Zone
from stedi_assets.contracts.policy import ConsentRecord, MatchOn, Policy, PublishedTime, Purpose, Readings
from stedi_assets.contracts.rules import Rule, Severity
from stedi_assets.contracts.sources import SOURCES
from stedi_assets.contracts.tables import ALL_TABLES, LANDING_TABLES, QUARANTINE_TABLES, TABLES

__all__ = [
    "ALL_TABLES",
    "LANDING_TABLES",
    "QUARANTINE_TABLES",
    "SOURCES",
    "TABLES",
    "Column",
    "ConsentRecord",
    "Form",
    "MatchOn",
    "Policy",
    "PublishedTime",
    "Purpose",
    "Readings",
    "Rule",
    "Severity",
    "Source",
    "Table",
    "Type",
    "Zone",
]
