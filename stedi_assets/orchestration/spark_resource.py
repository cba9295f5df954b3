"""The Spark resource: dagster-pyspark's, with this project's session."""

from itertools import chain

import dagster as dg
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster_pyspark import LazyPySparkResource
from pydantic import Field, PrivateAttr
from pyspark.sql import SparkSession

from stedi_assets.settings import read_settings
from stedi_assets.spark.session import spark_session
from stedi_assets.spark.warm import Wanted, retire, warm_session
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.lake import is_on_s3


class SparkResource(LazyPySparkResource):
    """Provides a run's Spark session, which is made when it is first asked for."""

    # Typed fields, because an EnvVar inside a dict would silently not be resolved.
    master: str = Field(default="local[*]", description="The Spark master.")
    log_level: str = Field(default="off", description="How much of Spark's own log reaches the terminal.")
    spark_config: dict[str, str] = Field(default_factory=dict, description="Further Spark settings, by name.")
    lake: str = Field(default="", description="The lake's location. For one on S3, Spark gets the settings of S3A.")
    catalog: CatalogKind = Field(default=CatalogKind.SQLITE, description="What kind of Iceberg catalog the lake has.")
    s3_kms_key: str | None = Field(default=None, description="The KMS key that encrypts what is written to S3.")
    warm_minutes: int = Field(
        default=0, description="How long the Spark of a launched run waits for the next run; 0: each run has its own."
    )
    _is_launched = PrivateAttr(default=False)
    _spark_session: SparkSession | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Note whether the run was launched, from the UI or by a sensor, rather than executed by a command."""
        self._is_launched = context.run is not None and GRPC_INFO_TAG in context.run.tags

    @property
    def spark_session(self) -> SparkSession:
        """The session. If it is of a warm server that has died, another takes its place."""
        maven, remote = read_settings().maven, read_settings().spark_remote
        if self._may_be_warm and not remote:
            on_postgresql = self.catalog is CatalogKind.POSTGRESQL
            wanted = Wanted(self.master, self.spark_config, self.warm_minutes, on_postgresql)
            if session := warm_session(self.lake, wanted, maven):
                return session
        if self._spark_session is None:
            self._spark_session = spark_session(
                self.master,
                self.log_level,
                self.spark_config,
                lake=self.lake,
                kms_key=self.s3_kms_key,
                catalog=self.catalog,
                # Not fields, because Dagster would show their values: an address may hold a password or a token.
                maven=maven,
                remote=remote,
            )
        return self._spark_session

    def forget_rows(self) -> None:
        """End the lake's warm server: it may hold rows, in memory and in shuffle files."""
        if not is_on_s3(self.lake):
            retire(self.lake)

    @property
    def _may_be_warm(self) -> bool:
        """Whether a server may do the work: on this machine, without keys to S3, and with its log off."""
        places = [self.lake, *chain.from_iterable(read_settings().landing.values())]
        is_local = self.master.startswith("local") and not any(map(is_on_s3, places))
        return self._is_launched and self.warm_minutes > 0 and is_local and self.log_level == "off"
