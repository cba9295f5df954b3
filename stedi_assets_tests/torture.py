"""Publishing under torture: writers in processes of their own that meet a fault, and readers that poll meanwhile.

A writer publishes one generation of a table by `publish` itself; only Spark's part is played by Arrow. The rows of a
generation say whether they are whole: each carries its generation, how many there are of it, and which of those it is.
A table of two generations, with a row too few or one twice, gives itself away without anybody knowing what was written.

A writer is told at which point to meet which fault. The points are found by wrapping the product's functions in the
writer's process. A disk that is full stays full, and a right that is denied stays denied, until that process ends.
"""

import errno
import io
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError
from pyspark.sql import DataFrame

from stedi_assets.contracts import TABLES, Policy, Purpose, Table
from stedi_assets.lake import local, publishing, s3
from stedi_assets.lake.errors import NotWhole
from stedi_assets.lake.layout import POINTER, Lake
from stedi_assets.lake.local import LocalFolder
from stedi_assets.lake.pointers import Pointer
from stedi_assets.lake.publishing import NOTHING_OLD, Provenance, Retention, publish
from stedi_assets.lake.s3 import S3Bucket
from stedi_assets.lake.snapshots import ARROW_TYPES, current, current_dataset, read_pointer
from stedi_assets.lake.storage import Storage

Kind = Literal["SIGKILL", "SIGTERM", "exception", "disk full", "denied", "meet"]
# What befalls a writer; `meet` is where two writers wait for each other.
KINDS: tuple[Kind, ...] = ("SIGKILL", "SIGTERM", "exception", "disk full", "denied")

# Each point, and whether the new generation is current there.
POINTS = {
    "before stage": False,
    "during stage": False,
    "during commit": False,
    "after stage": False,
    "after read back": False,
    "after rules": False,
    "before settle": False,
    "after settle": False,
    "before pointer": False,
    "during pointer": False,
    "after pointer": True,
    "before purge": True,
    "during purge": True,
    "after purge": True,
}

# Without the rules that look at other tables; and without those that DuckDB counts.
JUDGED = replace(TABLES["accelerometer_trusted"], own_rules=())
UNJUDGED = replace(JUDGED, key=())
AT_ONCE = Retention(snapshots=2, readers=timedelta(0))
FOR_READERS = Retention(snapshots=2, readers=timedelta(minutes=10))
RETENTIONS = {"at once": AT_ONCE, "for readers": FOR_READERS, "nothing old": NOTHING_OLD}

# What a run that is long dead has left. By its name it is removed last.
LEFT = "~left"
_FILES = 3

# Started without threads, and with everything imported: its children are there at once, and share no lock or
# connection with anybody.
FORK: ForkServerContext = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["pytest", __name__])


class Torn(Exception):
    """What was read is no generation, or not all of it."""


class Terminated(BaseException):
    """SIGTERM has come. Dagster, too, makes it an exception that is none of `Exception`."""


@dataclass(frozen=True)
class Generation:
    """The rows of one publication."""

    number: int

    @property
    def dtypes(self) -> list[tuple[str, str]]:
        """The columns, as Spark's data frames say them."""
        return [(column.name, column.type.value) for column in JUDGED.columns]

    def files(self) -> Iterator[bytes]:
        """Yield its Parquet files; how many rows they hold differs from one generation to the next."""
        count = _FILES + self.number % 7
        schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in JUDGED.columns])
        for first in range(_FILES):
            columns = [(f"p{self.number}@example.com", self.number, row, count, 0) for row in range(first, count, _FILES)]
            file = io.BytesIO()
            pq.write_table(pa.Table.from_arrays([pa.array(values) for values in zip(*columns)]).cast(schema), file)
            yield file.getvalue()


def generation_of(rows: pa.Table) -> int:
    """Return the generation that rows are. Raises `Torn` unless they are one, and all of it once."""
    numbers, counts = rows["timestamp"].to_pylist(), set(rows["y"].to_pylist())
    if len(set(numbers)) != 1 or sorted(rows["x"].to_pylist()) != list(range(len(numbers))) or counts != {len(numbers)}:
        raise Torn(f"{len(numbers)} rows of the generations {sorted(set(numbers))}, which have {sorted(counts)}")
    return int(numbers[0])


def read_generation(lake: Lake) -> int:
    """Read a table through its pointer, and again if it has moved and what was being read is gone.

    Nothing else is forgiven: what can be read has to be whole, and a table that has not moved has to be readable.
    """
    while True:
        before = current(lake, JUDGED)
        try:
            return generation_of(current_dataset(lake, JUDGED.name).to_table())
        except (OSError, NotWhole):
            if current(lake, JUDGED).snapshot == before.snapshot:
                raise


@dataclass(frozen=True)
class Place:
    """Where a lake lies, as another process finds it."""

    location: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        """The lake, in a process that has the environment."""
        return Lake.at(self.location)


@dataclass(frozen=True)
class Fault:
    """What a writer meets, and where."""

    point: str
    kind: Kind


@dataclass(frozen=True)
class Order:
    """What a writer is to do: publish a generation of a table, and what it meets."""

    place: Place
    generation: int
    retention: Retention = AT_ONCE
    table: Table = UNJUDGED
    fault: Fault | None = None


@dataclass
class Outcome:
    """What came of a writer: whether it met its fault, what it published, how it failed or died."""

    met: bool = False
    published: bool = False
    error: str | None = None
    exit_code: int | None = None


class Writer:
    """A process that publishes once."""

    def __init__(self, order: Order, meeting: Barrier | None = None) -> None:
        self._told, tell = FORK.Pipe(duplex=False)
        self.process = FORK.Process(target=_write_as_ordered, args=(order, tell, meeting))
        self.process.start()
        tell.close()
        self._outcome = Outcome()

    def wait_until_it_begins(self) -> None:
        """Return once it has everything it needs, and publishes."""
        assert self._told.recv() == "begun"

    def outcome(self) -> Outcome:
        """Wait for its end, and return what came of it."""
        outcome = Outcome()
        try:
            while True:
                word, *more = self._told.recv() or ("",)
                outcome.met |= word == "met"
                outcome.published |= word == "published"
                outcome.error = more[0] if more else outcome.error
        except EOFError:
            self.process.join()
        outcome.exit_code = self.process.exitcode
        return outcome


def run(order: Order) -> Outcome:
    """Have a generation published, or whatever comes of it."""
    writer = Writer(order)
    writer.wait_until_it_begins()
    return writer.outcome()
