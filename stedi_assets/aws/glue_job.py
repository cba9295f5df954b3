"""The script of the AWS Glue job: makes tables and runs checks as a run of Dagster asks for it.

Glue starts it with `spark-submit`. In its own process it runs the assets and checks that a local run has, and sends
what happens to the other Dagster while it happens, by Dagster Pipes through S3.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import boto3
import dagster as dg
from dagster._core.events import DagsterEventType
from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesContext,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)

_SECONDS = 2
_LOG = "The job's log in CloudWatch shows it, and may show people's data."
_KINDS = {
    dg.IntMetadataValue: "int",
    dg.FloatMetadataValue: "float",
    dg.BoolMetadataValue: "bool",
    dg.PathMetadataValue: "path",
    dg.MarkdownMetadataValue: "md",
    dg.TextMetadataValue: "text",
}


def main() -> None:
    """Do what the run asks for. Exits with 1 if that failed, which has been reported by then."""
    s3 = boto3.client("s3")
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(client=s3),
        message_writer=PipesS3MessageWriter(client=s3, interval=_SECONDS),
        params_loader=PipesCliArgsParamsLoader(),  # type: ignore[no-untyped-call]  # Dagster's own has no types
    ) as pipes:
        succeeded = _run(pipes)
    if not succeeded:
        sys.exit(1)


def _run(pipes: PipesContext) -> bool:
    # They are read when the definitions load.
    os.environ.update(pipes.extras["settings"])
    from stedi_assets.definitions import defs  # noqa: PLC0415  (reads the settings as it loads)

    tables = {dg.AssetKey(name) for name in pipes.extras["tables"]}
    checks = {dg.AssetCheckKey(dg.AssetKey(table), name) for table, name in pipes.extras["checks"]}
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=tables, asset_check_selection=checks)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_event_listener(pipes.run_id, lambda entry: _tell(pipes, entry))
        done = job.execute_in_process(
            run_config={"ops": {name: {"config": config} for name, config in pipes.extras["config"].items()}},
            instance=instance,
            run_id=pipes.run_id,
            tags=pipes.extras["tags"],
            raise_on_error=False,
        )
    return done.success


def _tell(pipes: PipesContext, entry: dg.EventLogEntry) -> None:
    """Report an event to the other Dagster that it would have seen itself in a local run."""
    event = entry.dagster_event
    if event is None:
        tell = pipes.log.warning if int(entry.level) >= logging.WARNING else pipes.log.info
        tell(entry.user_message)
    elif event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
        made = event.step_materialization_data.materialization
        (name,) = made.asset_key.path
        metadata = _metadata(made.metadata)
        if name in pipes.extras["tables"]:
            pipes.report_asset_materialization(metadata, asset_key=name)
        else:
            pipes.report_custom_message({"materialized": name, "metadata": metadata})
    elif event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
        found = event.asset_check_evaluation_data
        pipes.report_asset_check(
            found.check_name,
            found.passed,
            found.severity.value,
            _metadata(found.metadata),
            asset_key=found.asset_key.path[-1],
        )
    elif event.is_step_failure:
        failure = event.step_failure_data.user_failure_data
        # Of an error that is not ours, not even the message is sent: it can quote a record.
        why = failure.description if failure else f"it stopped with an unknown error. {_LOG}"
        pipes.report_custom_message({"failed": event.step_key, "why": why})


def _metadata(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    kinds = {name: _KINDS.get(type(value)) for name, value in metadata.items()}
    return {name: {"type": kind, "raw_value": metadata[name].value} for name, kind in kinds.items() if kind}


if __name__ == "__main__":
    main()
