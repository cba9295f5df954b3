"""The lake resource and the IO managers: how tables pass between assets and storage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from pydantic import Field
from pyspark.sql import DataFrame

from stedi_assets.contracts import LANDING_TABLES, TABLES, Policy, Purpose, Table
from stedi_assets.contracts.policy import ConsentRecord, MatchOn, Readings
from stedi_assets.lake.errors import LakeError
from stedi_assets.lake.landing import FILES, Landing
from stedi_assets.lake.layout import Lake
from stedi_assets.lake.snapshots import (
    Pointer,
    Provenance,
    Published,
    Retention,
    current,
    publish,
    read_pointer,
    read_snapshot,
    saved_counts,
)
from stedi_assets.plumbing.failures import explained
from stedi_assets.plumbing.spark import SparkResource


@dataclass(frozen=True)
class Stored:
    """A published table, as an asset is given it."""

    table: Table
    pointer: Pointer
    rows: DataFrame


@dataclass(frozen=True)
class StoredLanding(Stored):
    """A published landing table with the quarantine that belongs to it; None where nothing is quarantined."""

    quarantined: DataFrame | None


@dataclass(frozen=True)
class Computed:
    """The rows of a table, as an asset returns them, and what they were computed from.

    `as_of` is in epoch milliseconds; left out, it is that of the inputs.
    """

    rows: DataFrame
    inputs: Sequence[Stored]
    as_of: int | None = None


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lake, the policy its tables are made under, and what it is for."""

    location: str = Field(description="The folder of the lake.")
    consent_record: ConsentRecord = Field(default=ConsentRecord.LATEST)
    readings: Readings = Field(default=Readings.ALL)
    match_on: MatchOn = Field(default=MatchOn.CUSTOMER_AND_TIMESTAMP)
    purpose: Purpose = Field(default=Purpose.PRODUCTION)
    kept_snapshots: int = Field(default=2, description="How many snapshots of a table stay.")
    kept_for_readers_minutes: int = Field(default=60, description="How long a replaced snapshot stays at least.")

    @property
    def lake(self) -> Lake:
        """Where the tables lie."""
        return Lake.at(self.location)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return Policy(self.consent_record, self.readings, self.match_on)

    @property
    def retention(self) -> Retention:
        """Which old snapshots stay."""
        return Retention(self.kept_snapshots, timedelta(minutes=self.kept_for_readers_minutes))

    def read(self, spark: SparkResource, table: Table) -> Stored:
        """Return a table as it is published now.

        Raises `LakeError` where there is none, or it was made under another policy.
        """
        pointer = current(self.lake, table)
        if table.policy_applies and pointer.policy != self.policy.as_dict():
            msg = (
                f"{table.name} was made under another policy ({_words(pointer.policy)}) than the one in force "
                f"({_words(self.policy.as_dict())}). Materialise it with its upstream first."
            )
            raise LakeError(msg)
        rows = read_snapshot(spark.spark_session, self.lake, table, pointer.snapshot)
        source = LANDING_TABLES.get(table.name)
        if source is None:
            return Stored(table, pointer, rows)
        snapshot = pointer.inputs[source.quarantine.name]
        if saved_counts(self.lake, source.quarantine, snapshot)["rows"] == 0:
            return StoredLanding(table, pointer, rows, None)
        quarantined = read_snapshot(spark.spark_session, self.lake, source.quarantine, snapshot)
        return StoredLanding(table, pointer, rows, quarantined)


class _TableIOManager(dg.ConfigurableIOManager):
    lake: dg.ResourceDependency[LakeResource]
    spark: dg.ResourceDependency[SparkResource]

    def load_input(self, context: dg.InputContext) -> Stored:
        """Return the published table an asset asks for."""
        with explained():
            return self.lake.read(self.spark, TABLES[context.asset_key.path[-1]])

    def _report(self, context: dg.OutputContext, published: Published) -> None:
        context.add_output_metadata(
            {
                "dagster/row_count": published.pointer.rows,
                "bytes": published.bytes,
                "files": published.files,
                "snapshot": published.pointer.snapshot,
                "path": dg.MetadataValue.path(str(published.folder)),
            }
        )
        context.log.info(f"{published.table.name}: {published.pointer.rows:,} rows")


class ParquetIOManager(_TableIOManager):
    """Publishes and reads trusted and curated tables."""

    def handle_output(self, context: dg.OutputContext, obj: Computed) -> None:
        """Publish a table, if it keeps its contract."""
        table = TABLES[context.asset_key.path[-1]]
        known = [stored.pointer.as_of for stored in obj.inputs if stored.pointer.as_of is not None]
        as_of = obj.as_of if obj.as_of is not None else max(known)
        lake = self.lake.lake
        with explained():
            published = publish(
                lake,
                table,
                obj.rows,
                by=Provenance(context.run_id, self.lake.purpose, as_of, self.lake.policy),
                expected=read_pointer(lake, table),
                inputs={stored.table.name: stored.pointer for stored in obj.inputs},
                retention=self.lake.retention,
            )
        self._report(context, published)


class LandingIOManager(_TableIOManager):
    """Publishes and reads typed landing tables, each with its quarantine."""

    def handle_output(self, context: dg.OutputContext, obj: Landing) -> None:
        """Publish the quarantine, then the landing table whose pointer names it."""
        source = LANDING_TABLES[context.asset_key.path[-1]]
        lake, by = self.lake.lake, Provenance(context.run_id, self.lake.purpose)
        try:
            with explained():
                quarantine = publish(
                    lake,
                    source.quarantine,
                    obj.quarantined,
                    by=by,
                    expected=read_pointer(lake, source.quarantine),
                    inputs={},
                    retention=self.lake.retention,
                )
                published = publish(
                    lake,
                    source.landing,
                    obj.accepted,
                    by=by,
                    expected=obj.previous,
                    inputs={source.quarantine.name: quarantine.pointer},
                    beside={FILES: {"files": [file.as_dict() for file in obj.files], "ignored": obj.listing.ignored}},
                    retention=self.lake.retention,
                )
        finally:
            obj.stage.discard()
        self._report(context, published)
        context.add_output_metadata({"landing files": len(obj.files), "quarantined": quarantine.pointer.rows})


def _words(policy: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (policy or {}).items()) or "none"
