"""How people are told of what needs one of them: the notifier, and the sensors that watch runs and checks.

No message shows a value of a person: counts, names of tables, checks and files only, and files named for somebody are
masked before they get here.
"""

import logging
from collections.abc import Iterator
from typing import cast

import dagster as dg
from pydantic import Field

_SUBJECT_LENGTH = 100
_CHECKS_FAILED = "DagsterAssetCheckFailedError"


class MessageNotSent(Exception):
    """People could not be told of something; the log has it."""


class Notifier(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Tells people: in the log, and by Amazon SNS where a topic is set."""

    sns_topic: str | None = Field(default=None, description="The ARN of the Amazon SNS topic to publish to.")

    def tell(self, subject: str, message: str, log: logging.Logger) -> None:
        """Send a message. Raises `MessageNotSent` where the topic cannot be published to."""
        log.warning(f"{subject}\n{message}")
        if self.sns_topic is None:
            return
        import boto3  # noqa: PLC0415  (takes a second, and is needed with a topic alone)
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  (as above)

        region = self.sns_topic.split(":")[3]
        try:
            boto3.client("sns", region_name=region).publish(
                TopicArn=self.sns_topic, Subject=subject[:_SUBJECT_LENGTH], Message=message
            )
        except (BotoCoreError, ClientError) as error:
            msg = f"Nobody was told by {self.sns_topic}: Amazon SNS cannot be used ({type(error).__name__})."
            raise MessageNotSent(msg) from None


@dg.run_failure_sensor(
    name="run_failed",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of each run that failed: which steps and checks, why, and what to do.",
)
def run_failed(context: dg.RunFailureSensorContext, notifier: Notifier) -> None:
    """Tell of a failed run. What an unknown error says is left out: it could quote a record."""
    run = context.dagster_run
    why = [*_failed_steps(context), *_failed_checks(context)] or [context.failure_event.message or "It was cut off."]
    notifier.tell(f"Run of {run.job_name} failed", "\n".join([*why, f"Run {run.run_id}"]), context.log)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    name="check_failed",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of the checks that failed in runs that went on all the same: those that warn. "
    "Of checks that block, run_failed tells.",
)
def check_failed(context: dg.RunStatusSensorContext, notifier: Notifier) -> None:
    """Tell of the checks that warned in a run that succeeded."""
    if failed := list(_failed_checks(context)):
        run = context.dagster_run
        subject = f"{len(failed)} checks of {run.job_name} warn"
        notifier.tell(subject, "\n".join([*failed, f"Run {run.run_id}"]), context.log)


def _failed_steps(context: dg.RunFailureSensorContext) -> Iterator[str]:
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        if failure.user_failure_data:
            yield f"{event.step_key}: {failure.user_failure_data.description}"
        elif failure.error and failure.error.cls_name != _CHECKS_FAILED:
            yield f"{event.step_key}: it stopped with {failure.error.cls_name}. Its log in Dagster says more."


def _failed_checks(context: dg.RunStatusSensorContext) -> Iterator[str]:
    found = context.instance.get_records_for_run(
        context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    for record in found.records:
        event = cast("dg.DagsterEvent", record.event_log_entry.dagster_event)
        check = event.asset_check_evaluation_data
        if not check.passed:
            counts = ", ".join(f"{name} {check.metadata[name].value:,}" for name in ("looked at", "failing"))
            name = f"{check.asset_key.path[-1]}: {check.check_name} {check.severity.value} ({counts})"
            yield f"{name}. {check.description}"
