"""What holds once an example of CONTRIBUTING.md has been followed. `test_contributing.py` calls it in a changed copy.

Nothing here starts Spark. Names that only a changed copy has are looked up by their text.
"""

import os
import random
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from stedi_assets import contracts
from stedi_assets.contracts import TABLES, MatchOn, Policy, Severity
from stedi_assets.privacy import withdrawal
from stedi_assets.settings import SettingsError, read_settings
from stedi_assets.tables.ddl import partitions_of, schema_of
from stedi_assets_tests.support import oracle
from stedi_assets_tests.support.environments import settings_of
from stedi_assets_tests.support.lakes import local_lake, root_of
from stedi_assets_tests.support.settings_page import settings_page
from stedi_assets_tests.support.worlds import write_worlds
from stedi_assets_tests.verification.test_second_engine import compared, same, tables_of

_BY_INSTANT = Policy(match_on=MatchOn.TIMESTAMP)


def column() -> None:
    """The column is in the contract, in Iceberg's schema and on Dagster's page, and both engines agree."""
    table = TABLES["machine_learning_curated"]
    assert table.column_names[-1] == "sinceMidnight"
    assert str(schema_of(table).find_type("sinceMidnight")) == "long"
    shown = _definitions().asset_graph.get(dg.AssetKey(table.name)).metadata["dagster/column_schema"].columns[-1]
    assert (shown.name, shown.type, shown.constraints.nullable) == ("sinceMidnight", "bigint", False)
    assert "Made from [step_trainer_trusted.sensorReadingTime](/assets/step_trainer_trusted)" in shown.description
    _both_engines_agree(table.name, Policy(), Policy(published_time=contracts.PublishedTime.HOUR))


def rule() -> None:
    """The rule is an asset check of its table that only warns, and finds a bad row and no other."""
    (made,) = (rule for rule in TABLES["customer_trusted"].rules if rule.name == "registered_before_changed")
    assert made.severity is Severity.WARN
    key = dg.AssetCheckKey(dg.AssetKey("customer_trusted"), made.name)
    assert not _definitions().asset_graph.get(key).blocking
    rows = "(VALUES (1, 2), (2, 2), (3, 2), (NULL, 2), (2, NULL)) AS people (registrationDate, lastUpdateDate)"
    predicate = (made.row_predicate or "").replace("`", '"')
    with duckdb.connect() as engine:
        found = engine.execute(f"SELECT * FROM {rows} WHERE NOT coalesce({predicate}, FALSE)").fetchall()
    assert found == [(3, 2)]


def setting() -> None:
    """The setting is read from its variable, refused in words, on its page, and decides about the schedule."""
    assert [settings_of({"STEDI_CHECK_HOUR": text}).model_dump()["check_hour"] for text in ("0", "9", "23")] == [
        0,
        9,
        23,
    ]
    assert settings_of({}).model_dump()["check_hour"] == 6
    with pytest.raises(SettingsError, match=r"STEDI_CHECK_HOUR=24 is not possible\. Use an hour of the day"):
        settings_of({"STEDI_CHECK_HOUR": "24"})
    assert "| `STEDI_CHECK_HOUR` | `6` | the hour (UTC) at which" in settings_page()
    os.environ["STEDI_CHECK_HOUR"] = "4"
    assert read_settings()
    (daily,) = (found for found in _definitions().schedule_defs if found.name == "daily_check")
    assert daily.cron_schedule == "0 4 * * *"


def table() -> None:
    """The table is an asset with its checks, people leave it, and both engines agree under each way to match."""
    made = TABLES["accelerometer_curated"]
    definitions = _definitions()
    node = definitions.asset_graph.get(dg.AssetKey(made.name))
    assert node.is_materializable
    assert node.group_name == "curated"
    assert {key.path[-1] for key in node.parent_keys} == {"step_trainer_trusted", "accelerometer_trusted"}
    assert {key.name for key in definitions.asset_graph.asset_check_keys if key.asset_key == node.key} == {
        *("as_published", "required_values", "unique_key", "consent_is_current", "agrees_with_second_engine")
    }
    assert node.key in definitions.get_job("update_lakehouse").asset_layer.selected_asset_keys
    assert [field.name for field in partitions_of(made).fields] == ["day"]
    assert made.name in withdrawal._MADE_OF_PEOPLE
    _both_engines_agree(made.name, Policy(), _BY_INSTANT)


def _definitions() -> Any:
    from stedi_assets.definitions import defs  # noqa: PLC0415  (reads the settings as it loads)

    return defs.get_repository_def()


def _both_engines_agree(name: str, *policies: Policy) -> None:
    """Hold what DuckDB makes of small random worlds against the oracle, in the columns of the contract."""
    with tempfile.TemporaryDirectory() as folder:
        landings = _worlds(Path(folder))
    for policy in policies:
        tables = tables_of(landings, policy)
        assert tables[name]
        assert len(oracle.COLUMNS[name]) == len(TABLES[name].columns)
        assert compared(tables, name, policy) == same(len(tables[name]))


def _worlds(folder: Path) -> dict[oracle.Source, oracle.Landing]:
    lake = local_lake(folder)
    write_worlds(lake, random.Random(7), count=60)
    return oracle.read_lake(root_of(lake))
