"""Withdrawal: whoever takes consent back is in no trusted or curated table after the next run, whatever else is broken.

Looked for as an intruder would: in the bytes of every file below the trusted and curated folders.
"""

import gzip
import hashlib
import hmac
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import TABLES, Purpose, Table, Zone
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy import withdrawal
from stedi_assets.privacy.withdrawal import Leaving, let_leave
from stedi_assets.storage.errors import LakeError, LostRace
from stedi_assets.storage.lake import Lake
from stedi_assets.tables import publishing
from stedi_assets.tables.pointers import Pointer
from stedi_assets.tables.publishing import Provenance, Retention, publish, republish
from stedi_assets.tables.snapshots import current, read_pointer, read_snapshot
from stedi_assets.transforms import curated, trusted
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    DEFAULT,
    TRACES_OF_ADA,
    check,
    customer,
    failed_checks,
    lines,
    local_lake,
    materialise,
    root_of,
    write_ada_and_ben,
)

KEY = b"a pseudonym key for tests, 32 bytes and more"
WITHDREW = 1_650_000_000_000
MADE_OF_PEOPLE = [table for table in TABLES.values() if table.zone is not Zone.LANDING]


@pytest.fixture(autouse=True, scope="module")
def _pseudonym_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_PSEUDONYM_KEY", KEY.decode())
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Path:
    """The root of a lake in which ada and ben consent and have readings, twice built: old snapshots are kept."""
    lake = local_lake(tmp_path_factory.mktemp("built") / "lake")
    write_ada_and_ben(lake)
    for _ in range(2):
        assert materialise(lake, spark_resource).success
    assert holders_of_ada(lake) == {table.name for table in MADE_OF_PEOPLE}
    return root_of(lake)


@pytest.fixture
def folder(built: Path, lake: Lake) -> Path:
    """The root of the test's own copy of that lake."""
    shutil.copytree(built, root_of(lake))
    return root_of(lake)


def withdraw(folder: Path) -> None:
    (folder / "customer" / "landing" / "later.json").write_bytes(lines(customer("ada", WITHDREW, None)))


def holders_of_ada(lake: Lake) -> set[str]:
    """Return the trusted and curated tables that have ada in any file of any snapshot, by name or as a subject."""
    subject = hmac.new(KEY, b"ada@example.com", hashlib.sha256).hexdigest().encode()
    found = set()
    for table in MADE_OF_PEOPLE:
        for file in (root_of(lake) / table.path).rglob("*"):
            if file.is_file():
                is_data = file.suffix == ".parquet"
                content = str(pq.read_table(file).to_pylist()).encode() if is_data else file.read_bytes()
                if TRACES_OF_ADA.search(content) or subject in content:
                    found.add(table.name)
    return found


def rows(lake: Lake) -> dict[str, int]:
    return {table.name: current(lake, table).rows for table in MADE_OF_PEOPLE}


ONLY_BEN = {
    "customer_trusted": 1,
    "accelerometer_trusted": 2,
    "customers_curated": 1,
    "step_trainer_trusted": 2,
    "machine_learning_curated": 2,
}


def test_who_withdraws_is_gone_after_one_run(folder: Path, lake: Lake, spark_resource: SparkResource) -> None:
    withdraw(folder)
    assert materialise(lake, spark_resource).success
    assert holders_of_ada(lake) == set()
    assert rows(lake) == ONLY_BEN
    checked = check(lake, spark_resource)
    assert checked.success
    # Half of them left, which is not far enough for a warning.
    assert failed_checks(checked) == set()


def _cut_off(folder: Path, source: str) -> None:
    (folder / source / "landing" / "cut.json.gz").write_bytes(gzip.compress(b"{}" * 100)[:-4])


def _gone(folder: Path, source: str) -> None:
    (folder / source / "landing" / "one.json").unlink()


def _all_quarantined(folder: Path, source: str) -> None:
    (folder / source / "landing" / "one.json").write_bytes(b"<html>" * 5)


@pytest.mark.parametrize(
    ("source", "breaking"),
    [
        ("accelerometer", _gone),
        ("step_trainer", _cut_off),
        ("customer", _gone),
        ("customer", _cut_off),
        pytest.param("accelerometer", _cut_off, marks=pytest.mark.matrix),
        pytest.param("accelerometer", _all_quarantined, marks=pytest.mark.matrix),
        pytest.param("step_trainer", _gone, marks=pytest.mark.matrix),
        pytest.param("step_trainer", _all_quarantined, marks=pytest.mark.matrix),
        pytest.param("customer", _all_quarantined, marks=pytest.mark.matrix),
    ],
)
def test_a_broken_source_does_not_hold_it_up(
    breaking: Callable[[Path, str], None], source: str, folder: Path, lake: Lake, spark_resource: SparkResource
) -> None:
    withdraw(folder)
    breaking(folder, source)
    failed = materialise(lake, spark_resource)
    # A customers' file that now holds one broken line is another delivery, and a whole one.
    assert failed.success == (breaking is _all_quarantined and source == "customer")
    assert holders_of_ada(lake) == set()
    if not failed.success:
        assert rows(lake) == ONLY_BEN


@pytest.mark.parametrize(
    ("module", "transform"),
    [
        (trusted, "customer_trusted"),
        (trusted, "accelerometer_trusted"),
        pytest.param(trusted, "step_trainer_trusted", marks=pytest.mark.matrix),
        pytest.param(curated, "customers_curated", marks=pytest.mark.matrix),
        pytest.param(curated, "machine_learning_curated", marks=pytest.mark.matrix),
    ],
)
def test_a_table_that_breaks_its_contract_does_not_hold_it_up(
    module: object,
    transform: str,
    folder: Path,
    lake: Lake,
    spark_resource: SparkResource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original: Callable[..., DataFrame] = getattr(module, transform)
    monkeypatch.setattr(module, transform, lambda *inputs: original(*inputs).selectExpr("*", "1 AS further"))
    withdraw(folder)
    assert not materialise(lake, spark_resource).success
    assert holders_of_ada(lake) == set()
    assert rows(lake) == ONLY_BEN


def test_who_is_in_no_file_any_more_stays_until_that_is_forgotten(
    folder: Path, lake: Lake, spark_resource: SparkResource
) -> None:
    """A file that is replaced unsays nothing; to forget what it held is up to its operator, whatever else is broken."""
    before = holders_of_ada(lake)
    (folder / "customer" / "landing" / "one.json").write_bytes(lines(customer("ben", CONSENTED, CONSENTED)))
    _gone(folder, "step_trainer")
    assert not materialise(lake, spark_resource).success
    assert holders_of_ada(lake) == before != set()
    assert not materialise(lake, spark_resource, forget=("one.json",)).success
    assert holders_of_ada(lake) == set()


def test_a_withdrawal_counts_where_nothing_else_can_be_read(
    folder: Path, lake: Lake, spark_resource: SparkResource
) -> None:
    """The delivery is replaced by one broken record that still names ada: she leaves, and ben's data stay."""
    (folder / "customer" / "landing" / "one.json").write_bytes(b'{"email": "ada@example.com", "serialNumber": 5}')
    failed = materialise(lake, spark_resource)
    assert not failed.success
    assert ("customer_landing", "not_empty") in failed_checks(failed)
    assert holders_of_ada(lake) == set()
    assert rows(lake) == ONLY_BEN


def test_a_withdrawal_that_dies_half_way_is_made_good_by_the_next_run(
    folder: Path, lake: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []

    def dying(*arguments: object, **options: object) -> object:
        if len(done) == 2:
            raise LakeError("killed")
        done.append(arguments)
        return republish(*arguments, **options)  # type: ignore[arg-type]  # passed on as they came

    withdraw(folder)
    with monkeypatch.context() as dies:
        dies.setattr(withdrawal, "republish", dying)
        assert not materialise(lake, spark_resource).success
    assert holders_of_ada(lake)
    _gone(folder, "accelerometer")
    assert not materialise(lake, spark_resource).success
    assert holders_of_ada(lake) == set()


def test_nothing_is_published_again_where_nobody_left(
    folder: Path, lake: Lake, spark: SparkSession, spark_resource: SparkResource
) -> None:
    (folder / "customer" / "landing" / "more.json").write_bytes(lines(customer("cleo", CONSENTED, CONSENTED)))
    assert materialise(lake, spark_resource).success
    for table in MADE_OF_PEOPLE:
        pointer = read_pointer(lake, table)
        assert pointer
        assert len(pointer.replaced) == 2, "the snapshots before stay for their readers"


def test_a_run_that_has_read_the_people_of_before_loses_however_late_it_switches(
    folder: Path, lake: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins when ada has left its table already, finds that nothing has moved, and switches when she is gone."""
    phones, people = TABLES["accelerometer_trusted"], TABLES["customer_trusted"]
    by = Provenance("a run", Purpose.PRODUCTION, CONSENTED + 1, DEFAULT, lambda: KEY)
    left_what_was_made, checked = threading.Event(), threading.Event()
    leave, require_unmoved = Leaving.leave_what_was_made, publishing._require_unmoved

    def wait_before_the_switch(leaving: Leaving, people_that_stay: str) -> None:
        leave(leaving, people_that_stay)
        left_what_was_made.set()
        checked.wait()

    monkeypatch.setattr(Leaving, "leave_what_was_made", wait_before_the_switch)
    before = current(lake, people)
    with_ada = read_snapshot(spark, lake, people, before.snapshot)
    withdrawal_of_ada = threading.Thread(
        target=let_leave, args=[lake, before, with_ada.where("email LIKE 'ben%'"), by], daemon=True
    )
    withdrawal_of_ada.start()
    left_what_was_made.wait()

    checks = []

    def wait_after_the_last_check(lake: Lake, table: Table, inputs: Mapping[str, Pointer]) -> None:
        require_unmoved(lake, table, inputs)
        if inputs:
            checks.append(table.name)
            if len(checks) == 2:
                checked.set()
                withdrawal_of_ada.join()

    monkeypatch.setattr(publishing, "_require_unmoved", wait_after_the_last_check)
    landing = TABLES["accelerometer_landing"]
    readings = read_snapshot(spark, lake, landing, current(lake, landing).snapshot)
    rows = trusted.accelerometer_trusted(readings, with_ada, DEFAULT)
    with pytest.raises(LostRace, match="another run has published accelerometer_trusted"):
        publish(
            lake,
            phones,
            rows,
            by=by,
            expected=read_pointer(lake, phones),
            inputs={people.name: before},
            retention=Retention(),
        )
    assert checks == ["accelerometer_trusted"] * 2
    assert holders_of_ada(lake) == set()
