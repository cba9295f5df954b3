"""Runs of the AWS Glue job, as Dagster Pipes starts, follows and ends them.

It is dagster-aws's client, with what that leaves out: results arrive while the job runs, a run that expires or is
terminated ends, a retry finds no run of the first try beside it, and nothing stays in the bucket.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
import dagster as dg
from botocore.exceptions import BotoCoreError, ClientError
from dagster._core.pipes.context import PipesExecutionResult
from dagster_aws.pipes import PipesGlueClient, PipesS3ContextInjector, PipesS3MessageReader
from dagster_pipes import PipesParams

from stedi_assets.storage.aws_errors import code_of

# In these states a run is over. dagster-aws waits forever for one that has expired.
_ENDED = {"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"}
# The argument that says for which run of Dagster's a run of the job was started.
RUN_ARGUMENT = "--dagster_run_id"
_LOG_LINES = 40
_NEXT = {
    "ConcurrentRunsExceededException": "Another run of the job is under way: wait until it has ended.",
    "EntityNotFoundException": "Check that STEDI_GLUE_JOB names a job of this account and region.",
    "AccessDeniedException": "Let Dagster's role call glue:StartJobRun, GetJobRun, GetJobRuns and BatchStopJobRun.",
}


class GlueRunFailed(Exception):
    """A run of the Glue job did not do what it should. The message says what, where, why and what next."""


class GlueRuns(PipesGlueClient):
    """Runs a Glue job for one run of Dagster's. Their messages to each other are below `prefix` of a bucket."""

    def __init__(self, job: str, bucket: str, prefix: str, seconds: float = 5) -> None:
        """`seconds` is how often Glue and the bucket are asked."""
        self._s3, self._logs = boto3.client("s3"), boto3.client("logs")
        self._job, self._bucket, self._prefix, self._seconds = job, bucket, prefix, seconds
        super().__init__(
            context_injector=PipesS3ContextInjector(bucket=bucket, client=self._s3, key_prefix=f"{prefix}/"),
            message_reader=_MessagesBelow(bucket=bucket, client=self._s3, interval=seconds, prefix=prefix),
        )

    def stream(
        self, context: dg.AssetExecutionContext, extras: dict[str, Any], custom: Callable[[Any], None]
    ) -> Iterator[PipesExecutionResult]:
        """Run the job, and yield results as they arrive; `custom` gets the other messages.

        Raises `GlueRunFailed` if the run cannot be started or does not succeed. If this is interrupted, it is stopped.
        """
        passed_on, told = 0, 0
        try:
            self._stop_earlier(context)
            with dg.open_pipes_session(
                # Pipes asks the asset's context for what Dagster has deprecated there.
                context=context.op_execution_context,
                context_injector=self._context_injector,
                message_reader=self._message_reader,
                extras=extras,
            ) as session:
                run = ""
                try:
                    run = self._start(context, session.get_bootstrap_cli_arguments())
                    while (found := self._look(run))["JobRunState"] not in _ENDED:
                        # Pipes returns all that has arrived, again and again.
                        results = session.get_results(implicit_materializations=False)
                        yield from results[passed_on:]
                        passed_on, told = len(results), _tell(session.get_custom_messages(), told, custom)
                        time.sleep(self._seconds)
                except BaseException as error:
                    # Terminating the run in Dagster, or closing this, ends the run in Glue. If the start is
                    # interrupted, Glue may have started it without having told us its id.
                    if run or not isinstance(error, GlueRunFailed):
                        self._stop(context, [run] if run else self._running(context))
                    raise
            has_begun = session.message_handler.received_opened_message
            yield from session.get_results(implicit_materializations=False)[passed_on:]
            _tell(session.get_custom_messages(), told, custom)
        finally:
            self._clean_up()
        if found["JobRunState"] != "SUCCEEDED":
            raise GlueRunFailed(self._why(run, found, has_begun=has_begun))

    def _start(self, context: dg.AssetExecutionContext, arguments: Mapping[str, str]) -> str:
        arguments = {**arguments, RUN_ARGUMENT: context.run.run_id}
        with self._as_failure("start"):
            run: str = self._client.start_job_run(JobName=self._job, Arguments=arguments)["JobRunId"]
        context.log.info(f"Started the run {run} of the Glue job {self._job}")
        return run

    def _look(self, run: str) -> Mapping[str, Any]:
        with self._as_failure("follow"):
            found: Mapping[str, Any] = self._client.get_job_run(JobName=self._job, RunId=run)["JobRun"]
        return found

    @contextmanager
    def _as_failure(self, what: str) -> Iterator[None]:
        """Turn an error of Glue's into `GlueRunFailed`."""
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            what_next = _NEXT.get(code_of(error), "See the Glue console.")
            msg = f"AWS Glue did not {what} the job {self._job}: {code_of(error)}. {what_next}"
            raise GlueRunFailed(msg) from None

    def _stop_earlier(self, context: dg.AssetExecutionContext) -> None:
        """Stop what an earlier try of this Dagster run left running: two would publish the same tables."""
        earlier = self._running(context)
        self._stop(context, earlier)
        while any(self._look(run)["JobRunState"] not in _ENDED for run in earlier):
            time.sleep(self._seconds)

    def _running(self, context: dg.AssetExecutionContext) -> list[str]:
        """Return the runs of the job that were started for this Dagster run and have not ended."""
        pages = self._client.get_paginator("get_job_runs").paginate(JobName=self._job)
        with self._as_failure("list the runs of"):
            runs = [run for page in pages for run in page["JobRuns"] if run["JobRunState"] not in _ENDED]
        return [run["Id"] for run in runs if run.get("Arguments", {}).get(RUN_ARGUMENT) == context.run.run_id]

    def _stop(self, context: dg.AssetExecutionContext, runs: list[str]) -> None:
        if not runs:
            return
        with self._as_failure("stop"):
            answer = self._client.batch_stop_job_run(JobName=self._job, JobRunIds=runs)
        for error in answer.get("Errors", ()):
            context.log.warning(f"AWS Glue could not stop {error['JobRunId']}: {error['ErrorDetail']['ErrorCode']}.")
        context.log.info(f"Stopping the runs of the Glue job {self._job}: {', '.join(runs)}")

    def _why(self, run: str, found: Mapping[str, Any], *, has_begun: bool) -> str:
        why = (found.get("ErrorMessage") or "Glue gives no reason").rstrip(".")
        log = self._log_at_the_start(run, found) if not has_begun else f"Its log is in CloudWatch: {_group(found)}."
        return (
            f"The run {run} of the Glue job {self._job} ended as {found['JobRunState']}: {why}. Tables that it had not "
            f"published stay as they were. {log}"
        )

    def _log_at_the_start(self, run: str, found: Mapping[str, Any]) -> str:
        """Return the last lines of a job that has read nothing of anybody yet: later ones could quote a record."""
        for stream in ("error", "output"):
            try:
                events = self._logs.get_log_events(
                    logGroupName=f"{_group(found)}/{stream}", logStreamName=run, limit=_LOG_LINES
                )["events"]
            except (ClientError, BotoCoreError):
                continue
            if events:
                return "Its last lines:\n" + "\n".join(event["message"] for event in events)
        return f"Its log is in CloudWatch: {_group(found)}."

    def _clean_up(self) -> None:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        for page in pages:
            if keys := [{"Key": found["Key"]} for found in page.get("Contents", ())]:
                self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": keys})


class _MessagesBelow(PipesS3MessageReader):
    """Has messages lie below a prefix, instead of at the top of the bucket."""

    def __init__(self, *, bucket: str, client: Any, interval: float, prefix: str) -> None:
        super().__init__(bucket=bucket, client=client, interval=interval, include_stdio_in_messages=True)
        self._prefix = prefix

    @contextmanager
    def get_params(self) -> Iterator[PipesParams]:
        """Yield where the messages of a session lie."""
        with super().get_params() as params:
            yield {**params, "key_prefix": f"{self._prefix}/{params['key_prefix']}"}


def _group(found: Mapping[str, Any]) -> str:
    return str(found.get("LogGroupName") or "/aws-glue/jobs")


def _tell(messages: Sequence[Any], told: int, custom: Callable[[Any], None]) -> int:
    """Pass on the messages after those that were told already; return how many there are."""
    for message in messages[told:]:
        custom(message)
    return len(messages)
