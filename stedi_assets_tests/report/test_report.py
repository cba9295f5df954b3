"""The report: its numbers are those of the tables, its pictures go with the rows, and it follows the tables."""

import errno
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.contracts import TABLES, MatchOn, Policy
from stedi_assets.orchestration import report_asset as report
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.orchestration.report_asset import machine_learning_report, report_is_old
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.suppression import person_hash
from stedi_assets.report.numbers import MEASURES, count_for_pictures
from stedi_assets.report.pictures import keep_pictures
from stedi_assets.storage.errors import CommitConflictError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current, current_dataset
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    TRACES_OF_ADA,
    customer,
    device_reading,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)

ML = TABLES["machine_learning_curated"]
SUPPRESSION_KEY = "a suppression key for tests, 32 bytes and more"
PICTURES = {"funnel.png", "measures.png", "subjects.png", "coverage.png"}


def key() -> bytes:
    return b"a pseudonym key for tests, 32 bytes and more"


def pictures_of(lake: Lake) -> Path:
    """Return the folder of the pictures of the table as it is now."""
    return root_of(lake) / ML.path / "report" / str(current(lake, ML).content)


def requested(instance: dg.DagsterInstance, lake: LakeResource) -> list[str | None]:
    """Return the key of the run that the sensor requests, if any."""
    context = dg.build_sensor_context(instance, resources={"lake": lake})
    return [request.run_key for request in report_is_old.evaluate_tick(context).run_requests or ()]


def is_old(instance: dg.DagsterInstance, lake: LakeResource) -> bool:
    """Whether the sensor requests the report."""
    return bool(requested(instance, lake))


def draw(instance: dg.DagsterInstance, lake: LakeResource) -> None:
    """Draw the report, without Spark."""
    assert dg.materialize([machine_learning_report], resources={"lake": lake}, instance=instance).success


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Lake:
    """A lake with ada and ben, and with somebody who leaves at each step of the way."""
    lake = local_lake(tmp_path_factory.mktemp("report") / "lake")
    write_ada_and_ben(lake)
    consenting = [customer(person, CONSENTED, CONSENTED) for person in ("nophone", "nodevice")]
    more = {
        "customer": [*consenting, customer("never", CONSENTED, None), customer("ada", CONSENTED - 1, CONSENTED)],
        "accelerometer": [phone_reading("nodevice", INSTANTS[0]), phone_reading("never", INSTANTS[0])],
        "step_trainer": [device_reading("device-of-nophone", INSTANTS[0])],
    }
    for source, records in more.items():
        (root_of(lake) / source / "landing" / "more.json").write_bytes(lines(*records))
    with (root_of(lake) / "customer" / "landing" / "more.json").open("ab") as file:
        file.write(b'{"email": "broken@example.com", "x": }')
    assert materialise(lake, spark_resource, checks=False).success
    return lake


def test_the_funnel_says_who_left_where(built: Lake) -> None:
    numbers = count_for_pictures(built, key)
    assert numbers.customer_records == 7
    assert [(step.left, step.gone) for step in numbers.funnel] == [(6, 0), (4, 2), (3, 1), (2, 1), (2, 0)]
    assert numbers.funnel[-1].left == len({*current_dataset(built, ML.name).to_table()["subject_id"].to_pylist()})


def test_the_histograms_hold_every_row_once(built: Lake) -> None:
    numbers = count_for_pictures(built, key)
    assert numbers.snapshot.rows == 4
    assert {name: sum(histogram.counts) for name, histogram in numbers.measures.items()} == dict.fromkeys(MEASURES, 4)
    assert sum(numbers.readings_per_subject.counts) == 2
    assert numbers.coverage == {date(2022, 6, 18): 4}


def test_the_pictures_lie_with_the_snapshot_and_are_shown(
    built: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_ENOUGH", 2)
    given = {"lake": resources(built, spark_resource)["lake"]}
    result = dg.materialize([machine_learning_report], resources=given)
    folder = pictures_of(built)
    assert {path.name for path in folder.glob("*.png")} == PICTURES
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))
    (shown,) = result.asset_materializations_for_node("machine_learning_report")
    assert shown.metadata["are in the ML table"].value == 2
    assert str(shown.metadata["funnel"].value).startswith("![funnel](data:image/png;base64,")
    assert not TRACES_OF_ADA.search(str(shown.metadata).encode())


def test_pictures_of_few_are_not_given_to_dagster(built: Lake, spark_resource: SparkResource) -> None:
    given = {"lake": resources(built, spark_resource)["lake"]}
    result = dg.materialize([machine_learning_report], resources=given)
    (shown,) = result.asset_materializations_for_node("machine_learning_report")
    assert "fewer than 20 subjects" in str(shown.metadata["pictures"].value)
    assert "base64" not in str(shown.metadata)
    folder = pictures_of(built)
    assert {path.name for path in folder.glob("*.png")} == PICTURES


@pytest.mark.matrix
def test_where_readings_have_nobody_the_funnel_goes_without_them(lake: Lake, spark_resource: SparkResource) -> None:
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource, Policy(match_on=MatchOn.TIMESTAMP), checks=False).success
    steps = count_for_pictures(lake, key).funnel
    assert [(step.left, step.gone) for step in steps] == [(2, 0)] * 4
    assert "have device readings" not in {step.name for step in steps}


@pytest.mark.matrix
def test_tables_of_two_moments_are_not_drawn_together(lake: Lake, spark_resource: SparkResource) -> None:
    write_ada_and_ben(lake)
    only = dg.AssetSelection.assets("customer_landing", "customer_trusted")
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialise(lake, spark_resource, instance=instance, checks=False).success
        landing = root_of(lake) / "customer" / "landing"
        (landing / "more.json").write_bytes(lines(customer("cleo", CONSENTED, CONSENTED)))
        assert materialise(lake, spark_resource, tables=only, checks=False).success
        with pytest.raises(LakeError, match="customers_curated is behind customer_trusted"):
            count_for_pictures(lake, key)
        assert not is_old(instance, resources(lake, spark_resource)["lake"])


def test_pictures_of_a_snapshot_that_is_current_no_more_are_not_kept(built: Lake) -> None:
    drawn = replace(current(built, ML), id=1, content="of-then")
    with pytest.raises(CommitConflictError, match="machine_learning_curated was published again"):
        keep_pictures(built, drawn, {"funnel": b""})
    assert not (root_of(built) / ML.path / "report" / "of-then").exists()


def test_the_report_follows_what_it_counts(lake: Lake, spark_resource: SparkResource) -> None:
    """Whichever run has published; where nothing has changed, its pictures stay, and it is not drawn again."""
    write_ada_and_ben(lake)
    resource = resources(lake, spark_resource)["lake"]
    with dg.DagsterInstance.ephemeral() as instance:
        make = partial(materialise, lake, spark_resource, instance=instance, checks=False)
        assert not is_old(instance, resource)
        assert make().success
        assert is_old(instance, resource)
        draw(instance, resource)
        first = pictures_of(lake)
        assert make(tables=dg.AssetSelection.assets(ML.name)).success
        assert not is_old(instance, resource)
        assert {path.name for path in first.iterdir()} == PICTURES
        # Who has left since may be in them, whatever snapshots are kept.
        landing = root_of(lake) / "customer" / "landing"
        (landing / "later.json").write_bytes(lines(customer("ada", CONSENTED + 1, None)))
        assert make().success
        assert is_old(instance, resource)
        assert not first.exists()
        draw(instance, resource)
        # The ML table does not know of people who never consented, but the funnel begins with them.
        (landing / "cleo.json").write_bytes(lines(customer("cleo", CONSENTED, None)))
        second = current(lake, ML).content
        assert make().success
        assert current(lake, ML).content == second
        assert is_old(instance, resource)
        draw(instance, resource)
        # This Dagster hears nothing of it, as of a command, or of a run with another home.
        (landing / "dora.json").write_bytes(lines(customer("dora", CONSENTED, None)))
        assert materialise(lake, spark_resource).success
        # Dagster launches one run for a key: a drawing that fails is not repeated each minute.
        assert requested(instance, resource) == requested(instance, resource) != []
        draw(instance, resource)
        assert not is_old(instance, resource)


def test_a_lake_that_cannot_be_reached_is_looked_at_again_later(
    built: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sensor looks every minute: each time a stack trace would help nobody."""

    def unreachable(_: Lake) -> str:
        raise ConnectionError(errno.ECONNABORTED, "S3 cannot be reached", "s3://bucket/secret")

    monkeypatch.setattr(report, "content_of_pictures", unreachable)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance, resources={"lake": resources(built, spark_resource)["lake"]})
        tick = report_is_old.evaluate_tick(context)
    assert not tick.run_requests
    assert tick.skip_message == "The lake cannot be reached: S3 cannot be reached. Try again later."


@pytest.mark.matrix
def test_the_report_follows_the_update_after_an_erasure(
    lake: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", SUPPRESSION_KEY)
    write_ada_and_ben(lake)
    given = resources(lake, spark_resource)
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialise(lake, spark_resource, instance=instance, checks=False).success
        draw(instance, given["lake"])
        assert not is_old(instance, given["lake"])
        person = person_hash("ada@example.com", SUPPRESSION_KEY.encode())
        assert erase_person.execute_in_process(
            run_config={"ops": {"erase_from_lake": {"config": {"person": person}}}},
            resources={name: given[name] for name in ("lake", "spark")},
            instance=instance,
        ).success
        # Some tables are behind others now, so that the numbers would not add up: the update comes first.
        assert not is_old(instance, given["lake"])
        assert materialise(lake, spark_resource, instance=instance).success
        assert is_old(instance, given["lake"])


@pytest.mark.matrix
def test_a_table_without_rows_is_drawn_all_the_same(lake: Lake, spark_resource: SparkResource) -> None:
    write_ada_and_ben(lake)
    (root_of(lake) / "customer" / "landing" / "one.json").write_bytes(lines(customer("ada", CONSENTED, None)))
    assert materialise(lake, spark_resource, checks=False).success
    given = {"lake": resources(lake, spark_resource)["lake"]}
    assert dg.materialize([machine_learning_report], resources=given).success
