"""The project's code location without its asset checks, to measure what those cost."""

import dagster as dg

from stedi_assets.definitions import defs as whole

defs = dg.Definitions(
    assets=whole.assets,
    resources=whole.resources,
    executor=whole.executor,
    jobs=[dg.define_asset_job("rebuild_without_checks", dg.AssetSelection.all())],
)
