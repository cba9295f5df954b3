"""Which runs share a warm Spark: those that are launched, where lake and Spark are on this machine.

And for which runs Spark's code is compiled well: those that have much to do.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from stedi_assets.orchestration import spark_resource
from stedi_assets.orchestration.spark_resource import FULL_REBUILD, SparkResource
from stedi_assets.spark.session import MUCH
from stedi_assets.spark.warm import Wanted

LAUNCHED = {GRPC_INFO_TAG: "{}"}
FIELDS: dict[str, Any] = {"lake": "lake", "warm_minutes": 15}


@pytest.mark.parametrize(
    ("tags", "fields", "settings", "spark"),
    [
        (LAUNCHED, {}, {}, "warm"),
        # As a command executes it.
        ({}, {}, {}, "its own"),
        (LAUNCHED, {"warm_minutes": 0}, {}, "its own"),
        (LAUNCHED, {"master": "local[2]"}, {}, "warm"),
        (LAUNCHED, {"master": "spark://master:7077"}, {}, "its own"),
        (LAUNCHED, {"lake": "s3://bucket/lake"}, {}, "its own"),
        # Its own log is for whoever reads the run's output.
        (LAUNCHED, {"log_level": "warn"}, {}, "its own"),
        (LAUNCHED, {}, {"STEDI_SPARK_REMOTE": "sc://127.0.0.1"}, "its own"),
        (LAUNCHED, {}, {"STEDI_CUSTOMER_LANDING": "/srv/in"}, "warm"),
        # The server has no identity at AWS.
        (LAUNCHED, {}, {"STEDI_CUSTOMER_LANDING": "/srv/in,s3://bucket/in"}, "its own"),
    ],
)
def test_launched_runs_on_this_machine_share_a_spark(
    tags: dict[str, str], fields: dict[str, Any], settings: dict[str, str], spark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(spark_resource, "warm_session", lambda *_: "warm")
    monkeypatch.setattr(spark_resource, "spark_session", lambda *_, **__: "its own")
    found: list[object] = []

    @dg.op
    def ask(spark: SparkResource) -> None:
        found.append(spark.spark_session)

    @dg.job(resource_defs={"spark": SparkResource(**{**FIELDS, **fields})}, tags=tags)
    def asking() -> None:
        ask()

    assert asking.execute_in_process().success
    assert found == [spark]


@pytest.mark.parametrize(
    ("tags", "more", "has_much_to_do"),
    [
        ({FULL_REBUILD: "true"}, 0, True),
        ({FULL_REBUILD: "true"}, -1, False),
        # An update reads what is new.
        ({}, 0, False),
        # A server stays for runs to come.
        (LAUNCHED, 0, True),
        (LAUNCHED, -1, False),
    ],
)
def test_spark_compiles_well_for_much_to_do(
    tags: dict[str, str], more: int, *, has_much_to_do: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source, size in (("customer", 1), ("accelerometer", MUCH - 1 + more)):
        (tmp_path / source / "landing").mkdir(parents=True)
        with (tmp_path / source / "landing" / "readings.json").open("wb") as file:
            file.truncate(size)
    asked: list[bool] = []

    def warm(_: str, wanted: Wanted, __: str) -> str:
        asked.append(wanted.has_much_to_do)
        return "warm"

    def own(*_: object, has_much_to_do: bool, **__: object) -> str:
        asked.append(has_much_to_do)
        return "its own"

    monkeypatch.setattr(spark_resource, "warm_session", warm)
    monkeypatch.setattr(spark_resource, "spark_session", own)

    @dg.op
    def ask(spark: SparkResource) -> None:
        assert spark.spark_session

    @dg.job(resource_defs={"spark": SparkResource(lake=str(tmp_path), warm_minutes=15)}, tags=tags)
    def asking() -> None:
        ask()

    assert asking.execute_in_process().success
    assert asked == [has_much_to_do]
