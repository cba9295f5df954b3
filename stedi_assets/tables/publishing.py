"""Publishing tables: a fresh snapshot, its contract held against it, and the switch of the pointer.

A snapshot is written to a fresh folder, counted while it is written, read back and held against its contract; only
then is the pointer switched, in one step, and only if neither the table nor one of its inputs has moved meanwhile.
A run that dies or fails anywhere leaves the old table whole.

What is left of a run that died is removed by the next one that publishes the table: every folder that lay there before
its switch and that its pointer does not name. One of those may still be written by a living run, which has lost
already: it has seen the pointer of before.
"""

import io
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from stedi_assets.contracts import Policy, Purpose, Severity, Table
from stedi_assets.contracts.rules import AS_PUBLISHED
from stedi_assets.report.data_card import data_card
from stedi_assets.storage.errors import CatalogError, ContractBroken, LakeError, LostRace, NotWhole
from stedi_assets.storage.interface import Storage
from stedi_assets.storage.lake import DATA_CARD, POINTER, PURPOSE, SNAPSHOT, Lake
from stedi_assets.storage.names import no_key
from stedi_assets.tables.arrow_types import ARROW_TYPES
from stedi_assets.tables.pointers import Pointer, Replaced
from stedi_assets.tables.snapshots import (
    DataFile,
    current_dataset,
    data_files,
    dataset,
    read_pointer,
    snapshot_folder,
    table_named,
)
from stedi_assets.verification.breaches import count_breaches
from stedi_assets.verification.engine import Given


@dataclass(frozen=True)
class Provenance:
    """What a run says about the tables it makes.

    `key` gives the pseudonym key, to those rules that need it. `warn` is told what does not stop the run.
    """

    run_id: str
    purpose: Purpose
    as_of: int | None = None
    policy: Policy | None = None
    key: Callable[[], bytes] = field(default=no_key, repr=False)
    warn: Callable[[str], None] = field(default=lambda _: None, repr=False, compare=False)


@dataclass(frozen=True)
class Retention:
    """Which old snapshots stay: the last ones, and whatever was current not long ago, for those still reading it."""

    snapshots: int = 2
    readers: timedelta = timedelta(hours=1)


NOTHING_OLD = Retention(snapshots=1, readers=timedelta(0))


@dataclass(frozen=True)
class Published:
    """A table as it was published."""

    table: Table
    pointer: Pointer
    where: str
    bytes: int
    files: int


@dataclass(frozen=True)
class Stage:
    """A folder inside a table's folder to work in. If its run dies, the next one to publish the table removes it.

    To be begun after the table's pointer is read, or another run would not know it for one that has lost.
    """

    storage: Storage
    folder: str

    @classmethod
    def begin(cls, lake: Lake, table: Table) -> "Stage":
        """Return a new stage; the folder is there from its first file on."""
        return cls(lake.storage, f"{table.path}/_stage-{_new_id()}")

    def discard(self) -> None:
        """Remove it with all that is in it."""
        self.storage.purge(self.folder)


def publish(
    lake: Lake,
    table: Table,
    rows: DataFrame | None,
    *,
    by: Provenance,
    expected: Pointer | None,
    inputs: Mapping[str, Pointer],
    beside: Mapping[str, Any] | None = None,
    retention: Retention,
    before_switch: Callable[[str], bool] = lambda _: False,
) -> Published:
    """Write a table's new snapshot, hold it against its contract, and make it current.

    `rows` may be None, where it is known that there are none: Spark would take as long for them as for a few.
    `expected` is the table's pointer and `inputs` those of its inputs as they were when the step began. `beside` are
    JSON files to lie in the snapshot, by name. `before_switch` is given the folder of what was written, before it
    is current, and returns whether every older snapshot has to go with the switch.

    Raises `ContractBroken` where a rule does not hold, `LostRace` where the table or an input has moved,
    and `LakeError` where the lake's purpose is another. What the storage refuses comes as Python and Spark raise it.
    """
    if rows is not None:
        _require_contract_columns(table, rows)
    # With `expected` read before this, nobody can publish an input and this table unseen.
    _require_unmoved(lake, table, inputs)
    with _new_snapshot(lake, table, expected) as folder:
        counts = _write_empty(lake, table, folder) if rows is None else _write(lake, table, rows, folder, by.as_of)
        files = _read_back(lake, table, folder, counts["rows"])
        given = Given(lambda name: current_dataset(lake, name), by.policy or Policy(), by.as_of, by.key)
        counts |= count_breaches(table, dataset(lake, table, folder), given)
        _require_rules(table, counts)
        pointer = Pointer(
            snapshot=folder.removeprefix(f"{table.path}/"),
            rows=counts["rows"],
            previous_rows=expected.rows_of_run if expected else None,
            rows_of_run=counts["rows"],
            run_id=by.run_id,
            published_at=_now().isoformat(),
            purpose=by.purpose.value,
            as_of=by.as_of if table.policy_applies else None,
            policy=by.policy.as_dict() if by.policy and table.policy_applies else None,
            inputs={name: found.snapshot for name, found in inputs.items()},
        )
        _finish(lake, table, folder, pointer, files, counts, beside)
        if before_switch(folder):
            retention = NOTHING_OLD
        pointer = _switch(lake, table, pointer, expected, inputs, retention, by.warn)
    return Published(table, pointer, lake.storage.shown(folder), sum(file.bytes for file in files), len(files))


def republish(
    lake: Lake,
    table: Table,
    pointer: Pointer,
    rows: DataFrame,
    *,
    by: Provenance,
    inputs: Mapping[str, str] | None = None,
    beside: Mapping[str, Any] | None = None,
    before_switch: Callable[[str], None] = lambda _: None,
) -> Pointer:
    """Make fewer rows of a table's current snapshot its next one, and remove every older one.

    Whatever else may be wrong with the table was so before, and does not hold this up: rules are counted, not
    enforced. Unless `inputs` says otherwise, they stay those that the rows were computed from.

    Raises `LostRace` where the table has moved since `pointer`.
    """
    with _new_snapshot(lake, table, pointer) as folder:
        counts = _write(lake, table, rows, folder, pointer.as_of)
        files = _read_back(lake, table, folder, counts["rows"])
        fewer = replace(
            pointer,
            snapshot=folder.removeprefix(f"{table.path}/"),
            rows=counts["rows"],
            run_id=by.run_id,
            published_at=_now().isoformat(),
            inputs=dict(pointer.inputs if inputs is None else inputs),
            replaced=(),
        )
        _finish(lake, table, folder, fewer, files, counts, beside)
        before_switch(folder)
        return _switch(lake, table, fewer, pointer, {}, NOTHING_OLD, by.warn)


def keep_beside(lake: Lake, table: Table, snapshot: str, files: Mapping[str, bytes]) -> None:
    """Keep files with a snapshot, to go with it. Their names begin with `_`, which readers of data pass over.

    Raises `LostRace` where another snapshot is current by then.
    """
    folder = snapshot_folder(table, snapshot)
    for name, content in files.items():
        lake.storage.write(f"{folder}/{name}", content)
    pointer = read_pointer(lake, table)
    if pointer is None or pointer.snapshot != snapshot:
        # It may have been removed meanwhile, and is not to come back by these.
        kept = {old.snapshot for old in pointer.replaced} if pointer else set[str]()
        if snapshot not in kept:
            lake.storage.purge(folder)
        _lost(table, table)


def drop_old(lake: Lake, table: Table) -> int:
    """Remove at once all but a table's current snapshot, and what writers have left; return how many.

    Raises `LostRace` where another run publishes the table meanwhile.
    """
    pointer, there = read_pointer(lake, table), lake.storage.folders(table.path)
    if pointer is None:
        return 0
    # Whoever is writing one of these has read the pointer before, and loses to this.
    point_at(lake, table, replace(pointer, replaced=()), pointer.version)
    dropped = there - {pointer.snapshot}
    _remove(lake, table, dropped)
    return len(dropped)


def point_at(lake: Lake, table: Table, pointer: Pointer, seen: str | None) -> Pointer:
    """Make a pointer the table's, if its file still has the version that was seen, and return it as it was written.

    Raises `LostRace` if it has not.
    """
    pointer = replace(pointer, switched_at=_now().isoformat())
    content = json.dumps(pointer.as_dict(), indent=1).encode()
    version = lake.storage.replace(f"{table.path}/{POINTER}", content, seen)
    if version is None:
        _lost(table, table)
    return replace(pointer, version=version)


@contextmanager
def _new_snapshot(lake: Lake, table: Table, expected: Pointer | None) -> Iterator[str]:
    """Give the folder of a new snapshot, which stays if it is current in the end."""
    snapshot = _new_id()
    folder = snapshot_folder(table, snapshot)
    try:
        yield folder
    except BaseException as error:
        try:
            found = read_pointer(lake, table)
            if found is not None and found.snapshot == snapshot:
                # It was published, and only what came after has failed.
                raise error from None
            lake.storage.purge(folder)
        except (OSError, NotWhole):
            # Nobody knows whether it was published. If not, the next run removes it.
            raise error from None
        if isinstance(error, Exception) and found != expected:
            # Whatever went wrong, its cause may be that whoever was faster has removed the folder.
            _lost(table, table)
        raise


def _finish(
    lake: Lake,
    table: Table,
    folder: str,
    pointer: Pointer,
    files: Sequence[DataFile],
    counts: Mapping[str, int],
    beside: Mapping[str, Any] | None,
) -> None:
    """Lay what is known of a snapshot beside its data, and have all of it on the disk before a pointer says so."""
    known = {"pointer": pointer.as_dict(), "files": {file.name: file.bytes for file in files}, "counts": counts}
    texts = {name: json.dumps(content, indent=1) for name, content in {**(beside or {}), SNAPSHOT: known}.items()}
    if table.has_data_card:
        texts[DATA_CARD] = _data_card(lake, table, folder, pointer)
    for name, text in texts.items():
        with lake.storage.writing(f"{folder}/{name}") as file:
            file.write(text.encode())
    lake.storage.settle(folder)


def _data_card(lake: Lake, table: Table, folder: str, pointer: Pointer) -> str:
    """Return a snapshot's data card; an empty one where it cannot be made, for nobody's leaving waits for it."""
    try:
        return data_card(lake, table, pointer, lake.storage.shown(folder), dataset(lake, table, folder))
    except Exception as error:  # noqa: BLE001  (whatever stored tables and clocks have come up with)
        return f"# {table.name}\n\nSnapshot {pointer.snapshot}: its card could not be made ({type(error).__name__}).\n"


def _require_contract_columns(table: Table, rows: DataFrame) -> None:
    found = [(name, kind) for name, kind in rows.dtypes]
    wanted = [(column.name, column.type.value) for column in table.columns]
    if found != wanted:
        differing = sorted({name for name, _ in set(found) ^ set(wanted)}) or ["their order"]
        what_to_do = f"Not as in the contract: {', '.join(differing)}."
        raise ContractBroken(table.name, AS_PUBLISHED.name, len(wanted), len(differing), what_to_do)


def _write(lake: Lake, table: Table, rows: DataFrame, folder: str, as_of: int | None) -> dict[str, int]:
    """Write the data files and return what was counted on the way: `rows`, and the breaches of each row rule."""
    observation = Observation()
    observed = rows.observe(observation, F.count(F.lit(1)).alias("rows"), *_broken(table, as_of))
    observed.write.parquet(lake.storage.url(folder))
    return {name: int(count) for name, count in observation.get.items()}


def _broken(table: Table, as_of: int | None) -> Iterator[Column]:
    """Yield how many rows break each row rule."""
    for rule in table.rules:
        if rule.holds:
            holds = rule.holds.replace("{as_of}", str(as_of))
            yield F.count_if(F.expr(f"NOT coalesce({holds}, false)")).alias(rule.name)


def _write_empty(lake: Lake, table: Table, folder: str) -> dict[str, int]:
    """Write a file without rows and return its counts."""
    schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in table.columns])
    file = io.BytesIO()
    pq.write_table(schema.empty_table(), file)
    lake.storage.write(f"{folder}/empty.parquet", file.getvalue())
    return dict.fromkeys(["rows", *(rule.name for rule in table.rules if rule.holds)], 0)


def _read_back(lake: Lake, table: Table, folder: str, rows: int) -> list[DataFile]:
    """Return the data files, once their footers agree with what was written."""
    files = data_files(lake, table, folder)
    found = sum(file.rows for file in files)
    if found != rows or not files or not all(file.as_in_contract for file in files):
        what_to_do = f"{rows:,} rows were written and {found:,} can be read back. Materialise it again."
        raise ContractBroken(table.name, AS_PUBLISHED.name, rows, abs(rows - found), what_to_do)
    return files


def _require_rules(table: Table, counts: Mapping[str, int]) -> None:
    for rule in table.rules:
        if rule.severity is Severity.ERROR and counts.get(rule.name):
            raise ContractBroken(table.name, rule.name, counts["rows"], counts[rule.name], rule.what_to_do)


def _switch(
    lake: Lake,
    table: Table,
    pointer: Pointer,
    expected: Pointer | None,
    inputs: Mapping[str, Pointer],
    retention: Retention,
    warn: Callable[[str], None],
) -> Pointer:
    """Make a snapshot current, unless the table or one of its inputs has moved. Return its pointer.

    Then have the catalog show it, and remove what is kept no longer, and what others have left.
    """
    _claim_purpose(lake, Purpose(pointer.purpose))
    pointer = replace(pointer, replaced=_kept(expected, retention))
    there = lake.storage.folders(table.path)
    _require_unmoved(lake, table, inputs)
    pointer = point_at(lake, table, pointer, expected.version if expected else None)
    try:
        register(lake, table, pointer)
    except CatalogError as error:
        # Without the catalog the lake is whole; and what has to go, goes.
        warn(str(error))
    _remove(lake, table, there - {pointer.snapshot, *(old.snapshot for old in pointer.replaced)})
    return pointer


def register(lake: Lake, table: Table, pointer: Pointer) -> None:
    """Have the catalog, if the lake has one, show a table as it is published now. Raises `CatalogError`."""
    if lake.catalog:
        where = lake.storage.shown(snapshot_folder(table, pointer.snapshot))
        lake.catalog.register(table, pointer, where, lambda: _is_current(lake, table, pointer))


def _is_current(lake: Lake, table: Table, pointer: Pointer) -> bool:
    found = read_pointer(lake, table)
    return found is not None and found.snapshot == pointer.snapshot


def _require_unmoved(lake: Lake, table: Table, inputs: Mapping[str, Pointer]) -> None:
    for name, read in inputs.items():
        found = read_pointer(lake, table_named(name))
        if found is None or found.snapshot != read.snapshot:
            _lost(table, table_named(name))


def _remove(lake: Lake, table: Table, snapshots: Iterable[str]) -> None:
    for snapshot in sorted(snapshots):
        try:
            lake.storage.purge(snapshot_folder(table, snapshot))
        except OSError as error:
            msg = (
                f"{table.name} was published, but an older snapshot of it could not be removed: {error.strerror} in "
                f"{lake.storage.shown(snapshot_folder(table, snapshot))}. People who left may stand in it. Give the "
                "run the right to remove it, all versions included, and materialise the table again."
            )
            raise LakeError(msg) from error


def _lost(table: Table, moved: Table) -> NoReturn:
    msg = (
        f"{table.name} was not published: another run has published {moved.name} since this one began. "
        "The newer tables stay. Materialise it again."
    )
    raise LostRace(msg) from None


def _claim_purpose(lake: Lake, purpose: Purpose) -> None:
    """Remember what a lake is for at its first publication, and refuse anything else later."""
    ours = json.dumps({"purpose": purpose.value}).encode()
    found = lake.storage.read(PURPOSE)
    if found is None and lake.storage.replace(PURPOSE, ours, None):
        return
    found = found or lake.storage.read(PURPOSE)
    remembered = json.loads(found.content)["purpose"] if found else None
    if remembered != purpose.value:
        msg = (
            f"The lake {lake.location} is for {remembered}, and STEDI_PURPOSE is {purpose.value}. "
            "Use another lake: tables for comparison may hold people who withdrew."
        )
        raise LakeError(msg)


def _kept(found: Pointer | None, retention: Retention) -> tuple[Replaced, ...]:
    """Return the replaced snapshots that stay, newest first."""
    if found is None:
        return ()
    now = _now()
    history = (Replaced(found.snapshot, now.isoformat()), *found.replaced)
    return tuple(
        old
        for place, old in enumerate(history, start=2)
        if place <= retention.snapshots or now - datetime.fromisoformat(old.until) < retention.readers
    )


def _new_id() -> str:
    return f"{_now():%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"


def _now() -> datetime:
    return datetime.now(timezone.utc)
