"""What all tests share: one Spark session in each process of the suite, and lakes in temporary folders."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.settings import read_settings
from stedi_assets.spark.jars import class_path
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets_tests.support.lakes import as_a_new_process, local_lake

# How a machine reaches the network.
_OF_THE_MACHINE = {"AWS_CA_BUNDLE", "STEDI_MAVEN"}
# The files that take longest. Two processes share all files: with these first, both end at about the same time.
_LONGEST = [
    *("test_promises.py", "test_glue.py", "test_updates.py", "test_s3_lake.py", "test_readme.py"),
    *("test_landing_sensor.py", "test_erasure.py", "test_withdrawal.py", "test_failure_policy.py", "test_runs.py"),
    *("test_warm.py", "test_repair.py", "test_report.py", "test_tooling.py", "test_data_card.py", "test_tables.py"),
]


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist keep the order of the files. By itself, it begins with those of most tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest files run first, and the others in their order."""
    order = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests away from the settings, the pseudonym key and the AWS account of whoever runs them."""
    for name in [name for name in os.environ if name.startswith(("STEDI_", "AWS_")) and name not in _OF_THE_MACHINE]:
        del os.environ[name]
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(autouse=True)
def _nothing_read_before() -> None:
    """Have each test read Iceberg's metadata itself, which the test before may have damaged."""
    as_a_new_process()


@pytest.fixture(scope="session")
def spark_resource() -> SparkResource:
    """The Spark resource, with the session that every test uses; S3A and PostgreSQL's driver are on its class path."""
    lake = ""
    # Tests that need no S3 do without.
    with contextlib.suppress(LakeError):
        class_path(read_settings().maven, on_s3=True, on_postgresql=True)
        lake = "s3://some-bucket"
    config = {
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.memory": "3g",
        # As of a lake in a folder, which most tests have.
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
    }
    resource = SparkResource(spark_config=config, lake=lake, catalog=CatalogKind.POSTGRESQL)
    assert resource.spark_session
    return resource


@pytest.fixture(scope="session")
def s3a() -> None:
    """Fail where Spark's way to S3 cannot be fetched."""
    why_not = ""
    try:
        class_path(read_settings().maven, on_s3=True)
    except LakeError as error:
        why_not = str(error)
    if why_not:
        pytest.fail(why_not, pytrace=False)


@pytest.fixture(scope="session")
def spark(spark_resource: SparkResource) -> Iterator[SparkSession]:
    """The one Spark session of this process."""
    session: SparkSession = spark_resource.spark_session
    yield session
    session.stop()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return local_lake(tmp_path / "lake")
