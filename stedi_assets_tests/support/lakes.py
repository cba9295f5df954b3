"""What tests need of a lake that Dagster works on: two people, its resources, whole runs, and what those reported."""

import json
import logging
import re
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
from pyiceberg.manifest import clear_manifest_cache
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import SOURCES, Policy, Purpose, Table
from stedi_assets.ingest.landing import LandingOptions
from stedi_assets.orchestration.alerts import MessageNotSent, Notifier
from stedi_assets.orchestration.assets import ASSETS, LANDING_IO, PARQUET_IO
from stedi_assets.orchestration.checks import CHECKS, ThresholdsResource
from stedi_assets.orchestration.io_managers import LakeResource, LandingIOManager, ParquetIOManager
from stedi_assets.orchestration.spark_resource import FULL_REBUILD, SparkResource
from stedi_assets.privacy.deliveries import land_without_erased, publish_landing
from stedi_assets.storage.interface import Storage
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.file_io import forget_read
from stedi_assets.tables.manifests import files_in, manifests_in
from stedi_assets.tables.retention import Retention
from stedi_assets.tables.snapshots import Snapshot, current, data_paths, read_as_it_is_now, read_snapshot
from stedi_assets.tables.staging import RunContext


def local_lake(folder: Path) -> Lake:
    """Return the lake in a folder."""
    return Lake.at(str(folder))


def as_a_new_process() -> None:
    """Forget what was read of Iceberg's metadata, which a test may have damaged since."""
    forget_read()
    clear_manifest_cache()
    manifests_in.cache_clear()
    files_in.cache_clear()


def root_of(lake: Lake) -> Path:
    """Return the folder of a local lake."""
    return Path(lake.location)


def stored_files(lake: Lake, table: Table) -> list[Path]:
    """Return the data files of a table of a local lake, as it is published now, in order."""
    return sorted(root_of(lake) / path for path in data_paths(lake, table, current(lake, table).id))


DEFAULT = Policy()
CONSENTED = 1_600_000_000_000
INSTANTS = [1_655_564_376_361, 1_655_564_376_461]
# What there is to know of ada: her name and e-mail, her phone number, and her own device. Each holds a letter that
# is no hex digit, or an id somewhere would be taken for her in the end.
TRACES_OF_ADA = re.compile(rb"(?i)ada@|ada lovelace|of-ada|555-ada")


def lines(*records: dict[str, object]) -> bytes:
    """Return records as a landing file holds them."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def customer(person: str, updated: int | None, consent: int | None, device: str | None = None) -> dict[str, object]:
    """Return a customer record; each person has a device unless it names another."""
    record: dict[str, object] = {
        "customerName": f"{person} lovelace",
        "email": f"{person}@example.com",
        "phone": f"555-{person}",
        "serialNumber": device or f"device-of-{person}",
        "lastUpdateDate": updated,
    }
    return record | ({"shareWithResearchAsOfDate": consent} if consent else {})


def phone_reading(person: str, instant: int) -> dict[str, object]:
    """Return a reading of a person's phone."""
    return {"user": f"{person}@example.com", "timestamp": instant, "x": 0.5, "y": 0, "z": -1}


def device_reading(device: str, instant: int) -> dict[str, object]:
    """Return a reading of a device."""
    return {"sensorReadingTime": instant, "serialNumber": device, "distanceFromObject": 250}


def write_ada_and_ben(lake: Lake) -> None:
    """Write the landing files of two people who consent, each with two readings of the phone and of the device."""
    people = ("ada", "ben")
    for source, records in {
        "customer": [customer(person, CONSENTED, CONSENTED) for person in people],
        "accelerometer": [phone_reading(person, instant) for person in people for instant in INSTANTS],
        "step_trainer": [device_reading(f"device-of-{person}", t) for person in people for t in INSTANTS],
    }.items():
        landing = root_of(lake) / source / "landing"
        landing.mkdir(parents=True)
        (landing / "one.json").write_bytes(lines(*records))


def resources(lake: Lake, spark: SparkResource, policy: Policy = DEFAULT, **thresholds: Any) -> dict[str, Any]:
    """Return the resources of the definitions, for a lake and a policy of the test's."""
    resource = LakeResource(
        location=lake.location,
        landing={
            folder: [place.location for place in places]
            for folder, places in (lake.elsewhere.places if lake.elsewhere else ())
        },
        namespace=lake.namespace,
        catalog=lake.catalog.uri,
        consent_record=policy.consent_record,
        readings=policy.readings,
        match_on=policy.match_on,
        published_time=policy.published_time,
        purpose=Purpose.COMPARISON if policy.needs_comparison else Purpose.PRODUCTION,
    )
    return {
        "lake": resource,
        "spark": spark,
        "thresholds": ThresholdsResource(**thresholds),
        LANDING_IO: LandingIOManager(lake=resource, spark=spark),
        PARQUET_IO: ParquetIOManager(lake=resource, spark=spark),
    }


def materialise(
    lake: Lake,
    spark: SparkResource,
    policy: Policy = DEFAULT,
    *,
    as_of: int | None = None,
    tables: dg.AssetSelection | None = None,
    forget: tuple[str, ...] = (),
    instance: dg.DagsterInstance | None = None,
    full: bool = False,
    checks: bool = True,
    **options: Any,
) -> dg.ExecuteInProcessResult:
    """Materialise tables, all eight if none are named, with their checks, as Dagster does it; it may fail.

    With `full` from scratch, as `rebuild_lakehouse` does it, and otherwise what is new, as `update_lakehouse` does.
    Leave out the `checks` of a run that only prepares another, which has them.
    """
    if not checks:
        tables = (tables or dg.AssetSelection.all()).without_checks()
    config = {
        **({"customer_trusted": {"config": {"as_of": as_of}}} if as_of is not None else {}),
        **({"customer_landing": {"config": {"forget_files": list(forget)}}} if forget else {}),
    }
    return dg.materialize(
        [*ASSETS, *CHECKS],
        selection=tables,
        resources=resources(lake, spark, policy, **options),
        run_config={"ops": config},
        instance=instance,
        tags={FULL_REBUILD: "true"} if full else None,
        raise_on_error=False,
    )


def land_customers(lake: Lake, spark: SparkSession, run: RunContext, key: bytes = b"", code: str = "") -> None:
    """Land the files of customers, without Dagster: whoever withdrew in them leaves first.

    `key` is that of the list of erased people, where the lake has one.
    """
    source = SOURCES["customer"]
    landing = land_without_erased(lambda: spark, lake, source, LandingOptions(code=code), suppression_key=lambda: key)
    try:
        publish_landing(lambda: spark, lake, source, landing, run, Retention())
    finally:
        landing.stage.discard()


def check(lake: Lake, spark: SparkResource, policy: Policy = DEFAULT, **options: Any) -> dg.ExecuteInProcessResult:
    """Hold what is stored against every check, as the job `check_lakehouse` does."""
    job = dg.define_asset_job("check_lakehouse", selection=dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions(
        assets=ASSETS,
        asset_checks=CHECKS,
        jobs=[job],
        resources=resources(lake, spark, policy, **options),
        executor=dg.in_process_executor,
    )
    return defs.resolve_job_def("check_lakehouse").execute_in_process(raise_on_error=False)


def failed_checks(result: dg.ExecuteInProcessResult) -> set[tuple[str, str]]:
    """Return the table and name of each check that failed, whatever its severity."""
    return {(c.asset_key.path[-1], c.check_name) for c in result.get_asset_check_evaluations() if not c.passed}


def messages(result: dg.ExecuteInProcessResult) -> str:
    """Return why steps of a run failed, in their own words."""
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return "\n".join(
        (data.user_failure_data.description if data.user_failure_data else str(data.error)) or "" for data in failures
    )


class Recorder(Notifier):
    """A notifier that keeps what people are told, and can be deaf."""

    told: ClassVar[list[tuple[str, str]]] = []
    deaf: ClassVar[bool] = False

    def tell(self, subject: str, message: str, log: logging.Logger) -> None:
        if Recorder.deaf:
            raise MessageNotSent("nobody was told")
        super().tell(subject, message, log)
        Recorder.told.append((subject, message))

    @classmethod
    def forget(cls) -> None:
        """Be as at first."""
        cls.told, cls.deaf = [], False


def read_current(spark: SparkSession, lake: Lake, table: Table) -> tuple[Snapshot, DataFrame]:
    """Return a table's current snapshot, and its rows in Spark."""
    return read_as_it_is_now(lake, table, lambda snapshot: read_snapshot(spark, lake, table, snapshot))


def folders_in(storage: Storage, folder: str) -> set[str]:
    """Return the names of the folders directly in a folder, including those that only hold what was deleted."""
    names = [path.removeprefix(f"{folder}/").split("/") for path in storage.below(folder)]
    return {first for first, *rest in names if rest}
