"""DuckDB, with the tables and views that a query needs, and no access to anything else."""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from stedi_assets.contracts import Policy
from stedi_assets.spark.scratch import begin_scratch
from stedi_assets.verification.queries import NAMES, READS, RUN, SUBJECTS, needed_for, run_row, sql_of

if TYPE_CHECKING:
    import duckdb


class SecondEngineFailed(Exception):
    """DuckDB could not answer. Its message is left out: it can quote personal data."""

    def __init__(self, table: str, kind: str) -> None:
        """Name the table and the class of DuckDB's error."""
        super().__init__(
            f"{table} could not be checked by the second engine: DuckDB stopped with {kind}. The published table stays "
            "as it is. Check that the tables it is made from are whole (check_lakehouse), then run again."
        )


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

    scratch = begin_scratch("duckdb")
    try:
        with duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "temp_directory": str(scratch.folder),
            }
        ) as engine:
            engine.execute("SET enable_external_access = false")
            engine.execute(sql_of("duckdb"))
            yield engine
    except duckdb.Error as error:
        raise SecondEngineFailed(table, type(error).__name__) from None
    finally:
        scratch.discard()


def provide(
    engine: "duckdb.DuckDBPyConnection", queries: Iterable[str], context: RuleContext, as_published: Iterable[str]
) -> None:
    """Provide everything that queries name: some tables as they are published, every other table and view computed."""
    known = {*as_published, RUN}
    needed = needed_for({name for query in queries for name in re.findall(r"\w+", query)} & NAMES, known)
    engine.register(RUN, pa.Table.from_pylist([run_row(context.policy, context.as_of)]))
    for name in sorted(needed & known - {RUN}):
        engine.register(name, context.table(name))
    for name in (name for name in READS if name in needed - known):
        if name == SUBJECTS:
            engine.register(SUBJECTS, _subjects(engine, context.key()))
        else:
            engine.execute(f"CREATE TABLE {name} AS {sql_of(name)}")


def _subjects(engine: "duckdb.DuckDBPyConnection", key: bytes) -> pa.Table:
    """Return each person of customer_trusted with their pseudonym: `person`, `subject_id`."""
    people = [person for (person,) in engine.execute("SELECT email FROM customer_trusted").fetchall()]
    pseudonyms = [hmac.digest(key, person.encode(), hashlib.sha256).hex() for person in people]
    return pa.table({"person": pa.array(people, pa.string()), "subject_id": pa.array(pseudonyms, pa.string())})
