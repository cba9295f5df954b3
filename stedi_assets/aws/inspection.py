"""Which parts of a lake on AWS are there as they should be: bucket, database, keys, job, workgroup, queue, topic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from stedi_assets.settings import Compute, Settings
from stedi_assets.storage.secrets_manager import is_arn_of_secret

_NOT_THERE = {
    *("404", "NoSuchBucket", "NoSuchPublicAccessBlockConfiguration", "EntityNotFoundException", "NotFound"),
    *("ResourceNotFoundException", "InvalidRequestException", "QueueDoesNotExist"),
    "AWS.SimpleQueueService.NonExistentQueue",
}
_DENIED = {"403", "AccessDenied", "AccessDeniedException", "AuthorizationError"}


@dataclass(frozen=True)
class Inspected:
    """A part, as it was found. `problem` is None if it is as it should be."""

    part: str
    problem: str | None = None


def inspect(settings: Settings) -> Iterator[Inspected]:
    """Yield what is there, and what is missing, of all that the settings name."""
    bucket = settings.lake.removeprefix("s3://").split("/")[0]
    s3, glue = boto3.client("s3"), boto3.client("glue")
    yield (found := _asked(f"bucket {bucket}", partial(_none_of, s3.head_bucket, Bucket=bucket)))
    if found.problem is None:
        kms_key = settings.s3_kms_key
        yield _asked("versioning", lambda: _versioning(s3.get_bucket_versioning(Bucket=bucket)))
        yield _asked("encryption", lambda: _encryption(s3.get_bucket_encryption(Bucket=bucket), kms_key))
        yield _asked("public access", lambda: _public_access(s3.get_public_access_block(Bucket=bucket)))
    yield _asked(f"database {settings.namespace}", partial(_none_of, glue.get_database, Name=settings.namespace))
    for name, arn in (("pseudonym", settings.pseudonym_key), ("suppression", settings.suppression_key)):
        if arn and is_arn_of_secret(arn):
            secrets = boto3.client("secretsmanager", region_name=arn.split(":")[3])
            yield _asked(f"{name} key", partial(_key, secrets, arn))
    if settings.compute is Compute.GLUE:
        yield _asked(f"job {settings.glue_job}", lambda: _job(glue.get_job(JobName=settings.glue_job)["Job"]))
    if group := settings.athena_workgroup:
        athena = boto3.client("athena")
        yield _asked(f"workgroup {group}", lambda: _workgroup(athena.get_work_group(WorkGroup=group)["WorkGroup"]))
    if queue := settings.arrivals_queue:
        sqs = boto3.client("sqs")
        yield _asked("queue of arrivals", partial(_none_of, sqs.get_queue_attributes, QueueUrl=queue))
        if found.problem is None:
            yield _asked(
                "notifications", lambda: _notifications(s3.get_bucket_notification_configuration(Bucket=bucket), queue)
            )
    if topic := settings.alerts_sns_topic:
        sns = boto3.client("sns")
        yield _asked("topic of alerts", partial(_none_of, sns.get_topic_attributes, TopicArn=topic))


def _asked(part: str, ask: Callable[[], str | None]) -> Inspected:
    try:
        return Inspected(part, ask())
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _NOT_THERE:
            return Inspected(part, "does not exist: `stedi aws deploy` creates it")
        if code in _DENIED:
            return Inspected(part, f"cannot be seen: these credentials may not call {error.operation_name}")
        return Inspected(part, f"cannot be seen: {error.operation_name} was refused with {code}")
    except BotoCoreError as error:
        return Inspected(part, f"cannot be seen: {type(error).__name__}. Check your credentials and AWS_DEFAULT_REGION")


def _none_of(ask: Callable[..., object], **asked: str) -> None:
    """Find no fault with anything that exists."""
    ask(**asked)


def _key(secrets: Any, arn: str) -> str | None:
    # Nobody reads the key for this.
    described = secrets.describe_secret(SecretId=arn)
    return "is about to be deleted: restore it in Secrets Manager" if "DeletedDate" in described else None


def _versioning(answer: dict[str, Any]) -> str | None:
    return None if answer.get("Status") == "Enabled" else "is off: what is overwritten by mistake is lost"


def _encryption(answer: dict[str, Any], kms_key: str | None) -> str | None:
    (rule, *_) = answer["ServerSideEncryptionConfiguration"]["Rules"]
    default = rule["ApplyServerSideEncryptionByDefault"]
    wanted = ("aws:kms", kms_key) if kms_key else ("AES256", None)
    found = (default["SSEAlgorithm"], default.get("KMSMasterKeyID"))
    return None if found == wanted else f"is {found[0]}, and STEDI_S3_KMS_KEY asks for {wanted[0]} or another key"


def _public_access(answer: dict[str, Any]) -> str | None:
    blocked = answer["PublicAccessBlockConfiguration"]
    return None if all(blocked.values()) else "is not blocked in every way"


def _job(job: dict[str, Any]) -> str | None:
    if job.get("GlueVersion") != "6.0":
        return f"is of Glue {job.get('GlueVersion')}: Spark 4.1 is that of Glue 6.0"
    if job.get("ExecutionProperty", {}).get("MaxConcurrentRuns") != 1:
        return "may run twice at once: set its maximum concurrency to 1"
    if "iceberg" not in job.get("DefaultArguments", {}).get("--datalake-formats", ""):
        return "has no Iceberg: set --datalake-formats to iceberg"
    return None


def _workgroup(workgroup: dict[str, Any]) -> str | None:
    configuration = workgroup.get("Configuration", {})
    if workgroup.get("State") != "ENABLED":
        return "is disabled"
    if not configuration.get("ResultConfiguration", {}).get("OutputLocation"):
        return "does not say where results go"
    return None if configuration.get("EnforceWorkGroupConfiguration") else "lets each query choose where results go"


def _notifications(answer: dict[str, Any], queue: str) -> str | None:
    name = queue.rsplit("/", 1)[-1]
    told = [each for each in answer.get("QueueConfigurations", ()) if each["QueueArn"].endswith(f":{name}")]
    return None if told else "do not reach the queue: the bucket does not notify it of new objects"
