"""Publishing under torture: writers in processes of their own that meet a fault, and readers that poll meanwhile.

A writer publishes one generation of a table, alone, or of a landing table with what belongs to it, by the product's own
functions; only Spark's part is played by Arrow. The rows of a generation say whether they are whole: each carries its
generation, how many there are of it, and which of those it is. A table of two generations, with a row too few or one
twice, gives itself away to whoever reads it.

A writer is told at which point to meet which fault. The points are found by wrapping the product's functions in the
writer's process. A disk that is full stays full, and a right that is denied stays denied, until that process ends.
"""

import errno
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import wraps
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Event
from typing import Any, Literal, cast

import pyarrow as pa
from botocore.exceptions import ClientError
from pyiceberg.catalog import MetastoreCatalog
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import SOURCES, TABLES, Policy, Purpose, Table
from stedi_assets.contracts.tables import companions_of
from stedi_assets.ingest.landing import Landing
from stedi_assets.ingest.landing_files import Listing
from stedi_assets.privacy.deliveries import publish_landing
from stedi_assets.storage import local, s3
from stedi_assets.storage.errors import CorruptTableError
from stedi_assets.storage.interface import Storage
from stedi_assets.storage.lake import CHECKS, DATABASE, KEYS, PURPOSE, Lake
from stedi_assets.storage.local import LocalFolder
from stedi_assets.storage.s3 import S3Bucket
from stedi_assets.tables import publishing, retention, staging
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.branches import MAIN
from stedi_assets.tables.catalog import load
from stedi_assets.tables.file_reports import FileReport, read_file_reports
from stedi_assets.tables.publishing import publish
from stedi_assets.tables.retention import Retention, referenced
from stedi_assets.tables.snapshots import as_published, current, dataset, published, read_snapshot_of
from stedi_assets.tables.staging import RunContext, Stage
from stedi_assets.verification.rules import auditor

Kind = Literal["SIGKILL", "SIGTERM", "exception", "disk full", "denied"]
KINDS: tuple[Kind, ...] = ("SIGKILL", "SIGTERM", "exception", "disk full", "denied")

# The points before `main` has moved, and those after. `during` a commit, its metadata are written, and the catalog does
# not name them yet.
_WRITTEN = (
    *("before branch", "during branch", "after branch", "during write", "after write", "after read back"),
    *("after rules", "after fsync", "during seal", "after seal"),
)
_CLEANED = ("before expire", "during expire", "after expire")
BEFORE = (*_WRITTEN, "before fast-forward", "during fast-forward")
AFTER = ("after fast-forward", *_CLEANED, "before removal", "during removal", "after removal")
# Those of a landing table's companions: written before it, and moved after it.
COMPANION_BEFORE = tuple(f"companion {point}" for point in (*_WRITTEN, "before tag", "during tag", "after tag"))
COMPANION_AFTER = tuple(
    f"companion {point}" for point in ("before fast-forward", "during fast-forward", "after fast-forward", *_CLEANED)
)
POINTS = (*BEFORE, *AFTER)
LANDING_POINTS = (*COMPANION_BEFORE, *POINTS, *COMPANION_AFTER)

# Without days, where only Spark could write it; without the rules that look at other tables; and those DuckDB counts.
AUDITED = replace(TABLES["accelerometer_trusted"], own_rules=(), instant=None)
UNAUDITED = replace(AUDITED, key=())
# A table with companions.
LANDED = SOURCES["customer"].landing
AT_ONCE = Retention(snapshots=2, readers=timedelta(0))
FOR_READERS = Retention(snapshots=2, readers=timedelta(minutes=10))

_FILE = "one.json"
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
    def count(self) -> int:
        """How many rows there are: not as many as in the next generation."""
        return 6 + self.number % 7

    @property
    def quarantined_count(self) -> int:
        """How many records of it are in quarantine; sometimes none."""
        return self.number % 3

    def rows(self, table: Table) -> pa.Table:
        """Return its rows of a table."""
        return _table(table, [_row(table, self.number, self.count, place) for place in range(self.count)])

    def quarantined(self) -> pa.Table | None:
        """Return its quarantine."""
        row = {
            "_source_file": _FILE,
            "reasons": ["malformed"],
            "raw": b"{",
            "_offset": self.number,
            "_superseded": False,
        }
        rows = [
            {**row, "_length": place, "_people": [], "_devices": [], "_digest": f"{place}"}
            for place in range(self.quarantined_count)
        ]
        return _table(SOURCES["customer"].quarantine, rows) if rows else None

    def report(self) -> FileReport:
        """Return what became of its raw file."""
        count, bad = self.count, self.quarantined_count
        return FileReport(_FILE, self.number, f"{self.number}", records=count + bad, accepted=count, quarantined=bad)


def _row(table: Table, number: int, count: int, place: int) -> dict[str, object]:
    if table.name != LANDED.name:
        return {"user": "p@example.com", "timestamp": number, "y": count, "z": 0, "x": place}
    texts = {"email": f"{place}", "_person": f"{place}", "serialNumber": "1", "_device": "1", "_source_file": _FILE}
    return {**texts, "lastUpdateDate": number, "registrationDate": count, "_superseded": False}


def _table(table: Table, rows: list[dict[str, object]]) -> pa.Table:
    schema = arrow_schema(table)
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)


def generation_of(rows: pa.Table) -> int:
    """Return the generation that rows are. Raises `Torn` unless they are one, all of it, and once."""
    landed = "lastUpdateDate" in rows.column_names
    number, count, place = ("lastUpdateDate", "registrationDate", "email") if landed else ("timestamp", "y", "x")
    numbers, counts = sorted(set(rows[number].to_pylist())), sorted(set(rows[count].to_pylist()))
    if len(numbers) != 1 or sorted(map(int, rows[place].to_pylist())) != list(range(int(counts[0]))):
        raise Torn(f"{rows.num_rows} rows of the generations {numbers}, which have {counts} rows")
    return int(numbers[0])


def read_generation(lake: Lake, table: Table) -> int:
    """Return the generation that is published; again if it was replaced and removed meanwhile.

    Nothing else is forgiven: what can be read has to be whole, and what is current has to be readable. So does what
    belongs to a landing table, and it has to be of the same generation.
    """
    while True:
        before = current(lake, table)
        try:
            found = generation_of(dataset(lake, table, before.id).to_table())
            if table == LANDED:
                _require_companions(lake, found)
        except (OSError, CorruptTableError):
            if current(lake, table).id == before.id:
                raise
        else:
            return found


def _require_companions(lake: Lake, found: int) -> None:
    source, snapshot = SOURCES["customer"], current(lake, LANDED)
    files = read_file_reports(lake, source, snapshot)
    quarantined = dataset(lake, source.quarantine, snapshot.inputs[source.quarantine.name]).to_table()
    newer = generation_of(dataset(lake, LANDED, snapshot.id).to_table())
    expected = Generation(newer)
    if files != (expected.report(),) or quarantined["_offset"].to_pylist() != [newer] * expected.quarantined_count:
        raise Torn(f"generation {found}, or {newer} since, has files and quarantine of another")


def litter(lake: Lake, *tables: Table) -> list[str]:
    """Return what lies in a lake and is neither raw nor named by a table, and branches and snapshots too many.

    On S3 also what only lies there for those who look for old versions, deletions and unfinished uploads.
    """
    kept = {PURPOSE, KEYS, _LOCK, *(f"{DATABASE}{end}" for end in ("", "-wal", "-shm"))}
    folders = tuple(f"{source.raw_path}/" for source in SOURCES.values())
    too_many = []
    for table in [*tables, *(companion for owner in tables for companion in companions_of(owner))]:
        iceberg = load(lake, table)
        assert iceberg
        kept |= {*referenced(lake, iceberg, with_old_metadata=True), f"{CHECKS}/{table.name}.json"}
        named = {f"landed_{snapshot.snapshot_id}" for snapshot in iceberg.metadata.snapshots}
        too_many += [f"{table.name}: {name}" for name in iceberg.metadata.refs if name != MAIN and name not in named]
        too_many += [
            f"{table.name}: {found.snapshot_id}"
            for found in iceberg.metadata.snapshots
            if not as_published(lake, table, found)
        ]
        assert published(lake, table, iceberg), table.name
    return sorted(path for path in _everything(lake.storage) - kept if not path.startswith(folders)) + too_many


def _everything(storage: Storage) -> set[str]:
    if isinstance(storage, LocalFolder):
        # Of folders those alone that hold nothing. SQLite's own files come and go meanwhile.
        return {
            os.path.relpath(os.path.join(folder, name), storage.root)
            for folder, folders, names in os.walk(storage.root)
            for name in names or ([] if folders else [""])
        }
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
    table: Table = UNAUDITED
    fault: Fault | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a writer: whether it met its fault, and published; how it failed, or died."""

    met: bool
    published: bool
    error: str | None
    exit_code: int | None


class Writer:
    """A process that publishes once. It has seen what is current already, but for one of two that are to meet."""

    def __init__(self, order: Order, meeting: Barrier | None = None) -> None:
        self._told, tell = FORK.Pipe(duplex=False)
        self._process = FORK.Process(target=_write, args=(order, tell, meeting))
        self._process.start()
        tell.close()
        # That it has begun, or that it cannot.
        self._said: list[str] = [] if meeting else [self._told.recv()]

    def kill(self, kind: Kind) -> None:
        """Send it a signal, if it has not ended."""
        if kind == "SIGKILL":
            self._process.kill()
        else:
            self._process.terminate()

    def outcome(self) -> Outcome:
        """Wait for its end, and return what came of it."""
        words = [*self._said]
        try:
            while True:
                words.append(self._told.recv())
        except EOFError:
            self._process.join()
        error = next((word.removeprefix("failed: ") for word in words if word.startswith("failed: ")), None)
        return Outcome("met" in words, "published" in words, error, self._process.exitcode)


class Reader:
    """A process that reads a table over and over, and notes every generation that is torn, unreadable or older."""

    def __init__(self, place: Place, table: Table) -> None:
        self._stop: Event = FORK.Event()
        self._polls = FORK.Value("L", lock=False)
        self._told, tell = FORK.Pipe(duplex=False)
        self._process = FORK.Process(target=_poll, args=(place, table, self._stop, self._polls, tell))
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


def _poll(place: Place, table: Table, stop: Event, polls: Any, told: Connection) -> None:
    lake, last, bad = place.enter(), 0, []
    tests = multiprocessing.parent_process()
    # Should the tests be killed, nobody says stop.
    while not stop.is_set() and tests and tests.is_alive():
        try:
            found = read_generation(lake, table)
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
    _arm(_Trap(order, tell, meeting), lake.storage)
    run = RunContext(f"run-{order.generation}", Purpose.PRODUCTION, 1_700_000_000_000, Policy())
    try:
        before = read_snapshot_of(lake, order.table)
        if meeting:
            meeting.wait(_PATIENCE)
        tell.send("begun")
        if order.table == LANDED:
            _land(lake, order, run, before)
        else:
            rows, audit = Generation(order.generation).rows(order.table), auditor(lake, order.table, run)
            publish(
                *(lake, order.table, rows), run=run, before=before, inputs={}, audit=audit, retention=order.retention
            )
        tell.send("published")
    except BaseException as error:  # noqa: BLE001  (the process ends, and has said why)
        tell.send(f"failed: {type(error).__name__}: {error}")


def _land(lake: Lake, order: Order, run: RunContext, before: Any) -> None:
    generation, stage = Generation(order.generation), Stage.begin(lake, LANDED)
    lake.storage.write(f"{stage.folder}/part-0", b"{")
    landing = Landing(
        accepted=cast("DataFrame", generation.rows(LANDED)),
        quarantined=cast("DataFrame", generation.quarantined()),
        files=(generation.report(),),
        listing=Listing((), (), ()),
        previous=before,
        gone=(),
        new_files=1,
        stage=stage,
        began=0,
    )
    try:
        publish_landing(lambda: cast("SparkSession", None), lake, SOURCES["customer"], landing, run, order.retention)
    finally:
        stage.discard()


def _raise_terminated(*_: object) -> None:
    raise Terminated


class _Trap:
    """Waits for its writer at a point, once, and does to it what the fault says."""

    def __init__(self, order: Order, tell: Connection, meeting: Barrier | None) -> None:
        self._fault, self._path, self._tell, self._meeting = order.fault, order.table.path, tell, meeting
        self._companions = tuple(companion.path for companion in companions_of(order.table))
        self._met = False
        self._steps: list[str] = []

    def at(self, point: str, path: str, operation: str | None = None) -> None:
        """Say that the writer is at a point, with a path of the table; S3's own operation, if it is within one."""
        if path.startswith(self._companions):
            point = f"companion {point}"
        elif not path.startswith(self._path):
            return
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

    @contextmanager
    def step(self, word: str, path: str) -> Iterator[None]:
        """Say that the writer takes a step."""
        self.at(f"before {word}", path)
        self._steps.append(word)
        try:
            yield
        finally:
            self._steps.pop()
        self.at(f"after {word}", path)

    def within(self, path: str, operation: str | None = None) -> None:
        """Say that the writer is in the middle of the step that it takes."""
        if self._steps:
            self.at(f"during {self._steps[-1]}", path, operation)

    def pass_if_allowed(self, operation: str) -> None:
        """Refuse what the fault that was met does not allow any more."""
        kind = self._fault.kind if self._fault and self._met else None
        # What is full can still be emptied.
        if kind == "denied" or (kind == "disk full" and operation != "delete_permanently"):
            raise _refusal(kind)


def _refusal(kind: Kind) -> OSError:
    code = errno.ENOSPC if kind == "disk full" else errno.EACCES
    return OSError(code, os.strerror(code))


def _arm(trap: _Trap, storage: Storage) -> None:
    """Have a writer's process come by its trap."""
    kind: Any = type(storage)
    for name in ("write", "writing", "replace", "fsync", "delete_permanently"):
        _wrap(kind, name, lambda *_, name=name: trap.pass_if_allowed(name))
    steps: tuple[tuple[Any, str, str], ...] = (
        (staging, "begin_branch", "branch"),
        (staging, "_write", "write"),
        (staging, "read_back", "read back"),
        (staging, "_require_rules", "rules"),
        (staging, "seal", "seal"),
        (publishing, "tag", "tag"),
        (publishing, "fast_forward", "fast-forward"),
        (publishing, "expire", "expire"),
        (retention, "remove", "removal"),
    )
    for owner, name, word in steps:
        _wrap_step(trap, owner, name, word)
    _wrap(kind, "fsync", after=lambda _, paths: trap.at("after fsync", next(iter(paths), "")))
    # Its metadata are written, and the catalog does not name them yet.
    write_metadata = MetastoreCatalog._write_metadata

    def metadata_written(metadata: Any, io: Any, metadata_path: str) -> None:
        write_metadata(metadata, io, metadata_path)
        trap.within(_below(storage, metadata_path))

    MetastoreCatalog._write_metadata = staticmethod(metadata_written)  # type: ignore[method-assign]
    writing = kind.writing

    @contextmanager
    def writing_rows(self: Storage, path: str) -> Iterator[Any]:
        with writing(self, path) as file:
            yield file
        if "/data/" in path:
            trap.within(path)

    kind.writing = writing_rows
    if isinstance(storage, S3Bucket):
        s3._KEYS_AT_ONCE = 1
        _wrap(
            storage.client,
            "delete_objects",
            after=lambda **deleted: trap.within(
                deleted["Delete"]["Objects"][0]["Key"].removeprefix(f"{storage.prefix}/"), "DeleteObjects"
            ),
        )
        return
    _wrap(os, "unlink", after=lambda path, **_: trap.within(_below(storage, str(path))))


def _below(storage: Storage, location: str) -> str:
    return location.removeprefix(storage.shown("").rstrip("/") + "/")


def _wrap_step(trap: _Trap, owner: Any, name: str, word: str) -> None:
    wrapped = getattr(owner, name)

    @wraps(wrapped)
    def wrapping(*arguments: Any, **options: Any) -> Any:
        table = next(argument for argument in arguments if isinstance(argument, Table))
        with trap.step(word, table.path):
            return wrapped(*arguments, **options)

    setattr(owner, name, wrapping)


def _wrap(
    owner: Any,
    name: str,
    before: Callable[..., object] = lambda *_, **__: None,
    after: Callable[..., object] | None = None,
) -> None:
    wrapped = getattr(owner, name)

    @wraps(wrapped)
    def wrapping(*arguments: Any, **options: Any) -> Any:
        before(*arguments, **options)
        result = wrapped(*arguments, **options)
        if after:
            after(*arguments, **options)
        return result

    setattr(owner, name, wrapping)


class Arena:
    """A table that one writer after the other is to publish, and what must hold after each of them."""

    def __init__(self, place: Place, retention: Retention = AT_ONCE, table: Table = UNAUDITED) -> None:
        self.place, self.retention, self.table = place, retention, table
        self.lake = Lake.at(place.location)
        self._last = 0
        # How long a writer took that nothing befell, in seconds: as fast as the machine is now.
        self._usual = 0.0

    @property
    def current(self) -> int | None:
        """The generation that is published; None before the first."""
        return read_generation(self.lake, self.table) if read_snapshot_of(self.lake, self.table) else None

    def publish(self) -> None:
        """Have the next generation published by a writer whom nothing befalls, and find it, and nothing else."""
        order = self.order()
        writer, began = Writer(order), time.monotonic()
        outcome = writer.outcome()
        self._usual = time.monotonic() - began
        assert outcome.published, outcome
        assert (found := self.current) == order.generation, found
        left = litter(self.lake, self.table)
        assert left == [], left

    def suffer(self, fault: Fault) -> None:
        """Have a fault befall a writer: the table is the old one, or the new one once `main` has moved. Again."""
        # So that there always is something to remove.
        for name in ("part-0.parquet", "part-1.parquet"):
            self.lake.storage.write(f"{self.table.path}/data/left/{name}", b"")
        before, order = self.current, self.order(fault)
        outcome = Writer(order).outcome()
        is_new = fault.point in (*AFTER, *COMPANION_AFTER)
        assert outcome.met, (fault, outcome)
        assert self.current == (order.generation if is_new else before), (fault, outcome)
        if fault.kind == "SIGKILL":
            assert outcome.exit_code == -signal.SIGKILL, (fault, outcome)
        else:
            # It says what has happened, if it cannot do without what was refused.
            assert outcome.error or (outcome.published and is_new), (fault, outcome)
            assert "CommitConflictError" not in (outcome.error or ""), (fault, outcome)
        self.publish()

    def suffer_at(self, instant: float, kind: Kind) -> bool:
        """Kill a writer at an instant, as a share of what it usually takes. Publish again. Return whether it died."""
        before, order = self.current, self.order()
        writer = Writer(order)
        time.sleep(instant * self._usual)
        writer.kill(kind)
        outcome = writer.outcome()
        assert self.current in ({order.generation} if outcome.published else {before, order.generation}), outcome
        self.publish()
        return not outcome.published

    def suffer_whatever_comes(self, hindered: AbstractContextManager[None]) -> bool:
        """Publish while something is in the way, find the old table whole if that fails, and return whether it did."""
        before, order = self.current, self.order()
        with hindered:
            outcome = Writer(order).outcome()
        assert outcome.published or outcome.error, outcome
        assert self.current == (order.generation if outcome.published else before), outcome
        return not outcome.published

    def race(self, point: str | None) -> None:
        """Have two writers publish what they both see; they wait for each other at a point. Exactly one may win."""
        meeting = FORK.Barrier(2)
        orders = [self.order(Fault(point, None) if point else None) for _ in range(2)]
        outcomes = [writer.outcome() for writer in [Writer(order, meeting) for order in orders]]
        winners = [order.generation for order, outcome in zip(orders, outcomes, strict=True) if outcome.published]
        assert len(winners) == 1, outcomes
        (lost,) = [outcome.error or "" for outcome in outcomes if not outcome.published]
        assert [self.current] == winners, (outcomes, winners)
        assert re.match(r"CommitConflictError: \w+ was not published: another run has published ", lost), lost
        self.publish()

    def order(self, fault: Fault | None = None) -> Order:
        """Return an order for the next generation."""
        self._last += 1
        return Order(self.place, self._last, self.retention, self.table, fault)
