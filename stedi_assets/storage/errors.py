"""The errors of the lake. Each message says what, where, why and what to do next, and never shows a person's value."""


class LakeError(Exception):
    """A problem in the lake. The message is for the person who runs it."""


class ContractBroken(LakeError):
    """A table was not published, because it would violate its contract; the last good one stays."""

    def __init__(self, table: str, rule: str, rows: int, failing: int, what_to_do: str) -> None:
        """Name the rule, the number of rows checked and how many of them fail."""
        super().__init__(
            f"{table} was not published: it breaks the rule {rule} ({failing:,} of {rows:,} rows). "
            f"The last published table stays as it was. {what_to_do}"
        )


class CorruptTableError(LakeError):
    """A table's metadata or a snapshot is damaged, or a part of it is gone."""


class WrongKey(LakeError):
    """A key differs from the one that the lake was made with."""


class NobodyFound(LakeError):
    """Nobody was erased, because nobody with that hash is in the lake."""


class VanishedFiles(LakeError):
    """Files that the last snapshot was made from are gone or unreadable; only the operator can have them forgotten."""


class CommitConflictError(LakeError):
    """Another run published the table, or one of its inputs, in the meantime."""


class CatalogError(LakeError):
    """The catalog cannot be used, or its tables are not in the lake."""


class ElsewhereError(CatalogError):
    """A table names a file outside the lake: the lake was moved, or another lake uses its namespace."""

    def __init__(self, message: str, location: str) -> None:
        """Keep the location that was named."""
        super().__init__(message)
        self.location = location
