"""The SQL files here, each of which says how a table or view is computed: what each reads, and what a query needs.

DuckDB and Athena run the same files.
"""

from collections.abc import Iterable
from importlib.resources import files

from stedi_assets.contracts import LANDING_TABLES, SOURCES, TABLES, Policy, Table

QUARANTINE = SOURCES["customer"].quarantine.name
# One row: the policy, and the instant that the tables were made for.
RUN = "run"
# The pseudonym of each person: `person`, `subject_id`. No SQL file says how, because their key must not appear in SQL.
SUBJECTS = "subjects"
LANDED = (*LANDING_TABLES, QUARANTINE)

# What each table and view is computed from, in an order in which they can be made.
READS = {
    "customer_records": ("customer_landing", QUARANTINE, RUN),
    "owners": ("customer_landing", QUARANTINE, "accelerometer_landing"),
    "customer_trusted": ("customer_records", RUN),
    "accelerometer_trusted": ("accelerometer_landing", "customer_trusted", RUN),
    "customers_curated": ("customer_trusted", "accelerometer_trusted"),
    "step_trainer_trusted": ("step_trainer_landing", "owners", "customers_curated", RUN),
    SUBJECTS: ("customer_trusted",),
    "machine_learning_curated": ("step_trainer_trusted", "accelerometer_trusted", SUBJECTS, RUN),
}
NAMES = {*READS, *TABLES, QUARANTINE, RUN}


def sql_of(name: str) -> str:
    """Return the SQL that computes a table or view; for `duckdb`, what DuckDB has under other names than Athena."""
    return (files(__package__) / f"{name}.sql").read_text("utf-8")


def needed_for(names: Iterable[str], known: Iterable[str]) -> set[str]:
    """Return the names, and those of everything they are computed from; what is known is not computed."""
    known = set(known)
    return set(names).union(*(needed_for(READS[name], known) for name in set(names) - known))


def inputs_of(table: Table) -> tuple[str, ...]:
    """Return the names of the published tables from which a derived table is recomputed.

    They are landing and quarantine tables. For a table of people, who may have readings on any day, also the trusted
    readings: each of their days is recomputed by itself.
    """
    known = LANDED if table.instant else (*LANDED, *(name for name in table.inputs if TABLES[name].instant))
    needed = needed_for(READS[table.name], {*known, RUN})
    return tuple(name for name in known if name in needed)


def run_row(policy: Policy, as_of: int | None) -> dict[str, str | int | None]:
    """Return the row of `run`. `as_of` is in epoch milliseconds, None in the landing zone."""
    return {"as_of": as_of, **policy.as_dict(), "instant": policy.published_time.milliseconds}
