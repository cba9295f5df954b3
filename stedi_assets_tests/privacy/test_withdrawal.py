"""Withdrawal: whoever takes consent back is in no trusted or curated table after the next run, whatever else is broken.

Looked for as an intruder would: in the bytes of every file below the trusted and curated folders.
"""

import contextlib
import gzip
import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import TABLES, Purpose, Table, Zone
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy import withdrawal
from stedi_assets.privacy.withdrawal import _Removal, remove_withdrawn
from stedi_assets.storage.errors import CommitConflictError, LakeError, VanishedFiles
from stedi_assets.storage.lake import Lake
from stedi_assets.tables import publishing, staging
from stedi_assets.tables.publishing import publish, republish
from stedi_assets.tables.retention import Retention, snapshot_rows
from stedi_assets.tables.snapshots import Snapshot, current, data_paths, is_whole, read_snapshot, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets.transforms import curated, trusted
from stedi_assets.verification.rules import auditor
from stedi_assets_tests.support.dying import living
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    DEFAULT,
    TRACES_OF_ADA,
    check,
    customer,
    failed_checks,
    land_customers,
    lines,
    local_lake,
    materialise,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.unpacked import unpacked

KEY = b"a pseudonym key for tests, 32 bytes and more"
WITHDREW = 1_650_000_000_000
RUN = RunContext("a run", Purpose.PRODUCTION, WITHDREW + 10**10, DEFAULT, lambda: KEY)
MADE_OF_PEOPLE = [table for table in TABLES.values() if table.zone is not Zone.LANDING]


@pytest.fixture(autouse=True, scope="module")
def _pseudonym_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_PSEUDONYM_KEY", KEY.decode())
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake in which ada and ben consent and have readings, twice built: old snapshots are kept."""
    lake = local_lake(tmp_path_factory.mktemp("built") / "lake")
    write_ada_and_ben(lake)
    for _ in range(2):
        assert materialise(lake, spark_resource, checks=False).success
    assert holders_of_ada(lake) == {table.name for table in MADE_OF_PEOPLE}
    return KeptLake.of(lake)


@pytest.fixture
def lake(built: KeptLake) -> Lake:
    """That lake, as it was built."""
    return built.restored()


@pytest.fixture
def folder(lake: Lake) -> Path:
    """The root of that lake."""
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
                content = unpacked(file)
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
    assert materialise(lake, spark_resource, checks=False).success
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
        ("customer", _gone),
        pytest.param("step_trainer", _cut_off, marks=pytest.mark.matrix),
        pytest.param("customer", _cut_off, marks=pytest.mark.matrix),
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
    assert not materialise(lake, spark_resource).success
    assert holders_of_ada(lake) == set()
    assert rows(lake) == ONLY_BEN


@pytest.mark.parametrize(
    ("module", "transform"),
    [
        (trusted, "accelerometer_trusted"),
        pytest.param(trusted, "customer_trusted", marks=pytest.mark.matrix),
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


def assert_a_withdrawal_is_finished(after: int, lake: Lake, spark: SparkSession) -> None:
    """Kill a run after a commit; the next one ends it, and a customers' file that is gone does not hold that up."""
    withdraw(root_of(lake))
    with living(last=after):
        land_customers(lake, spark, RUN)
    _gone(root_of(lake), "customer")
    with pytest.raises(VanishedFiles):
        land_customers(lake, spark, RUN)
    assert holders_of_ada(lake) == set(), f"killed after commit {after}"
    assert rows(lake) == ONLY_BEN


@pytest.fixture(scope="module")
def commits_of_a_withdrawal(built: KeptLake, spark: SparkSession) -> int:
    """How many commits a run makes until all who withdrew have left."""
    withdraw(root_of(lake := built.restored()))
    _gone(root_of(lake), "customer")
    with living() as life, pytest.raises(VanishedFiles):
        land_customers(lake, spark, RUN)
    assert holders_of_ada(lake) == set()
    return life.commits


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_withdrawal_that_was_killed_is_finished_by_the_next_run(
    share: float, commits_of_a_withdrawal: int, lake: Lake, spark: SparkSession
) -> None:
    assert_a_withdrawal_is_finished(round(share * commits_of_a_withdrawal), lake, spark)


@pytest.mark.matrix
def test_a_withdrawal_that_was_killed_after_any_commit_is_finished_by_the_next_run(
    commits_of_a_withdrawal: int, built: KeptLake, spark: SparkSession
) -> None:
    for after in range(1, commits_of_a_withdrawal + 1):
        assert_a_withdrawal_is_finished(after, built.restored(), spark)


def test_nothing_is_published_again_where_nobody_left(
    folder: Path, lake: Lake, spark: SparkSession, spark_resource: SparkResource
) -> None:
    (folder / "customer" / "landing" / "more.json").write_bytes(lines(customer("cleo", CONSENTED, CONSENTED)))
    assert materialise(lake, spark_resource).success
    for table in MADE_OF_PEOPLE:
        assert len(snapshot_rows(lake, table)) == 3, "the snapshots before stay for their readers"


def test_a_damaged_old_snapshot_holds_nothing_up(folder: Path, lake: Lake, spark_resource: SparkResource) -> None:
    """Nobody can tell who was in it: all older ones go."""
    people, landing = TABLES["customer_trusted"], folder / "customer" / "landing"
    old = data_paths(lake, people, current(lake, people).id)
    (landing / "more.json").write_bytes(lines(customer("cleo", CONSENTED, CONSENTED)))
    assert materialise(lake, spark_resource, checks=False).success
    for path in old.keys() - data_paths(lake, people, current(lake, people).id).keys():
        (folder / path).unlink()
    (landing / "others.json").write_bytes(lines(customer("dora", CONSENTED, CONSENTED)))
    assert materialise(lake, spark_resource, checks=False).success
    assert current(lake, people).rows == 4
    assert all(is_whole(lake, people, snapshot) for snapshot in snapshot_rows(lake, people))


def publish_phones(lake: Lake, spark: SparkSession) -> None:
    """Publish accelerometer_trusted from the people of now."""
    phones, people, landing = (
        TABLES[name] for name in ("accelerometer_trusted", "customer_trusted", "accelerometer_landing")
    )
    inputs = {table.name: current(lake, table) for table in (people, landing)}
    consenting, readings = (read_snapshot(spark, lake, table, inputs[table.name].id) for table in (people, landing))
    publish(
        lake,
        phones,
        trusted.accelerometer_trusted(readings, consenting, DEFAULT),
        run=RUN,
        before=read_snapshot_of(lake, phones),
        inputs=inputs,
        audit=auditor(lake, phones, RUN),
        retention=Retention(),
    )


def withdraw_ada(lake: Lake, spark: SparkSession) -> None:
    """Do what a run does that finds ada's withdrawal."""
    before = current(lake, TABLES["customer_trusted"])
    people = read_snapshot(spark, lake, TABLES["customer_trusted"], before.id)
    remove_withdrawn(lake, before, people.where("email LIKE 'ben%'"), RUN)


Act = Callable[[Lake, SparkSession], None]
STEPS = ("begin_branch", "seal", "require_unmoved", "fast_forward", "_is_whole", "expire")


@pytest.mark.parametrize(
    ("act", "other", "step"),
    [
        (publish_phones, withdraw_ada, "fast_forward"),
        pytest.param(withdraw_ada, publish_phones, "fast_forward", marks=pytest.mark.matrix),
        *(
            pytest.param(act, other, step, marks=pytest.mark.matrix)
            for act, other in ((publish_phones, withdraw_ada), (withdraw_ada, publish_phones))
            for step in STEPS
            if step != "fast_forward"
        ),
    ],
)
def test_a_withdrawal_wins_every_race(
    act: Act, other: Act, step: str, built: KeptLake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stops before each of its calls of a step in turn, while the other begins and ends; then it goes on."""
    modules = [module for module in (staging, publishing) if hasattr(module, step)]
    original: Callable[..., Any] = getattr(modules[0], step)

    def go_on_after(stop_at: int, lake: Lake) -> int:
        """Have one stop at a call of the step, and return how many calls there were."""
        calls = 0

        def interrupted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                with monkeypatch.context() as alone:
                    for module in modules:
                        alone.setattr(module, step, original)
                    run(other, lake)
            return original(*arguments, **options)

        with monkeypatch.context() as interrupting:
            for module in modules:
                interrupting.setattr(module, step, interrupted)
            run(act, lake)
        return calls

    def run(one: Act, lake: Lake) -> None:
        # Only the withdrawal must not lose.
        with contextlib.suppress(*([CommitConflictError] if one is publish_phones else [])):
            one(lake, spark)

    calls = stop_at = 1
    while stop_at <= calls:
        lake = built.restored()
        calls = go_on_after(stop_at, lake)
        assert holders_of_ada(lake) == set(), f"stopped at call {stop_at} of {step}"
        assert rows(lake) == ONLY_BEN
        stop_at += 1
    assert calls


def test_a_run_that_has_read_the_people_of_before_loses_however_late_it_switches(
    lake: Lake, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins when ada has left its table already, finds that nothing has moved, and switches when she is gone."""
    left_what_was_made, checked = threading.Event(), threading.Event()
    remove, require_unmoved = _Removal.remove, publishing.require_unmoved

    def wait_before_the_switch(removal: _Removal, people: Snapshot, before: Snapshot | None = None) -> None:
        try:
            remove(removal, people, before)
        finally:
            left_what_was_made.set()
        checked.wait(timeout=60)

    monkeypatch.setattr(_Removal, "remove", wait_before_the_switch)
    withdrawal_of_ada = threading.Thread(target=withdraw_ada, args=[lake, spark], daemon=True)
    withdrawal_of_ada.start()
    left_what_was_made.wait()

    checks = []

    def wait_after_the_last_check(lake: Lake, table: Table, inputs: Mapping[str, Snapshot]) -> None:
        require_unmoved(lake, table, inputs)
        if inputs:
            checks.append(table.name)
            if len(checks) == 2:
                checked.set()
                withdrawal_of_ada.join()

    monkeypatch.setattr(publishing, "require_unmoved", wait_after_the_last_check)
    with pytest.raises(CommitConflictError, match="another run has published accelerometer_trusted"):
        publish_phones(lake, spark)
    assert checks == ["accelerometer_trusted"] * 2
    assert holders_of_ada(lake) == set()
