"""What all tests share: one Spark session for the whole suite, and lakes in temporary folders."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from stedi_assets.lake.layout import Lake
from stedi_assets.plumbing.spark import SparkResource


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests away from the settings and the pseudonym key of whoever runs them."""
    for name in [name for name in os.environ if name.startswith("STEDI_")]:
        del os.environ[name]
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def spark_resource() -> SparkResource:
    """The Spark resource, with the session that every test uses."""
    return SparkResource(spark_config={"spark.sql.shuffle.partitions": "2", "spark.driver.memory": "3g"})


@pytest.fixture(scope="session")
def spark(spark_resource: SparkResource) -> Iterator[SparkSession]:
    """The one Spark session of the suite."""
    session: SparkSession = spark_resource.spark_session
    yield session
    session.stop()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")
