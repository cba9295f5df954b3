"""DuckDB, with the tables and views that a query needs, and no access to anything else."""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from stedi_assets.contracts import SOURCES, TABLES, Policy

if TYPE_CHECKING:
    import duckdb

QUARANTINE = SOURCES["customer"].quarantine.name
_RUN, _SUBJECTS = "run", "subjects"

# What each table and view is computed from, in an order in which they can be made. Its `.sql` file says how; only the
# subjects have none, because their key must not appear in SQL.
_READS = {
    "customer_records": ("customer_landing", QUARANTINE, _RUN),
    "owners": ("customer_landing", QUARANTINE, "accelerometer_landing"),
    "customer_trusted": ("customer_records", _RUN),
    "accelerometer_trusted": ("accelerometer_landing", "customer_trusted", _RUN),
    "customers_curated": ("customer_trusted", "accelerometer_trusted"),
    "step_trainer_trusted": ("step_trainer_landing", "owners", "customers_curated", _RUN),
    _SUBJECTS: ("customer_trusted",),
    "machine_learning_curated": ("step_trainer_trusted", "accelerometer_trusted", _SUBJECTS, _RUN),
}
_NAMES = {*_READS, *TABLES, QUARANTINE, _RUN}


class SecondEngineFailed(Exception):
    """DuckDB could not answer. Its message is left out: it can quote personal data."""

    def __init__(self, table: str, kind: str) -> None:
        """Name the table and the class of DuckDB's error."""
        super().__init__(
            f"{table} could not be checked by the second engine: DuckDB stopped with {kind}. The published table stays "
            "as it is. See that the tables it is made of are whole (check_lakehouse), then run again."
        )
        self.table, self.kind = table, kind


@dataclass(frozen=True)
class RuleContext:
    """What rules are evaluated with: tables by name, and the run they were made in.

    `table` opens a table. `as_of` is in epoch milliseconds, None in the landing zone. `key` returns the secret behind
    `subject_id`; it is called only if subjects are needed.
    """

    table: Callable[[str], ds.Dataset]
    policy: Policy
    as_of: int | None
    key: Callable[[], bytes] = field(repr=False)


@contextmanager
def engine_for(table: str) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Open a DuckDB that reaches only what it is given, with a private folder for what memory cannot hold.

    Raises `SecondEngineFailed`, which names `table`, if DuckDB stops while it is used.
    """
    import duckdb  # noqa: PLC0415  (loads in 0.2 s, and only where something is counted)

    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with (
            TemporaryDirectory(prefix="stedi-") as folder,
            duckdb.connect(":memory:", config={**config, "temp_directory": folder}) as engine,
        ):
            engine.execute("SET enable_external_access = false")
            engine.execute(_sql("duckdb"))
            yield engine
    except duckdb.Error as error:
        raise SecondEngineFailed(table, type(error).__name__) from None


def provide(
    engine: "duckdb.DuckDBPyConnection", queries: Iterable[str], context: RuleContext, as_published: Iterable[str]
) -> None:
    """Provide everything that queries name: some tables as they are published, every other table and view computed."""
    known = {*as_published, _RUN}
    needed = _needed({name for query in queries for name in re.findall(r"\w+", query)} & _NAMES, known)
    run = {"as_of": context.as_of, **context.policy.as_dict(), "instant": context.policy.published_time.milliseconds}
    engine.register(_RUN, pa.Table.from_pylist([run]))
    for name in sorted(needed & known - {_RUN}):
        engine.register(name, context.table(name))
    for name in (name for name in _READS if name in needed - known):
        if name == _SUBJECTS:
            engine.register(_SUBJECTS, _subjects(engine, context.key()))
        else:
            engine.execute(f"CREATE TABLE {name} AS {_sql(name)}")


def read_by(name: str, tables: Iterable[str]) -> set[str]:
    """Return which of the tables a computed one is made from, directly or not."""
    return _needed(set(_READS[name]), {*tables, _RUN}) & set(tables)


def _needed(names: set[str], as_published: set[str]) -> set[str]:
    """Return the names, and those of everything they are computed from."""
    return names.union(*(_needed(set(_READS[name]), as_published) for name in names - as_published))


def _subjects(engine: "duckdb.DuckDBPyConnection", key: bytes) -> pa.Table:
    """Return each person of customer_trusted with their pseudonym: `person`, `subject_id`."""
    people = [person for (person,) in engine.execute("SELECT email FROM customer_trusted").fetchall()]
    pseudonyms = [hmac.digest(key, person.encode(), hashlib.sha256).hex() for person in people]
    return pa.table({"person": pa.array(people, pa.string()), "subject_id": pa.array(pseudonyms, pa.string())})


def _sql(name: str) -> str:
    return (files(__package__) / f"{name}.sql").read_text("utf-8")
