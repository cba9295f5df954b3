"""The errors of the lake. Each message says what, where, why and what to do next, and never shows a person's value."""


class LakeError(Exception):
    """Something in the lake stands in the way; the message is for the person who runs it."""


class ContractBroken(LakeError):
    """A table that would break its contract was not published; the last good one stays."""

    def __init__(self, table: str, rule: str, rows: int, failing: int, what_to_do: str) -> None:
        """Name the rule, how many rows were looked at and how many fail."""
        super().__init__(
            f"{table} was not published: it breaks the rule {rule} ({failing:,} of {rows:,} rows). "
            f"The last published table stays as it was. {what_to_do}"
        )
        self.table, self.rule, self.rows, self.failing = table, rule, rows, failing


class CorruptTableError(LakeError):
    """A table's metadata or a snapshot are damaged, or a part of them is gone."""


class WrongKey(LakeError):
    """A key is not the one that the lake was made with."""


class NobodyFound(LakeError):
    """Nobody was erased, for nobody by that hash is in the lake."""


class VanishedFiles(LakeError):
    """Files that the last snapshot was made from are gone or unreadable; forgetting them must be said."""


class CommitConflictError(LakeError):
    """Another run published the table, or one of its inputs, in the meantime."""


class CatalogError(LakeError):
    """The catalog cannot be used, or what it knows does not lie in the lake."""


class ElsewhereError(CatalogError):
    """A table names a file that does not lie in the lake: the lake was moved, or another has its namespace."""

    def __init__(self, message: str, location: str) -> None:
        """Keep where the file is said to lie."""
        super().__init__(message)
        self.location = location
