"""Asset checks: one for each rule of a table's contract, all of a table in one step.

In the run that publishes a table, the counts taken while it was written are used. In any other run the rules are
counted from the stored files, so that a change to those is found. Other tables are read through the lake resource, and
no check depends on another table in Dagster: it would not run if a check there failed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import dagster as dg
from pydantic import Field

from stedi_assets.contracts import LANDING_TABLES, TABLES, Rule, Severity, Table
from stedi_assets.contracts.rules import Thresholds
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.privacy.suppression import require_suppressed
from stedi_assets.storage.errors import LakeError
from stedi_assets.verification.engine import SecondEngineFailed
from stedi_assets.verification.findings import NAMED, Audit, Finding
from stedi_assets.verification.results import NOT_RUN, PASSED, keep_results

LOOKED_AT, FAILING = "looked at", "failing"
_DEFAULTS = Thresholds()


class ThresholdsResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # Dagster's own subclasses give none
    """When a check warns or fails."""

    quarantine_rate: float = Field(default=_DEFAULTS.quarantine_rate, description="The share of records.")
    unattributed_share: float = Field(default=_DEFAULTS.unattributed_share, description="The share of readings.")
    people_leaving_unread: float = Field(
        default=_DEFAULTS.people_leaving_unread, description="The share of people, in one run."
    )
    row_count_change: float = Field(default=_DEFAULTS.row_count_change, description="As a share of the last count.")

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds in the contracts' form."""
        return Thresholds(**{name: getattr(self, name) for name in asdict(_DEFAULTS)})


def _spec(table: Table, rule: Rule) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        rule.name,
        asset=table.name,
        description=rule.description,
        blocking=rule.severity is Severity.ERROR,
        metadata={
            "rule": rule.row_predicate or rule.violations_sql or rule.description,
            "if it fails": rule.what_to_do,
        },
    )


def _checks_of(table: Table) -> dg.AssetChecksDefinition:
    specs = [_spec(table, rule) for rule in table.rules]

    # Of the steps that could run now, the tables' order decides; by itself, Dagster goes by the alphabet.
    priority = {"dagster/priority": str(len(TABLES) - list(TABLES).index(table.name))}

    @dg.multi_asset_check(name=f"{table.name}_checks", specs=specs, can_subset=True, op_tags=priority)
    def checks(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, thresholds: ThresholdsResource
    ) -> Iterator[dg.AssetCheckResult]:
        audit = Audit(lake.lake, table, context.run.run_id, thresholds.thresholds, lake.pseudonym_key)
        with as_dagster_failures():
            if table.name in LANDING_TABLES:
                # Without the list of erased people, the next run would let them in again.
                require_suppressed(lake.lake)
            wanted = [key.name for key in context.selected_asset_check_keys]
            try:
                findings = audit.findings(wanted)
            except (LakeError, SecondEngineFailed):
                # Earlier results may no longer hold.
                keep_results(lake.lake, table, audit.snapshot, dict.fromkeys(wanted, NOT_RUN))
                raise
            outcomes = {f.rule.name: PASSED if f.passed else f.severity.name for f in findings}
            keep_results(lake.lake, table, audit.snapshot, outcomes)
            show = not audit.fresh or not all(finding.passed for finding in findings)
        if show:
            context.log.info(_block(table, findings))
        yield from (_result(table, finding) for finding in findings)

    return checks


def _result(table: Table, finding: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=table.name,
        check_name=finding.rule.name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity[finding.severity.name],
        description=finding.rule.description if finding.passed else finding.what_to_do,
        metadata={LOOKED_AT: finding.looked_at, FAILING: finding.failing, **finding.details},
    )


def _block(table: Table, findings: Sequence[Finding]) -> str:
    """Return a table's findings for people, one per line, with what to do about those that failed."""
    lines = [f"{table.name}: {sum(f.passed for f in findings)} of {len(findings)} checks passed"]
    for finding in findings:
        outcome = "passed" if finding.passed else finding.severity.value.upper()
        named = {name: value for name, value in finding.details.items() if name.startswith(NAMED)}
        shown = {name: value for name, value in finding.details.items() if name not in {*named, NOT_RUN}}
        details = "".join(f", {name} {value}" for name, value in shown.items())
        lines.append(f"  {outcome:6}  {finding.rule.name:26}  {_in_numbers(finding)}{details}")
        if not finding.passed:
            lines += [f"{'':10}{text}" for text in (*named.values(), finding.what_to_do)]
    return "\n".join(lines)


def _in_numbers(finding: Finding) -> str:
    if why := finding.details.get(NOT_RUN):
        return f"{NOT_RUN}: {why}"
    if finding.failing:
        return f"{finding.failing:,} of {finding.looked_at:,} fail"
    return f"{finding.looked_at:,} checked" if finding.looked_at else "nothing to check"


CHECKS = [_checks_of(table) for table in TABLES.values()]
