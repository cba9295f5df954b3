"""The project's code location without its asset checks, to measure what those cost."""

import dagster as dg

from stedi_assets import definitions
from stedi_assets.contracts import TABLES

defs = dg.Definitions(
    assets=definitions.defs.assets,
    resources=definitions.defs.resources,
    executor=definitions.defs.executor,
    jobs=[dg.define_asset_job("rebuild_without_checks", dg.AssetSelection.assets(*TABLES))],
)
