"""The lake resource, and the IO managers that pass tables between assets and storage."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

import dagster as dg
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import LANDING_TABLES, TABLES, Policy, Purpose, Table
from stedi_assets.contracts.policy import ConsentRecord, MatchOn, PublishedTime, Readings
from stedi_assets.ingest.landing import Landing
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.metadata import files_table, of_landing, of_publication, of_quarantine
from stedi_assets.orchestration.metadata import in_words as published_in_words
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.deliveries import in_words, publish_landing
from stedi_assets.privacy.keys import pseudonym_key, suppression_key
from stedi_assets.privacy.known_keys import require_pseudonym_key, require_suppression_key
from stedi_assets.privacy.withdrawal import publish_people
from stedi_assets.report.data_card import data_card
from stedi_assets.settings import Settings, read_settings
from stedi_assets.storage.catalog_address import CatalogAddress
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import NAMESPACE, Lake
from stedi_assets.tables.days import Days, within
from stedi_assets.tables.publishing import publish
from stedi_assets.tables.quarantine import count_reasons, reasons_by_file
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import (
    Snapshot,
    current,
    read_as_it_is_now,
    read_quarantine,
    read_snapshot,
    require_whole,
)
from stedi_assets.tables.staging import RunContext, Staged, days_to_audit
from stedi_assets.verification.rules import auditor

# The version of the code that makes a table, in the metadata of its asset.
CODE = "code version"


@dataclass(frozen=True)
class Stored:
    """A published table, as an asset gets it. Its rows are looked up when they are first asked for."""

    table: Table
    snapshot: Snapshot
    lake: Lake
    session: Callable[[], SparkSession]

    @cached_property
    @as_dagster_failures()
    def rows(self) -> DataFrame:
        """The table's rows."""
        return read_snapshot(self.session(), self.lake, self.table, self.snapshot.id)

    @cached_property
    @as_dagster_failures()
    def quarantined(self) -> DataFrame | None:
        """The rows of a landing table's quarantine; None if nothing is quarantined."""
        return read_quarantine(self.session(), self.lake, self.table, self.snapshot)

    def on(self, days: Days | None) -> DataFrame:
        """Return the rows of some days, or of all; of a table that has no days, all."""
        if days is None or self.table.instant is None:
            return self.rows
        return self.rows.where(within(f"`{self.table.instant}`", days))


@dataclass(frozen=True)
class Part:
    """The part of a table that is to be computed: some days, all if that is None; and the versions of all its days.

    `before` is the table's snapshot that has the other days. `made_from` is a digest of what the whole is computed
    from. `as_of` is in epoch milliseconds; if it is left out, it is that of the inputs. An asset returns the part with
    its `rows`, or without any if it is empty.
    """

    inputs: Sequence[Stored]
    days: Days | None
    versions: Mapping[str, str]
    before: Snapshot | None
    made_from: str = ""
    as_of: int | None = None
    rows: DataFrame | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute."""
        return self.days is not None and not self.days


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lake, the policy that its tables are made under, and its purpose."""

    location: str = Field(description="The folder of the lake, or s3://bucket/prefix.")
    namespace: str = Field(default=NAMESPACE, description="The namespace of the tables in the Iceberg catalog.")
    catalog: str | None = Field(default=None, description="The Iceberg catalog, as in STEDI_CATALOG.")
    consent_record: ConsentRecord = Field(default=ConsentRecord.LATEST)
    readings: Readings = Field(default=Readings.ALL)
    match_on: MatchOn = Field(default=MatchOn.CUSTOMER_AND_TIMESTAMP)
    published_time: PublishedTime = Field(default=PublishedTime.MILLISECOND)
    purpose: Purpose = Field(default=Purpose.PRODUCTION)
    most_bytes_per_run: int | None = Field(
        default=None, description="How many bytes of a source's new files one run reads."
    )
    kept_snapshots: int = Field(default=2, description="How many snapshots of a table are kept.")
    kept_for_readers_minutes: int = Field(default=60, description="How long a replaced snapshot is kept at least.")

    landing: dict[str, list[str]] = Field(
        default={}, description="Where the raw files outside the lake are, by the folder that they stand for."
    )

    @cached_property
    def lake(self) -> Lake:
        """Where the tables lie."""
        return Lake.at(self.location, namespace=self.namespace, catalog=self._catalog_address, landing=self.landing)

    @cached_property
    def _settings(self) -> Settings:
        # Passwords and keys are not fields, because Dagster would show their values.
        return read_settings()

    @property
    def _catalog_address(self) -> CatalogAddress | None:
        return replace(self._settings.catalog_address, uri=self.catalog) if self.catalog else None

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return Policy(self.consent_record, self.readings, self.match_on, self.published_time)

    @property
    def retention(self) -> Retention:
        """Which old snapshots stay."""
        return Retention(self.kept_snapshots, timedelta(minutes=self.kept_for_readers_minutes))

    def pseudonym_key(self) -> bytes:
        """Return the key that turns people into subjects.

        Raises `LakeError` if it is not available, or is not the lake's.
        """
        return require_pseudonym_key(self.lake, pseudonym_key(self._settings.pseudonym_key, self.lake))

    def suppression_key(self) -> bytes:
        """Return the key of the list of erased people.

        Raises `LakeError` if it is not available, or is not the lake's.
        """
        return require_suppression_key(self.lake, suppression_key(self._settings.suppression_key, self.lake))


class _TableIOManager(dg.ConfigurableIOManager):
    lake: dg.ResourceDependency[LakeResource]
    spark: dg.ResourceDependency[SparkResource]

    @as_dagster_failures()
    def load_input(self, context: dg.InputContext) -> Stored:
        """Return the table that an asset asks for, as it is published now.

        Fails if there is none, it was made under another policy, or the pseudonym key is not the lake's.
        """
        lake, table = self.lake.lake, TABLES[context.asset_key.path[-1]]
        self.lake.pseudonym_key()
        snapshot, _ = read_as_it_is_now(lake, table, lambda found: require_whole(lake, table, found))
        if table.policy_applies and Policy.from_dict(snapshot.policy or {}) != self.lake.policy:
            raise LakeError(
                f"{table.name} was made under another policy ({_words(snapshot.policy)}) than the one in force "
                f"({_words(self.lake.policy.as_dict())}). Materialise it with its upstream first."
            )
        return Stored(table, snapshot, lake, lambda: self.spark.spark_session)

    def _run(self, context: dg.OutputContext, as_of: int, policy: Policy | None = None) -> RunContext:
        lake = self.lake
        code = str((context.definition_metadata or {}).get(CODE, ""))
        return RunContext(context.run_id, lake.purpose, as_of, policy, lake.pseudonym_key, context.log.warning, code)

    def _report(
        self, context: dg.OutputContext, published: Staged, began: float, landing: Landing | None = None
    ) -> None:
        context.add_output_metadata(of_publication(self.lake.lake, published, began, landing))
        context.log.info(published_in_words(published, landing))


class ParquetIOManager(_TableIOManager):
    """Publishes and reads trusted and curated tables."""

    def handle_output(self, context: dg.OutputContext, obj: Part) -> None:
        """Publish a table, if it keeps its contract."""
        began, table = time.monotonic(), TABLES[context.asset_key.path[-1]]
        known = [stored.snapshot.as_of for stored in obj.inputs if stored.snapshot.as_of is not None]
        as_of = obj.as_of if obj.as_of is not None else max(known)
        lake, run = self.lake.lake, self._run(context, as_of, self.lake.policy)
        inputs = {stored.table.name: stored.snapshot for stored in obj.inputs}
        with as_dagster_failures():
            if table is TABLES["customer_trusted"]:
                published = publish_people(
                    lambda: self.spark.spark_session,
                    lake,
                    obj.rows,
                    run,
                    inputs,
                    self.lake.retention,
                    before=obj.before,
                    made_from=obj.made_from,
                )
            else:
                days, before = obj.days, obj.before
                people = current(lake, TABLES["customer_trusted"]).content
                audited = days_to_audit(days, before, run)
                published = publish(
                    lake,
                    table,
                    obj.rows,
                    run=run,
                    before=before,
                    inputs=inputs,
                    audit=auditor(lake, table, run, days=audited, before=before, people=people),
                    retention=self.lake.retention,
                    days=days,
                    versions=lambda _: obj.versions,
                    made_from=obj.made_from,
                    people=people,
                )
            if table.has_data_card:
                context.add_output_metadata(
                    {"data card": dg.MetadataValue.md(data_card(lake, table, published.snapshot))}
                )
        self._report(context, published, began)


class LandingIOManager(_TableIOManager):
    """Publishes and reads typed landing tables, each with its quarantine."""

    def handle_output(self, context: dg.OutputContext, obj: Landing) -> None:
        """Publish the landing table, with the quarantine and the ledger of files that it names."""
        with as_dagster_failures():
            try:
                source = LANDING_TABLES[context.asset_key.path[-1]]
                lake = self.lake.lake
                run = self._run(context, int(time.time() * 1000))
                published, quarantine, withdrawn = publish_landing(
                    lambda: self.spark.spark_session, lake, source, obj, run, self.lake.retention
                )
                if withdrawn.left:
                    context.log.info(in_words(withdrawn))
            finally:
                obj.stage.discard()
            reasons = count_reasons(lake, source, quarantine)
            by_file = reasons_by_file(lake, source, quarantine)
        # First, because whoever looks for a broken file looks here.
        context.add_output_metadata({"raw files": files_table(obj, by_file)})
        self._report(context, published, obj.began, obj)
        context.add_output_metadata(of_landing(obj, quarantine.rows, reasons))
        found = of_quarantine(quarantine, published, reasons, by_file)
        context.log_event(dg.AssetMaterialization(source.quarantine.name, metadata=found))


def _words(policy: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (policy or {}).items()) or "none"
