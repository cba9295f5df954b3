"""One query, as Athena and other Trinos run it, that recomputes a table and compares it with the published one.

Its rows hold counts and hashes only, and its text no person, subject or key: Athena keeps both.
"""

from collections.abc import Mapping

from stedi_assets.contracts import ALL_TABLES, Policy, Table
from stedi_assets.tables.days import Days, within
from stedi_assets.verification.queries import READS, RUN, SUBJECTS, inputs_of, needed_for, run_row, sql_of

PUBLISHED, RECOMPUTED = "published", "recomputed"
_SUBJECT = "subject_id"
# In the place of subjects: people, whose groups of rows must be the subjects' groups.
_PEOPLE = f"SELECT email AS person, email AS {_SUBJECT} FROM customer_trusted"


def comparison(
    table: Table, policy: Policy, as_of: int, snapshots: Mapping[str, int], database: str, days: Days | None
) -> str:
    """Return the query. Its columns: `side` (`published`, `recomputed`), `row_count`, `digest`, `groups_digest`.

    Two sides are the same if all three are. `digest` does not depend on the order of rows. Of a table of subjects, it
    leaves the subjects out, and `groups_digest` is that of the rows of each; it is null for other tables. `as_of` is in
    epoch milliseconds; `snapshots` are the ids, by name, of the table and of what `inputs_of` says it is recomputed
    from; `database` is where they are. Of tables of readings only some `days` are looked at, or all if that is None.
    """
    known = {*inputs_of(table), RUN}
    needed = needed_for([table.name], known)
    computed = [name for name in READS if name in needed - known]
    # A person of customers_curated may have readings on any day.
    of_days = days if table.instant else None
    views = {
        RUN: f"SELECT {', '.join(f'{_literal(value)} AS {name}' for name, value in run_row(policy, as_of).items())}",
        **{name: _rows_of(name, snapshots[name], database, of_days) for name in sorted(needed & known - {RUN})},
        **{name: _PEOPLE if name == SUBJECTS else sql_of(name) for name in computed},
        PUBLISHED: _rows_of(table.name, snapshots[table.name], database, of_days),
    }
    sides = [_side(table, PUBLISHED, PUBLISHED), _side(table, RECOMPUTED, table.name)]
    return _with(views, "\nUNION ALL\n".join(sides))


def count(table: Table, snapshot: int, database: str) -> str:
    """Return a query for how many rows a snapshot of a table has, in the columns of `comparison`."""
    rows = f"SELECT '{PUBLISHED}' AS side, count(*) AS row_count, NULL AS digest, NULL AS groups_digest FROM published"
    return _with({PUBLISHED: _rows_of(table.name, snapshot, database, None)}, rows)


def _with(views: Mapping[str, str], query: str) -> str:
    parts = ",\n".join(f"{name} AS (\n{view.strip()}\n)" for name, view in views.items())
    return f"WITH {parts}\n{query}"


def _rows_of(name: str, snapshot: int, database: str, days: Days | None) -> str:
    rows = f'SELECT * FROM "{database}"."{name}" FOR VERSION AS OF {snapshot}'
    instant = ALL_TABLES[name].instant
    return rows if days is None or instant is None else f"""{rows} WHERE {within(f'"{instant}"', days)}"""


def _side(table: Table, side: str, rows: str) -> str:
    columns = ", ".join(f'"{name}"' for name in table.column_names if name != _SUBJECT)
    digest = f"checksum(ROW({columns}))"
    groups = "CAST(NULL AS VARCHAR)"
    if _SUBJECT in table.column_names:
        by_subject = f"SELECT count(*) AS readings, {digest} AS digest FROM {rows} GROUP BY {_SUBJECT}"
        groups = f"(SELECT to_hex(checksum(ROW(readings, digest))) FROM ({by_subject}) AS subjects_readings)"
    return (
        f"SELECT '{side}' AS side, count(*) AS row_count, to_hex({digest}) AS digest, {groups} AS groups_digest "
        f"FROM {rows}"
    )


def _literal(value: str | int | None) -> str:
    return f"'{value}'" if isinstance(value, str) else f"CAST({'NULL' if value is None else value} AS BIGINT)"
