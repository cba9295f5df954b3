"""What people are told of runs and checks, by the log and by Amazon SNS over HTTP, and what they are never told."""

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import boto3
import dagster as dg
import pytest
from pyspark.sql import DataFrame

from stedi_assets.orchestration import athena_checks, aws_client
from stedi_assets.orchestration.alerts import MessageNotSent, Notifier, check_failed, run_failed
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.jobs import rebuild_lakehouse
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.transforms import trusted
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    TRACES_OF_ADA,
    Recorder,
    customer,
    lines,
    resources,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.s3_server import REGION, S3Server

LOG = logging.getLogger("test_alerts")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(lake: Lake, spark: SparkResource, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    defs = dg.Definitions(
        assets=ASSETS,
        asset_checks=CHECKS,
        jobs=[rebuild_lakehouse],
        resources=resources(lake, spark),
        executor=dg.in_process_executor,
    )
    job = defs.resolve_job_def("rebuild_lakehouse")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def told_of(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    """Have both sensors see a run that has ended; return what they have people told."""
    sensor = check_failed if result.success else run_failed
    event = next(e for e in result.all_events if e.event_type_value in {"PIPELINE_SUCCESS", "PIPELINE_FAILURE"})
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_event=event,
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        resources={"notifier": Recorder()},
    )
    Recorder.forget()
    sensor(context if result.success else context.for_run_failure())
    return Recorder.told


@pytest.mark.matrix
def test_a_run_in_which_all_is_well_is_not_worth_a_word(
    lake: Lake, spark_resource: SparkResource, instance: dg.DagsterInstance
) -> None:
    write_ada_and_ben(lake)
    result = run(lake, spark_resource, instance)
    assert result.success
    assert told_of(result, instance) == []


def test_of_checks_that_warn_people_are_told(
    lake: Lake, spark_resource: SparkResource, instance: dg.DagsterInstance
) -> None:
    write_ada_and_ben(lake)
    (root_of(lake) / "customer" / "landing" / "broken.json").write_bytes(
        b'{"phone": "555-ada", "more": 1}' + lines(customer("cleo", CONSENTED, None))
    )
    (root_of(lake) / "customer" / "landing" / "notes.txt").write_bytes(b"ada lovelace")
    result = run(lake, spark_resource, instance)
    assert result.success
    ((subject, message),) = told_of(result, instance)
    *told, last = message.splitlines()
    found = [line for line in told if not line.startswith("  ")]
    assert subject == f"{len(found)} checks of rebuild_lakehouse warn"
    assert "  broken.json: 1 of 2 records (missing_email 1, missing_serialNumber 1)" in told
    assert {line.split(" WARN ")[0] for line in found} >= {
        "customer_landing: quarantine_rate",
        "customer_landing: ignored_files",
    }
    assert all(" WARN (looked at " in line for line in found)
    assert last == f"http://localhost:3000/runs/{result.run_id}"
    assert not TRACES_OF_ADA.search(message.encode())
    # They fail still, as people know.
    again = run(lake, spark_resource, instance)
    assert again.success
    assert not any("quarantine_rate" in message for _, message in told_of(again, instance))


def test_of_a_check_that_could_not_run_people_are_told_why(instance: dg.DagsterInstance) -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("agrees_with_athena", asset="table")])
    def table() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        yield dg.MaterializeResult()
        yield athena_checks._not_run("Athena has no workgroup of that name.")

    result = dg.materialize([table], instance=instance)
    assert result.success
    ((subject, message),) = told_of(result, instance)
    assert subject.startswith("1 check of ")
    assert message.splitlines()[0] == "table: agrees_with_athena WARN. Athena has no workgroup of that name."


def test_of_a_run_that_a_check_has_stopped_people_are_told_which(
    lake: Lake, spark_resource: SparkResource, instance: dg.DagsterInstance
) -> None:
    write_ada_and_ben(lake)
    (root_of(lake) / "customer" / "landing" / "ada@example.com.json.gz").write_bytes(b"\x1f\x8b\x08cut")
    result = run(lake, spark_resource, instance)
    assert not result.success
    ((subject, message),) = told_of(result, instance)
    assert subject == "Run of rebuild_lakehouse failed"
    assert "customer_landing: files_readable ERROR (looked at 2, failing 1)." in message
    assert not TRACES_OF_ADA.search(message.encode())


def test_of_a_step_that_failed_people_are_told_why(
    lake: Lake, spark_resource: SparkResource, instance: dg.DagsterInstance
) -> None:
    result = run(lake, spark_resource, instance)
    assert not result.success
    ((_, message),) = told_of(result, instance)
    assert f"customer_landing: No landing files in {lake.location}/customer/landing. Put .json files there" in message


def test_what_an_unknown_error_says_is_left_out(
    lake: Lake, spark_resource: SparkResource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quoting(*_: DataFrame) -> DataFrame:
        raise ValueError("cannot make anything of ada@example.com")

    write_ada_and_ben(lake)
    monkeypatch.setattr(trusted, "customer_trusted", quoting)
    ((_, message),) = told_of(run(lake, spark_resource, instance), instance)
    assert "customer_trusted: it stopped with " in message
    assert "ada@" not in message


# --- Amazon SNS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def topic(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """A topic, and what reads the messages that arrive in a queue which it feeds."""
    for name, value in {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    sns, sqs = (boto3.client(name, region_name=REGION) for name in ("sns", "sqs"))
    arn = sns.create_topic(Name="lake-alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)

    def received() -> list[dict[str, str]]:
        return [json.loads(m["Body"]) for m in sqs.receive_message(QueueUrl=queue).get("Messages", [])]

    return arn, received


def test_a_message_arrives_by_the_topic(topic: tuple[str, Any]) -> None:
    arn, received = topic
    Notifier(sns_topic=arn).tell("Run of rebuild_lakehouse failed", "customer_landing: …", LOG)
    (message,) = received()
    assert (message["Subject"], message["Message"]) == ("Run of rebuild_lakehouse failed", "customer_landing: …")


def test_without_a_topic_only_the_log_has_it(topic: tuple[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    Notifier().tell("Run of rebuild_lakehouse failed", "customer_landing: …", LOG)
    assert topic[1]() == []
    assert caplog.messages == ["Run of rebuild_lakehouse failed\ncustomer_landing: …"]


def test_a_topic_that_never_answers_is_not_waited_for(topic: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections, and says nothing. Without a limit this takes longer than a sensor has."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(aws_client, "_SECONDS_TO_ANSWER", 0.2)
        with pytest.raises(MessageNotSent, match="ReadTimeoutError"):
            Notifier(sns_topic=topic[0]).tell("Run failed", "why", LOG)


def test_a_topic_that_is_not_there_is_an_error_and_the_log_has_it(
    topic: tuple[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    other = f"{topic[0]}-2"
    with pytest.raises(MessageNotSent, match=f"Nobody was notified through {other}: Amazon SNS cannot be used"):
        Notifier(sns_topic=other).tell("Run failed", "why", LOG)
    assert caplog.messages == ["Run failed\nwhy"]
