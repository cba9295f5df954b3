"""The Spark resource: dagster-pyspark's, with this project's session."""

from dagster_pyspark import LazyPySparkResource
from pydantic import Field

from stedi_assets.settings import read_settings
from stedi_assets.spark.session import spark_session
from stedi_assets.storage.catalog_address import CatalogKind


class SparkResource(LazyPySparkResource):
    """Provides a run's Spark session, which is made when it is first asked for."""

    # Typed fields, because an EnvVar inside a dict would silently not be resolved.
    master: str = Field(default="local[*]", description="The Spark master.")
    log_level: str = Field(default="off", description="How much of Spark's own log reaches the terminal.")
    spark_config: dict[str, str] = Field(default_factory=dict, description="Further Spark settings, by name.")
    lake: str = Field(default="", description="Where the lake lies. If that is on S3, Spark is told the way.")
    catalog: CatalogKind = Field(default=CatalogKind.SQLITE, description="What kind of Iceberg catalog the lake has.")
    s3_kms_key: str | None = Field(default=None, description="The KMS key that encrypts what is written to S3.")

    def _init_session(self) -> None:
        if self._spark_session is None:
            self._spark_session = spark_session(
                self.master,
                self.log_level,
                self.spark_config,
                lake=self.lake,
                kms_key=self.s3_kms_key,
                catalog=self.catalog,
                # Not fields, because Dagster would show their values: an address may hold a password or a token.
                maven=read_settings().maven,
                remote=read_settings().spark_remote,
            )
