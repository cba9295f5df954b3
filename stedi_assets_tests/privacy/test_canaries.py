"""Canaries: people without consent, whose every value is unmistakable, stay in the landing zone whatever goes wrong.

They are put everywhere into the input, then each stage fails in turn. Looked for as an intruder would, byte by byte
and with Parquet unpacked: in all of the lake but the landing zone, in Dagster's storage, in its events, in what is
printed and logged. There nobody else's values may stand either.
"""

import gzip
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame

from stedi_assets.contracts import SOURCES, TABLES, Policy
from stedi_assets.ingest import reading
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current
from stedi_assets.transforms import curated, trusted
from stedi_assets.verification import engine, queries
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    customer,
    device_reading,
    failed_checks,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.unpacked import unpacked

FAR_AWAY = 4_000_000_000_000
# Part of every name, e-mail and serial number of a canary; its telephone number; its birthday.
CANARY = re.compile(rb"(?i)kanari|31415926|1897-02-13")
# A value of those who consent.
ANYBODY = re.compile(rb"(?i)ada@|ben@|lovelace|555-ada|555-ben|device-of-")

CANARIES = ("never", "withdrew", "future", "flags", "quarantined", "seconds", "dated", "cut")
MAIL = "kanari.mail@example.com"


@pytest.fixture(autouse=True, scope="module")
def _keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_PSEUDONYM_KEY", "a pseudonym key for tests, 32 bytes and more")
        yield


def canary(kind: str, updated: int, consent: int | None) -> dict[str, object]:
    """Return a customer record of a canary."""
    return customer(f"kanari.{kind}", updated, consent) | {"phone": "31415926", "birthDay": "1897-02-13"}


def _customers() -> bytes:
    good = [
        canary("never", CONSENTED, None),
        canary("withdrew", CONSENTED, CONSENTED),
        canary("withdrew", CONSENTED + 1, None),
        canary("future", CONSENTED, FAR_AWAY),
        canary("flags", CONSENTED, None)
        | {"shareWithPublicAsOfDate": CONSENTED, "shareWithFriendsAsOfDate": CONSENTED},
        canary("dated", FAR_AWAY, CONSENTED),
    ]
    quarantined = [
        canary("quarantined", CONSENTED, CONSENTED) | {"serialNumber": ["kanari"]},
        canary("seconds", CONSENTED, CONSENTED // 1000),
        canary("unknown", CONSENTED, CONSENTED) | {"email": "kanari without an address"},
        canary("unknown", CONSENTED, None) | {MAIL: "31415926"},
    ]
    return lines(*good, *quarantined) + lines(canary("cut", CONSENTED, CONSENTED))[:-20] + b"\n"


def write_canaries(lake: Lake) -> None:
    """Write the landing files of two people who consent, and canaries everywhere among them."""
    write_ada_and_ben(lake)
    phones = [phone_reading(f"kanari.{kind}", instant) for kind in CANARIES for instant in INSTANTS]
    devices = [device_reading(f"device-of-kanari.{kind}", instant) for kind in CANARIES for instant in INSTANTS]
    # One whose device is ada's, too.
    devices += [device_reading("device-of-ada", INSTANTS[1] + 1)]
    phones += [phone_reading("kanari.never", INSTANTS[1] + 1)]
    broken = b'{"user": "kanari@example.com", "timestamp": "kanari", "x": {"kanari": 31415926}}\n{"kanari'
    for source, content in {
        "customer": _customers() + lines(canary("never", CONSENTED, None) | {"serialNumber": "device-of-ada"}),
        "accelerometer": lines(*phones, phone_reading("kanari.never", INSTANTS[0]) | {MAIL: 1}) + broken,
        "step_trainer": lines(*devices) + b'{"serialNumber": "kanari", "sensorReadingTime": "kanari"}',
    }.items():
        folder = root_of(lake) / source / "landing" / MAIL
        folder.mkdir()
        (folder / f"{MAIL}.json").write_bytes(content)
        # Ignored, and unreadable.
        (folder / f"{MAIL}.txt").write_bytes(content)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake in which the canaries have landed."""
    lake = local_lake(tmp_path_factory.mktemp("landed") / "lake")
    write_canaries(lake)
    # Some of their files cannot be read, which fails a check of each table and publishes it all the same.
    materialise(lake, spark_resource, tables=dg.AssetSelection.groups("landing"))
    assert all(current(lake, source.landing).rows for source in SOURCES.values())
    return KeptLake.of(lake)


Breaking = Callable[[Lake, pytest.MonkeyPatch], None]


def _nothing(lake: Lake, patch: pytest.MonkeyPatch) -> None:
    """Break nothing."""


def cut_off(source: str) -> Breaking:
    """Deliver a file of the source that cannot be read."""

    def breaking(lake: Lake, patch: pytest.MonkeyPatch) -> None:
        file = root_of(lake) / source / "landing" / MAIL / f"cut.{MAIL}.json.gz"
        file.write_bytes(gzip.compress(_customers() * 50)[:-4])

    return breaking


def all_quarantined(source: str) -> Breaking:
    """Leave the source nothing but records that cannot be read."""

    def breaking(lake: Lake, patch: pytest.MonkeyPatch) -> None:
        shutil.rmtree(root_of(lake) / source / "landing")
        (root_of(lake) / source / "landing").mkdir()
        (root_of(lake) / source / "landing" / f"{MAIL}.json").write_bytes(b'{"email": "kanari@example.com"\n' * 5)

    return breaking


def reading_stops(*, in_tasks: bool) -> Breaking:
    """Have whoever reads a file stop over its content: Spark's tasks, or the run itself."""

    def breaking(lake: Lake, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(reading, "_task", _stopping)
        if in_tasks:
            patch.setattr(reading, "_LITTLE", -1)

    return breaking


def _stopping(opened: Any, *_: Any) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for piece in (piece for batch in batches for piece in batch.to_pylist()):
            with opened(piece["path"], 0) as raw:
                raise ValueError(raw.read())
        yield from ()

    return read


def raised_on(module: Any, transform: str, expression: str) -> Breaking:
    """Have a transform fail inside of Spark, on the first of its inputs, over an expression with somebody's value."""

    def breaking(lake: Lake, patch: pytest.MonkeyPatch) -> None:
        original: Callable[..., DataFrame] = getattr(module, transform)

        def failing(rows: DataFrame, *others: Any, **options: Any) -> DataFrame:
            return original(rows.where(f"({expression}) IS NULL"), *others, **options)

        patch.setattr(module, transform, failing)

    return breaking


def contract_broken(module: Any, transform: str, sql: str) -> Breaking:
    """Have a transform return other rows, from the first of its inputs."""

    def breaking(lake: Lake, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, transform, lambda rows, *_: rows.sparkSession.sql(sql, rows=rows))

    return breaking


def second_engine_fails(view: str, sql: str) -> Breaking:
    """Have DuckDB stop over somebody's value."""

    def breaking(lake: Lake, patch: pytest.MonkeyPatch) -> None:
        original = queries.sql_of
        patch.setattr(engine, "sql_of", lambda name: sql if name == view else original(name))

    return breaking


_ALL = dg.AssetSelection.all()
_MADE_OF_LANDING = dg.AssetSelection.groups("trusted", "curated")


@dataclass(frozen=True)
class Case:
    """A stage that fails, what the run says of it, and the tables that are made; nothing is said where all succeed.

    `says` is there so that a run which failed of something else does not pass for this case.
    """

    what: str
    breaks: Breaking
    says: str = ""
    tables: dg.AssetSelection = _MADE_OF_LANDING
    quick: bool = False


RAISED = "raise_error({0})"
CAST = "CAST({0} AS INT)"
MATCHED = "assert_true({0} = '', {0})"
# Without repeats: it is not those that they are to be stopped for.
OWN_COLUMNS = "_source_file, _person, _device, _superseded"
OTHER_FLAGS = f"SELECT * EXCEPT ({OWN_COLUMNS}) FROM {{rows}} WHERE shareWithPublicAsOfDate IS NOT NULL"
ALL_PHONES = "SELECT DISTINCT user, timestamp, x, y, z FROM {rows}"
ALL_DEVICES = "SELECT sensorReadingTime, serialNumber, distanceFromObject, serialNumber AS user FROM {rows}"
TO_NUMBER = "SELECT CAST(email AS INTEGER) AS number FROM customer_landing"

STOPPED_RAISING = "Spark stopped with USER_RAISED_EXCEPTION"
STOPPED_CASTING = "Spark stopped with CAST_INVALID_INPUT"
NOT_PUBLISHED = "{0} was not published: it breaks the rule {1}"
NOT_RECOMPUTED = "{0} could not be checked by the second engine"

CASES = [
    Case("a whole run", _nothing, tables=_ALL, quick=True),
    *(
        Case(f"{source} cut off", cut_off(source), f"{source}_landing, files_readable", _ALL)
        for source in ("customer", "accelerometer", "step_trainer")
    ),
    *(
        Case(f"{source} all quarantined", all_quarantined(source), f"{source}_landing, not_empty", _ALL)
        for source in ("customer", "accelerometer")
    ),
    Case("reading stops", reading_stops(in_tasks=False), "Reading stopped with ValueError", _ALL, quick=True),
    Case("a task that reads stops", reading_stops(in_tasks=True), "Spark stopped with PythonException", _ALL),
    *(
        Case(f"{name} raises", raised_on(module, name, RAISED.format(column)), STOPPED_RAISING, quick=quick)
        for module, name, column, quick in (
            (trusted, "customer_trusted", "email", True),
            (trusted, "accelerometer_trusted", "user", False),
        )
    ),
    Case(
        "accelerometer_trusted asserts",
        raised_on(trusted, "accelerometer_trusted", MATCHED.format("user")),
        STOPPED_RAISING,
    ),
    *(
        Case(f"{name} casts", raised_on(module, name, CAST.format(column)), STOPPED_CASTING)
        for module, name, column in (
            (trusted, "customer_trusted", "email"),
            (curated, "customers_curated", "email"),
            (trusted, "step_trainer_trusted", "serialNumber"),
            (curated, "machine_learning_curated", "user"),
        )
    ),
    *(
        Case(f"the wrong people in {name}", contract_broken(trusted, name, rows), NOT_PUBLISHED.format(name, rule))
        for name, rows, rule in (
            ("customer_trusted", OTHER_FLAGS, "every_row_consents"),
            ("accelerometer_trusted", ALL_PHONES, "consent_is_current"),
            ("step_trainer_trusted", ALL_DEVICES, "consent_is_current"),
        )
    ),
    Case(
        "the second engine casts",
        second_engine_fails("customer_trusted", TO_NUMBER),
        NOT_RECOMPUTED.format("customer_trusted"),
    ),
    Case(
        "the second engine knows no such column",
        second_engine_fails("owners", 'SELECT "kanari" FROM run'),
        NOT_RECOMPUTED.format("step_trainer_trusted"),
    ),
]


def said_by(result: dg.ExecuteInProcessResult) -> str:
    """Return why steps of a run failed, in their own words, and the checks that failed."""
    failures = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    words = [failure.description or "" for failure in failures if failure]
    return "\n".join([*words, *(f"{table}, {rule}" for table, rule in sorted(failed_checks(result)))])


def marks(case: Case) -> list[pytest.MarkDecorator]:
    """Return the marks of a case."""
    return [] if case.quick else [pytest.mark.matrix]


def run(case: Case, lake: Lake, spark: SparkResource, instance: dg.DagsterInstance) -> list[dg.ExecuteInProcessResult]:
    """Materialise tables and, where that succeeds, hold what is stored against every check; return the results."""
    given = resources(lake, spark, Policy())
    made = dg.materialize(
        [*ASSETS, *CHECKS], selection=case.tables, resources=given, instance=instance, raise_on_error=False
    )
    if not made.success:
        return [made]
    job = dg.define_asset_job("check_lakehouse", selection=dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions(
        assets=ASSETS, asset_checks=CHECKS, jobs=[job], resources=given, executor=dg.in_process_executor
    )
    checking = defs.resolve_job_def("check_lakehouse")
    return [made, checking.execute_in_process(instance=instance, raise_on_error=False)]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path of each file below a folder, and what stands in it."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(file.relative_to(folder)), unpacked(file)


def in_landing_zone(path: str) -> bool:
    """Whether a path below the lake belongs to the landing zone."""
    return path.split("/")[1:2] in (["landing"], ["landing_table"], ["quarantine"])


@pytest.mark.parametrize("case", [pytest.param(case, id=case.what, marks=marks(case)) for case in CASES])
def test_whatever_goes_wrong_nobody_gets_out(
    case: Case,
    request: pytest.FixtureRequest,
    lake: Lake,
    tmp_path: Path,
    spark_resource: SparkResource,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    if case.tables is _ALL:
        write_canaries(lake)
    else:
        lake = request.getfixturevalue("landed").restored()
    home = tmp_path / "dagster"
    home.mkdir()
    case.breaks(lake, monkeypatch)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        results = run(case, lake, spark_resource, instance)
    assert results[0].success == (not case.says)
    assert case.says in said_by(results[0])

    said = capfd.readouterr()
    shown = [(f"printed to {name}", text.encode()) for name, text in zip(("stdout", "stderr"), said, strict=True)]
    shown.append(("logged", caplog.text.encode()))
    shown += [("an event", repr(event).encode()) for result in results for event in result.all_events]
    shown += [(f"Dagster's {path}", content) for path, content in contents(home)]
    stored = dict(contents(root_of(lake)))
    # The search finds what is there.
    assert any(CANARY.search(content) for path, content in stored.items() if in_landing_zone(path))

    zones = [(path, content) for path, content in stored.items() if not in_landing_zone(path)]
    assert [where for where, content in (*zones, *shown) if CANARY.search(content)] == []
    assert [where for where, content in shown if ANYBODY.search(content)] == []
    if not case.says:
        assert {path.split("/data/")[0] for path, _ in zones if path.endswith(".parquet")} == {
            *(table.path for table in TABLES.values() if table.policy_applies),
            *(source.files.path for source in SOURCES.values()),
        }
