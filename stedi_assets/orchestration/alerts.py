"""How people are notified of what needs their attention: the notifier, and the sensors that watch runs and checks.

No message shows personal data: only counts and the names of tables, checks and files. File names that could hold
personal data are masked before they get here.
"""

import logging
from collections.abc import Iterator
from typing import cast

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pydantic import Field

from stedi_assets.orchestration.aws_client import AwsCallFailed, call
from stedi_assets.orchestration.checks import FAILING, LOOKED_AT
from stedi_assets.storage.names import counted
from stedi_assets.verification.findings import NAMED

# Which attempt of the sensor a run is.
ATTEMPT_TAG = "stedi/attempt"
_SUBJECT_LENGTH = 100
_RUNS_BETWEEN = 10
_CHECKS_FAILED = "DagsterAssetCheckFailedError"


class MessageNotSent(Exception):
    """People could not be notified; the message is in the log."""


class Notifier(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Notifies people: in the log, and by Amazon SNS if a topic is set."""

    sns_topic: str | None = Field(default=None, description="The ARN of the Amazon SNS topic to publish to.")
    dagster_url: str = Field(default="http://localhost:3000", description="Where people open Dagster in a browser.")

    def address_of(self, run_id: str) -> str:
        """Return where a run's page is."""
        return f"{self.dagster_url.rstrip('/')}/runs/{run_id}"

    def tell(self, subject: str, message: str, log: logging.Logger) -> None:
        """Send a message. Raises `MessageNotSent` if the topic cannot be published to."""
        log.warning(f"{subject}\n{message}")
        if self.sns_topic is None:
            return
        topic, region = self.sns_topic, self.sns_topic.split(":")[3]
        try:
            call("sns", region, "publish", TopicArn=topic, Subject=subject[:_SUBJECT_LENGTH], Message=message)
        except AwsCallFailed as error:
            raise MessageNotSent(f"Nobody was notified through {topic}: Amazon SNS cannot be used ({error}).") from None


@dg.run_failure_sensor(
    name="run_failed",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notifies people of each failed run: which steps and checks failed, why, and what to do.",
)
def run_failed(context: dg.RunFailureSensorContext, notifier: Notifier) -> None:
    """Notify people of a failed run. The message of an unknown error is left out: it could quote a record.

    If the run is a further attempt, people know already; if attempts go on failing, the sensor that requests them
    notifies people. A message that cannot be sent is only in the log: Dagster does not ask again.
    """
    run = context.dagster_run
    if run.tags.get(ATTEMPT_TAG, "1") != "1":
        return
    why = [*_failed_steps(context), *_failed_checks(context)] or [context.failure_event.message or "It was cut off."]
    notifier.tell(f"Run of {run.job_name} failed", "\n".join([*why, notifier.address_of(run.run_id)]), context.log)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    name="check_failed",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notifies people of checks that begin to warn, in runs that succeed. Checks that block are reported by "
    "run_failed.",
)
def check_failed(context: dg.RunStatusSensorContext, notifier: Notifier) -> None:
    """Notify people of checks that warned in a successful run, but not the time before. Unsent messages: as above."""
    if failed := list(_failed_checks(context, new_ones_alone=True)):
        run = context.dagster_run
        subject = f"{counted(len(failed), 'check')} of {run.job_name} warn{'s' if len(failed) == 1 else ''}"
        notifier.tell(subject, "\n".join([*failed, notifier.address_of(run.run_id)]), context.log)


def _failed_steps(context: dg.RunFailureSensorContext) -> Iterator[str]:
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data:
            yield f"{event.step_key}: {failure.user_failure_data.description}"
        elif failure.error and failure.error.cls_name != _CHECKS_FAILED:
            yield f"{event.step_key}: it stopped with {failure.error.cls_name}. Its log in Dagster says more."


def _failed_checks(context: dg.RunStatusSensorContext, *, new_ones_alone: bool = False) -> Iterator[str]:
    results = context.instance.get_records_for_run(
        context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    for record in results.records:
        event = cast("dg.DagsterEvent", record.event_log_entry.dagster_event)
        check = event.asset_check_evaluation_data
        if not check.passed and not (new_ones_alone and _failed_before(context, check.asset_check_key)):
            # A check that could not run has none.
            found = [
                f"{name} {check.metadata[name].value:,}" for name in (LOOKED_AT, FAILING) if name in check.metadata
            ]
            counts = f" ({', '.join(found)})" if found else ""
            files = [str(value.value) for name, value in check.metadata.items() if name.startswith(NAMED)]
            name = f"{check.asset_key.path[-1]}: {check.check_name} {check.severity.value}{counts}"
            yield "\n  ".join([f"{name}. {check.description}", *files])


def _failed_before(context: dg.RunStatusSensorContext, check: dg.AssetCheckKey) -> bool:
    """Whether a check failed in the last run before this one that included it."""
    history = context.instance.event_log_storage.get_asset_check_execution_history(check, limit=_RUNS_BETWEEN)
    run_ids = [record.run_id for record in history]
    this = run_ids.index(context.dagster_run.run_id) if context.dagster_run.run_id in run_ids else len(history)
    before = history[this + 1 : this + 2]
    return any(record.status is AssetCheckExecutionRecordStatus.FAILED for record in before)
