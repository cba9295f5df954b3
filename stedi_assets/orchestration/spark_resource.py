"""The Spark resource: dagster-pyspark's, with this project's session."""

from functools import cached_property

import dagster as dg
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster_pyspark import LazyPySparkResource
from pydantic import Field, PrivateAttr
from pyspark.sql import SparkSession

from stedi_assets.settings import read_settings
from stedi_assets.spark.session import MUCH, spark_session
from stedi_assets.spark.warm import Wanted, retire, warm_session
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.storage.lake import Lake, is_on_s3, lies_in_folders

# The tag of runs that compute every table from scratch.
FULL_REBUILD = "stedi/full_rebuild"


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
    _is_rebuild = PrivateAttr(default=False)
    _spark_session: SparkSession | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Note whether the run was launched, from the UI or by a sensor, and whether it computes everything."""
        tags = context.run.tags if context.run else {}
        self._is_launched, self._is_rebuild = GRPC_INFO_TAG in tags, tags.get(FULL_REBUILD) == "true"

    @property
    def spark_session(self) -> SparkSession:
        """The session. If it is of a warm server that has died, another takes its place."""
        if self._spark_session is not None:
            return self._spark_session
        # Not fields, because Dagster would show their values: an address may hold a password or a token.
        settings = read_settings()
        if self._may_be_warm and not settings.spark_remote:
            on_postgresql = self.catalog is CatalogKind.POSTGRESQL
            wanted = Wanted(self.master, self.spark_config, self.warm_minutes, on_postgresql, self._is_large)
            if session := warm_session(self.lake, wanted, settings.maven):
                return session
        self._spark_session = spark_session(
            self.master,
            self.log_level,
            self.spark_config,
            lake=self.lake,
            kms_key=self.s3_kms_key,
            catalog=self.catalog,
            maven=settings.maven,
            remote=settings.spark_remote,
            has_much_to_do=self._is_rebuild and self._is_large,
        )
        return self._spark_session

    def forget_rows(self) -> None:
        """End the lake's warm server: it may hold rows, in memory and in shuffle files."""
        if not is_on_s3(self.lake):
            retire(self.lake)

    @property
    def _may_be_warm(self) -> bool:
        """Whether a server may do the work: on this machine, without keys to S3, and with its log off."""
        return self._is_launched and self.warm_minutes > 0 and self._is_local and self.log_level == "off"

    @property
    def _is_local(self) -> bool:
        return self.master.startswith("local") and lies_in_folders(self.lake, read_settings().landing)

    @cached_property
    def _is_large(self) -> bool:
        """Whether reading all raw files is much to do. Those on S3 are not counted: to list them can take a minute."""
        return self._is_local and Lake.at(self.lake, landing=read_settings().landing).has_raw_bytes(MUCH)
