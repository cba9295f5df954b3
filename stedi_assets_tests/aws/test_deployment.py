"""`stedi aws`: the stack is created, updated, removed and looked over, on moto's CloudFormation over HTTP.

Belongs here, too: that the template and its policies are what AWS takes, and what each role may do.
"""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import parliament
import pytest
from botocore.exceptions import ClientError
from cfnlint import ManualArgs, lint

import stedi_assets.aws
from stedi_assets.aws import deployment
from stedi_assets.aws.stack import DeploymentFailed, Stack
from stedi_assets.cli.main import main
from stedi_assets_tests.support.environments import own_environment
from stedi_assets_tests.support.iam import Policies, role_policies
from stedi_assets_tests.support.s3_server import REGION, S3Server

TEMPLATE = (files(stedi_assets.aws) / "stack.yaml").read_text("utf-8")
BUCKET = "stedi-deployed"
KMS_KEY = f"arn:aws:kms:{REGION}:123456789012:key/lake"


@pytest.fixture(scope="module")
def aws() -> Iterator[S3Server]:
    with S3Server() as aws:
        yield aws


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    return deployment._artifacts(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def server(
    aws: S3Server, artifacts: dict[str, tuple[str, Path]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> S3Server:
    """An account with nothing in it. The wheel is built once for all tests in this process."""
    urllib.request.urlopen(urllib.request.Request(f"{aws.endpoint}/moto-api/reset", method="POST")).close()
    monkeypatch.chdir(tmp_path)
    for name, value in environment(aws).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(deployment, "_artifacts", lambda _: artifacts)
    return aws


def environment(server: S3Server) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
    }


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def settings(self) -> dict[str, str]:
        """The lines for .env."""
        lines = (line.partition("=") for line in self.out.splitlines())
        return {name: value for name, separator, value in lines if separator and name.isupper()}


@pytest.fixture
def stedi(server: S3Server, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Said:
        code = main(["aws", *arguments])
        return Said(code, *capsys.readouterr())

    return run


def what_moto_forgets(bucket: str, queue: str) -> None:
    """Give the bucket what the template gives it, and moto's CloudFormation leaves out."""
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    blocked = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocked)
    arn = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=told)


# --- The two commands -------------------------------------------------------------------------------------------------


def test_a_stack_is_deployed_checked_updated_and_taken_away(
    stedi: Any, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one test, for a stack is made in one go; the first command as its user types it."""
    command = [sys.executable, "-m", "stedi_assets", "aws", "deploy", "--bucket", BUCKET, "--yes"]
    ran = subprocess.run(
        command, env={**own_environment(), **environment(server)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    deployed = Said(0, ran.stdout, ran.stderr)
    assert "  Add     AWS::S3::Bucket              LakeBucket\n" in deployed.out
    assert "CREATE_COMPLETE" in deployed.out
    settings = deployed.settings
    assert settings["STEDI_LAKE"] == f"s3://{BUCKET}/lake"
    assert settings["STEDI_COMPUTE"] == "glue"
    (uploaded,) = {entry["Key"].split("/")[1] for entry in objects()}
    job = boto3.client("glue").get_job(JobName=settings["STEDI_GLUE_JOB"])["Job"]
    assert job["Command"]["ScriptLocation"] == f"s3://{BUCKET}/deployed/{uploaded}/glue_job.py"
    wheel = job["DefaultArguments"]["--additional-python-modules"].removeprefix(f"s3://{BUCKET}/")
    assert wheel in {entry["Key"] for entry in objects()}

    # What is printed is what the settings take, and all of it is there.
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    what_moto_forgets(BUCKET, settings["STEDI_ARRIVALS_QUEUE"])
    checked = stedi("check")
    assert (checked.code, checked.err) == (0, "")
    assert {line.split()[0] for line in checked.out.splitlines()} == {"ok"}
    assert len(checked.out.splitlines()) == 12

    # The same sources make the same wheel; another value changes what it belongs to.
    with mock.patch("builtins.input", return_value="no"):
        refused = stedi("deploy", "--workers", "4")
    assert (refused.code, refused.err) == (1, "stedi: nothing was changed\n")
    updated = stedi("deploy", "--workers", "4", "--yes")
    assert updated.code == 0
    assert {**updated.settings, "STEDI_ALERTS_SNS_TOPIC": ""} == {**settings, "STEDI_ALERTS_SNS_TOPIC": ""}
    assert len(objects()) == 2
    assert boto3.client("glue").get_job(JobName=settings["STEDI_GLUE_JOB"])["Job"]["NumberOfWorkers"] == 4

    boto3.client("s3").put_object(Bucket=BUCKET, Key="lake/customer/landing/one.json", Body=b"{}")
    for arguments in ([], ["--delete-data", "another"]):
        kept = stedi("destroy", *arguments)
        assert kept.code == 1
        assert f"The bucket {BUCKET} of the stack stedi holds data." in kept.err
        assert len(objects()) == 3
    gone = stedi("destroy", "--delete-data", BUCKET)
    assert (gone.code, gone.err) == (0, "")
    with pytest.raises(ClientError, match="404"):
        boto3.client("s3").head_bucket(Bucket=BUCKET)
    for key in ("STEDI_PSEUDONYM_KEY", "STEDI_SUPPRESSION_KEY"):
        assert boto3.client("secretsmanager").describe_secret(SecretId=settings[key])["DeletedDate"]
    # Moto has no answer for a workgroup that is not there.
    monkeypatch.delenv("STEDI_ATHENA_WORKGROUP")
    missing = stedi("check")
    assert missing.code == 1
    assert f"missing  bucket {BUCKET} does not exist: `stedi aws deploy` creates it\n" in missing.out


def test_the_check_sees_what_is_not_as_it_should_be(stedi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = stedi("deploy", "--bucket", BUCKET, "--yes").settings
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    what_moto_forgets(BUCKET, settings["STEDI_ARRIVALS_QUEUE"])
    s3, glue = boto3.client("s3"), boto3.client("glue")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={})
    glue.delete_job(JobName=settings["STEDI_GLUE_JOB"])
    old = {"Role": "r", "Command": {"Name": "glueetl"}, "GlueVersion": "5.0"}
    glue.create_job(Name=settings["STEDI_GLUE_JOB"], **old)
    athena = boto3.client("athena")
    athena.delete_work_group(WorkGroup=settings["STEDI_ATHENA_WORKGROUP"])
    athena.create_work_group(Name=settings["STEDI_ATHENA_WORKGROUP"], Configuration={"ResultConfiguration": {}})
    boto3.client("sqs").delete_queue(QueueUrl=settings["STEDI_ARRIVALS_QUEUE"])
    boto3.client("secretsmanager").delete_secret(SecretId=settings["STEDI_SUPPRESSION_KEY"])
    monkeypatch.setenv("STEDI_S3_KMS_KEY", KMS_KEY)
    checked = stedi("check")
    assert checked.code == 1
    assert [line for line in checked.out.splitlines() if not line.startswith("ok")] == [
        "missing  versioning is off: what is overwritten by mistake is lost",
        "missing  encryption is AES256, and STEDI_S3_KMS_KEY asks for aws:kms or another key",
        "missing  public access does not exist: `stedi aws deploy` creates it",
        "missing  suppression key is about to be deleted: restore it in Secrets Manager",
        "missing  job stedi-lakehouse is of Glue 5.0: Spark 4.1 is that of Glue 6.0",
        "missing  workgroup stedi-lakehouse-checks does not say where results go",
        "missing  queue of arrivals does not exist: `stedi aws deploy` creates it",
        "missing  notifications do not reach the queue: the bucket does not notify it of new objects",
    ]


def objects() -> list[dict[str, Any]]:
    return list(boto3.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", []))


def test_an_empty_bucket_needs_no_name(stedi: Any) -> None:
    assert stedi("deploy", "--bucket", BUCKET, "--yes").code == 0
    assert stedi("destroy").code == 0
    assert not boto3.client("s3").list_buckets()["Buckets"]


def test_what_somebody_has_deleted_by_hand_stops_nothing(stedi: Any) -> None:
    assert stedi("deploy", "--bucket", BUCKET, "--yes").code == 0
    s3 = boto3.client("s3")
    for entry in objects():
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    s3.delete_bucket(Bucket=BUCKET)
    boto3.client("glue").delete_database(Name="stedi")
    gone = stedi("destroy")
    assert (gone.code, gone.err) == (0, "")


@pytest.mark.parametrize(("option", "value"), [("--bucket", "another-bucket"), ("--database", "another")])
def test_a_stack_keeps_its_bucket_and_database(stedi: Any, option: str, value: str) -> None:
    assert stedi("deploy", "--bucket", BUCKET, "--yes").code == 0
    refused = stedi("deploy", option, value, "--yes")
    assert refused.code == 1
    assert f"and cannot move to {value}: the lake would stay behind." in refused.err
    assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == [BUCKET]


def test_whoever_may_not_delete_objects_has_the_stack_still(stedi: Any) -> None:
    assert stedi("deploy", "--bucket", BUCKET, "--yes").code == 0
    denied = {"Errors": [{"Key": "a", "Code": "AccessDenied"}]}
    with mock.patch("stedi_assets.aws.deployment.boto3.client", side_effect=lambda name: Denied(real(name), denied)):
        refused = stedi("destroy")
    assert (refused.code, refused.err) == (
        1,
        f"1 objects of {BUCKET} cannot be deleted: AccessDenied. Run it again with credentials that may "
        "delete versions of objects.\n",
    )
    assert stedi("destroy").code == 0


real = boto3.client


class Denied:
    """A client that is let do everything but delete objects."""

    def __init__(self, client: Any, answer: Any) -> None:
        self.client, self.answer = client, answer

    def __getattr__(self, operation: str) -> Any:
        return (lambda **_: self.answer) if operation == "delete_objects" else getattr(self.client, operation)


def test_whoever_does_not_say_yes_leaves_no_draft(stedi: Any) -> None:
    with mock.patch("builtins.input", side_effect=EOFError):
        said = stedi("deploy", "--bucket", BUCKET)
    assert (said.code, said.err) == (1, "stedi: nothing was changed\n")
    assert not boto3.client("s3").list_buckets()["Buckets"]
    assert not boto3.client("cloudformation").describe_stacks()["Stacks"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deploy", "--yes"], "There is no stack stedi yet. Name the bucket"),
        (["destroy"], "There is no stack stedi in us-east-1. Check AWS_DEFAULT_REGION, or name another with --stack."),
        (["check"], "is a folder: there is nothing on AWS to check."),
    ],
)
def test_what_is_not_there_is_said(stedi: Any, arguments: list[str], says: str) -> None:
    said = stedi(*arguments)
    assert said.code == 1
    assert says in said.err


def test_without_a_region_the_next_step_is_said(stedi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("STEDI_LAKE", "s3://a-bucket")
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", "k" * 32)
    said = stedi("check")
    assert said.code == 1
    assert said.err.startswith(
        "Could not look at AWS: You must specify a region. Check your credentials and AWS_DEFAULT_"
    )


def test_without_credentials_the_next_step_is_said(stedi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    said = stedi("destroy")
    assert said.code == 1
    assert said.err.startswith("Could not remove the stack stedi: Unable to locate credentials. Check your credentials")


# --- What CloudFormation says -----------------------------------------------------------------------------------------


class Scripted:
    """A CloudFormation that answers as it is told, where moto cannot."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, list[str]()

    def __getattr__(self, operation: str) -> Any:
        def answer(**_: Any) -> Any:
            self.asked.append(operation)
            given = self.answers.get(operation, {})
            return given.pop(0) if isinstance(given, list) else given

        return answer

    def get_paginator(self, operation: str) -> Any:
        return mock.Mock(paginate=lambda **_: [getattr(self, operation)()])


def stack(scripted: Scripted, said: list[str]) -> Stack:
    boto3_client = mock.patch("stedi_assets.aws.stack.boto3.client", return_value=scripted)
    boto3_client.start()
    return Stack("stedi", said.append, seconds=0)


@pytest.fixture(autouse=True)
def _stop_patches() -> Iterator[None]:
    yield
    mock.patch.stopall()


DONE = {"Stacks": [{"StackStatus": "UPDATE_COMPLETE", "Parameters": []}]}


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("The submitted information didn't contain changes. Submit different information.", None),
        ("No updates are to be performed.", None),
        ("Circular dependency", "The stack stedi cannot be changed as asked: Circular dependency"),
    ],
)
def test_a_change_set_that_fails_is_no_change_or_an_error(why: str, says: str | None) -> None:
    answers = [{"Status": "CREATE_IN_PROGRESS"}, {"Status": "FAILED", "StatusReason": why}]
    scripted = Scripted(describe_stacks=DONE, create_change_set={"Id": "a"}, describe_change_set=answers)
    if says is None:
        assert stack(scripted, []).change_set("", {}) is None
    else:
        with pytest.raises(DeploymentFailed, match=says):
            stack(scripted, []).change_set("", {})
    assert "delete_change_set" in scripted.asked


def event(number: int, status: str, resource: str, why: str = "") -> dict[str, str]:
    said = {"EventId": str(number), "ResourceStatus": status, "LogicalResourceId": resource}
    return {**said, "ResourceStatusReason": why} if why else said


def test_a_stack_that_is_rolled_back_says_what_failed_first() -> None:
    events = [
        event(4, "UPDATE_ROLLBACK_IN_PROGRESS", "stedi", "The following resource(s) failed"),
        event(3, "UPDATE_FAILED", "GlueJobRole", "Resource update cancelled"),
        event(2, "UPDATE_FAILED", "GlueJob", "Glue 6.0 is not known here"),
        event(1, "UPDATE_IN_PROGRESS", "stedi"),
        event(0, "CREATE_COMPLETE", "stedi"),
    ]
    states = ["UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]
    scripted = Scripted(
        describe_stacks=[{"Stacks": [{"StackStatus": state}]} for state in states],
        describe_stack_events=[{"StackEvents": events[4:]}, {"StackEvents": events[1:]}, {"StackEvents": events}],
    )
    said: list[str] = []
    with pytest.raises(DeploymentFailed) as raised:
        stack(scripted, said).execute("a")
    assert str(raised.value).startswith(
        "The stack stedi ended as UPDATE_ROLLBACK_COMPLETE. GlueJob: Glue 6.0 is not known here. "
    )
    assert [line.split() for line in said] == [[e["ResourceStatus"], e["LogicalResourceId"]] for e in events[3::-1]]


def test_the_state_of_before_is_not_taken_for_the_end() -> None:
    """CloudFormation takes note of a request, and begins a moment later."""
    events = [event(2, "UPDATE_COMPLETE", "stedi"), event(1, "UPDATE_IN_PROGRESS", "stedi"), event(0, "X", "stedi")]
    scripted = Scripted(
        describe_stacks=[{"Stacks": [{"StackStatus": "UPDATE_COMPLETE"}]} for _ in range(3)],
        describe_stack_events=[{"StackEvents": events[start:]} for start in (2, 2, 2, 0)],
    )
    said: list[str] = []
    stack(scripted, said).execute("a")
    assert len(said) == 2


def test_a_stack_whose_creation_has_failed_is_to_be_deleted_first() -> None:
    scripted = Scripted(describe_stacks={"Stacks": [{"StackStatus": "ROLLBACK_COMPLETE"}]})
    with pytest.raises(DeploymentFailed, match="never complete"):
        stack(scripted, []).find()


def test_an_installed_package_builds_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "_PROJECT", tmp_path)
    with pytest.raises(DeploymentFailed, match="Deploy from a clone"):
        deployment._artifacts(tmp_path)


def test_the_same_sources_make_the_same_wheel(artifacts: dict[str, tuple[str, Path]], tmp_path: Path) -> None:
    assert {part: key for part, (key, _) in deployment._artifacts(tmp_path).items()} == {
        part: key for part, (key, _) in artifacts.items()
    }


# --- The template -----------------------------------------------------------------------------------------------------


def test_cfn_lint_finds_nothing() -> None:
    found = lint(TEMPLATE, config=ManualArgs(regions=["eu-central-1", "us-east-1"]))
    assert [f"{match.linenumber}: {match.message}" for match in found] == []


def test_the_template_is_small_enough_to_be_sent_as_it_is() -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html."""
    assert len(TEMPLATE.encode()) <= 51_200


@pytest.fixture
def policies(stedi: Any) -> Policies:
    """The policies of every role, as the stack makes them with every part that it can have."""
    said = stedi("deploy", "--bucket", BUCKET, "--with-crawler", "yes", "--kms-key", KMS_KEY, "--yes")
    assert said.code == 0, said.err
    return role_policies()


def test_parliament_finds_nothing_in_any_policy(policies: Policies) -> None:
    assert len(policies) == 5
    for role, documents in policies.items():
        for document in documents:
            found = parliament.analyze_policy_string(json.dumps(document)).findings
            assert [str(finding) for finding in found] == [], role


ML = "step_trainer/curated/data/part.parquet"
OTHERS = ["customer/trusted/data/a", "customer/landing/a.json", "step_trainer/trusted/metadata/a", "_keys.json"]


def test_an_analyst_reads_the_ml_table_and_nothing_else(policies: Policies) -> None:
    analyst = policies.of("Analyst")
    assert analyst.may("s3:GetObject", f"arn:aws:s3:::{BUCKET}/lake/{ML}")
    assert analyst.may("s3:GetObject", f"arn:aws:s3:::{BUCKET}/athena/analysts/result.csv")
    table = f"arn:aws:glue:{REGION}:123456789012:table/stedi"
    assert analyst.may("glue:GetTable", f"{table}/machine_learning_curated")
    # Whatever else is attached to the role.
    everything = analyst.with_statement({"Effect": "Allow", "Action": "*", "Resource": "*"})
    for path in OTHERS:
        assert not everything.may("s3:GetObject", f"arn:aws:s3:::{BUCKET}/lake/{path}")
    assert not everything.may("s3:GetObject", f"arn:aws:s3:::{BUCKET}/athena/checks/result.csv")
    for name in ("customer_trusted", "step_trainer_trusted", "customer_quarantine"):
        assert not everything.may("glue:GetTable", f"{table}/{name}")
    checks = f"arn:aws:athena:{REGION}:123456789012:workgroup/stedi-lakehouse-checks"
    assert not everything.may("athena:GetQueryResults", checks)
    assert not everything.may("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:x:1:secret:stedi-PseudonymKey")


def test_only_the_job_and_an_erasure_may_read_both_keys_and_dagster_one(policies: Policies) -> None:
    arns = [secret["ARN"] for secret in boto3.client("secretsmanager").list_secrets()["SecretList"]]
    readers = {
        re.findall("(?:Pseudonym|Suppression)Key", arn)[0]: {
            role.split("-")[1] for role in policies if policies.of(role).may("secretsmanager:GetSecretValue", arn)
        }
        for arn in arns
    }
    assert readers == {
        "PseudonymKey": {"GlueJobRole", "ErasureRole"},
        "SuppressionKey": {"GlueJobRole", "ErasureRole", "DagsterRole"},
    }


def test_nobody_may_change_raw_files_or_read_more_than_the_lake(policies: Policies) -> None:
    raw = f"arn:aws:s3:::{BUCKET}/lake/customer/landing/a.json"
    for role in policies:
        for action in ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"):
            assert not policies.of(role).may(action, raw), (role, action)
        assert not policies.of(role).may("s3:GetObject", "arn:aws:s3:::another-bucket/lake/a")
    assert policies.of("GlueJob").may("s3:PutObject", f"arn:aws:s3:::{BUCKET}/lake/customer/landing_table/data/a")
