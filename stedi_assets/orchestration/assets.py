"""The eight assets. Each is named after its table, and only says which transform computes it from which inputs."""

import hashlib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import dagster as dg
from pydantic import Field

from stedi_assets.contracts import ALL_TABLES, LANDING_TABLES, SOURCES, TABLES, MatchOn, Source, Table, Zone
from stedi_assets.contracts import rules as rules_module
from stedi_assets.contracts.rules import END_OF_INSTANTS, FIRST_INSTANT
from stedi_assets.ingest import (
    alphabet,
    content,
    envelopes,
    evidence,
    gate,
    identity,
    json_text,
    landing_files,
    manifests,
    reading,
    splitter,
    staged_rows,
    superseded,
    validation,
)
from stedi_assets.ingest import landing as landing_module
from stedi_assets.ingest.landing import Landing, LandingOptions
from stedi_assets.orchestration.external_assets import raw_files
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.io_managers import CODE, LakeResource, Part, Stored
from stedi_assets.orchestration.metadata import OWNER, column_schema
from stedi_assets.orchestration.spark_resource import FULL_REBUILD, SparkResource
from stedi_assets.privacy.consent_dates import is_due
from stedi_assets.privacy.deliveries import customers_first, land_without_erased
from stedi_assets.privacy.keys import hmac_pads
from stedi_assets.storage.errors import LakeError
from stedi_assets.tables import days as days_module
from stedi_assets.tables.days import digest_of, made_under, stale_days, versions_from
from stedi_assets.tables.snapshots import Snapshot, current, is_whole, newer_input, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets.transforms import changes, curated, holders, pseudonyms, suppression, trusted

LANDING_IO = "landing_io_manager"
PARQUET_IO = "parquet_io_manager"
_COMPUTED_BY = {
    Zone.LANDING: (
        *(content, splitter, json_text, envelopes, validation, identity, alphabet, evidence, gate),
        *(landing_files, manifests, reading, staged_rows, superseded, landing_module, suppression),
        *(holders, pseudonyms, changes, days_module, rules_module),
    ),
    Zone.TRUSTED: (trusted, holders),
    Zone.CURATED: (curated, pseudonyms),
}


# Of the steps that could run now, the one that withdrawals wait for goes first. Then phone readings: when erased people
# were active decides which device readings are suppressed.
_FIRST = {"customer_landing": {"dagster/priority": "2"}, "accelerometer_landing": {"dagster/priority": "1"}}


class TableConfig(dg.Config):
    """What an operator may configure for every table."""

    full_rebuild: bool = Field(
        default=False, description="Compute the table from scratch, whatever is new, as rebuild_lakehouse does."
    )


class LandingConfig(TableConfig):
    """What an operator may configure for a landing table."""

    forget_files: list[str] = Field(
        default=[], description="Paths of landing files that may be gone or unreadable from now on."
    )
    settled_before: int | None = Field(
        default=None,
        description="Files that have changed since this instant, in epoch milliseconds, are left for a later run.",
    )


class ConsentConfig(TableConfig):
    """What an operator may configure for customer_trusted."""

    as_of: int | None = Field(
        default=None,
        description="Consent as of this instant, in epoch milliseconds and not later than now; the start of the run if "
        "absent.",
    )


def table_asset(table: Table, deps: Sequence[dg.AssetKey] = ()) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make an asset from the function that computes a table. What Dagster shows about it comes from the contract.

    `deps` are what it is made from besides the function's parameters.
    """
    code = code_version(table)
    return dg.asset(
        name=table.name,
        deps=deps,
        group_name=table.zone.value,
        description=f"A row is {table.row}. {table.description}",
        kinds={"pyspark", "iceberg"},
        owners=[OWNER],
        tags={"zone": table.zone.value, "personal_data": "direct" if table.identifies_people else "pseudonymous"},
        code_version=code,
        metadata={
            # Only here: if it were in the materialization too, Dagster would show the names in lower case.
            "dagster/column_schema": column_schema(table),
            "a row is": table.row,
            "folder": table.path,
            CODE: code,
        },
        op_tags=_FIRST.get(table.name),
        io_manager_key=LANDING_IO if table.name in LANDING_TABLES else PARQUET_IO,
    )


@cache
def code_version(table: Table) -> str:
    """Return a hash that changes with a table's contract, and with the modules that compute its zone."""
    sources = [inspect.getsource(module) for module in _COMPUTED_BY[table.zone]]
    return hashlib.sha256("".join([repr(table), *sources]).encode()).hexdigest()[:12]


@as_dagster_failures()
def _as_of(context: dg.AssetExecutionContext, config: ConsentConfig) -> int:
    """Return the instant as of which consents count, in epoch milliseconds: the start of the run, unless one is set.

    Fails if that is in the future, or is not in epoch milliseconds.
    """
    as_of = config.as_of
    if as_of is None:
        # Dagster may keep no record of the run.
        record = context.instance.get_run_record_by_id(context.run.run_id)
        started = record.start_time if record and record.start_time else time.time()
        return int(started * 1000)
    if not FIRST_INSTANT <= as_of < END_OF_INSTANTS:
        raise LakeError(
            f"as_of: {as_of} is not in epoch milliseconds, which have 13 digits, such as 1700000000000. Seconds and "
            "microseconds are not accepted. Nothing was published."
        )
    # Exact to the millisecond, whatever other clocks say: a caller who means "now" leaves it out.
    if as_of > (now := int(time.time() * 1000)):
        raise LakeError(
            f"as_of: {as_of} is later than now, which is {now}: consents that have not come into force yet would "
            "count. Set an instant in the past, or leave it out for the start of the run. Nothing was published."
        )
    return as_of


def _is_full(context: dg.AssetExecutionContext, config: TableConfig) -> bool:
    """Whether a table is to be computed from scratch."""
    return config.full_rebuild or context.run.tags.get(FULL_REBUILD) == "true"


def _tell_of_stale_inputs(context: dg.AssetExecutionContext, lake: LakeResource, inputs: Sequence[Stored]) -> None:
    """Warn if a run computes only some tables, and one of their inputs is behind its own inputs."""
    chosen = context.job_def.asset_layer.selected_asset_keys
    for stored in inputs:
        if stored.table.zone is Zone.LANDING or dg.AssetKey(stored.table.name) in chosen:
            continue
        if newer := newer_input(stored.snapshot, lambda name: current(lake.lake, ALL_TABLES[name])):
            context.log.warning(
                f"{stored.table.name} is stale: {newer} has changed since. {context.asset_key.path[-1]} uses it as it "
                "is. The job update_lakehouse brings all tables up to date."
            )


@as_dagster_failures()
def _days_to_compute(
    context: dg.AssetExecutionContext, config: TableConfig, lake: LakeResource, inputs: Sequence[Stored]
) -> Part:
    """Return the stale days of a table of readings, or the whole table.

    It is whole if a part of it is gone, or if readings are matched by instant alone: then any day can depend on any
    other.
    """
    table = TABLES[context.asset_key.path[-1]]
    _tell_of_stale_inputs(context, lake, inputs)
    days = {stored.table.name: stored.snapshot.days for stored in inputs}
    versions = versions_from(days, table, _made_under(table, lake))
    before = read_snapshot_of(lake.lake, table)
    from_scratch = _is_full(context, config) or lake.policy.match_on is MatchOn.TIMESTAMP
    if before is None or from_scratch or not is_whole(lake.lake, table, before.id):
        return Part(inputs, None, versions, before)
    return Part(inputs, stale_days(before.days, versions), versions, before)


@as_dagster_failures()
def _whole_or_nothing(
    context: dg.AssetExecutionContext,
    config: TableConfig,
    lake: LakeResource,
    inputs: Sequence[Stored],
    *,
    versions: Mapping[str, str],
    may_differ: Callable[[Snapshot], bool] = lambda _: False,
) -> Part:
    """Return a whole table of people to compute, or nothing if it is up to date.

    `versions` are those of its days. `may_differ` gets its snapshot, and says whether there is another reason.
    """
    table = TABLES[context.asset_key.path[-1]]
    _tell_of_stale_inputs(context, lake, inputs)
    made_from = digest_of(_made_under(table, lake), *(stored.snapshot.content for stored in inputs))
    before = read_snapshot_of(lake.lake, table)
    is_current = (
        before is not None
        and before.made_from == made_from
        and not may_differ(before)
        and is_whole(lake.lake, table, before.id)
    )
    days = frozenset[str]() if is_current and not _is_full(context, config) else None
    return Part(inputs, days, versions, before, made_from)


def _made_under(table: Table, lake: LakeResource) -> str:
    return made_under(code_version(table), lake.policy.as_dict())


def _landing_asset(source: Source) -> dg.AssetsDefinition:
    @table_asset(source.landing, deps=[raw_files(source)])
    def landing(
        context: dg.AssetExecutionContext, config: LandingConfig, lake: LakeResource, spark: SparkResource
    ) -> Landing:
        with as_dagster_failures():
            # With a key other than the lake's, nothing begins.
            lake.pseudonym_key()
            if source is not SOURCES["customer"]:
                customers_first(
                    lambda: spark.spark_session,
                    lake.lake,
                    RunContext(
                        context.run.run_id,
                        lake.purpose,
                        code=code_version(SOURCES["customer"].landing),
                        key=lake.pseudonym_key,
                        warn=context.log.warning,
                    ),
                    lake.retention,
                    suppression_key=lake.suppression_key,
                    settled_before=config.settled_before,
                    log=context.log.info,
                )
            options = LandingOptions(
                frozenset(config.forget_files),
                config.settled_before,
                code_version(source.landing),
                _is_full(context, config),
                lake.most_bytes_per_run,
                context.log.info,
            )
            return land_without_erased(
                lambda: spark.spark_session, lake.lake, source, options, suppression_key=lake.suppression_key
            )

    return landing


@table_asset(TABLES["customer_trusted"])
def customer_trusted(
    context: dg.AssetExecutionContext, config: ConsentConfig, lake: LakeResource, customer_landing: Stored
) -> Part:
    as_of = _as_of(context, config)
    part = _whole_or_nothing(
        context,
        config,
        lake,
        [customer_landing],
        versions={},
        may_differ=lambda before: is_due(lake.lake, customer_landing.snapshot, before.as_of, as_of),
    )
    part = replace(part, as_of=as_of)
    if part.is_empty:
        return part
    rows = trusted.customer_trusted(customer_landing.rows, customer_landing.quarantined, lake.policy, as_of)
    return replace(part, rows=rows)


@table_asset(TABLES["accelerometer_trusted"])
def accelerometer_trusted(
    context: dg.AssetExecutionContext,
    config: TableConfig,
    lake: LakeResource,
    customer_trusted: Stored,
    accelerometer_landing: Stored,
) -> Part:
    part = _days_to_compute(context, config, lake, [customer_trusted, accelerometer_landing])
    if part.is_empty:
        return part
    rows = trusted.accelerometer_trusted(accelerometer_landing.on(part.days), customer_trusted.rows, lake.policy)
    return replace(part, rows=rows)


@table_asset(TABLES["customers_curated"])
def customers_curated(
    context: dg.AssetExecutionContext,
    config: TableConfig,
    lake: LakeResource,
    customer_trusted: Stored,
    accelerometer_trusted: Stored,
) -> Part:
    inputs = [customer_trusted, accelerometer_trusted]
    # The people here, too, differ on the days on which those of customer_trusted do.
    part = _whole_or_nothing(context, config, lake, inputs, versions=customer_trusted.snapshot.days)
    if part.is_empty:
        return part
    rows = curated.customers_curated(customer_trusted.rows, accelerometer_trusted.rows)
    return replace(part, rows=rows)


@table_asset(TABLES["step_trainer_trusted"])
def step_trainer_trusted(
    context: dg.AssetExecutionContext,
    config: TableConfig,
    lake: LakeResource,
    customers_curated: Stored,
    step_trainer_landing: Stored,
    customer_landing: Stored,
    accelerometer_landing: Stored,
) -> Part:
    part = _days_to_compute(
        context, config, lake, [customers_curated, step_trainer_landing, customer_landing, accelerometer_landing]
    )
    if part.is_empty:
        return part
    rows = trusted.step_trainer_trusted(
        step_trainer_landing.on(part.days),
        customers_curated.rows,
        customer_landing.rows,
        customer_landing.quarantined,
        accelerometer_landing.on(part.days),
        lake.policy,
    )
    return replace(part, rows=rows)


@table_asset(TABLES["machine_learning_curated"])
def machine_learning_curated(
    context: dg.AssetExecutionContext,
    config: TableConfig,
    lake: LakeResource,
    spark: SparkResource,
    step_trainer_trusted: Stored,
    accelerometer_trusted: Stored,
) -> Part:
    part = _days_to_compute(context, config, lake, [step_trainer_trusted, accelerometer_trusted])
    if part.is_empty:
        return part
    with as_dagster_failures():
        pads = hmac_pads(spark.spark_session, lake.pseudonym_key())
    rows = curated.machine_learning_curated(
        step_trainer_trusted.on(part.days), accelerometer_trusted.on(part.days), pads, lake.policy
    )
    return replace(part, rows=rows)


ASSETS = [
    *map(_landing_asset, SOURCES.values()),
    customer_trusted,
    accelerometer_trusted,
    customers_curated,
    step_trainer_trusted,
    machine_learning_curated,
]
