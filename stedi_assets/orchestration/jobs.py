"""The jobs over all tables, and the schedule that checks them. `erase_person` has a module of its own."""

import dagster as dg

from stedi_assets.contracts import TABLES
from stedi_assets.orchestration.assets import FULL_REBUILD

rebuild_lakehouse = dg.define_asset_job(
    "rebuild_lakehouse",
    selection=dg.AssetSelection.assets(*TABLES),
    description="Make all eight tables from scratch, out of every landing file, with their checks.",
    tags={FULL_REBUILD: "true"},
)
update_lakehouse = dg.define_asset_job(
    "update_lakehouse",
    selection=dg.AssetSelection.assets(*TABLES),
    description="Land new and changed files, and compute the days that they touch, with their checks.",
)
check_lakehouse = dg.define_asset_job(
    "check_lakehouse",
    selection=dg.AssetSelection.all_asset_checks(),
    description="Hold what is stored against every check; nothing is rebuilt.",
)

daily_check = dg.ScheduleDefinition(
    name="daily_check",
    job=check_lakehouse,
    cron_schedule="0 6 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Holds what is stored against every check, every morning at six (UTC). Off until it is turned on.",
)
