"""Publishing and reading tables: immutable snapshots, and one pointer that says which of them is current.

A snapshot is written to a fresh folder, counted while it is written, read back and held against its contract; only
then is the pointer switched, in one step, and only if neither the table nor one of its inputs has moved meanwhile.
A run that dies or fails anywhere leaves the old table whole.
"""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import QUARANTINE_TABLES, TABLES, UNIQUE_KEY, Policy, Purpose, Table, Type
from stedi_assets.lake.drafts import Draft, finish, is_draft, locked, sweep
from stedi_assets.lake.errors import ContractBroken, LakeError, LostRace
from stedi_assets.lake.layout import Lake

FORMAT = 1
_POINTER = "_current.json"
_LOCK = "_lock"
_COUNTS = "_counts.json"
_ARROW_TYPES = {
    Type.STRING: pa.string(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BINARY: pa.binary(),
    Type.STRINGS: pa.list_(pa.field("element", pa.string())),
}
# Up to this, one task counts faster than several that first exchange rows.
_ONE_TASK_BYTES = 8 << 20


@dataclass(frozen=True)
class Replaced:
    """A snapshot that was current once, and until when."""

    snapshot: str
    until: str


@dataclass(frozen=True)
class Pointer:
    """What `_current.json` says: which snapshot is current, and what it was made of.

    `as_of` is in epoch milliseconds, null for landing tables; so is `policy`. `inputs` are snapshot ids by table; a
    landing table's is that of the quarantine that belongs to it.
    """

    snapshot: str
    rows: int
    run_id: str
    published_at: str
    purpose: str
    as_of: int | None = None
    policy: dict[str, str] | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    replaced: tuple[Replaced, ...] = ()
    format: int = FORMAT


@dataclass(frozen=True)
class Provenance:
    """What a run says about the tables it makes."""

    run_id: str
    purpose: Purpose
    as_of: int | None = None
    policy: Policy | None = None


@dataclass(frozen=True)
class Retention:
    """Which old snapshots stay: the last ones, and whatever was current not long ago, for those still reading it."""

    snapshots: int = 2
    readers: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Published:
    """A table as it was published."""

    table: Table
    pointer: Pointer
    folder: Path
    bytes: int
    files: int
    counts: dict[str, int]


def read_pointer(lake: Lake, table: Table) -> Pointer | None:
    """Return a table's pointer, None if it was never published.

    Raises `LakeError` where the pointer is damaged or of a newer format.
    """
    path = lake.table_folder(table) / _POINTER
    try:
        found = json.loads(path.read_text())
        pointer = Pointer(**{**found, "replaced": tuple(Replaced(**old) for old in found["replaced"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        msg = (
            f"The pointer of {table.name}, {path}, is damaged. Remove it and materialise {table.name} again; "
            "its raw files and the other tables are untouched."
        )
        raise LakeError(msg) from error
    if pointer.format != FORMAT:
        msg = f"The pointer of {table.name}, {path}, has format {pointer.format}; this version reads {FORMAT}."
        raise LakeError(msg)
    return pointer


def current(lake: Lake, table: Table) -> Pointer:
    """Return a table's pointer. Raises `LakeError` where there is none."""
    pointer = read_pointer(lake, table)
    if pointer is None:
        msg = f"{table.name} has not been published in {lake.root} yet. Materialise it first."
        raise LakeError(msg)
    return pointer


def snapshot_folder(lake: Lake, table: Table, snapshot: str) -> Path:
    """Return the folder of a snapshot."""
    return lake.table_folder(table) / snapshot


def read_snapshot(spark: SparkSession, lake: Lake, table: Table, snapshot: str) -> DataFrame:
    """Return the rows of a snapshot, by the contract's columns.

    Raises `LakeError` where the snapshot is gone.
    """
    folder = snapshot_folder(lake, table, snapshot)
    if not folder.is_dir():
        msg = f"The snapshot {folder} of {table.name} is missing. Materialise {table.name} again."
        raise LakeError(msg)
    return _rows_in(spark, table, folder)


def read_beside(lake: Lake, table: Table, snapshot: str, name: str) -> Any:
    """Return a JSON file that lies beside a snapshot's data."""
    return json.loads((snapshot_folder(lake, table, snapshot) / name).read_text())


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
) -> Published:
    """Write a table's new snapshot, hold it against its contract, and make it current.

    `rows` may be None, where it is known that there are none: Spark would take as long for them as for a few.
    `expected` is the table's pointer and `inputs` those of its inputs as they were when the step began. `beside` are
    JSON files to lie in the snapshot, by name.

    Raises `ContractBroken` where a rule does not hold, `LostRace` where the table or an input has moved,
    and `LakeError` where the lake's purpose is another. What the disk refuses comes as Python and Spark raise it.
    """
    if rows is not None:
        _require_contract_columns(table, rows)
    draft = _draft(lake, table, _new_id())
    try:
        counts = _write_empty(table, draft.folder) if rows is None else _write(table, rows, draft.folder)
        files = _read_back(table, draft.folder, counts["rows"])
        if table.key and rows is not None:
            counts[UNIQUE_KEY] = _repeated_keys(table, rows.sparkSession, draft.folder)
        _require_rules(table, counts)
        for name, content in {**(beside or {}), _COUNTS: counts}.items():
            _write_private(draft.folder / name, json.dumps(content, indent=1))
        _flush(draft.folder)
        pointer = Pointer(
            snapshot=draft.folder.name,
            rows=counts["rows"],
            run_id=by.run_id,
            published_at=_now().isoformat(),
            purpose=by.purpose.value,
            as_of=by.as_of if table.policy_applies else None,
            policy=by.policy.as_dict() if by.policy and table.policy_applies else None,
            inputs={name: found.snapshot for name, found in inputs.items()},
        )
        pointer = _switch(lake, table, pointer, expected, inputs, retention)
    except BaseException:
        # Not where it was published and only what came after has failed.
        if _snapshot(read_pointer(lake, table)) != draft.folder.name:
            draft.discard()
        raise
    draft.keep()
    _drop_old(lake, table, pointer)
    return Published(table, pointer, draft.folder, sum(size for _, size in files), len(files), counts)


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
        raise ContractBroken(table.name, "columns", len(wanted), len(differing), what_to_do)


def _write(table: Table, rows: DataFrame, folder: Path) -> dict[str, int]:
    """Write the data files and return what was counted on the way: `rows`, and the breaches of each rule."""
    observation = Observation()
    observed = rows.observe(observation, F.count(F.lit(1)).alias("rows"), *_breaches(table))
    # `append`: into a folder that is ours alone. The draft's mark already lies in it.
    observed.write.mode("append").parquet(str(folder))
    return {name: int(count) for name, count in observation.get.items()}


def _write_empty(table: Table, folder: Path) -> dict[str, int]:
    """Write a file without rows and return its counts."""
    schema = pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in table.columns])
    pq.write_table(schema.empty_table(), folder / "empty.parquet")
    return dict.fromkeys(["rows", *table.rule_names], 0)


def recount(spark: SparkSession, lake: Lake, table: Table, pointer: Pointer) -> dict[str, int]:
    """Count a stored snapshot's `rows` and the breaches of each rule from its files."""
    rows = read_snapshot(spark, lake, table, pointer.snapshot)
    counted = rows.agg(F.count(F.lit(1)).alias("rows"), *_breaches(table)).first()
    counts = {name: int(count) for name, count in counted.asDict().items()} if counted else {}
    return counts | (
        {UNIQUE_KEY: _repeated_keys(table, spark, snapshot_folder(lake, table, pointer.snapshot))} if table.key else {}
    )


def saved_counts(lake: Lake, table: Table, snapshot: str) -> dict[str, int]:
    """Return the counts that were taken while a snapshot was written."""
    counts: dict[str, int] = read_beside(lake, table, snapshot, _COUNTS)
    return counts


def _breaches(table: Table) -> list[Column]:
    return [F.count_if(F.expr(f"NOT coalesce({rule}, false)")).alias(name) for name, rule in table.rules.items()]


def _repeated_keys(table: Table, spark: SparkSession, folder: Path) -> int:
    rows = _rows_in(spark, table, folder)
    if sum(file.stat().st_size for file in folder.glob("*.parquet")) <= _ONE_TASK_BYTES:
        rows = rows.coalesce(1)
    return rows.groupBy(*table.key).count().where("count > 1").count()


def _rows_in(spark: SparkSession, table: Table, folder: Path) -> DataFrame:
    return spark.read.schema(table.ddl).parquet(str(folder))


def _read_back(table: Table, folder: Path, rows: int) -> list[tuple[Path, int]]:
    """Return the data files with their sizes, once their footers agree with what was written."""
    files = sorted(folder.glob("*.parquet"))
    found = 0
    for file in files:
        footer = pq.ParquetFile(file)
        found += footer.metadata.num_rows
        schema = [(column.name, column.type) for column in footer.schema_arrow]
        if schema != [(column.name, _ARROW_TYPES[column.type]) for column in table.columns]:
            raise ContractBroken(table.name, "columns", len(files), 1, f"{file.name} was written with other columns.")
    if found != rows or not files:
        what_to_do = f"{rows:,} rows were written and {found:,} can be read back. Materialise it again."
        raise ContractBroken(table.name, "rows_read_back", rows, abs(rows - found), what_to_do)
    return [(file, file.stat().st_size) for file in files]


def _require_rules(table: Table, counts: Mapping[str, int]) -> None:
    for rule in table.rule_names:
        if counts[rule]:
            what_to_do = "Look for the change that lets such rows through, and materialise it again."
            raise ContractBroken(table.name, rule, counts["rows"], counts[rule], what_to_do)


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
            if _snapshot(read_pointer(lake, _table(name))) != read.snapshot:
                _lost(table, _table(name))
        _claim_purpose(lake, Purpose(pointer.purpose))
        pointer = replace(pointer, replaced=_kept(found, retention))
        _replace_whole(folder / _POINTER, json.dumps(asdict(pointer), indent=1))
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
        _replace_whole(path, json.dumps({"purpose": purpose.value}))
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
        _sync(path)


def _replace_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old or the new one, never a part."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    _write_private(draft, text)
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _snapshot(pointer: Pointer | None) -> str | None:
    return pointer.snapshot if pointer else None


def _table(name: str) -> Table:
    return TABLES.get(name) or QUARANTINE_TABLES[name]


def _new_id() -> str:
    return f"{_now():%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"


def _now() -> datetime:
    return datetime.now(timezone.utc)
