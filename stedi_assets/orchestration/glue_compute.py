"""The tables and their checks where AWS Glue computes them: one step, which runs the Glue job once.

What Dagster shows is what it shows of local runs: the same assets and checks, and their results as they arrive.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.pipes.context import PipesExecutionResult
from pydantic import Field

from stedi_assets.contracts import TABLES
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.settings import settings_of_a_job

STEP = "glue_job"
_RULES = {(table.name, rule.name): rule for table in TABLES.values() for rule in table.rules}


class GlueResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # Dagster's own subclasses give none
    """The Glue job, and where its runs and Dagster's exchange messages."""

    job: str = Field(description="The name of the AWS Glue job.")
    lake: str = Field(description="The lake, s3://bucket/prefix.")
    seconds: float = Field(default=5, description="How often Glue and the bucket are asked.")

    def stream(
        self, context: dg.AssetExecutionContext, extras: dict[str, Any], custom: Any
    ) -> Iterator[PipesExecutionResult]:
        """Run the job. Raises `GlueRunFailed`."""
        from stedi_assets.aws.glue_runs import GlueRuns  # noqa: PLC0415  (loads boto3)

        bucket, _, prefix = self.lake.removeprefix("s3://").partition("/")
        below = "/".join(filter(None, [prefix, "_pipes", context.run.run_id]))
        yield from GlueRuns(self.job, bucket, below, self.seconds).stream(context, extras, custom)


class GlueConfig(dg.Config):
    """What an operator may configure for a run on Glue."""

    tables: dict[str, dict[str, Any]] = Field(
        default={}, description="The config of tables by name, as their own steps have it in a local run."
    )


@dg.multi_asset(
    name=STEP,
    # If a blocking check fails, what follows is skipped.
    specs=[spec.replace_attributes(skippable=True) for asset in ASSETS for spec in asset.specs],
    check_specs=[spec for checks in CHECKS for spec in checks.check_specs],
    can_subset=True,
)
def glue_job(context: dg.AssetExecutionContext, config: GlueConfig, glue: GlueResource) -> Iterator[Any]:
    """Have the Glue job make the selected tables and run the selected checks."""
    from stedi_assets.aws.glue_runs import GlueRunFailed  # noqa: PLC0415  (loads boto3)

    failures: list[str] = []

    def custom(message: Mapping[str, Any]) -> None:
        if "failed" in message:
            failures.append(f"{message['failed']}: {message['why']}")
        else:
            metadata = {name: value["raw_value"] for name, value in message["metadata"].items()}
            context.log_event(dg.AssetMaterialization(message["materialized"], metadata=metadata))

    try:
        for result in glue.stream(context, _order(context, config), custom):
            yield _described(result)
    except GlueRunFailed as error:
        raise dg.Failure("\n".join(failures) or str(error), allow_retries=not failures) from None


def _order(context: dg.AssetExecutionContext, config: GlueConfig) -> dict[str, Any]:
    """Return what the job is told to do. Neither keys nor passwords are in it."""
    return {
        "tables": sorted(key.path[-1] for key in context.selected_asset_keys),
        "checks": sorted([key.asset_key.path[-1], key.name] for key in context.selected_asset_check_keys),
        "config": config.tables,
        "tags": {name: value for name, value in context.run.tags.items() if name.startswith("stedi/")},
        "settings": settings_of_a_job(),
    }


def _described(result: PipesExecutionResult) -> PipesExecutionResult:
    """Give a check's result the description that it has in a local run; Pipes carries none."""
    if not isinstance(result, dg.AssetCheckResult) or result.asset_key is None:
        return result
    rule = _RULES[result.asset_key.path[-1], str(result.check_name)]
    return result._replace(description=rule.description if result.passed else rule.what_to_do)
