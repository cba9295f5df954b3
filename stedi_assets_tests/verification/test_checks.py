"""The asset checks as a whole: what is declared, what blocks, what a result says, and that all always report."""

import os
import re
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot

from stedi_assets.contracts import QUARANTINE_TABLES, TABLES, Rule, Severity
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.verification.findings import _MEASURES
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    check,
    failed_checks,
    lines,
    local_lake,
    materialise,
    phone_reading,
    root_of,
    stored_files,
    write_ada_and_ben,
)

RULES = {(table.name, rule.name): rule for table in TABLES.values() for rule in table.rules}
# What checks count besides, and whose change over time says something.
_PLOTTED = {"failing bytes", "left", "accepted", "quarantined", "suppressed", "superseded", "missing", "surplus"}
DECLARED = {rule.name: rule for rule in RULES.values()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A good lake."""
    lake = local_lake(tmp_path_factory.mktemp("built") / "lake")
    write_ada_and_ben(lake)
    result = materialise(lake, spark_resource)
    assert result.success
    assert failed_checks(result) == set()
    return KeptLake.of(lake)


@pytest.fixture
def lake(built: KeptLake) -> Lake:
    """That lake, as it was built."""
    return built.restored()


def test_every_column_says_whose_data_it_holds() -> None:
    for table in (*TABLES.values(), *QUARANTINE_TABLES.values()):
        for column in table.columns:
            assert re.fullmatch(r"(user|system)(\.[a-z_]+)*", column.personal_data), (table.name, column.name)
    shown = {asset.key.path[-1]: asset.metadata_by_key[asset.key] for asset in ASSETS}
    for name, table in TABLES.items():
        tags = [column.tags for column in shown[name]["dagster/column_schema"].columns]
        assert tags == [{"personal_data": column.personal_data} for column in table.columns]


def test_there_are_some_thirty_rules_and_each_is_found_in_one_way() -> None:
    assert 25 <= len(DECLARED) <= 35
    for rule in DECLARED.values():
        ways = [rule.row_predicate, rule.violations_sql]
        assert sum(way is not None for way in ways) <= 1, rule.name
        assert any(ways) or rule.name in _MEASURES, rule.name
    assert set(_MEASURES) <= set(DECLARED)


def test_no_table_has_two_rules_of_one_name() -> None:
    for table in (*TABLES.values(), *QUARANTINE_TABLES.values()):
        names = [rule.name for rule in table.rules]
        assert len(set(names)) == len(names), table.name


def test_every_rule_is_a_check_and_error_blocks() -> None:
    specs = {(spec.asset_key.path[-1], spec.name): spec for checks in CHECKS for spec in checks.check_specs}
    assert set(specs) == set(RULES)
    for place, spec in specs.items():
        rule = RULES[place]
        assert spec.blocking == (rule.severity is Severity.ERROR), place
        assert spec.description == rule.description
        assert spec.metadata["if it fails"] == rule.what_to_do
        # With a dependency, a check would not be executed where a blocking one fails on the other table.
        assert not spec.additional_deps


@pytest.mark.parametrize("dialect", ["athena", "duckdb"])
@pytest.mark.parametrize("rule", [rule for rule in DECLARED.values() if rule.row_predicate or rule.violations_sql])
def test_what_is_counted_is_sql_that_athena_runs(rule: Rule, dialect: str) -> None:
    holds = (rule.row_predicate or "").replace("`", '"')
    query = rule.violations_sql or f"SELECT 1 FROM stored WHERE {holds}"
    sqlglot.parse_one(query.replace("{as_of}", "1700000000000"), read=dialect)


def test_a_result_says_what_was_found_and_what_to_do(lake: Lake, spark_resource: SparkResource) -> None:
    (root_of(lake) / "accelerometer" / "landing" / "more.json").write_bytes(
        lines(phone_reading("ada", 1_655_564_376_900) | {"x": 99.5}, phone_reading("ben", 1_655_564_376_900))
    )
    result = materialise(lake, spark_resource)
    assert result.success
    found = {(c.asset_key.path[-1], c.check_name): c for c in result.get_asset_check_evaluations()}
    failed = found["accelerometer_trusted", "values_in_range"]
    assert not failed.passed
    assert failed.severity is dg.AssetCheckSeverity.WARN
    assert {name: value.value for name, value in failed.metadata.items()} == {"looked at": 6, "failing": 1}
    assert failed.description == DECLARED["values_in_range"].what_to_do
    plotted = {name for c in found.values() for name, value in c.metadata.items() if isinstance(value.value, int)}
    assert plotted == {"looked at", "failing", *_PLOTTED}
    passed = found["accelerometer_trusted", "unique_key"]
    assert passed.description == "No two rows share user, timestamp, x, y, z."
    assert passed.metadata["looked at"].value == 6


def test_every_check_reports_where_customer_landing_is_broken(lake: Lake, spark_resource: SparkResource) -> None:
    (file,) = stored_files(lake, TABLES["customer_landing"])
    rows = pq.read_table(file)
    pq.write_table(pa.concat_tables([rows, rows]), file)
    result = check(lake, spark_resource)
    assert not result.success
    reported = {(c.asset_key.path[-1], c.check_name) for c in result.get_asset_check_evaluations()}
    assert reported == set(RULES)
    assert {("customer_landing", "as_published"), ("customer_landing", "rows_accounted_for")} <= failed_checks(result)


def test_what_cannot_be_computed_is_an_error_and_no_finding(lake: Lake, spark_resource: SparkResource) -> None:
    table = TABLES["customers_curated"]
    stored_files(lake, table)[0].write_bytes(b"PAR1 and nothing more")
    result = check(lake, spark_resource)
    assert not result.success
    data = result.failure_data_for_node("customers_curated_checks")
    assert data
    assert data.user_failure_data
    assert "of customers_curated" in (data.user_failure_data.description or "")
    assert "materialise customers_curated again" in (data.user_failure_data.description or "")
    assert not any(c.asset_key.path[-1] == table.name for c in result.get_asset_check_evaluations())


def test_a_table_that_is_made_alone_says_that_its_upstream_is_stale(lake: Lake, spark_resource: SparkResource) -> None:
    landed = materialise(lake, spark_resource, tables=dg.AssetSelection.assets("accelerometer_landing"), full=True)
    assert landed.success
    alone = dg.AssetSelection.assets("machine_learning_curated")
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialise(lake, spark_resource, tables=alone, instance=instance)
        assert result.success
        said = [entry.user_message for entry in instance.all_logs(result.run_id) if "is stale" in entry.user_message]
        assert {words.split(" is stale")[0] for words in said} == {"step_trainer_trusted", "accelerometer_trusted"}
        assert all("The job update_lakehouse brings all tables up to date." in words for words in said)
        assert materialise(lake, spark_resource, instance=instance).success
        result = materialise(lake, spark_resource, tables=alone, instance=instance)
        assert not any("is stale" in entry.user_message for entry in instance.all_logs(result.run_id))


def test_the_second_engine_does_not_judge_by_inputs_that_are_newer(lake: Lake, spark_resource: SparkResource) -> None:
    again = materialise(lake, spark_resource, tables=dg.AssetSelection.assets("accelerometer_landing"))
    assert again.success
    result = check(lake, spark_resource)
    assert result.success
    not_run = [c for c in result.get_asset_check_evaluations() if not c.passed]
    assert {c.check_name for c in not_run} == {"agrees_with_second_engine"}
    # The copied files of customers are others, and were landed first.
    assert {c.asset_key.path[-1] for c in not_run} == {
        *("customer_trusted", "accelerometer_trusted", "customers_curated"),
        *("step_trainer_trusted", "machine_learning_curated"),
    }
    for found in not_run:
        assert found.severity is dg.AssetCheckSeverity.WARN
        assert "_landing is newer than this table" in str(found.metadata["not run"].value)


def test_all_that_is_written_is_private(lake: Lake) -> None:
    raw = {root_of(lake) / source / "landing" for source in ("customer", "accelerometer", "step_trainer")}
    folders, files = set(), set()
    for parent, _, names in os.walk(root_of(lake)):
        if Path(parent) not in raw and Path(parent).name not in {"customer", "accelerometer", "step_trainer"}:
            folders |= {oct(os.stat(parent).st_mode & 0o777)} if Path(parent) != root_of(lake) else set()
            files |= {oct(os.stat(Path(parent) / name).st_mode & 0o777) for name in names}
    assert folders == {"0o700"}
    assert files == {"0o600"}
