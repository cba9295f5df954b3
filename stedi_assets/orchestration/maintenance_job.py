"""The job `maintain_lakehouse`, and its schedule. It is thin: `stedi_assets.tables.maintenance` does the work."""

from dataclasses import fields

import dagster as dg

from stedi_assets.contracts import TABLES
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.errors import CommitConflictError
from stedi_assets.tables.maintenance import Maintained, maintain
from stedi_assets.tables.snapshots import read_snapshot_of
from stedi_assets.tables.staging import RunContext

_DONE = [field.name for field in fields(Maintained) if field.name != "table"]


@dg.op(description="Compact every table's data files, expire old snapshots, and remove what dead runs left behind.")
def maintain_tables(context: dg.OpExecutionContext, lake: LakeResource, spark: SparkResource) -> None:
    """Maintain every published table, and report what was done, in numbers."""
    run = RunContext(context.run_id, lake.purpose)
    done: list[Maintained] = []
    with as_dagster_failures():
        for table in TABLES.values():
            if read_snapshot_of(lake.lake, table) is None:
                continue
            try:
                done += maintain(lambda: spark.spark_session, lake.lake, table, run, lake.retention)
            except CommitConflictError:
                context.log.warning(
                    f"{table.name} was published by another run meanwhile; the next maintenance run includes it"
                )
    records = [
        dg.TableRecord({"table": each.table.name, **{name: getattr(each, name) for name in _DONE}}) for each in done
    ]
    totals = {name.replace("_", " "): sum(getattr(each, name) for each in done) for name in _DONE}
    context.log.info(
        f"{len(done)} tables: {totals['files before']:,} data files became {totals['files now']:,}; "
        f"{totals['expired']:,} snapshots expired; {totals['orphans']:,} files that no snapshot named were removed"
    )
    context.add_output_metadata({**totals, **({"tables": dg.MetadataValue.table(records)} if records else {})})


@dg.job(description="Compact small files, expire old snapshots and remove orphans. No rows change.")
def maintain_lakehouse() -> None:
    """Maintain all tables."""
    maintain_tables()


weekly_maintenance = dg.ScheduleDefinition(
    name="weekly_maintenance",
    job=maintain_lakehouse,
    cron_schedule="0 3 * * 0",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Maintains all tables, on Sundays at three (UTC). Off until it is turned on.",
)
