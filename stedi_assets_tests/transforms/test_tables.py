"""The eight tables, row for row, against the independent oracle: on many random worlds and on the course data."""

import os
import random
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import QUARANTINE_TABLES, TABLES, ConsentRecord, MatchOn, Policy, PublishedTime, Readings
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current, read_snapshot
from stedi_assets_tests.support import oracle
from stedi_assets_tests.support.lakes import materialise, messages, root_of
from stedi_assets_tests.support.worlds import AS_OF, write_worlds

COURSE_DATA = Path(os.environ.get("COURSE_DATA") or Path(__file__).parents[3] / "shared" / "stedi-data")
KEY = b"a pseudonym key for tests, 32 bytes and more"

POLICIES = {
    "default": Policy(),
    "since_consent": Policy(readings=Readings.SINCE_CONSENT),
    "published": Policy(ConsentRecord.ANY, Readings.ALL, MatchOn.TIMESTAMP),
    "published_since_consent": Policy(ConsentRecord.ANY, Readings.SINCE_CONSENT, MatchOn.TIMESTAMP),
}
KNOWN_ANSWERS = {
    "default": (482, 40_981, 482, 14_460, 40_981),
    "since_consent": (482, 32_025, 464, 11_297, 32_025),
    "published": (482, 40_981, 482, 14_460, 43_681),
    "published_since_consent": (482, 32_025, 464, 13_920, 34_437),
}
IN_THE_ORDER_OF_ANSWERS = (
    "customer_trusted",
    "accelerometer_trusted",
    "customers_curated",
    "step_trainer_trusted",
    "machine_learning_curated",
)


def stored_rows(spark: SparkSession, lake: Lake, name: str) -> list[tuple[Any, ...]]:
    """Return the rows of a published table, plain values all, in the oracle's columns where it has others."""
    table = TABLES.get(name) or QUARANTINE_TABLES[name]
    columns = table.column_names if table.policy_applies else oracle.COLUMNS[name]
    rows = read_snapshot(spark, lake, table, current(lake, table).id).select(*columns).collect()
    return [tuple(map(_plain, row)) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, list):
        return tuple(sorted(value))
    return value + 0.0 if isinstance(value, float) else value


def expected_rows(lake: Lake, policy: Policy, as_of: int | None) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the oracle makes of a lake, with the pseudonyms that the product must use."""
    tables = oracle.lakehouse(root_of(lake), oracle.Policy(**policy.as_dict()), as_of)  # type: ignore[arg-type]
    tables["machine_learning_curated"] = [
        (oracle.subject_id(person, KEY), *rest) for person, *rest in tables["machine_learning_curated"]
    ]
    return {name: [tuple(_plain(value) for value in row) for row in rows] for name, rows in tables.items()}


def assert_same_tables(spark: SparkSession, lake: Lake, policy: Policy, as_of: int | None) -> None:
    """Assert that every published table holds the oracle's rows, each as often."""
    expected = expected_rows(lake, policy, as_of)
    for name in (*TABLES, *QUARANTINE_TABLES):
        assert sorted(map(repr, stored_rows(spark, lake, name))) == sorted(map(repr, expected[name])), name


@pytest.fixture(autouse=True)
def _pseudonym_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY.decode())


# The two that share no rule run always, the others with the marker.
EACH_POLICY = [
    pytest.param(name, marks=[] if name in {"default", "published"} else pytest.mark.matrix) for name in POLICIES
]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "default" else pytest.mark.matrix) for name in POLICIES]
)
def test_random_worlds_become_what_the_oracle_says(
    name: str, spark: SparkSession, spark_resource: SparkResource, lake: Lake
) -> None:
    """Three hundred small worlds in one lake, no person or device in two of them, so that Spark runs once."""
    policy = POLICIES[name]
    worlds = write_worlds(lake, random.Random(f"worlds of {policy}"), count=300)
    assert materialise(lake, spark_resource, policy, as_of=AS_OF).success
    assert_same_tables(spark, lake, policy, AS_OF)
    # A world that exercised nothing would prove nothing.
    rows = {name: current(lake, table).rows for name, table in TABLES.items()}
    assert min(rows.values()) > worlds / 8, rows


def _course_data(lake: Lake) -> None:
    if not COURSE_DATA.is_dir():
        pytest.skip(f"the course data is not at {COURSE_DATA}; set COURSE_DATA to its folder")
    for source in ("customer", "accelerometer", "step_trainer"):
        for file in (COURSE_DATA / source / "landing").iterdir():
            copy = root_of(lake) / source / "landing" / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())


@pytest.mark.parametrize("name", EACH_POLICY)
def test_the_course_data_give_the_known_answers(
    name: str, spark: SparkSession, spark_resource: SparkResource, lake: Lake
) -> None:
    _course_data(lake)
    assert materialise(lake, spark_resource, POLICIES[name]).success
    assert tuple(current(lake, TABLES[table]).rows for table in IN_THE_ORDER_OF_ANSWERS) == KNOWN_ANSWERS[name]
    assert_same_tables(spark, lake, POLICIES[name], None)


def test_two_runs_on_the_same_input_publish_the_same_rows(
    spark: SparkSession, spark_resource: SparkResource, lake: Lake
) -> None:
    write_worlds(lake, random.Random(2), count=20)
    published = []
    for _ in range(2):
        assert materialise(lake, spark_resource, as_of=AS_OF).success
        published.append({name: sorted(map(repr, stored_rows(spark, lake, name))) for name in TABLES})
    assert published[0] == published[1]


@pytest.mark.matrix
@pytest.mark.parametrize(
    "published_time", [PublishedTime.SECOND, pytest.param(PublishedTime.DAY, marks=pytest.mark.matrix)]
)
def test_instants_are_published_as_closely_as_the_policy_says(
    published_time: PublishedTime, spark: SparkSession, spark_resource: SparkResource, lake: Lake
) -> None:
    policy = Policy(published_time=published_time)
    write_worlds(lake, random.Random(4), count=40)
    assert materialise(lake, spark_resource, policy, as_of=AS_OF).success
    assert_same_tables(spark, lake, policy, AS_OF)


def test_a_consent_counts_from_its_instant_on(spark_resource: SparkResource, lake: Lake) -> None:
    """At the instant of consent a person is in, a millisecond before not yet."""
    write_worlds(lake, random.Random(3), count=1)
    landing = root_of(lake) / "customer" / "landing"
    for file in landing.iterdir():
        file.unlink()
    (landing / "one.json").write_text(
        '{"email":"one@example.com","serialNumber":"s","lastUpdateDate":1600000000000,'
        '"shareWithResearchAsOfDate":1700000000000}'
    )
    for as_of, people in ((1_700_000_000_000 - 1, 0), (1_700_000_000_000, 1)):
        assert materialise(lake, spark_resource, as_of=as_of).success
        assert current(lake, TABLES["customer_trusted"]).rows == people

    published, now = current(lake, TABLES["customer_trusted"]), int(time.time() * 1000)
    seconds, microseconds, far_away = now // 1_000, now * 1_000, 4_099_000_000_000
    for as_of in (now + 60_000, far_away, seconds, microseconds, 0, -1, 10**12 - 1, 4_100_000_000_000):
        refused = materialise(lake, spark_resource, as_of=as_of, tables=dg.AssetSelection.assets("customer_trusted"))
        assert not refused.success
        why = "is later than now" if as_of in (now + 60_000, far_away) else "is not in epoch milliseconds"
        assert f"as_of: {as_of} {why}" in messages(refused)
        assert current(lake, TABLES["customer_trusted"]) == published
