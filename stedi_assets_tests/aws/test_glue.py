"""Runs on AWS Glue: its jobs are real processes under `spark-submit`, S3, the catalog and the secrets are moto's."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import dagster as dg
import pytest
from dagster._core.pipes import utils as pipes_utils
from dagster._core.utils import make_new_run_id

from stedi_assets.aws import glue_job as glue_script
from stedi_assets.aws.glue_runs import RUN_ARGUMENT
from stedi_assets.contracts import QUARANTINE_TABLES, TABLES
from stedi_assets.orchestration.glue_compute import GlueResource, glue_job
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current, current_dataset, read_snapshot_of
from stedi_assets_tests.support.environments import own_environment
from stedi_assets_tests.support.glue_jobs import GlueJobs
from stedi_assets_tests.support.lakes import local_lake, materialise, root_of, write_ada_and_ben
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket

KEYS = {"pseudonym": "a pseudonym key for tests, of 32 bytes", "suppression": "a suppression key for tests, 32 bytes"}
DERIVED = [name for name, table in TABLES.items() if table.inputs]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@dataclass
class OnGlue:
    """A lake in a bucket, and a Glue whose job makes its tables."""

    jobs: GlueJobs
    s3: Any
    name: str

    @property
    def lake(self) -> Lake:
        return Lake.at(f"s3://{self.name}/lake", namespace=self.name.replace("-", "_"))

    def put(self, folder: Path) -> None:
        """Have the landing files of a folder lie in the bucket."""
        for file in folder.glob("*/landing/*"):
            self.s3.put_object(Bucket=self.name, Key=f"lake/{file.relative_to(folder)}", Body=file.read_bytes())

    def delivered(self, folder: Path) -> Lake:
        """Return a lake in a folder with the files of ada and ben, which lie in the bucket, too."""
        local = local_lake(folder / "local")
        write_ada_and_ben(local)
        self.put(root_of(local))
        return local

    def run(self, **options: Any) -> dg.ExecuteInProcessResult:
        """Run the one step, as Dagster does it. A thread reads the messages: an instance in memory has only one."""
        instance = dg.DagsterInstance.local_temp(str(self.jobs.folder))
        return dg.materialize([glue_job], instance=instance, resources=self.resources, raise_on_error=False, **options)

    @property
    def resources(self) -> dict[str, Any]:
        return {"glue": GlueResource(job="stedi-lakehouse", lake=f"s3://{self.name}/lake", seconds=0.5)}

    @property
    def left_over(self) -> list[str]:
        """What lies between the two sides of a run."""
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix="lake/_pipes").get("Contents", [])
        return [entry["Key"] for entry in found]


@pytest.fixture
def on_glue(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[OnGlue]:
    name = f"glue-{abs(hash(request.node.nodeid)) % 10**9}"
    s3 = bucket(server, name)
    with GlueJobs(server.endpoint, tmp_path) as jobs:
        environment = {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ENDPOINT_URL_GLUE": jobs.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "STEDI_LAKE": f"s3://{name}/lake",
            "STEDI_NAMESPACE": name.replace("-", "_"),
            "STEDI_WARN_ROW_COUNT_CHANGE": "1",
        }
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        # S3 here has an object at once, so that nothing arrives long after a run.
        monkeypatch.setattr(pipes_utils, "WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 1)
        secrets = boto3.client("secretsmanager")
        for key, value in KEYS.items():
            made = secrets.create_secret(Name=f"{name}/{key}", SecretString=value)
            monkeypatch.setenv(f"STEDI_{key.upper()}_KEY", made["ARN"])
        yield OnGlue(jobs, s3, name)


def rows_of(lake: Lake) -> dict[str, list[str]]:
    return {name: sorted(map(repr, current_dataset(lake, name).to_table().to_pylist())) for name in DERIVED}


def why(result: dg.ExecuteInProcessResult) -> str:
    """Return what a failed step says."""
    (data,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data, data.error and data.error.to_string()
    return data.user_failure_data.description or ""


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    events = (event for event in result.all_events if event.is_step_materialization)
    return [event.step_materialization_data.materialization.asset_key.path[-1] for event in events]


# --- The real script --------------------------------------------------------------------------------------------------


def test_one_run_of_the_job_makes_all_tables_and_dagster_shows_what_a_local_run_shows(
    on_glue: OnGlue, spark_resource: SparkResource, tmp_path: Path
) -> None:
    local = on_glue.delivered(tmp_path)
    result = on_glue.run(tags={"stedi/full_rebuild": "true"})
    assert result.success, why(result)
    (run,) = on_glue.jobs.runs
    assert run.state == "SUCCEEDED"

    here = materialise(local, spark_resource)
    assert here.success
    assert rows_of(on_glue.lake) == rows_of(local)
    assert sorted(materialized(result)) == sorted(materialized(here))
    assert {*materialized(result)} == {*TABLES, *QUARANTINE_TABLES}
    checks, local_checks = (
        {
            (found.asset_key, found.check_name): (found.passed, found.severity, found.description)
            for found in done.get_asset_check_evaluations()
        }
        for done in (result, here)
    )
    assert checks == local_checks
    assert current(on_glue.lake, TABLES["machine_learning_curated"]).run_id == result.run_id

    assert on_glue.left_over == []
    assert not any(key in json.dumps(run.arguments) for key in KEYS.values())


@pytest.mark.matrix
def test_one_table_or_the_checks_alone_are_made_there_too_and_after_a_kill_the_next_run_goes_on(
    on_glue: OnGlue, spark_resource: SparkResource, tmp_path: Path
) -> None:
    local = on_glue.delivered(tmp_path)

    def kill() -> None:
        while not read_snapshot_of(on_glue.lake, TABLES["accelerometer_landing"]):
            time.sleep(0.2)
        os.killpg(on_glue.jobs.runs[0].process.pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    killed = on_glue.run()
    assert "ended as FAILED" in why(killed)
    assert on_glue.left_over == []

    assert on_glue.run().success
    assert materialise(local, spark_resource).success
    assert rows_of(on_glue.lake) == rows_of(local)

    only = on_glue.run(selection="step_trainer_trusted")
    assert only.success, why(only)
    assert materialized(only) == ["step_trainer_trusted"]
    checked = on_glue.run(selection=dg.AssetSelection.all_asset_checks())
    assert checked.success, why(checked)
    assert materialized(checked) == []
    assert len(checked.get_asset_check_evaluations()) == sum(len(table.rules) for table in TABLES.values())


@pytest.mark.matrix
def test_what_fails_there_fails_here_with_its_own_words(on_glue: OnGlue, tmp_path: Path) -> None:
    local = local_lake(tmp_path / "local")
    write_ada_and_ben(local)
    (root_of(local) / "customer" / "landing" / "one.json").write_bytes(b"\x00\x01 no record of anybody\n" * 3)
    on_glue.put(root_of(local))
    result = on_glue.run()
    assert not result.success
    failed = {found.check_name for found in result.get_asset_check_evaluations() if not found.passed}
    assert "not_empty" in failed or "every_file_gives_records" in failed
    assert on_glue.left_over == []


# --- What may happen to a job -----------------------------------------------------------------------------------------


def test_of_a_job_that_dies_the_last_lines_arrive(on_glue: OnGlue) -> None:
    on_glue.jobs.command = [sys.executable, "-c", "print('no module named so'); raise SystemExit(3)"]
    said = why(on_glue.run())
    assert "ended as FAILED: SystemExit: 3" in said
    assert "no module named so" in said
    assert on_glue.left_over == []


BEGINS = """
import boto3
from dagster_pipes import PipesCliArgsParamsLoader, PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes
s3 = boto3.client("s3")
writer, loader = PipesS3MessageWriter(s3, interval=0.2), PipesS3ContextLoader(s3)
with open_dagster_pipes(message_writer=writer, context_loader=loader, params_loader=PipesCliArgsParamsLoader()):
    print("cannot make anything of ada@example.com")
raise SystemExit(1)
"""


@pytest.mark.matrix
def test_of_a_job_that_dies_later_no_line_arrives_that_could_quote_a_record(on_glue: OnGlue) -> None:
    on_glue.jobs.command = [sys.executable, "-c", BEGINS]
    said = why(on_glue.run())
    assert "ended as FAILED: SystemExit: 1. " in said
    assert said.endswith("Its log is in CloudWatch: /aws-glue/jobs.")


def test_of_an_error_of_which_nobody_knows_what_it_quotes_only_the_step_is_told() -> None:
    @dg.asset
    def quoting() -> None:
        raise ValueError("cannot make anything of ada@example.com")

    told: list[Any] = []
    pipes = mock.Mock(extras={"tables": []}, report_custom_message=told.append)
    with dg.DagsterInstance.ephemeral() as instance:
        run = make_new_run_id()
        instance.add_event_listener(run, lambda entry: glue_script._tell(pipes, entry))
        job = dg.Definitions([quoting]).resolve_implicit_global_asset_job_def()
        job.execute_in_process(run_id=run, instance=instance, raise_on_error=False)
    ((message),) = told
    assert message["failed"] == "quoting"
    assert "unknown error" in message["why"]
    assert "ada@" not in f"{told}{pipes.mock_calls}"


SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.mark.parametrize(
    ("how", "state"),
    [({"expires": True}, "EXPIRED"), pytest.param({"seconds": 0.1}, "TIMEOUT", marks=pytest.mark.matrix)],
)
def test_a_job_that_expires_or_times_out_ends(on_glue: OnGlue, how: dict[str, Any], state: str) -> None:
    on_glue.jobs.command = SLEEPS
    for name, value in how.items():
        setattr(on_glue.jobs, name, value)
    assert f"ended as {state}: Glue gives no reason." in why(on_glue.run())


def test_a_job_that_is_not_there_or_runs_already_is_named(on_glue: OnGlue) -> None:
    on_glue.jobs.command = SLEEPS
    boto3.client("glue").start_job_run(JobName=on_glue.jobs.job)
    assert "ConcurrentRunsExceededException" in why(on_glue.run())
    on_glue.jobs.job = "another"
    assert "Check that STEDI_GLUE_JOB names a job" in why(on_glue.run())


@pytest.mark.parametrize("known", [True, False], ids=["while it runs", "before its start is answered"])
def test_terminating_the_run_stops_the_job(on_glue: OnGlue, *, known: bool) -> None:
    on_glue.jobs.command = SLEEPS
    on_glue.jobs.answers_start_after = 0 if known else 1

    def terminate() -> None:
        while not on_glue.jobs.runs or (known and not on_glue.jobs.followed):
            time.sleep(0.1)
        # So a run launcher ends a run.
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=terminate, daemon=True).start()
    assert not on_glue.run().success
    (run,) = on_glue.jobs.runs
    assert run.state == "STOPPED"
    assert on_glue.left_over == []


def test_a_retry_finds_no_run_of_the_first_try_beside_it(on_glue: OnGlue) -> None:
    """The process of the first try was killed, so that it could not stop what it had started."""
    this_run = make_new_run_id()
    on_glue.jobs.command = SLEEPS
    boto3.client("glue").start_job_run(JobName=on_glue.jobs.job, Arguments={RUN_ARGUMENT: this_run})
    on_glue.jobs.command = [sys.executable, "-c", ""]
    job = dg.Definitions([glue_job], resources=on_glue.resources).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.local_temp(str(on_glue.jobs.folder)) as instance:
        job.execute_in_process(run_id=this_run, raise_on_error=False, instance=instance)
    assert [run.state for run in on_glue.jobs.runs] == ["STOPPED", "SUCCEEDED"]


# --- The definitions --------------------------------------------------------------------------------------------------

_GRAPH = """
from stedi_assets.definitions import defs
graph = defs.resolve_asset_graph()
for key in sorted(graph.get_all_asset_keys()):
    node = graph.get(key)
    print(key.path[-1], node.group_name, sorted(node.kinds), sorted(parent.path[-1] for parent in node.parent_keys))
print(*sorted(f"{key.asset_key.path[-1]} {key.name}" for key in graph.asset_check_keys))
print(*sorted(job.name for job in defs.resolve_all_job_defs()))
"""


def test_the_graph_is_that_of_local_runs(tmp_path: Path) -> None:
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:stedi/{}".format
    common = {"STEDI_LAKE": "s3://bucket", "STEDI_SUPPRESSION_KEY": secret("s"), "STEDI_PSEUDONYM_KEY": secret("p")}

    def graph(**more: str) -> str:
        environment = {**own_environment(), **common, **more}
        command = [sys.executable, "-c", _GRAPH]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "machine_learning_curated" in graph()
    assert graph(STEDI_COMPUTE="glue") == graph()
