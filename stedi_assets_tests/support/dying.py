"""A process that is killed after one of its commits, without one: from then on it writes nothing more.

What it would do to clean up behind itself is not done either.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyspark.sql import DataFrameWriterV2

from stedi_assets.storage.local import LocalFolder

_COMMITS = ((SqlCatalog, "commit_table"), (SqlCatalog, "create_table"), (DataFrameWriterV2, "overwrite"))
_WRITES = ("write", "writing", "replace", "delete", "delete_permanently")


class Killed(BaseException):
    """What a process does no more."""


@dataclass
class Life:
    """How many commits a process has made; it dies after the last of those that it is given, if it comes so far."""

    commits: int = 0
    last: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is dead."""
        return self.last is not None and self.commits >= self.last


@contextmanager
def living(*, last: int | None = None) -> Iterator[Life]:
    """Count this process's commits in a local lake, and have it be as if it were killed after the last one."""
    life = Life(last=last)

    def mortal(original: Callable[..., Any], *, commits: bool) -> Callable[..., Any]:
        def act(*arguments: Any, **options: Any) -> Any:
            if life.is_over:
                raise Killed
            done = original(*arguments, **options)
            life.commits += commits
            if life.is_over:
                raise Killed
            return done

        return act

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _COMMITS:
            patch.setattr(owner, name, mortal(getattr(owner, name), commits=True))
        for name in _WRITES:
            patch.setattr(LocalFolder, name, mortal(getattr(LocalFolder, name), commits=False))
        try:
            yield life
        except Killed:
            assert life.is_over
