"""Ticks of `new_landing_files` against real lakes and a real instance: what it sees, asks for, waits for and tells.

The clock is never set: a pause is as good as endless or none at all. The sensor among real processes is in
`test_daemon.py`.
"""

import contextlib
import gzip
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import boto3
import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import SOURCES, TABLES, Purpose, Source
from stedi_assets.ingest.arrivals import tables_to_make
from stedi_assets.ingest.landing import LandingOptions, land
from stedi_assets.ingest.landing_files import find_landing_files
from stedi_assets.orchestration import looks, notices
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.doorbell import Doorbell
from stedi_assets.orchestration.jobs import check_lakehouse, rebuild_lakehouse
from stedi_assets.orchestration.landing_sensor import WatchResource, new_landing_files_sensor
from stedi_assets.orchestration.maintenance_job import maintain_lakehouse
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.deliveries import publish_landing
from stedi_assets.privacy.suppression import Erased, change_suppressed, person_hash
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import current, current_dataset, data_paths
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    TRACES_OF_ADA,
    Recorder,
    customer,
    device_reading,
    failed_checks,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.s3_server import REGION, S3Server

AN_INSTANT = 1_655_564_376_999
RUN = RunContext("a run", Purpose.PRODUCTION, CONSENTED + 1)
SENSOR = new_landing_files_sensor(1)
ENDLESS = 1_000_000
BELOW = {
    "customer": {
        *("customer_landing", "customer_trusted", "accelerometer_trusted"),
        *("customers_curated", "step_trainer_trusted", "machine_learning_curated"),
    },
    "accelerometer": {
        *("accelerometer_landing", "accelerometer_trusted"),
        *("customers_curated", "step_trainer_trusted", "machine_learning_curated"),
    },
    "step_trainer": {"step_trainer_landing", "step_trainer_trusted", "machine_learning_curated"},
}
NEW = {
    "customer": lines(customer("cleo", CONSENTED, CONSENTED)),
    "accelerometer": lines(phone_reading("ada", AN_INSTANT)),
    "step_trainer": lines(device_reading("device-of-ada", AN_INSTANT)),
}


@pytest.fixture(autouse=True)
def _nobody_was_told_and_nothing_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder.forget()
    monkeypatch.setattr(looks, "_UNDER_WAY", {})


@dataclass
class Watched:
    """A lake, Dagster's instance, and the sensor with its cursor in between."""

    lake: Lake
    instance: dg.DagsterInstance
    settled_seconds: int = 0
    pause_seconds: int = 0
    attempts: int = 3
    cursor: str | None = None
    doorbell: Doorbell = field(default_factory=Doorbell)

    def tick(self) -> dg.SensorResult:
        """Have the sensor look once, as the daemon does."""
        watch = WatchResource(
            settled_seconds=self.settled_seconds, attempts=self.attempts, pause_seconds=self.pause_seconds
        )
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={
                "lake": resources(self.lake, SparkResource())["lake"],
                "watch": watch,
                "doorbell": self.doorbell,
                "notifier": Recorder(),
            },
        )
        result = SENSOR(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return result

    def request(self) -> dg.RunRequest:
        """Return the one run that a tick asks for."""
        (request,) = self.tick().run_requests or ()
        return request

    def why_not(self) -> str:
        """Return why a tick asks for no run."""
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason
        return result.skip_reason.skip_message or ""

    def under_way(self, request: dg.RunRequest) -> dg.DagsterRun:
        """Have a run in the instance that was asked for, and has been started."""
        return self.instance.create_run_for_job(self.job, tags=tags_of(request), status=dg.DagsterRunStatus.STARTED)

    @cached_property
    def job(self) -> dg.JobDefinition:
        """The job of runs that need not run."""
        return job_of(self.lake, SparkResource())

    def fails(self, request: dg.RunRequest) -> None:
        """Have a run in the instance that was asked for, and failed."""
        self.instance.report_run_failed(self.under_way(request))

    def run(self, request: dg.RunRequest, spark: SparkResource, *, checks: bool = True) -> dg.ExecuteInProcessResult:
        """Really run what was asked for; without its checks, if another run has them at its end."""
        asked_for = job_of(self.lake, spark).get_subset(
            asset_selection={*(request.asset_selection or ())},
            asset_check_selection={*(request.asset_check_keys or ())} if checks else set(),
        )
        return asked_for.execute_in_process(
            instance=self.instance, run_config=request.run_config, tags=tags_of(request), raise_on_error=False
        )

    def put(self, source: str, name: str, content: bytes) -> Path:
        """Write a landing file, whole."""
        path = root_of(self.lake) / source / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def land_one_file(lake: Lake, spark: SparkSession, source: Source) -> None:
    """Land one file of a source's backlog."""
    landing = land(lambda: spark, lake, source, LandingOptions(most_bytes=1))
    try:
        publish_landing(lambda: spark, lake, source, landing, RUN, Retention())
    finally:
        landing.stage.discard()


def job_of(lake: Lake, spark: SparkResource, name: str = "rebuild_lakehouse") -> dg.JobDefinition:
    """Return a job of the definitions, for a lake of the test's."""
    defs = dg.Definitions(
        assets=ASSETS,
        asset_checks=CHECKS,
        jobs=[rebuild_lakehouse, check_lakehouse],
        resources=resources(lake, spark),
        executor=dg.in_process_executor,
    )
    return defs.resolve_job_def(name)


def tags_of(request: dg.RunRequest) -> dict[str, str]:
    """Return the tags of a run that the daemon starts."""
    return {**request.tags, "dagster/sensor_name": SENSOR.name}


def tables_of(request: dg.RunRequest) -> set[str]:
    return {key.path[-1] for key in request.asset_selection or ()}


def checked_by(request: dg.RunRequest) -> set[str]:
    return {key.asset_key.path[-1] for key in request.asset_check_keys or ()}


def because(request: dg.RunRequest) -> str:
    return request.tags["stedi/because"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def empty(lake: Lake, instance: dg.DagsterInstance) -> Watched:
    """A lake without tables and without files."""
    return Watched(lake, instance)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake with the tables of ada and ben."""
    lake = local_lake(tmp_path_factory.mktemp("watched") / "lake")
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource).success
    return KeptLake.of(lake)


@pytest.fixture
def watched(built: KeptLake, instance: dg.DagsterInstance) -> Watched:
    """That lake, as it was built, whose tables know the files that were brought back."""
    lake = built.restored()
    for source in SOURCES.values():
        entries = {entry.path: entry for entry in find_landing_files(lake.storage.entries(source.raw_path)).entries}
        (path,) = data_paths(lake, source.files, current(lake, source.landing).inputs[source.files.name])
        landed = pq.ParquetFile(root_of(lake) / path).read()
        fingerprints = pa.array(entries[file].fingerprint for file in landed["path"].to_pylist())
        known = landed.set_column(landed.column_names.index("fingerprint"), "fingerprint", fingerprints)
        pq.write_table(known, root_of(lake) / path)
    return Watched(lake, instance)


# --- What arrives -----------------------------------------------------------------------------------------------------


def notified(watched: Watched) -> set[str]:
    """Return what people were notified of, according to the cursor."""
    return {about for about in json.loads(watched.cursor or "{}") if not about.startswith("raw files ")}


def test_where_nothing_has_arrived_nothing_is_asked_for(watched: Watched) -> None:
    assert watched.why_not() == "Every table is up to date."
    assert notified(watched) == set()


def test_an_empty_lake_waits_for_its_first_files(empty: Watched) -> None:
    assert empty.why_not() == "Every table is up to date."


def test_the_first_delivery_becomes_all_eight_tables(empty: Watched, spark_resource: SparkResource) -> None:
    write_ada_and_ben(empty.lake)
    request = empty.request()
    assert tables_of(request) == {*TABLES}
    result = empty.run(request, spark_resource)
    assert result.success
    assert len(list(result.get_asset_check_evaluations())) == sum(len(table.rules) for table in TABLES.values())
    assert empty.why_not() == "Every table is up to date."


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("customer", marks=pytest.mark.matrix),
        pytest.param("accelerometer", marks=pytest.mark.matrix),
        "step_trainer",
    ],
)
def test_only_what_depends_on_a_file_is_made_anew(watched: Watched, source: str, spark_resource: SparkResource) -> None:
    watched.put(source, "new.json", NEW[source])
    before = {name: current(watched.lake, table).id for name, table in TABLES.items()}
    request = watched.request()
    assert tables_of(request) == BELOW[source]
    assert watched.run(request, spark_resource).success
    after = {name: current(watched.lake, table).id for name, table in TABLES.items()}
    assert {name for name in TABLES if before[name] != after[name]} == BELOW[source]
    assert watched.why_not() == "Every table is up to date."


@pytest.mark.parametrize("source", SOURCES)
def test_only_what_depends_on_a_file_is_asked_for(watched: Watched, source: str) -> None:
    watched.put(source, "new.json", NEW[source])
    assert tables_of(watched.request()) == BELOW[source]


def test_what_a_table_is_made_of_is_checked_with_it(watched: Watched) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    leant_on = {"customer_landing", "accelerometer_landing", "customers_curated", "accelerometer_trusted"}
    assert checked_by(watched.request()) == BELOW["step_trainer"] | leant_on


def test_nothing_is_made_of_a_table_with_a_failing_check(watched: Watched, spark_resource: SparkResource) -> None:
    """A phone file is cut off: the readings of the others have landed, and may go no further, whatever arrives next."""
    watched.put("accelerometer", "cut.json.gz", gzip.compress(b"{}" * 100)[:-4])
    assert not watched.run(watched.request(), spark_resource).success
    watched.attempts = 1
    assert watched.why_not().startswith("accelerometer: out of attempts; not tried again until something changes.")
    before = current(watched.lake, TABLES["step_trainer_trusted"]).id
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    request = watched.request()
    assert tables_of(request) == BELOW["step_trainer"]
    result = watched.run(request, spark_resource)
    assert not result.success
    assert ("accelerometer_landing", "files_readable") in failed_checks(result)
    assert current(watched.lake, TABLES["step_trainer_landing"]).rows == 5
    assert current(watched.lake, TABLES["step_trainer_trusted"]).id == before


@pytest.mark.matrix
def test_new_customers_wait_for_nobody_and_others_for_them(empty: Watched, spark_resource: SparkResource) -> None:
    """Of sources that arrive one after the other, whatever can be made is made."""
    empty.put("customer", "one.json", lines(customer("ada", CONSENTED, CONSENTED, "device-of-ada")))
    request = empty.request()
    assert tables_of(request) == {"customer_landing", "customer_trusted"}
    assert empty.run(request, spark_resource, checks=False).success
    assert empty.why_not() == "Every table is up to date."
    empty.put("step_trainer", "one.json", NEW["step_trainer"])
    request = empty.request()
    assert tables_of(request) == {"step_trainer_landing"}
    assert empty.run(request, spark_resource, checks=False).success
    empty.put("accelerometer", "one.json", NEW["accelerometer"])
    request = empty.request()
    assert tables_of(request) == BELOW["accelerometer"]
    assert empty.run(request, spark_resource).success
    assert current(empty.lake, TABLES["machine_learning_curated"]).rows == 1
    assert empty.why_not() == "Every table is up to date."


def test_manifests_alone_are_a_reason_for_a_run_once_whatever_becomes_of_them(
    watched: Watched, spark_resource: SparkResource
) -> None:

    def run(troubled: dict[str, str]) -> set[tuple[str, str]]:
        request = watched.request()
        assert tables_of(request) == BELOW["step_trainer"]
        assert because(request) == "new or changed manifests of step_trainer"
        result = watched.run(request, spark_resource)
        assert result.success
        assert watched.why_not() == "Every table is up to date."
        landed, *_ = result.asset_materializations_for_node("step_trainer_landing")[::-1]
        shown = [row.data for row in cast("dg.TableMetadataValue", landed.metadata["raw files"]).records]
        assert {row["file"]: row["trouble"] for row in shown if row["trouble"]} == troubled
        return failed_checks(result)

    listed = b'{"files": [{"path": "one.json", "records": %d}, {"path": "two.json"}]}'
    manifest = watched.put("step_trainer", "manifest.json", listed % 5)
    watched.settled_seconds = 60
    assert watched.why_not() == "Every table is up to date. 1 files may still be written."
    watched.settled_seconds = 0
    missing = {"two.json": "missing (listed in manifest.json)"}
    short = {"one.json": "4 records instead of 5 (listed in manifest.json)"}
    assert run({**short, **missing}) == {("step_trainer_landing", "files_match_manifests")}
    manifest.write_bytes(listed % 4)
    assert run(missing) == {("step_trainer_landing", "files_match_manifests")}
    manifest.unlink()
    assert run({}) == set()


def test_manifests_make_no_table_by_themselves(empty: Watched) -> None:
    empty.put("customer", "manifest.json", b'{"files": [{"path": "one.json"}]}')
    assert empty.why_not() == "Every table is up to date."


def replaced_same_size(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"x": 0.5', b'"x": 0.7'))


def replaced_same_size_and_time(path: Path) -> None:
    times = path.stat()
    replaced_same_size(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced_by_another(path: Path) -> None:
    other = path.with_name(".other")
    shutil.copy2(path, other)
    other.replace(path)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(NEW["accelerometer"])


def late(path: Path) -> None:
    new = path.with_name("late.json")
    new.write_bytes(NEW["accelerometer"])
    os.utime(new, (1_000_000_000, 1_000_000_000))


def deep(path: Path) -> None:
    folder = path.parent / "a" / "b=c" / "d e"
    folder.mkdir(parents=True)
    (folder / "Ünicode.NDJSON").write_bytes(NEW["accelerometer"])


def packed(path: Path) -> None:
    path.with_name("new.jsonl.gz").write_bytes(gzip.compress(NEW["accelerometer"]))


def empty_file(path: Path) -> None:
    path.with_name("empty.json").touch()


def renamed(path: Path) -> None:
    path.rename(path.with_name("renamed.json"))


@pytest.mark.parametrize(
    "change",
    [
        replaced_same_size,
        replaced_same_size_and_time,
        replaced_by_another,
        grown,
        late,
        deep,
        packed,
        empty_file,
        renamed,
    ],
)
def test_every_kind_of_arrival_is_noticed_once_it_has_settled(watched: Watched, change: Any) -> None:
    change(root_of(watched.lake) / "accelerometer" / "landing" / "one.json")
    watched.settled_seconds = ENDLESS
    assert watched.why_not() == "Every table is up to date. 1 files may still be written."
    watched.settled_seconds = 0
    request = watched.request()
    assert tables_of(request) == BELOW["accelerometer"]
    assert because(request).startswith("1 new or replaced files, ")


@pytest.mark.parametrize("name", [".hidden.json", "_temporary/part.json", "notes.txt", "one.json.part"])
def test_what_is_not_read_starts_nothing(watched: Watched, name: str) -> None:
    watched.put("accelerometer", name, NEW["accelerometer"])
    assert watched.why_not() == "Every table is up to date."


def test_a_run_takes_the_settled_files_alone(watched: Watched, spark_resource: SparkResource) -> None:
    settled = watched.put("accelerometer", "settled.json", NEW["accelerometer"])
    request = watched.request()
    writing = watched.put("accelerometer", "writing.json", NEW["accelerometer"][:-9])
    # The file system's clock ticks every few milliseconds; the run is asked for long after the last tick of the sensor.
    told = {"ops": {"accelerometer_landing": {"config": {"settled_before": settled.stat().st_ctime_ns // 1_000_000}}}}
    while writing.stat().st_ctime_ns // 1_000_000 == settled.stat().st_ctime_ns // 1_000_000:
        writing.touch()
    assert request.run_config["ops"].keys() == told["ops"].keys()
    assert watched.run(request.with_replaced_attrs(run_config=told), spark_resource).success
    landing = current(watched.lake, TABLES["accelerometer_landing"])
    assert landing.rows == 5
    assert current(watched.lake, SOURCES["accelerometer"].quarantine).rows == 0
    writing.write_bytes(NEW["accelerometer"])
    assert because(watched.request()).endswith("accelerometer/landing/writing.json")


# --- What is asked for ------------------------------------------------------------------------------------------------


def test_a_request_says_which_files_and_shows_nobodys_name(watched: Watched) -> None:
    for name in ("ada@example.com.json", "b.json", "c@d/e.json", "f.json"):
        watched.put("accelerometer", name, b"")
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    request = watched.request()
    size = len(NEW["step_trainer"])
    alias, folder = r"\*\*\*[0-9a-f]{12}", "accelerometer/landing"
    first = rf"{folder}/{alias}.json, {folder}/b.json, {folder}/\*\*\*/{alias}-e.json"
    assert re.fullmatch(rf"5 new or replaced files, {size} bytes: {first} and 2 more", because(request))
    assert not TRACES_OF_ADA.search(str((request.tags, request.run_key, watched.cursor)).encode())


def test_two_ticks_ask_with_the_same_key_and_so_for_one_run(watched: Watched) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    assert watched.request().run_key == watched.request().run_key
    first = watched.request()
    watched.put("step_trainer", "another.json", NEW["step_trainer"])
    assert watched.request().run_key != first.run_key


@pytest.mark.parametrize("cursor", [None, "{}", '{"gone customer": "0", "trouble": "1"}', "{", "[1]", "typed"])
def test_a_lost_cursor_loses_nothing_and_doubles_nothing(watched: Watched, cursor: str | None) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    first = watched.request()
    watched.cursor = cursor
    assert watched.request().run_key == first.run_key


def test_a_thousand_files_are_one_request(watched: Watched) -> None:
    for number in range(1_000):
        watched.put("step_trainer", f"{number}.json", NEW["step_trainer"])
    assert because(watched.request()).startswith("1,000 new or replaced files")
    assert notified(watched) == set()


def test_dagster_is_told_of_raw_files_whenever_they_change(watched: Watched) -> None:
    first = watched.tick().asset_events
    assert {event.asset_key.path[-1] for event in first} == {f"{source}_raw_files" for source in SOURCES}
    assert not watched.tick().asset_events
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    (event,) = watched.tick().asset_events
    assert isinstance(event, dg.AssetObservation)
    told = {name: value.value for name, value in event.metadata.items()}
    assert event.asset_key.path == ["step_trainer_raw_files"]
    assert (told["files"], told["new or replaced"], told["gone"]) == (2, 1, 0)
    assert "new.json" not in str(told)


def test_while_a_run_is_under_way_what_arrives_waits(watched: Watched) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    request = watched.request()
    run = watched.under_way(request)
    watched.put("customer", "withdrawal.json", NEW["customer"])
    assert watched.why_not() == f"Run {run.run_id} is under way. What has arrived waits for the next one."
    watched.instance.report_run_failed(run)
    # What has not failed goes first, and alone.
    assert tables_of(watched.request()) == BELOW["customer"]


def test_what_arrives_waits_for_a_maintenance(watched: Watched) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    run = watched.instance.create_run_for_job(maintain_lakehouse, status=dg.DagsterRunStatus.STARTED)
    assert watched.why_not().startswith(f"Run {run.run_id} is under way.")


def test_a_run_that_only_checks_holds_nothing_up(watched: Watched) -> None:
    checking = job_of(watched.lake, SparkResource(), "check_lakehouse")
    watched.instance.create_run_for_job(checking, status=dg.DagsterRunStatus.STARTED)
    assert watched.why_not() == "Every table is up to date."


# --- What fails -------------------------------------------------------------------------------------------------------


def test_a_failed_run_is_asked_for_again_a_bounded_number_of_times(watched: Watched) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    keys = []
    for attempt in ("1", "2", "3"):
        request = watched.request()
        assert request.tags["stedi/attempt"] == attempt
        assert request.tags["dagster/max_retries"] == "0"
        keys.append(request.run_key)
        watched.fails(request)
    assert len({*keys}) == 3
    assert Recorder.told == []
    for _ in range(2):
        assert watched.why_not() == "step_trainer: out of attempts; not tried again until something changes."
    ((subject, message),) = Recorder.told
    assert subject == "Runs for step_trainer keep failing"
    assert message.startswith("3 runs for step_trainer failed in a row. They are not tried again until som")


def test_runs_that_fail_but_land_some_of_a_backlog_are_not_counted(watched: Watched, spark: SparkSession) -> None:
    """One file cannot be read, and every run lands another one."""
    watched.put("step_trainer", "0.json.gz", gzip.compress(b"{}" * 100)[:-4])
    land_one_file(watched.lake, spark, SOURCES["step_trainer"])
    waiting = watched.attempts + 1
    for number in range(waiting):
        watched.put("step_trainer", f"{number}.json", lines(device_reading("device-of-ada", INSTANTS[0] + number)))
    for _ in range(waiting):
        request = watched.request()
        assert request.tags["stedi/attempt"] == "1"
        watched.fails(request)
        land_one_file(watched.lake, spark, SOURCES["step_trainer"])
    assert len(current_dataset(watched.lake, "step_trainer_landing").to_table()) == 4 + waiting
    for attempt in range(1, watched.attempts + 1):
        request = watched.request()
        assert request.tags["stedi/attempt"] == str(attempt)
        watched.fails(request)
    assert watched.why_not() == "step_trainer: out of attempts; not tried again until something changes."


def test_what_changes_is_tried_at_once_however_often_it_failed(watched: Watched) -> None:
    """Whoever mends a file need not wait for it. People are told all the same if every run fails."""
    watched.pause_seconds = ENDLESS
    for number in range(3):
        watched.put("step_trainer", "one.json", NEW["step_trainer"] * (number + 1))
        request = watched.request()
        assert request.tags["stedi/attempt"] == "1"
        watched.fails(request)
        assert watched.why_not().startswith("step_trainer: the next attempt is in ")
    assert [subject for subject, _ in Recorder.told] == ["Runs for step_trainer keep failing"]


def test_a_failed_run_that_somebody_has_deleted_does_not_stand_in_the_way(watched: Watched) -> None:
    """Dagster remembers keys for as long as it has the runs, and starts none with a key that it knows."""
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    runs = []
    for _ in range(2):
        request = watched.request()
        runs.append((request.run_key, watched.under_way(request)))
        watched.instance.report_run_failed(runs[-1][1])
    (first, first_run), (second, _) = runs
    watched.instance.delete_run(first_run.run_id)
    assert watched.request().run_key not in {first, second}


def test_a_content_that_was_there_before_is_landed_again(watched: Watched) -> None:
    """On S3 a file can become again, byte for byte, what it was two runs ago."""
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    request = watched.request()
    run = watched.under_way(request)
    watched.instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run.run_id
    )
    again = watched.request()
    assert again.tags["stedi/step_trainer"] == request.tags["stedi/step_trainer"]
    assert again.run_key != request.run_key


def test_the_pauses_between_attempts_grow(watched: Watched) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    watched.pause_seconds = 1_000
    watched.fails(watched.request())
    first = int(watched.why_not().split(" in ")[1].replace(",", "").split()[0])
    assert 900 < first <= 1_000
    watched.pause_seconds = 0
    watched.fails(watched.request())
    watched.pause_seconds = 1_000
    second = int(watched.why_not().split(" in ")[1].replace(",", "").split()[0])
    assert 1_900 < second <= 2_000


def test_a_pause_holds_up_nothing_else(watched: Watched) -> None:
    watched.put("accelerometer", "new.json", NEW["accelerometer"])
    watched.pause_seconds = ENDLESS
    watched.fails(watched.request())
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    assert tables_of(watched.request()) == BELOW["step_trainer"]


def test_nothing_fails_with_what_has_failed_before(watched: Watched) -> None:
    """What two sources were requested for together fails, and each goes alone from then on, in turns."""
    watched.put("customer", "new.json", NEW["customer"])
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    request = watched.request()
    assert tables_of(request) == BELOW["customer"] | BELOW["step_trainer"]
    watched.fails(request)
    alone = []
    for _ in range(4):
        request = watched.request()
        (source,) = {"customer", "step_trainer"} & {tag.removeprefix("stedi/") for tag in request.tags}
        alone.append(source)
        watched.fails(request)
    assert {*alone[:2]} == {*alone[2:]} == {"customer", "step_trainer"}


def test_what_may_be_a_withdrawal_is_tried_without_end_and_does_not_wait_longer_and_longer(watched: Watched) -> None:
    watched.put("customer", "new.json", lines(customer("ada", CONSENTED + 1, None)))
    for attempt in range(1, 8):
        request = watched.request()
        assert request.tags["stedi/attempt"] == str(attempt)
        watched.fails(request)
    # After three and after six.
    assert [subject for subject, _ in Recorder.told] == ["Runs for customer keep failing"] * 2
    assert "They may hold a withdrawal, so they are tried again anyway." in Recorder.told[0][1]
    watched.pause_seconds = 1_000
    assert watched.why_not().startswith("customer: the next attempt is in 1,000 s.")


def test_a_new_file_that_may_hold_a_withdrawal_waits_for_no_pause(watched: Watched) -> None:
    watched.pause_seconds = ENDLESS
    for number in range(5):
        watched.put("customer", f"{number}.json", lines(customer("ada", CONSENTED + 1, None)))
        watched.fails(watched.request())
        assert watched.why_not().startswith("customer: the next attempt is in ")


def test_customers_whose_file_cannot_be_read_are_tried_until_it_can(
    watched: Watched, spark_resource: SparkResource
) -> None:
    """It is in the landing table's list of files, as one that could not be read: that is not to have landed."""
    path = watched.put("customer", "cut.json.gz", gzip.compress(b"{}" * 100)[:-4])
    assert not watched.run(watched.request(), spark_resource).success
    for _ in range(watched.attempts):
        request = watched.request()
        assert tables_of(request) == BELOW["customer"]
        watched.fails(request)
    path.write_bytes(gzip.compress(NEW["customer"]))
    assert watched.run(watched.request(), spark_resource).success
    assert watched.why_not() == "Every table is up to date."


@pytest.mark.matrix
def test_an_unreadable_file_that_may_be_forgotten_is_tried_no_more(
    watched: Watched, spark_resource: SparkResource
) -> None:
    watched.put("customer", "cut.json.gz", gzip.compress(b"{}" * 100)[:-4])
    assert materialise(watched.lake, spark_resource, forget=("cut.json.gz",)).success
    assert watched.why_not() == "Every table is up to date."


def test_tables_behind_their_inputs_are_made_anew_from_what_has_landed(
    watched: Watched, spark_resource: SparkResource
) -> None:
    """A run died between two tables, and Dagster's storage is gone with it."""
    only = dg.AssetSelection.assets("step_trainer_landing", "step_trainer_trusted")
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    assert materialise(watched.lake, spark_resource, tables=only).success
    request = watched.request()
    assert tables_of(request) == {"machine_learning_curated"}
    assert checked_by(request) == {"machine_learning_curated", "step_trainer_trusted", "accelerometer_trusted"}
    assert because(request) == "tables behind their inputs: machine_learning_curated"
    assert watched.run(request, spark_resource).success
    assert watched.why_not() == "Every table is up to date."


def test_a_consent_that_comes_into_force_is_a_reason_for_a_run(watched: Watched, spark_resource: SparkResource) -> None:
    """No file has to arrive, and the run makes what is made from the people."""
    assert materialise(watched.lake, spark_resource, as_of=CONSENTED - 1, full=True).success
    assert current(watched.lake, TABLES["customer_trusted"]).rows == 0
    request = watched.request()
    assert tables_of(request) == BELOW["customer"] - {"customer_landing"}
    assert because(request).startswith("tables behind their inputs: customer_trusted")
    watched.fails(request)
    assert watched.request().tags["stedi/attempt"] == "2"
    assert watched.run(watched.request(), spark_resource).success
    assert current(watched.lake, TABLES["customer_trusted"]).rows == 2
    assert watched.why_not() == "Every table is up to date."


def test_another_list_of_erased_people_is_a_reason_for_a_run(
    watched: Watched, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it tells of device readings can come with a file of another source, or with an erasure."""
    erase_somebody(watched.lake, monkeypatch)
    request = watched.request()
    assert tables_of(request) == {*TABLES}
    assert watched.run(request, spark_resource).success
    assert watched.why_not() == "Every table is up to date."


def test_while_customers_cannot_be_landed_other_tables_do_not_wait(
    watched: Watched, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of erased people is another one, and a customers' file is gone; a consent comes into force."""
    assert materialise(watched.lake, spark_resource, as_of=CONSENTED - 1, full=True).success
    erase_somebody(watched.lake, monkeypatch)
    content = taken_away(watched, "customer")
    asked_for = fail_until_it_gives_up(watched)
    assert any("customer_trusted" in tables and "customer_landing" not in tables for tables in asked_for)
    assert "customer_landing: out of attempts" in watched.why_not()
    # Once it is back, they are tried again at once.
    watched.put("customer", "one.json", content)
    assert "customer_landing" in tables_of(watched.request())


def test_a_file_that_is_back_is_a_reason_to_try_again(
    watched: Watched, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size and its time may be what they were, as on a share that is there again."""
    erase_somebody(watched.lake, monkeypatch)
    path = root_of(watched.lake) / "accelerometer" / "landing"
    path.rename(path.with_name("elsewhere"))
    fail_until_it_gives_up(watched)
    assert "accelerometer_landing: out of attempts" in watched.why_not()
    path.with_name("elsewhere").rename(path)
    request = watched.request()
    assert tables_of(request) == BELOW["accelerometer"]
    assert watched.run(request, spark_resource).success


def test_what_only_a_listing_shows_is_tried_a_bounded_number_of_times(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing takes several looks, and those in between know of no file."""
    erase_somebody(watched.lake, monkeypatch)
    taken_away(watched, "customer")
    monkeypatch.setattr(looks, "_MOST_FILES_PER_LOOK", 1)
    asked_for = fail_until_it_gives_up(watched, ticks=30)
    assert len([tables for tables in asked_for if "customer_landing" in tables]) == watched.attempts


def test_a_consent_that_lies_ahead_brings_an_erased_person_back_in_time(
    watched: Watched, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the source is ahead, by less than Iceberg lets clocks differ, and nothing else arrives."""
    erase_somebody(watched.lake, monkeypatch, "ada@example.com")
    assert watched.run(watched.request(), spark_resource, checks=False).success
    clock, ahead = time.time, int((time.time() + 55) * 1000)
    watched.put("customer", "back.json", lines(customer("ada", ahead, ahead)))
    assert watched.run(watched.request(), spark_resource, checks=False).success
    assert watched.why_not() == "Every table is up to date."
    monkeypatch.setattr(time, "time", lambda: clock() + 56)
    request = watched.request()
    assert tables_of(request) == {*TABLES}
    assert watched.run(request, spark_resource).success
    assert "ada@example.com" in current_dataset(watched.lake, "customer_trusted").to_table()["email"].to_pylist()
    assert watched.why_not() == "Every table is up to date."


def erase_somebody(lake: Lake, monkeypatch: pytest.MonkeyPatch, person: str = "zoe@example.com") -> None:
    """Put somebody on the list of erased people, by default one who is in no file."""
    key = b"a suppression key for tests, 32 bytes and more"
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", key.decode())
    people = {person_hash(person, key): Erased(CONSENTED)}
    change_suppressed(lake, lambda: key, lambda listed: replace(listed, people=people))


def taken_away(watched: Watched, source: str) -> bytes:
    """Remove a source's first file, and return what was in it."""
    path = root_of(watched.lake) / source / "landing" / "one.json"
    content = path.read_bytes()
    path.unlink()
    return content


def fail_until_it_gives_up(watched: Watched, ticks: int = 15) -> list[set[str]]:
    """Have each run fail that is asked for in so many ticks; return their tables."""
    asked_for = []
    for _ in range(ticks):
        for request in watched.tick().run_requests or ():
            asked_for.append(tables_of(request))
            watched.fails(request)
    return asked_for


def test_a_consent_that_lies_ahead_is_none_yet(watched: Watched, spark_resource: SparkResource) -> None:
    watched.put("customer", "ahead.json", lines(customer("cleo", CONSENTED, 4_000_000_000_000)))
    assert watched.run(watched.request(), spark_resource).success
    assert watched.why_not() == "Every table is up to date."


def test_tables_that_cannot_be_made_anew_are_tried_a_bounded_number_of_times(
    watched: Watched, spark_resource: SparkResource
) -> None:
    only = dg.AssetSelection.assets("customer_landing")
    watched.put("customer", "new.json", NEW["customer"])
    assert materialise(watched.lake, spark_resource, tables=only).success
    for _ in range(3):
        request = watched.request()
        assert tables_of(request) == BELOW["customer"] - {"customer_landing"}
        watched.fails(request)
    assert watched.why_not() == "tables: out of attempts; not tried again until something changes."
    assert [subject for subject, _ in Recorder.told] == ["Runs for tables keep failing"]


def test_a_withdrawal_in_a_new_file_is_through_after_the_run(watched: Watched, spark_resource: SparkResource) -> None:
    watched.put("customer", "later.json", lines(customer("ada", CONSENTED + 1, None)))
    assert watched.run(watched.request(), spark_resource).success
    assert {name: current(watched.lake, table).rows for name, table in TABLES.items() if table.inputs} == {
        "customer_trusted": 1,
        "accelerometer_trusted": 2,
        "customers_curated": 1,
        "step_trainer_trusted": 2,
        "machine_learning_curated": 2,
    }
    assert watched.why_not() == "Every table is up to date."


# --- What is gone, and what cannot be seen ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_of_a_file_that_is_gone_people_are_told_and_it_is_not_forgotten(watched: Watched, source: str) -> None:
    (root_of(watched.lake) / source / "landing" / "one.json").unlink()
    for _ in range(2):
        assert watched.why_not() == "Every table is up to date."
    ((subject, message),) = Recorder.told
    assert subject == f"Landing files of {source} are gone"
    assert message.startswith(f"1 files that {source}_landing was made from are gone: one.json.")
    assert f'ops: {{{source}_landing: {{config: {{forget_files: ["…"]}}}}}}' in message


def test_a_file_that_is_being_rewritten_keeps_what_was_landed_of_it(
    watched: Watched, spark_resource: SparkResource
) -> None:
    """Half of ada's and ben's records are there when another file has a run start: nobody leaves for that."""
    watched.put("customer", "new.json", NEW["customer"])
    request = watched.request()
    settled_before = request.run_config["ops"]["customer_landing"]["config"]["settled_before"]
    rewritten = root_of(watched.lake) / "customer" / "landing" / "one.json"
    while rewritten.stat().st_ctime_ns // 1_000_000 <= settled_before:
        rewritten.write_bytes(lines(customer("ben", CONSENTED, CONSENTED)) + b'{"email": "ad')
    assert watched.run(request, spark_resource).success
    assert current(watched.lake, TABLES["customer_landing"]).rows == 3
    assert current(watched.lake, TABLES["customer_trusted"]).rows == 3
    assert current(watched.lake, SOURCES["customer"].quarantine).rows == 0
    assert because(watched.request()).endswith(" bytes: customer/landing/one.json")


def test_a_file_that_comes_back_as_it_was_is_landed_once(watched: Watched, spark_resource: SparkResource) -> None:
    path = root_of(watched.lake) / "accelerometer" / "landing" / "one.json"
    content = path.read_bytes()
    path.unlink()
    watched.why_not()
    path.write_bytes(content)
    assert watched.run(watched.request(), spark_resource).success
    assert current(watched.lake, TABLES["accelerometer_landing"]).rows == 4


def test_a_message_that_cannot_be_sent_is_sent_later_and_holds_nothing_up(watched: Watched) -> None:
    (root_of(watched.lake) / "customer" / "landing" / "one.json").unlink()
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    Recorder.deaf = True
    assert watched.request()
    Recorder.deaf = False
    assert watched.request()
    assert len(Recorder.told) == 1


def test_very_many_files_are_listed_over_several_looks(
    watched: Watched, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_MOST_FILES_PER_LOOK", 2)
    watched.put("accelerometer", "zz.json", NEW["accelerometer"])
    (root_of(watched.lake) / "accelerometer" / "landing" / "one.json").rename(
        root_of(watched.lake) / "accelerometer" / "landing" / "zzz.json"
    )
    assert watched.why_not() == "2 landing files are listed so far. The next tick continues."
    assert watched.why_not() == "4 landing files are listed so far. The next tick continues."
    assert watched.run(watched.request(), spark_resource).success
    assert current(watched.lake, TABLES["accelerometer_landing"]).rows == 5
    assert Recorder.told == []


def test_what_a_run_lands_during_a_long_listing_is_not_taken_for_gone_or_new(
    watched: Watched, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_MOST_FILES_PER_LOOK", 2)
    assert watched.why_not().startswith("2 landing files")
    # Comes before what is listed already, and lands at once.
    watched.put("customer", "a.json", NEW["customer"])
    assert materialise(watched.lake, spark_resource).success
    while "so far" in (why := watched.why_not()):
        pass
    assert why == "Every table is up to date."
    assert Recorder.told == []


def test_a_damaged_table_is_told_of_and_not_taken_for_an_empty_one(watched: Watched) -> None:
    for file in (root_of(watched.lake) / "step_trainer" / "landing_table" / "metadata").glob("*.metadata.json"):
        file.write_text("{")
    assert "are damaged or gone. Run `stedi repair`" in watched.why_not()
    assert [subject for subject, _ in Recorder.told] == ["The landing folders cannot be watched"]


@pytest.mark.matrix
def test_a_name_that_is_no_utf_8_is_an_error_of_its_file_alone(watched: Watched, spark_resource: SparkResource) -> None:
    folder = os.fsencode(root_of(watched.lake) / "accelerometer" / "landing")
    path = os.path.join(folder, b"caf\xe9.json")
    with open(path, "wb") as file:
        file.write(NEW["accelerometer"])
    request = watched.request()
    assert re.search(r"accelerometer/landing/\*\*\*[0-9a-f]{12}\.json$", because(request))
    watched.put("accelerometer", "new.json", NEW["accelerometer"])
    result = watched.run(watched.request(), spark_resource)
    assert failed_checks(result) == {("accelerometer_landing", "files_readable")}
    assert current(watched.lake, TABLES["accelerometer_landing"]).rows == 5
    os.rename(path, os.path.join(folder, b"cafe.json"))
    assert watched.run(watched.request(), spark_resource).success
    assert current(watched.lake, TABLES["accelerometer_landing"]).rows == 6


def test_a_renamed_file_is_not_told_of_as_gone(watched: Watched) -> None:
    renamed(root_of(watched.lake) / "accelerometer" / "landing" / "one.json")
    watched.settled_seconds = ENDLESS
    watched.why_not()
    watched.settled_seconds = 0
    assert watched.request()
    assert Recorder.told == []


def test_a_run_that_takes_for_ever_is_told_of(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    run = watched.under_way(watched.request())
    watched.why_not()
    assert Recorder.told == []
    monkeypatch.setattr(notices, "_LONG", 1e-9)
    for _ in range(2):
        watched.why_not()
    ((subject, message),) = Recorder.told
    assert subject == "A run has been in progress for hours"
    assert message.startswith(f"Run {run.run_id} of rebuild_lakehouse was requested ")


# --- The graph --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_to_make_are_those_downstream_in_dagster(table: str) -> None:
    downstream = dg.AssetSelection.assets(table).downstream().resolve(ASSETS)
    assert {*tables_to_make([table], TABLES)} == {key.path[-1] for key in downstream}


# --- The doorbell -----------------------------------------------------------------------------------------------------

SILENCE = "Nothing has arrived since everything landed."


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@dataclass
class Queue:
    """A queue on moto that a bucket tells of its objects."""

    url: str
    sqs: Any
    s3: Any

    def ring(self, times: int = 1) -> None:
        """Have S3 tell of objects."""
        for number in range(times):
            self.s3.put_object(Bucket="rings", Key=f"lake/customer/landing/{number}.json", Body=b"{}")

    @property
    def messages(self) -> int:
        """How many messages ring, or will ring again."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))


@pytest.fixture
def queue(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    settings = {"ENDPOINT_URL": server.endpoint, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    for name, value in {**settings, "DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    sqs, s3 = (boto3.client(name, region_name=REGION) for name in ("sqs", "s3"))
    url = sqs.create_queue(QueueName="arrivals")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket="rings")
    told = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
    s3.put_bucket_notification_configuration(Bucket="rings", NotificationConfiguration={"QueueConfigurations": told})
    sqs.purge_queue(QueueUrl=url)
    yield Queue(url, sqs, s3)
    sqs.delete_queue(QueueUrl=url)


def test_folders_are_listed_when_it_rings_until_everything_has_landed(
    watched: Watched, queue: Queue, spark_resource: SparkResource
) -> None:
    watched.doorbell = Doorbell(queue=queue.url)
    assert watched.why_not() == "Every table is up to date."
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    assert watched.why_not() == SILENCE
    queue.ring(12)
    request = watched.request()
    watched.fails(request)
    # The files have not landed: it goes on ringing.
    request = watched.request()
    assert queue.messages == 12
    assert watched.run(request, spark_resource).success
    assert watched.why_not() == "Every table is up to date."
    assert queue.messages == 0
    assert watched.why_not() == SILENCE
    assert Recorder.told == []


def test_folders_are_listed_now_and_then_although_nothing_rings(
    watched: Watched, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.doorbell = Doorbell(queue=queue.url)
    watched.why_not()
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    assert watched.why_not() == SILENCE
    monkeypatch.setattr(looks, "_SECONDS_WITHOUT_A_LISTING", 1)
    assert watched.request()


def test_while_it_is_silent_tables_that_are_behind_are_made_and_nothing_is_told_twice(
    watched: Watched, queue: Queue, spark_resource: SparkResource
) -> None:
    watched.doorbell = Doorbell(queue=queue.url)
    (root_of(watched.lake) / "customer" / "landing" / "one.json").unlink()
    watched.why_not()
    assert watched.why_not() == SILENCE
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    assert materialise(watched.lake, spark_resource, tables=dg.AssetSelection.assets("step_trainer_landing")).success
    assert tables_of(watched.request()) == BELOW["step_trainer"] - {"step_trainer_landing"}
    queue.ring()
    watched.tick()
    assert [subject for subject, _ in Recorder.told] == ["Landing files of customer are gone"]


def test_a_message_that_comes_during_a_long_listing_rings_for_the_next(
    watched: Watched, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_MOST_FILES_PER_LOOK", 2)
    watched.doorbell = Doorbell(queue=queue.url)
    queue.ring()
    assert watched.why_not().startswith("2 landing files")
    # It comes before what is listed already.
    watched.put("customer", "a.json", NEW["customer"])
    queue.ring()
    assert watched.why_not() == "Every table is up to date."
    assert queue.messages == 1
    assert watched.why_not().startswith("2 landing files")
    assert watched.why_not().startswith("4 landing files")
    assert watched.request()
    assert queue.messages == 1


def test_with_a_queue_that_cannot_be_used_every_look_lists_and_people_are_told_once(
    watched: Watched, queue: Queue
) -> None:
    watched.doorbell = Doorbell(queue=f"{queue.url}-2")
    for _ in range(2):
        assert watched.why_not() == "Every table is up to date."
    watched.put("step_trainer", "new.json", NEW["step_trainer"])
    assert watched.request()
    ((subject, message),) = Recorder.told
    assert subject == "The queue of arrivals cannot be used"
    assert "NonExistentQueue" in message
    assert "sqs:ReceiveMessage" in message


def test_after_a_look_that_failed_the_next_one_lists_although_nothing_rings(watched: Watched, queue: Queue) -> None:
    watched.doorbell = Doorbell(queue=queue.url)
    assert watched.why_not() == "Every table is up to date."
    queue.ring()
    with unreadable(watched):
        assert "are damaged or gone" in watched.why_not()
    watched.put("customer", "new.json", NEW["customer"])
    # The messages that the failed look has received are still hidden.
    assert watched.request()


@contextlib.contextmanager
def unreadable(watched: Watched) -> Iterator[None]:
    """Have the metadata of a table of files damaged for a while: it is read once the folders are listed."""
    files = [*(root_of(watched.lake) / "step_trainer" / "files" / "metadata").glob("*.metadata.json")]
    contents = [file.read_bytes() for file in files]
    for file in files:
        file.write_text("{")
    yield
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
