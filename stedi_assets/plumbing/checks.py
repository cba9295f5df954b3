"""Asset checks: what each contract promises, held against what is stored.

In the run that publishes a table, the counts taken while it was written are used. In any other run the rules are
counted from the stored files, so that a change made to those is found.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from stedi_assets.contracts import LANDING_TABLES, REQUIRED_VALUES, TABLES, Source, Table
from stedi_assets.lake.landing import read_file_reports
from stedi_assets.lake.layout import Lake, masked
from stedi_assets.lake.snapshots import Pointer, current, recount, saved_counts
from stedi_assets.plumbing.failures import explained
from stedi_assets.plumbing.lake import LakeResource
from stedi_assets.plumbing.spark import SparkResource

_AS_PUBLISHED = "rows_as_published"
_ACCOUNTED = "rows_accounted_for"
_READABLE = "files_readable"
_UNKNOWN = "unknown_fields"
_FILE_NAMES_SHOWN = 3


def _specs(table: Table) -> list[dg.AssetCheckSpec]:
    described = {
        _AS_PUBLISHED: "The stored files hold as many rows as were published.",
        **{rule: _rule_in_words(table, rule) for rule in table.rule_names},
    }
    warnings = {}
    if table.name in LANDING_TABLES:
        described |= {
            _ACCOUNTED: "Every record in the files was accepted or quarantined, and every byte is accounted for.",
            _READABLE: "Every landing file could be read.",
        }
        warnings = {_UNKNOWN: "No record has fields that the contract does not know."}
    blocking = [
        dg.AssetCheckSpec(name, asset=table.name, description=words, blocking=True) for name, words in described.items()
    ]
    return blocking + [dg.AssetCheckSpec(name, asset=table.name, description=w) for name, w in warnings.items()]


def _rule_in_words(table: Table, rule: str) -> str:
    if rule in table.row_rules:
        return f"Every row: {table.row_rules[rule]}"
    if rule == REQUIRED_VALUES:
        return f"Never null: {', '.join(table.required_names)}."
    return f"No two rows share {', '.join(table.key)}."


def _checks_of(table: Table) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"{table.name}_checks", specs=_specs(table), can_subset=True)
    def checks(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, spark: SparkResource
    ) -> Iterator[dg.AssetCheckResult]:
        with explained():
            pointer = current(lake.lake, table)
            if pointer.run_id == context.run.run_id:
                counts = saved_counts(lake.lake, table, pointer.snapshot)
            else:
                counts = recount(spark.spark_session, lake.lake, table, pointer)
            results = list(_results(lake.lake, table, pointer, counts))
        wanted = {key.name for key in context.selected_asset_check_keys}
        yield from (result for result in results if result.check_name in wanted)

    return checks


def _results(lake: Lake, table: Table, pointer: Pointer, counts: dict[str, int]) -> Iterator[dg.AssetCheckResult]:
    rows = counts["rows"]
    for rule in table.rule_names:
        yield _result(table, rule, rows, counts[rule])
    yield _result(table, _AS_PUBLISHED, pointer.rows, abs(pointer.rows - rows))
    if table.name in LANDING_TABLES:
        yield from _landing_results(lake, LANDING_TABLES[table.name], pointer, rows)


def _landing_results(lake: Lake, source: Source, pointer: Pointer, rows: int) -> Iterator[dg.AssetCheckResult]:
    files = read_file_reports(lake, source, pointer)
    records = sum(file.records for file in files)
    quarantined = current(lake, source.quarantine)
    lost_bytes = sum(abs(f.bytes - f.record_bytes - f.separator_bytes) for f in files if not f.error)
    astray = abs(records - rows - quarantined.rows) + int(
        quarantined.snapshot != pointer.inputs[source.quarantine.name]
    )
    yield _result(source.landing, _ACCOUNTED, records, astray + lost_bytes, details={"quarantined": quarantined.rows})

    unreadable = [file for file in files if file.error and not file.forgotten]
    first = {f"file {n}": f"{masked(f.path)}: {f.error}" for n, f in enumerate(unreadable[:_FILE_NAMES_SHOWN], start=1)}
    yield _result(source.landing, _READABLE, len(files), len(unreadable), details=first)

    unknown = sorted({masked(name) for file in files for name in file.unknown_fields})
    named = {"fields": ", ".join(unknown)}
    yield _result(source.landing, _UNKNOWN, records, len(unknown), dg.AssetCheckSeverity.WARN, named)


def _result(
    table: Table,
    rule: str,
    rows: int,
    failing: int,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    details: Mapping[str, str | int] | None = None,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=table.name,
        check_name=rule,
        passed=failing == 0,
        severity=severity,
        metadata={"looked at": rows, "failing": failing, **(details or {})},
    )


CHECKS = [_checks_of(table) for table in TABLES.values()]
