"""PyIceberg's transactions, without a copy of a table's metadata at every look."""

from collections.abc import Mapping
from typing import Any

from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata


class QuickTransaction(Transaction):
    """A transaction that puts its metadata together once for each change.

    PyIceberg 0.12 copies all snapshots of a table whenever it looks at them, some twenty times for a commit.
    """

    def __init__(self, table: IcebergTable, *, autocommit: bool = False) -> None:
        super().__init__(table, autocommit)
        self._seen: tuple[Any, Any] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with the changes so far, for reading."""
        now = (self._table.metadata, self._updates)
        if self._seen is None or any(known is not found for known, found in zip(self._seen, now, strict=True)):
            self._known, self._seen = super().table_metadata, now
        return self._known


def append_nothing(transaction: Transaction, branch: str, summary: Mapping[str, str] | None = None) -> None:
    """Add a snapshot with the same rows to a branch, with a summary."""
    with transaction.update_snapshot(snapshot_properties=dict(summary or {}), branch=branch).fast_append():
        pass
