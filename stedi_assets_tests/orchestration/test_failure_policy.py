"""The failure policy of docs/checks.md, row for row: what goes wrong, what is written, which check says so, the end."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stedi_assets.contracts import TABLES, ConsentRecord, Policy
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import read_snapshot_of
from stedi_assets.transforms import curated, trusted
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    DEFAULT,
    check,
    customer,
    device_reading,
    failed_checks,
    lines,
    local_lake,
    materialise,
    phone_reading,
    root_of,
    stored_files,
    write_ada_and_ben,
)
from stedi_assets_tests.support.pages import page

POLICY = page("docs/checks.md")
LATER = CONSENTED + 1


@dataclass(frozen=True)
class Case:
    """A row of the table, what is done to bring it about, and what must be so then."""

    what: str
    written: str
    check: str
    severity: str
    done: Callable[[Lake, pytest.MonkeyPatch], None]
    rows: Mapping[str, int | None]
    policy: Policy = DEFAULT
    command: str = "rebuild_lakehouse"

    @property
    def succeeds(self) -> bool:
        """Whether the run does."""
        return self.severity != "ERROR"

    def row(self) -> str:
        """Return the case as the page has it."""
        outcome = f"`{self.check}` {self.severity}" if self.check in ALL_RULES else self.check or "none"
        status = "success" if self.succeeds else "failure"
        return f"| {self.what} | {self.written} | {outcome} | {status} | {0 if self.succeeds else 1} |"


ALL_RULES = {rule.name for table in TABLES.values() for rule in table.rules}


def _deliver(lake: Lake, path: str, content: bytes) -> None:
    (root_of(lake) / path).write_bytes(content)


def _deliver_later(path: str, content: bytes) -> Callable[[Lake, pytest.MonkeyPatch], None]:
    return lambda lake, _: _deliver(lake, path, content)


def _withdraw(lake: Lake) -> None:
    _deliver(lake, "customer/landing/later.json", lines(customer("ada", LATER, None)))


def _withdraw_beside_a_broken_source(lake: Lake, _: pytest.MonkeyPatch) -> None:
    _withdraw(lake)
    _deliver(lake, "accelerometer/landing/cut.json", gzip.compress(lines(phone_reading("ben", LATER)))[:-4])


def _transform_breaks_the_contract(_: Lake, change: pytest.MonkeyPatch) -> None:
    original = trusted.accelerometer_trusted
    change.setattr(trusted, "accelerometer_trusted", lambda *i: original(*i).union(original(*i)))


def _transform_is_wrong(_: Lake, change: pytest.MonkeyPatch) -> None:
    original = curated.customers_curated
    change.setattr(curated, "customers_curated", lambda *i: original(*i).where("email LIKE 'a%'"))


def _tamper(lake: Lake, _: pytest.MonkeyPatch) -> None:
    table = TABLES["customers_curated"]
    for file in stored_files(lake, table):
        rows = pq.ParquetFile(file).read()
        pq.write_table(pa.concat_tables([rows, rows]), file)


def _nothing(_: Lake, __: pytest.MonkeyPatch) -> None:
    pass


ALL, NONE = {"customer_landing": 2, "machine_learning_curated": 4}, {"machine_learning_curated": None}

CASES = [
    Case(
        "Records that cannot be accepted",
        "They are quarantined, byte for byte; the others land",
        "quarantine_rate",
        "WARN",
        _deliver_later("accelerometer/landing/more.json", b'{"user": 5}\n' + lines(phone_reading("ada", LATER))),
        {"accelerometer_landing": 5, "machine_learning_curated": 4},
    ),
    Case(
        "A file of readings of which no record can be accepted",
        "Its records are quarantined; the others land",
        "every_file_gives_records",
        "WARN",
        _deliver_later("accelerometer/landing/more.json", b'{"user": 5}\n'),
        {"accelerometer_landing": 4, "machine_learning_curated": 4},
    ),
    Case(
        "A file of customers of which no record can be accepted",
        "Its records are quarantined; nothing is made from that table",
        "every_file_gives_records",
        "ERROR",
        _deliver_later("customer/landing/more.json", b'{"email": 5}\n'),
        {"customer_landing": 2, "customer_trusted": None},
    ),
    Case(
        "A file that ends within a record",
        "That record is quarantined, the others land",
        "files_whole",
        "WARN",
        _deliver_later("accelerometer/landing/more.json", lines(phone_reading("ada", LATER)) + b'{"user": "ben@exa'),
        {"accelerometer_landing": 5, "machine_learning_curated": 4},
    ),
    Case(
        "A file that a manifest lists is missing, or not as it says; a manifest that cannot be used",
        "What is there lands",
        "files_match_manifests",
        "WARN",
        _deliver_later("accelerometer/landing/manifest.json", b'{"files": [{"path": "one.json", "records": 5}]}'),
        ALL,
    ),
    Case(
        "A quarantined customer record whose e-mail cannot be read",
        "It is quarantined; it may be anybody's withdrawal",
        "quarantined_people_known",
        "WARN",
        _deliver_later("customer/landing/more.json", b'{"email": \n' + lines(customer("cleo", LATER, None))),
        {"customer_landing": 3, "machine_learning_curated": 4},
    ),
    Case(
        "Fields that the contract does not know",
        "The records land without them",
        "unknown_fields",
        "WARN",
        _deliver_later("customer/landing/more.json", lines(customer("cleo", LATER, None) | {"shoeSize": 5})),
        {"customer_landing": 3, "machine_learning_curated": 4},
    ),
    Case(
        "A file with another suffix",
        "It is not read",
        "ignored_files",
        "WARN",
        _deliver_later("customer/landing/more.csv", b"a,b\n"),
        ALL,
    ),
    Case(
        "A file that cannot be read: cut-off gzip, zip, UTF-16, no permission",
        "The other files land; nothing is made from that table",
        "files_readable",
        "ERROR",
        _deliver_later("customer/landing/cut.json", gzip.compress(lines(customer("cleo", LATER, LATER)))[:-4]),
        {"customer_landing": 2, "customer_trusted": None, "machine_learning_curated": None},
    ),
    Case(
        "No record that can be accepted",
        "An empty landing table; nothing is made from it",
        "not_empty",
        "ERROR",
        _deliver_later("customer/landing/one.json", b"<html>\n"),
        {"customer_landing": 0, "customer_trusted": None},
    ),
    Case(
        "Device readings that belong to nobody",
        "They land, and go no further",
        "unattributed_share",
        "WARN",
        _deliver_later("step_trainer/landing/more.json", lines(device_reading("device-of-nobody", LATER))),
        {"step_trainer_landing": 5, "step_trainer_trusted": 4, "machine_learning_curated": 4},
    ),
    Case(
        "A transform whose table breaks its contract",
        "The table is not published; the last good one stays",
        "the error names the rule",
        "ERROR",
        _transform_breaks_the_contract,
        {"customer_trusted": 2, "accelerometer_trusted": None, "machine_learning_curated": None},
    ),
    Case(
        "A transform that keeps the contract but computes wrong rows",
        "The table is published; nothing is made from it",
        "agrees_with_second_engine",
        "ERROR",
        _transform_is_wrong,
        {"customers_curated": 1, "step_trainer_trusted": None, "machine_learning_curated": None},
    ),
    Case(
        "A policy that is not the default, in a lake for comparison",
        "The tables are made under it",
        "policy_is_default",
        "WARN",
        _nothing,
        ALL,
        policy=Policy(consent_record=ConsentRecord.ANY),
    ),
    Case(
        "A withdrawal",
        "The person leaves every trusted and curated table, old snapshots included",
        "",
        "",
        lambda lake, _: _withdraw(lake),
        {"customer_trusted": 1, "machine_learning_curated": 2},
    ),
    Case(
        "A withdrawal while another source is broken",
        "The same, before anything else; the other tables stay",
        "files_readable",
        "ERROR",
        _withdraw_beside_a_broken_source,
        {"customer_trusted": 1, "accelerometer_trusted": 2, "machine_learning_curated": 2},
    ),
    Case(
        "More than a few people leave at once for records that cannot be read",
        "They leave; nothing more is made",
        "few_people_leave_unread",
        "ERROR",
        _deliver_later("customer/landing/more.json", lines(customer("ada", LATER, None) | {"serialNumber": 5})),
        {"customer_trusted": 1, "machine_learning_curated": 2},
    ),
    Case(
        "A file that a landing table was made from is gone",
        "The landing table stays as it was",
        "the error names the file",
        "ERROR",
        lambda lake, _: (root_of(lake) / "step_trainer/landing/one.json").unlink(),
        ALL,
    ),
    Case(
        "The list of erased people is lost, or an old one",
        "Nothing is landed",
        "the error names the file",
        "ERROR",
        lambda lake, _: lake.storage.write("_erasures/20260101T000000Z-0.json", b'{"people_on_the_list": 1}'),
        ALL,
    ),
    Case(
        "A pseudonym key other than the lake's",
        "No table that depends on it",
        "the error names the key",
        "ERROR",
        lambda _, change: change.setenv("STEDI_PSEUDONYM_KEY", "x" * 40),
        ALL,
        command="check_lakehouse",
    ),
    Case(
        "Somebody changes stored files",
        "Nothing is written",
        "as_published",
        "ERROR",
        _tamper,
        ALL,
        command="check_lakehouse",
    ),
]
# These need tables that were made before.
SECOND_RUNS = {case.what for case in CASES[-7:]}
# Deliveries that do not touch each other: they arrive in one lake, and each is held to its own row.
TOGETHER = [
    {
        "Records that cannot be accepted",
        "Fields that the contract does not know",
        "Device readings that belong to nobody",
    },
    {"A file that ends within a record", "A quarantined customer record whose e-mail cannot be read"},
    {"A file of readings of which no record can be accepted", "A file with another suffix"},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A good lake."""
    lake = local_lake(tmp_path_factory.mktemp("built") / "lake")
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource).success
    return KeptLake.of(lake)


@pytest.fixture(scope="module")
def arrived_together(
    tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource
) -> Callable[[int], tuple[Lake, dg.ExecuteInProcessResult]]:
    """Gives the lake in which a group of deliveries arrived, and the run after that."""

    @cache
    def run(group: int) -> tuple[Lake, dg.ExecuteInProcessResult]:
        lake = local_lake(tmp_path_factory.mktemp("together") / "lake")
        write_ada_and_ben(lake)
        for case in CASES:
            if case.what in TOGETHER[group]:
                case.done(lake, pytest.MonkeyPatch())
        return lake, materialise(lake, spark_resource)

    return run


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.what not in set().union(*TOGETHER)], ids=lambda case: case.what
)
def test_it_goes_as_the_page_says(
    case: Case, built: KeptLake, lake: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.what in SECOND_RUNS:
        lake = built.restored()
    else:
        write_ada_and_ben(lake)
    case.done(lake, monkeypatch)
    run = check if case.command == "check_lakehouse" else materialise
    assert_as_on_the_page(case, lake, run(lake, spark_resource, case.policy))


@pytest.mark.parametrize(
    ("case", "group"),
    [(case, number) for number, group in enumerate(TOGETHER) for case in CASES if case.what in group],
    ids=lambda value: value.what if isinstance(value, Case) else "",
)
def test_beside_others_it_goes_as_the_page_says(
    case: Case, group: int, arrived_together: Callable[[int], tuple[Lake, dg.ExecuteInProcessResult]]
) -> None:
    assert_as_on_the_page(case, *arrived_together(group))


def assert_as_on_the_page(case: Case, lake: Lake, result: dg.ExecuteInProcessResult) -> None:
    assert result.success == case.succeeds
    for name, rows in case.rows.items():
        pointer = read_snapshot_of(lake, TABLES[name])
        assert (pointer.rows if pointer else None) == rows, name
    if case.check in ALL_RULES:
        assert case.check in {name for _, name in failed_checks(result)}
        assert case.severity == severity_of(result, case.check)
    elif not case.check:
        assert failed_checks(result) == set()
    else:
        assert failed_checks(result) <= {("customer_landing", "row_count_change")}


def severity_of(result: dg.ExecuteInProcessResult, name: str) -> str:
    return next(c.severity.value for c in result.get_asset_check_evaluations() if c.check_name == name and not c.passed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_the_page_has_the_row(case: Case) -> None:
    assert case.row() in POLICY


def test_the_page_has_no_other_row() -> None:
    table = POLICY.split("| what arrives or goes wrong |")[1].split("\n\n")[0]
    assert len(table.splitlines()) == 2 + len(CASES)
