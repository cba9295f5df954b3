"""Publishing tables: a fresh snapshot, its contract held against it, and the switch of the pointer.

A snapshot is written to a fresh folder, counted while it is written, read back and held against its contract; only
then is the pointer switched, in one step, and only if neither the table nor one of its inputs has moved meanwhile.
A run that dies or fails anywhere leaves the old table whole.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from stedi_assets.contracts import Policy, Purpose, Severity, Table
from stedi_assets.contracts.rules import AS_PUBLISHED
from stedi_assets.lake.drafts import Draft, finish, is_draft, locked, sweep
from stedi_assets.lake.durable import private_file, replace_whole, sync, write_private
from stedi_assets.lake.errors import ContractBroken, LakeError, LostRace
from stedi_assets.lake.keys import no_key
from stedi_assets.lake.layout import Lake
from stedi_assets.lake.snapshots import (
    ARROW_TYPES,
    COUNTS,
    POINTER,
    DataFile,
    Pointer,
    Replaced,
    current_dataset,
    data_files,
    dataset,
    read_pointer,
    table_named,
)
from stedi_assets.second_engine.breaches import count_breaches
from stedi_assets.second_engine.engine import Given

_LOCK = "_lock"


@dataclass(frozen=True)
class Provenance:
    """What a run says about the tables it makes. `key` gives the pseudonym key, to those rules that need it."""

    run_id: str
    purpose: Purpose
    as_of: int | None = None
    policy: Policy | None = None
    key: Callable[[], bytes] = field(default=no_key, repr=False)


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
    folder: Path
    bytes: int
    files: int


def begin_stage(lake: Lake, table: Table) -> Draft:
    """Begin a private folder inside a table's folder to work in; if its run dies, the next one removes it."""
    return _draft(lake, table, f"_stage-{_new_id()}")


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
    before_switch: Callable[[Path], bool] = lambda _: False,
) -> Published:
    """Write a table's new snapshot, hold it against its contract, and make it current.

    `rows` may be None, where it is known that there are none: Spark would take as long for them as for a few.
    `expected` is the table's pointer and `inputs` those of its inputs as they were when the step began. `beside` are
    JSON files to lie in the snapshot, by name. `before_switch` is given the folder of what was written, before it
    is current, and returns whether every older snapshot has to go with the switch.

    Raises `ContractBroken` where a rule does not hold, `LostRace` where the table or an input has moved,
    and `LakeError` where the lake's purpose is another. What the disk refuses comes as Python and Spark raise it.
    """
    if rows is not None:
        _require_contract_columns(table, rows)
    with _new_snapshot(lake, table) as folder:
        counts = _write_empty(table, folder) if rows is None else _write(table, rows, folder, by.as_of)
        files = _read_back(table, folder, counts["rows"])
        given = Given(lambda name: current_dataset(lake, name), by.policy or Policy(), by.as_of, by.key)
        counts |= count_breaches(table, dataset(table, folder), given)
        _require_rules(table, counts)
        _finish(folder, {**(beside or {}), COUNTS: counts})
        if before_switch(folder):
            retention = NOTHING_OLD
        pointer = Pointer(
            snapshot=folder.name,
            rows=counts["rows"],
            run_id=by.run_id,
            published_at=_now().isoformat(),
            purpose=by.purpose.value,
            as_of=by.as_of if table.policy_applies else None,
            policy=by.policy.as_dict() if by.policy and table.policy_applies else None,
            inputs={name: found.snapshot for name, found in inputs.items()},
        )
        pointer = _switch(lake, table, pointer, expected, inputs, retention)
    _drop_old(lake, table, pointer)
    return Published(table, pointer, folder, sum(file.bytes for file in files), len(files))


def republish(
    lake: Lake,
    table: Table,
    pointer: Pointer,
    rows: DataFrame,
    *,
    run_id: str,
    inputs: Mapping[str, str] | None = None,
    beside: Mapping[str, Any] | None = None,
    before_switch: Callable[[Path], None] = lambda _: None,
) -> Pointer:
    """Make fewer rows of a table's current snapshot its next one, and remove every older one.

    Whatever else may be wrong with the table was so before, and does not hold this up: rules are counted, not
    enforced. Unless `inputs` says otherwise, they stay those that the rows were computed from.

    Raises `LostRace` where the table has moved since `pointer`.
    """
    with _new_snapshot(lake, table) as folder:
        counts = _write(table, rows, folder, pointer.as_of)
        _read_back(table, folder, counts["rows"])
        _finish(folder, {**(beside or {}), COUNTS: counts})
        before_switch(folder)
        fewer = replace(
            pointer,
            snapshot=folder.name,
            rows=counts["rows"],
            run_id=run_id,
            published_at=_now().isoformat(),
            inputs=dict(pointer.inputs if inputs is None else inputs),
        )
        fewer = _switch(lake, table, fewer, pointer, {}, NOTHING_OLD)
    _drop_old(lake, table, fewer)
    return fewer


@contextmanager
def _new_snapshot(lake: Lake, table: Table) -> Iterator[Path]:
    """Give the folder of a new snapshot, which stays if it is current in the end."""
    draft = _draft(lake, table, _new_id())
    try:
        yield draft.folder
    except BaseException:
        # Not where it was published and only what came after has failed.
        if _snapshot(read_pointer(lake, table)) != draft.folder.name:
            draft.discard()
        raise
    draft.keep()


def _finish(folder: Path, beside: Mapping[str, Any]) -> None:
    """Lay JSON files beside the data, and have all of it on the disk."""
    for name, content in beside.items():
        write_private(folder / name, json.dumps(content, indent=1))
    _flush(folder)


def _draft(lake: Lake, table: Table, name: str) -> Draft:
    """Begin a folder in a table's folder, where nobody who drops old ones can see it half begun."""
    folder = lake.table_folder(table)
    with locked(folder / _LOCK):
        return Draft(folder / name)


def _require_contract_columns(table: Table, rows: DataFrame) -> None:
    found = [(name, kind) for name, kind in rows.dtypes]
    wanted = [(column.name, column.type.value) for column in table.columns]
    if found != wanted:
        differing = sorted({name for name, _ in set(found) ^ set(wanted)}) or ["their order"]
        what_to_do = f"Not as in the contract: {', '.join(differing)}."
        raise ContractBroken(table.name, AS_PUBLISHED.name, len(wanted), len(differing), what_to_do)


def _write(table: Table, rows: DataFrame, folder: Path, as_of: int | None) -> dict[str, int]:
    """Write the data files and return what was counted on the way: `rows`, and the breaches of each row rule."""
    observation = Observation()
    observed = rows.observe(observation, F.count(F.lit(1)).alias("rows"), *_broken(table, as_of))
    # `append`: into a folder that is ours alone. The draft's mark already lies in it.
    observed.write.mode("append").parquet(str(folder))
    return {name: int(count) for name, count in observation.get.items()}


def _broken(table: Table, as_of: int | None) -> Iterator[Column]:
    """Yield how many rows break each row rule."""
    for rule in table.rules:
        if rule.holds:
            holds = rule.holds.replace("{as_of}", str(as_of))
            yield F.count_if(F.expr(f"NOT coalesce({holds}, false)")).alias(rule.name)


def _write_empty(table: Table, folder: Path) -> dict[str, int]:
    """Write a file without rows and return its counts."""
    schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in table.columns])
    with private_file(folder / "empty.parquet") as file:
        pq.write_table(schema.empty_table(), file)
    return dict.fromkeys(["rows", *(rule.name for rule in table.rules if rule.holds)], 0)


def _read_back(table: Table, folder: Path, rows: int) -> list[DataFile]:
    """Return the data files, once their footers agree with what was written."""
    files = data_files(table, folder)
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
) -> Pointer:
    """Make a snapshot current, unless the table or one of its inputs has moved. Return its pointer."""
    folder = lake.table_folder(table)
    with locked(folder / _LOCK):
        found = read_pointer(lake, table)
        if _snapshot(found) != _snapshot(expected):
            _lost(table, table)
        for name, read in inputs.items():
            if _snapshot(read_pointer(lake, table_named(name))) != read.snapshot:
                _lost(table, table_named(name))
        _claim_purpose(lake, Purpose(pointer.purpose))
        pointer = replace(pointer, previous_rows=found.rows if found else None, replaced=_kept(found, retention))
        replace_whole(folder / POINTER, json.dumps(asdict(pointer), indent=1))
    return pointer


def _lost(table: Table, moved: Table) -> None:
    msg = (
        f"{table.name} was not published: another run has published {moved.name} since this one began. "
        "The newer tables stay. Materialise it again."
    )
    raise LostRace(msg)


def _claim_purpose(lake: Lake, purpose: Purpose) -> None:
    """Remember what a lake is for at its first publication, and refuse anything else later."""
    path = lake.root / "_purpose.json"
    try:
        remembered = json.loads(path.read_text())["purpose"]
    except FileNotFoundError:
        replace_whole(path, json.dumps({"purpose": purpose.value}))
        return
    if remembered != purpose.value:
        msg = (
            f"The lake {lake.root} is for {remembered}, and STEDI_PURPOSE is {purpose.value}. "
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


def _drop_old(lake: Lake, table: Table, pointer: Pointer) -> None:
    """Remove the snapshots that are kept no longer, and what dead writers left."""
    kept = {pointer.snapshot, *(old.snapshot for old in pointer.replaced)}
    with locked(lake.table_folder(table) / _LOCK):
        for folder in lake.table_folder(table).iterdir():
            if not folder.is_dir():
                continue
            if folder.name in kept:
                finish(folder)
            elif is_draft(folder):
                sweep(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Have the disk hold a snapshot before a pointer says so."""
    for path in [*folder.iterdir(), folder, folder.parent]:
        sync(path)


def _snapshot(pointer: Pointer | None) -> str | None:
    return pointer.snapshot if pointer else None


def _new_id() -> str:
    return f"{_now():%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"


def _now() -> datetime:
    return datetime.now(timezone.utc)
