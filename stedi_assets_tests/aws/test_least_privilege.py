"""What a lake on AWS really asks for, by role, against what the stack lets each role do: all of it, and no more.

Belongs here: one lake through its life, with Dagster, the Glue job and an erasure as processes of their own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from stedi_assets.aws.deployment import deploy
from stedi_assets.aws.stack import Stack
from stedi_assets_tests.aws.test_deployment import what_moto_forgets
from stedi_assets_tests.support.athena_server import AthenaServer
from stedi_assets_tests.support.environments import own_environment
from stedi_assets_tests.support.glue_jobs import GlueJobs
from stedi_assets_tests.support.iam import Policies, role_policies
from stedi_assets_tests.support.iam_recorder import IamRecorder
from stedi_assets_tests.support.lakes import CONSENTED, INSTANTS, customer, device_reading, lines, phone_reading
from stedi_assets_tests.support.s3_server import REGION, S3Server

pytestmark = [pytest.mark.matrix, pytest.mark.usefixtures("s3a")]

BUCKET = "least-privilege"
DAGSTER, JOB, ERASURE = "AKIDDAGSTER", "AKIDGLUEJOB", "AKIDERASURE"
ROLES = {DAGSTER: "DagsterRole", JOB: "GlueJobRole", ERASURE: "ErasureRole"}
EXECUTE = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "stedi_assets.definitions", "-j"]
# What a look of the sensor and an alert ask for, as Dagster's daemon would.
LOOK = """
import logging, dagster as dg
from stedi_assets.definitions import defs
from stedi_assets.orchestration.alerts import Notifier
from stedi_assets.settings import read_settings
with dg.DagsterInstance.ephemeral() as instance:
    with dg.build_sensor_context(instance=instance, definitions=defs, resources=defs.resources) as context:
        print(defs.resolve_sensor_def("new_landing_files").evaluate_tick(context).run_requests)
Notifier(sns_topic=read_settings().alerts_sns_topic).tell("a subject", "a message", logging.getLogger())
"""
# Allowed, and not asked for here, each for a reason.
EXCEPTIONS = {
    ("GlueJobRole", "s3:AbortMultipartUpload"): "an upload of much data that breaks off",
    ("ErasureRole", "s3:AbortMultipartUpload"): "as above",
    ("GlueJobRole", "s3:DeleteObject"): "Iceberg in Spark cleans up after a commit that fails",
    ("ErasureRole", "s3:DeleteObject"): "Iceberg in Spark cleans up after a commit that fails",
    ("DagsterRole", "secretsmanager:GetSecretValue"): "a raw file's name that could be somebody's is hidden by the key",
    ("GlueJobRole", "s3:GetObject", "deployed"): "Glue itself reads the script and the wheel",
    ("GlueJobRole", "logs:CreateLogGroup"): "Glue itself writes the job's log",
    ("GlueJobRole", "logs:CreateLogStream"): "as above",
    ("GlueJobRole", "logs:PutLogEvents"): "as above",
    ("GlueJobRole", "glue:DeleteTable"): "a table of an older format or of another key is made anew",
    ("ErasureRole", "glue:DeleteTable"): "`stedi repair` and `stedi rotate-key`",
    ("ErasureRole", "glue:CreateTable"): "`stedi repair`",
    ("DagsterRole", "glue:BatchStopJobRun"): "somebody terminates a run",
    ("DagsterRole", "athena:StopQueryExecution"): "somebody terminates a run, or a query takes too long",
    ("DagsterRole", "s3:GetObject", "athena"): "Athena itself reads and writes its results in the caller's name",
    ("DagsterRole", "s3:PutObject", "athena"): "as above",
    ("DagsterRole", "s3:GetBucketLocation"): "Athena itself asks in the caller's name",
    ("DagsterRole", "s3:DeleteObject", "report"): "the table changes while its pictures are drawn",
    ("DagsterRole", "s3:DeleteObjectVersion", "report"): "as above",
    ("DagsterRole", "s3:ListBucketVersions"): "as above",
    ("DagsterRole", "s3:ListBucketMultipartUploads"): "as above",
}


@dataclass
class Life:
    """A deployed lake, and what was asked for in its life."""

    asked: set[tuple[str, str, str]]
    policies: Policies


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    (folder / "home").mkdir()
    with (
        S3Server() as server,
        IamRecorder(server.endpoint) as recorder,
        GlueJobs(recorder.endpoint, folder, access_key=JOB) as jobs,
        IamRecorder(jobs.endpoint) as of_glue,
        AthenaServer(lambda *_: (["varchar", "bigint", "varchar", "varchar"], [["published", 2, "A", None]])) as athena,
        IamRecorder(athena.endpoint) as of_athena,
        pytest.MonkeyPatch.context() as patch,
    ):
        common = {"AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**common, "AWS_ENDPOINT_URL": server.endpoint, "AWS_ACCESS_KEY_ID": "test"}.items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        outputs = deploy(Stack("stedi", lambda _: None), {"Bucket": BUCKET}, lambda: True)
        settings = {name: value for name, value in outputs.items() if name.isupper()}
        athena.workgroup = settings["STEDI_ATHENA_WORKGROUP"]
        what_moto_forgets(BUCKET, settings["STEDI_ARRIVALS_QUEUE"])
        environment = {
            **own_environment(),
            **common,
            **settings,
            "AWS_ENDPOINT_URL": recorder.endpoint,
            "AWS_ENDPOINT_URL_GLUE": of_glue.endpoint,
            "AWS_ENDPOINT_URL_ATHENA": of_athena.endpoint,
            "DAGSTER_HOME": str(folder / "home"),
            "STEDI_WARN_ROW_COUNT_CHANGE": "1",
        }

        def run(
            command: list[str], role: str, given: str = "", *, fails: bool = False, more: Mapping[str, str] = {}
        ) -> str:
            ran = subprocess.run(
                command,
                env={**environment, "AWS_ACCESS_KEY_ID": role, **more},
                cwd=folder,
                input=given,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (ran.returncode != 0) is fails, ran.stdout[-4000:] + ran.stderr[-4000:]
            return ran.stdout

        deliver("one", lines(*(customer(person, CONSENTED, CONSENTED) for person in ("ada", "ben", "cleo"))), INSTANTS)
        run([*EXECUTE, "rebuild_lakehouse"], DAGSTER)
        # Ben withdraws; a day later there is more of ada and cleo.
        later = [instant + 86_400_000 for instant in INSTANTS]
        deliver("two", lines(customer("ben", CONSENTED + 1, None)), later)
        assert "RunRequest" in run([sys.executable, "-c", LOOK], DAGSTER)
        run([*EXECUTE, "update_lakehouse"], DAGSTER)
        run([*EXECUTE, "draw_report"], DAGSTER)
        run([sys.executable, "-c", LOOK], DAGSTER)
        here = {"STEDI_COMPUTE": "local"}
        config = run([sys.executable, "-m", "stedi_assets", "hash-person"], ERASURE, "cleo@example.com\n", more=here)
        (folder / "erase.yaml").write_text(config)
        run([*EXECUTE, "erase_person", "-c", "erase.yaml"], ERASURE, more=here)
        run([*EXECUTE, "maintain_lakehouse"], ERASURE, more=here)
        jobs.command = ["false"]
        run([*EXECUTE, "update_lakehouse"], DAGSTER, fails=True)
        yield Life(recorder.asked | of_glue.asked | of_athena.asked, role_policies())


def deliver(name: str, customers: bytes, instants: list[int] | tuple[int, ...]) -> None:
    people = ("ada", "ben", "cleo")
    delivered = {
        "customer": customers,
        "accelerometer": lines(*(phone_reading(person, instant) for person in people for instant in instants)),
        "step_trainer": lines(*(device_reading(f"device-of-{person}", t) for person in people for t in instants)),
    }
    for source, content in delivered.items():
        boto3.client("s3").put_object(Bucket=BUCKET, Key=f"lake/{source}/landing/{name}.json", Body=content)


def test_each_role_may_do_all_that_it_does(life: Life) -> None:
    by_role = {key: {(action, resource) for asker, action, resource in life.asked if asker == key} for key in ROLES}
    assert all(by_role.values())
    refused = {
        (ROLES[key], action, resource)
        for key, needed in by_role.items()
        for action, resource in needed
        if not life.policies.of(ROLES[key]).may(action, resource)
    }
    assert refused == set()


def test_no_role_may_do_what_it_never_does(life: Life) -> None:
    unused = set()
    for key, role in ROLES.items():
        for statement in life.policies.of(role).statements:
            for action, resources in allowed(statement):
                asked = any(
                    asker == key and action == done and life.policies.matching(statement, done, resource)
                    for asker, done, resource in life.asked
                )
                named = next(
                    (each for each in EXCEPTIONS if each[:2] == (role, action) and "".join(each[2:]) in resources), None
                )
                if not asked and named is None:
                    unused.add((role, action, resources))
    assert unused == set()


def test_no_request_is_anybody_elses(life: Life) -> None:
    """Without a signature, or with another key, a request would count for no role."""
    assert {asker for asker, _, _ in life.asked} <= {*ROLES, "test"}


def allowed(statement: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the actions that a statement allows, each with its resources in one text."""
    if statement["Effect"] == "Allow":
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            yield action, json.dumps(statement["Resource"])
