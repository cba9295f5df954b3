"""The jobs over all tables, and the schedule that checks them. `erase_person` has a module of its own."""

import dagster as dg

from stedi_assets.contracts import TABLES
from stedi_assets.orchestration.spark_resource import FULL_REBUILD

rebuild_lakehouse = dg.define_asset_job(
    "rebuild_lakehouse",
    selection=dg.AssetSelection.assets(*TABLES),
    description="Compute all eight tables from scratch, from every landing file, and run their checks.",
    tags={FULL_REBUILD: "true"},
)
update_lakehouse = dg.define_asset_job(
    "update_lakehouse",
    selection=dg.AssetSelection.assets(*TABLES),
    description="Land new and changed files, compute the days that they touch, and run the checks.",
)
check_lakehouse = dg.define_asset_job(
    "check_lakehouse",
    selection=dg.AssetSelection.all_asset_checks(),
    description="Run every check on the stored tables; nothing is rebuilt.",
)

daily_check = dg.ScheduleDefinition(
    name="daily_check",
    job=check_lakehouse,
    cron_schedule="0 6 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Runs every check on the stored tables, every morning at six (UTC). Off until it is turned on.",
)
