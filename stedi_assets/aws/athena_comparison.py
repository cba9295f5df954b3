"""Whether Amazon Athena finds in a published table what it computes itself from the inputs of that table."""

from dataclasses import dataclass

from stedi_assets.aws.athena import Answer, Athena, Value
from stedi_assets.contracts import LANDING_TABLES
from stedi_assets.tables.snapshots import rows_by_day
from stedi_assets.verification.athena_sql import PUBLISHED, RECOMPUTED, comparison, count
from stedi_assets.verification.findings import Audit
from stedi_assets.verification.queries import inputs_of


@dataclass(frozen=True)
class AthenaComparison:
    """What Athena finds: it should find `rows` rows, and finds `published`.

    `recomputed` is how many rows Athena computes itself; None for a landing table, which only raw files can confirm.
    `has_same_rows`: they are the published ones. `scanned` is how many bytes Athena has read. `query` is the query's
    id, empty if nothing was new and Athena was not asked.
    """

    rows: int
    published: int
    recomputed: int | None
    has_same_rows: bool
    scanned: int
    query: str

    @property
    def agrees(self) -> bool:
        """Whether Athena finds what was published, and makes the same."""
        return self.published == self.rows and self.has_same_rows


def compare_in_athena(audit: Audit, athena: Athena) -> AthenaComparison:
    """Have Athena count a table as it is published; if it is a derived one, also recompute and compare it.

    The days are those that `audit` says its run computed. Raises `AthenaFailed`.
    """
    table, snapshot = audit.table, audit.snapshot
    if table.name in LANDING_TABLES:
        answer = athena.run(count(table, snapshot.id, athena.database))
        return _compared(snapshot.rows, answer)
    days = audit.computed
    if days == frozenset():
        # The run has found that nothing is new.
        return AthenaComparison(0, 0, 0, has_same_rows=True, scanned=0, query="")
    ids = {name: audit.current(name).id for name in (table.name, *inputs_of(table))}
    query = comparison(table, audit.policy, snapshot.as_of or 0, ids, athena.database, days)
    by_day = rows_by_day(audit.lake, table, snapshot.id) if table.instant and days is not None else None
    rows = snapshot.rows if by_day is None or days is None else sum(by_day.get(day, 0) for day in days)
    return _compared(rows, athena.run(query))


def _compared(rows: int, answer: Answer) -> AthenaComparison:
    found = {str(side): rest for side, *rest in answer.rows}
    published, recomputed = found[PUBLISHED], found.get(RECOMPUTED)
    return AthenaComparison(
        rows,
        _count(published[0]),
        _count(recomputed[0]) if recomputed else None,
        recomputed in (None, published),
        answer.scanned,
        answer.query,
    )


def _count(value: Value) -> int:
    return int(value or 0)
