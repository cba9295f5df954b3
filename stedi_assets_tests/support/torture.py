"""Publishing under torture: writers in processes of their own that meet a fault, and readers that poll meanwhile.

A writer publishes one generation of a table by `publish` itself; only Spark's part is played by Arrow. The rows of a
generation say whether they are whole: each carries its generation, how many there are of it, and which of those it is.
A table of two generations, with a row too few or one twice, gives itself away to whoever reads it.

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
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial, wraps
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError
from pyspark.sql import DataFrame

from stedi_assets.contracts import SOURCES, TABLES, Policy, Purpose, Table
from stedi_assets.storage import local, s3
from stedi_assets.storage.errors import NotWhole
from stedi_assets.storage.interface import Storage
from stedi_assets.storage.lake import POINTER, PURPOSE, Lake
from stedi_assets.storage.local import LocalFolder
from stedi_assets.storage.s3 import S3Bucket
from stedi_assets.tables import publishing
from stedi_assets.tables.arrow_types import ARROW_TYPES
from stedi_assets.tables.publishing import Provenance, Retention, publish
from stedi_assets.tables.snapshots import current, current_dataset, read_pointer

Kind = Literal["SIGKILL", "SIGTERM", "exception", "disk full", "denied"]
KINDS: tuple[Kind, ...] = ("SIGKILL", "SIGTERM", "exception", "disk full", "denied")

# The points before the pointer is switched, and those after. At `during pointer` a folder has the pointer's draft, and
# S3 the pointer itself, but its answer has not arrived.
BEFORE = (
    *("before stage", "during stage", "during commit", "after stage", "after read back", "after rules"),
    *("before settle", "after settle", "before pointer"),
)
AFTER = ("after pointer", "before purge", "during purge", "after purge")
POINTS = (*BEFORE, "during pointer", *AFTER)

# Without the rules that look at other tables; and without those that DuckDB counts.
JUDGED = replace(TABLES["accelerometer_trusted"], own_rules=())
UNJUDGED = replace(JUDGED, key=())
AT_ONCE = Retention(snapshots=2, readers=timedelta(0))
FOR_READERS = Retention(snapshots=2, readers=timedelta(minutes=10))

_FILES = 3
# In seconds: a writer that meets nobody by then never will.
_PATIENCE = 60
_PAUSE = 0.002
_LOCK = local._LOCK

# Its children are there at once: everything is imported. And it has no threads, locks or connections to share.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["pytest", __name__])


class Torn(Exception):
    """What was read is no generation, or not all of one."""


class Terminated(BaseException):
    """SIGTERM has come. Dagster, too, makes it an exception that `except Exception` does not catch."""


@dataclass(frozen=True)
class Generation:
    """The rows of one publication, in place of Spark's."""

    number: int

    @property
    def dtypes(self) -> list[tuple[str, str]]:
        """The columns, as a data frame names them."""
        return [(column.name, column.type.value) for column in JUDGED.columns]

    @property
    def rows(self) -> int:
        """How many rows there are: not as many as in the next generation."""
        return 2 * _FILES + self.number % 7

    def files(self) -> Iterator[bytes]:
        """Yield its Parquet files."""
        schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in JUDGED.columns])
        for first in range(_FILES):
            places = range(first, self.rows, _FILES)
            values = {"user": "p@example.com", "timestamp": self.number, "y": self.rows, "z": 0}
            rows = [{**values, "x": place} for place in places]
            file = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, schema), file)
            yield file.getvalue()


def generation_of(rows: pa.Table) -> int:
    """Return the generation that rows are. Raises `Torn` unless they are one, all of it, and once."""
    numbers, counts = sorted(set(rows["timestamp"].to_pylist())), sorted(set(rows["y"].to_pylist()))
    if len(numbers) != 1 or sorted(rows["x"].to_pylist()) != list(range(int(counts[0]))):
        raise Torn(f"{rows.num_rows} rows of the generations {numbers}, which have {counts} rows")
    return int(numbers[0])


def read_generation(lake: Lake) -> int:
    """Return the generation that is read through the pointer; again if it was replaced and removed meanwhile.

    Nothing else is forgiven: what can be read has to be whole, and what the pointer still names has to be readable.
    """
    while True:
        before = current(lake, JUDGED)
        try:
            return generation_of(current_dataset(lake, JUDGED.name).to_table())
        except (OSError, NotWhole):
            if current(lake, JUDGED).snapshot == before.snapshot:
                raise


def litter(lake: Lake, *tables: Table) -> list[str]:
    """Return what lies in a lake and is neither raw, nor a pointer or a lock, nor in a snapshot that a pointer names.

    On S3 also what only lies there for those who look for old versions, deletions and unfinished uploads.
    """
    kept = {PURPOSE, _LOCK, *(f"{table.path}/{name}" for table in tables for name in (POINTER, _LOCK))}
    folders = [f"{source.raw_path}/" for source in SOURCES.values()]
    for table in tables:
        pointer = current(lake, table)
        named = (pointer.snapshot, *(old.snapshot for old in pointer.replaced))
        folders += [f"{table.path}/{snapshot}/" for snapshot in named]
    return sorted(path for path in _everything(lake.storage) - kept if not path.startswith(tuple(folders)))


def _everything(storage: Storage) -> set[str]:
    if isinstance(storage, LocalFolder):
        # Of folders those alone that hold nothing.
        found = storage.root.rglob("*")
        return {str(path.relative_to(storage.root)) for path in found if path.is_file() or not any(path.iterdir())}
    assert isinstance(storage, S3Bucket)
    top, keys = f"{storage.prefix}/", set()
    for operation, parts in {
        "list_object_versions": ("Versions", "DeleteMarkers"),
        "list_multipart_uploads": ("Uploads",),
    }.items():
        for page in storage.client.get_paginator(operation).paginate(Bucket=storage.bucket, Prefix=top):
            keys |= {found["Key"].removeprefix(top) for part in parts for found in page.get(part, [])}
    return keys


@dataclass(frozen=True)
class Place:
    """Where a lake lies, and what a process has to find in its environment to use it."""

    location: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def enter(self) -> Lake:
        """Return the lake, for a process of its own."""
        os.environ.update(self.environment)
        return Lake.at(self.location)


@dataclass(frozen=True)
class Fault:
    """What befalls a writer, and at which point. Without a kind it waits there for another writer."""

    point: str
    kind: Kind | None


@dataclass(frozen=True)
class Order:
    """What a writer is to publish, and what is to befall it."""

    place: Place
    generation: int
    retention: Retention = AT_ONCE
    table: Table = UNJUDGED
    fault: Fault | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a writer: whether it met its fault, and published; how it failed, or died."""

    met: bool
    published: bool
    error: str | None
    exit_code: int | None


class Writer:
    """A process that publishes once. It has read the pointer already, but for one of two that are to meet."""

    def __init__(self, order: Order, meeting: Barrier | None = None) -> None:
        self._told, tell = FORK.Pipe(duplex=False)
        self._process = FORK.Process(target=_write, args=(order, tell, meeting))
        self._process.start()
        tell.close()
        if meeting is None:
            assert self._told.recv() == "begun"

    def kill(self, kind: Kind) -> None:
        """Send it a signal, if it has not ended."""
        if kind == "SIGKILL":
            self._process.kill()
        else:
            self._process.terminate()

    def outcome(self) -> Outcome:
        """Wait for its end, and return what came of it."""
        words = []
        try:
            while True:
                words.append(self._told.recv())
        except EOFError:
            self._process.join()
        error = next((word.removeprefix("failed: ") for word in words if word.startswith("failed: ")), None)
        return Outcome("met" in words, "published" in words, error, self._process.exitcode)


class Reader:
    """A process that reads a table over and over, and notes every generation that is torn, unreadable or older."""

    def __init__(self, place: Place) -> None:
        self._stop: Event = FORK.Event()
        self._polls = FORK.Value("L", lock=False)
        self._told, tell = FORK.Pipe(duplex=False)
        self._process = FORK.Process(target=_poll, args=(place, self._stop, self._polls, tell))
        self._process.start()
        tell.close()

    @property
    def polls(self) -> int:
        """How often it has read the table."""
        return int(self._polls.value)

    def stop(self) -> list[str]:
        """Return the bad reads."""
        self._stop.set()
        bad: list[str] = self._told.recv()
        self._process.join()
        return bad


def _poll(place: Place, stop: Event, polls: Any, told: Connection) -> None:
    lake, last, bad = place.enter(), 0, []
    tests = multiprocessing.parent_process()
    # Should the tests be killed, nobody says stop.
    while not stop.is_set() and tests and tests.is_alive():
        try:
            found = read_generation(lake)
            if found < last:
                bad.append(f"generation {found} after {last}")
            last = found
        except Exception as error:  # noqa: BLE001  (each of them is a bad read)
            bad.append(f"after generation {last}: {error!r}")
        polls.value += 1
        # Without it, readers leave little of a small machine to the writers.
        stop.wait(_PAUSE)
    told.send(bad)


def _write(order: Order, tell: Connection, meeting: Barrier | None) -> None:
    signal.signal(signal.SIGTERM, _raise_terminated)
    lake = order.place.enter()
    _arm(_Trap(order.fault, tell, meeting), lake.storage)
    by = Provenance(f"run-{order.generation}", Purpose.PRODUCTION, 1_700_000_000_000, Policy())
    expected = read_pointer(lake, order.table)
    if meeting:
        meeting.wait(_PATIENCE)
    tell.send("begun")
    try:
        rows = cast("DataFrame", Generation(order.generation))
        publish(lake, order.table, rows, by=by, expected=expected, inputs={}, retention=order.retention)
        tell.send("published")
    except BaseException as error:  # noqa: BLE001  (the process ends, and has said why)
        tell.send(f"failed: {type(error).__name__}: {error}")


def _raise_terminated(*_: object) -> None:
    raise Terminated


class _Trap:
    """Waits for its writer at a point, once, and does to it what the fault says."""

    def __init__(self, fault: Fault | None, tell: Connection, meeting: Barrier | None) -> None:
        self._fault, self._tell, self._meeting = fault, tell, meeting
        self._met = False
        self.purges = False

    def at(self, point: str, operation: str | None = None) -> None:
        """Say that the writer is at a point; S3's own operation, if it is within one."""
        self.purges |= point == "before purge"
        if self._met or self._fault is None or self._fault.point != point:
            return
        self._met = True
        self._tell.send("met")
        kind = self._fault.kind
        if kind in ("SIGKILL", "SIGTERM"):
            os.kill(os.getpid(), signal.Signals[kind])
        elif kind == "exception":
            raise RuntimeError("a task has failed")
        elif kind == "denied" and operation:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, operation)
        elif kind:
            raise _refusal(kind)
        elif self._meeting:
            self._meeting.wait(_PATIENCE)

    def pass_if_allowed(self, operation: str) -> None:
        """Refuse what the fault that was met does not allow any more."""
        kind = self._fault.kind if self._fault and self._met else None
        # What is full can still be emptied.
        if kind == "denied" or (kind == "disk full" and operation != "purge"):
            raise _refusal(kind)


def _refusal(kind: Kind) -> OSError:
    code = errno.ENOSPC if kind == "disk full" else errno.EACCES
    return OSError(code, os.strerror(code))


def _arm(trap: _Trap, storage: Storage) -> None:
    """Have a writer's process come by its trap, and have Arrow write in place of Spark."""
    publishing._write = partial(_write_by_arrow, trap)
    kind: Any = type(storage)
    for name in ("write", "writing", "replace", "settle", "purge"):
        _wrap(kind, name, before=partial(trap.pass_if_allowed, name))
    for owner, name, word in (
        (publishing, "_write", "stage"),
        (publishing, "_read_back", "read back"),
        (publishing, "count_breaches", "rules"),
        (kind, "settle", "settle"),
        (publishing, "point_at", "pointer"),
        (kind, "purge", "purge"),
    ):
        _wrap(owner, name, before=partial(trap.at, f"before {word}"), after=partial(trap.at, f"after {word}"))
    if isinstance(storage, S3Bucket):
        s3._KEYS_AT_ONCE = 1
        _wrap(storage.client, "delete_objects", after=partial(trap.at, "during purge", "DeleteObjects"))
        put = storage.client.put_object

        def put_object(**arguments: Any) -> Any:
            answer = put(**arguments)
            if arguments["Key"].endswith(POINTER):
                trap.at("during pointer", "PutObject")
            return answer

        storage.client.put_object = put_object
        return
    sync, unlink = local._sync, os.unlink

    def sync_draft(path: Path) -> None:
        if path.name.startswith(POINTER) and path.name != POINTER:
            trap.at("during pointer")
        sync(path)

    def unlink_one(*arguments: Any, **options: Any) -> None:
        unlink(*arguments, **options)
        # Others remove files too, before.
        if trap.purges:
            trap.at("during purge")

    local._sync, os.unlink = sync_draft, unlink_one


def _wrap(
    owner: Any, name: str, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
) -> None:
    wrapped = getattr(owner, name)

    @wraps(wrapped)
    def wrapping(*arguments: Any, **options: Any) -> Any:
        before()
        result = wrapped(*arguments, **options)
        after()
        return result

    setattr(owner, name, wrapping)


def _write_by_arrow(
    trap: _Trap, lake: Lake, table: Table, rows: Generation, folder: str, as_of: int | None
) -> dict[str, int]:
    """Play Spark's part: files that lie aside until all of them are there, and become the folder's one by one."""
    commits = []
    for number, content in enumerate(rows.files()):
        commits.append(_lay_aside(lake.storage, folder, f"part-{number}.parquet", content))
        trap.at("during stage")
    for commit in commits:
        commit()
        trap.at("during commit")
    if isinstance(lake.storage, LocalFolder):
        (lake.storage.root / folder / "_temporary").rmdir()
    return {"rows": rows.rows, **{rule.name: 0 for rule in table.rules if rule.holds}}


def _lay_aside(storage: Storage, folder: str, name: str, content: bytes) -> Callable[[], object]:
    """Write a file where it is none of the data, and return what makes it a part of them."""
    if isinstance(storage, LocalFolder):
        aside = f"{folder}/_temporary/{name}"
        with storage.writing(aside) as file:
            file.write(content)
        return partial(os.replace, storage.root / aside, storage.root / folder / name)
    assert isinstance(storage, S3Bucket)
    place = {"Bucket": storage.bucket, "Key": storage._key(f"{folder}/{name}")}
    upload = {**place, "UploadId": storage.client.create_multipart_upload(**place)["UploadId"]}
    part = storage.client.upload_part(**upload, PartNumber=1, Body=content)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return partial(storage.client.complete_multipart_upload, **upload, MultipartUpload=parts)


class Arena:
    """A table that one writer after the other is to publish, and what must hold after each of them."""

    def __init__(self, place: Place, retention: Retention = AT_ONCE, table: Table = UNJUDGED) -> None:
        self.place, self.retention, self.table = place, retention, table
        self.lake = Lake.at(place.location)
        self._last = 0
        # How long a writer took that nothing befell, in seconds: as fast as the machine is now.
        self._usual = 0.0

    @property
    def current(self) -> int | None:
        """The generation that is published; None before the first."""
        return read_generation(self.lake) if read_pointer(self.lake, self.table) else None

    def publish(self) -> None:
        """Have the next generation published by a writer whom nothing befalls, and find it, and nothing else."""
        order = self._order()
        writer, began = Writer(order), time.monotonic()
        outcome = writer.outcome()
        self._usual = time.monotonic() - began
        assert outcome.published, outcome
        assert (found := self.current) == order.generation, found
        left = litter(self.lake, self.table)
        assert left == [], left

    def suffer(self, fault: Fault) -> None:
        """Have a fault befall a writer: the table is the old one or, from the switch on, the new one. Publish again."""
        # So that there always is something to purge.
        for name in ("part-0.parquet", "part-1.parquet"):
            self.lake.storage.write(f"{self.table.path}/~left/{name}", b"")
        before, order = self.current, self._order(fault)
        outcome = Writer(order).outcome()
        is_new = fault.point in AFTER or (fault.point == "during pointer" and isinstance(self.lake.storage, S3Bucket))
        assert outcome.met, (fault, outcome)
        assert self.current == (order.generation if is_new else before), (fault, outcome)
        if fault.kind == "SIGKILL":
            assert outcome.exit_code == -signal.SIGKILL, (fault, outcome)
        else:
            # It says what has happened, if it cannot do without what was refused.
            assert outcome.error or (outcome.published and is_new), (fault, outcome)
            assert "LostRace" not in (outcome.error or ""), (fault, outcome)
        self.publish()

    def suffer_at(self, instant: float, kind: Kind) -> bool:
        """Kill a writer at an instant, as a share of what it usually takes. Publish again. Return whether it died."""
        before, order = self.current, self._order()
        writer = Writer(order)
        time.sleep(instant * self._usual)
        writer.kill(kind)
        outcome = writer.outcome()
        assert self.current in ({order.generation} if outcome.published else {before, order.generation}), outcome
        self.publish()
        return not outcome.published

    def suffer_whatever_comes(self) -> bool:
        """Publish where it may fail, find the old table whole if it does, and return whether it did."""
        before, order = self.current, self._order()
        outcome = Writer(order).outcome()
        assert outcome.published or outcome.error, outcome
        assert self.current == (order.generation if outcome.published else before), outcome
        return not outcome.published

    def race(self, point: str | None) -> None:
        """Have two writers publish what they both see; they wait for each other at a point. Exactly one may win."""
        meeting = FORK.Barrier(2)
        orders = [self._order(Fault(point, None) if point else None) for _ in range(2)]
        outcomes = [writer.outcome() for writer in [Writer(order, meeting) for order in orders]]
        winners = [order.generation for order, outcome in zip(orders, outcomes, strict=True) if outcome.published]
        assert len(winners) == 1, outcomes
        (lost,) = [outcome.error or "" for outcome in outcomes if not outcome.published]
        assert [self.current] == winners, (outcomes, winners)
        name = self.table.name
        assert lost.startswith(f"LostRace: {name} was not published: another run has published {name} since"), lost
        self.publish()

    def _order(self, fault: Fault | None = None) -> Order:
        self._last += 1
        return Order(self.place, self._last, self.retention, self.table, fault)
