"""With STEDI_ATHENA_WORKGROUP: a further check of each table, by Amazon Athena.

It blocks nothing: if Athena is not available, the check warns.
"""

import dagster as dg
from pydantic import Field

from stedi_assets.contracts import TABLES, Table
from stedi_assets.orchestration.checks import FAILING, LOOKED_AT, ThresholdsResource
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.verification.findings import Audit
from stedi_assets.verification.results import NOT_RUN

AGREES = "agrees_with_athena"
# https://aws.amazon.com/athena/pricing (SQL queries), the price in most regions.
_DOLLARS_PER_TERABYTE, _TERABYTE, _LEAST_BYTES = 5, 1_000_000_000_000, 10_000_000
_DESCRIPTION = "Amazon Athena finds as many rows as were published, and recomputes the same ones."
_WHAT_TO_DO = (
    "Athena and this table disagree. Run check_lakehouse: if agrees_with_second_engine fails too, run "
    "rebuild_lakehouse; otherwise check that Athena reads this lake's tables (docs/athena.md)."
)


class AthenaResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # Dagster's own subclasses give none
    """Where Athena runs queries."""

    workgroup: str = Field(description="The Athena workgroup, which says where results go.")
    seconds: float = Field(default=1, description="How often Athena is asked whether a query has ended.")


def _check_of(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=table.name, name=AGREES, description=_DESCRIPTION, metadata={"if it fails": _WHAT_TO_DO})
    def check(
        context: dg.AssetCheckExecutionContext,
        lake: LakeResource,
        thresholds: ThresholdsResource,
        athena: AthenaResource,
    ) -> dg.AssetCheckResult:
        from stedi_assets.aws.athena import Athena, AthenaFailed  # noqa: PLC0415  (loads boto3)
        from stedi_assets.aws.athena_comparison import compare_in_athena  # noqa: PLC0415  (loads boto3)

        audit = Audit(lake.lake, table, context.run.run_id, thresholds.thresholds, lake.pseudonym_key)
        with as_dagster_failures():
            if moved := audit.moved:
                return _not_run(f"{moved} is newer than this table; materialise the table")
            try:
                found = compare_in_athena(audit, Athena(athena.workgroup, lake.namespace, athena.seconds))
            except AthenaFailed as error:
                return _not_run(str(error))
        charged = max(found.scanned, _LEAST_BYTES) if found.query else 0
        recomputed = {} if found.recomputed is None else {"recomputed": f"{found.recomputed:,}"}
        return dg.AssetCheckResult(
            passed=found.agrees,
            description=_DESCRIPTION if found.agrees else _WHAT_TO_DO,
            metadata={
                LOOKED_AT: found.published,
                FAILING: max(1, abs(found.published - found.rows)) if not found.agrees else 0,
                **recomputed,
                "bytes scanned": found.scanned,
                "cost in dollars": round(charged / _TERABYTE * _DOLLARS_PER_TERABYTE, 6),
                "query": found.query or "none: no day was computed",
            },
        )

    return check


def _not_run(why: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=False, severity=dg.AssetCheckSeverity.WARN, description=why, metadata={NOT_RUN: why}
    )


ATHENA_CHECKS = [_check_of(table) for table in TABLES.values()]
