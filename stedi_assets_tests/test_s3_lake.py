"""A lake on S3, with Spark: landing, publishing, and whole runs do in a bucket what they do in a folder."""

import base64
import gzip
import hashlib
import hmac
import io
import itertools
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import boto3
import botocore.awsrequest
import botocore.retries.standard
import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster_aws.s3 import S3Resource
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.contracts import ALL_TABLES, SOURCES, TABLES, Policy, Purpose, Source, Zone
from stedi_assets.ingest import landing as landing_module
from stedi_assets.ingest.arrivals import PortionedListing, find_arrivals
from stedi_assets.ingest.landing import Landing, LandingOptions, count_by_file, land
from stedi_assets.ingest.landing_files import list_landing_files
from stedi_assets.orchestration.assets import ASSETS, LANDING_IO, PARQUET_IO
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.io_managers import LandingIOManager, ParquetIOManager
from stedi_assets.orchestration.s3_lake import S3LakeResource
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.deliveries import land_without_erased, publish_landing
from stedi_assets.privacy.repair import Keys, repair
from stedi_assets.privacy.suppression import person_hash
from stedi_assets.storage import s3 as s3_module
from stedi_assets.storage.errors import CommitConflictError, CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import alias
from stedi_assets.storage.s3 import S3Bucket
from stedi_assets.tables import branches, publishing
from stedi_assets.tables.catalog import forget, load, session_of
from stedi_assets.tables.maintenance import maintain
from stedi_assets.tables.publishing import publish
from stedi_assets.tables.retention import Retention, referenced
from stedi_assets.tables.snapshots import Snapshot, current, current_dataset, data_paths, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets.verification.engine import SecondEngineFailed
from stedi_assets_tests.storage.test_s3_server import ODD_KEYS
from stedi_assets_tests.support import fault_proxy
from stedi_assets_tests.support.counting_proxy import Counting
from stedi_assets_tests.support.fault_proxy import TRANSIENT, FaultProxy, Kind
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    TRACES_OF_ADA,
    as_a_new_process,
    customer,
    device_reading,
    lines,
    materialise,
    phone_reading,
    read_current,
    resources,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket
from stedi_assets_tests.support.worlds import AS_OF, write_worlds
from stedi_assets_tests.transforms.test_tables import COURSE_DATA

pytestmark = pytest.mark.usefixtures("s3a")

KEY_ID = "AKIDOFTHELAKETEST"
SECRET = "the+secret/access/key+of/the/lake+test"
PSEUDONYM_KEY = "a pseudonym key for tests, 32 bytes and more"
SUPPRESSION_KEY = "a suppression key for tests, 32 bytes and more"
KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/lake"
START = [sys.executable, "-m", "stedi_assets", "start"]
JOB = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "stedi_assets.definitions"]
JOB += ["-j", "rebuild_lakehouse"]
JAVA_TRACES = re.compile(r"^\s+at (org|java|scala|software)\.|py4j\.protocol|Traceback", re.MULTILINE)
# Those of files hold fingerprints, which are another on S3.
SAME_AS_IN_A_FOLDER = [name for name in ALL_TABLES if not name.endswith("_files")]
MADE_OF_PEOPLE = [TABLES[name] for name in TABLES if name not in {source.landing.name for source in SOURCES.values()}]
ONLY_BEN = {
    "customer_trusted": 1,
    "accelerometer_trusted": 2,
    "customers_curated": 1,
    "step_trainer_trusted": 2,
    "machine_learning_curated": 2,
}
PHONES = SOURCES["accelerometer"]
# Hadoop keeps a connection for each bucket that it has seen, by the bucket's name.
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def _environment(server: S3Server) -> Iterator[None]:
    """Set what a lake on S3 needs, as its user would; and have boto3 not wait before it tries again."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings(server.endpoint).items():
            environment.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            environment.delenv(name, raising=False)
        environment.setattr(boto3, "DEFAULT_SESSION", None)
        environment.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0)
        yield


@pytest.fixture
def session(spark: SparkSession) -> Iterator[SparkSession]:
    """The suite's session, whose Java and Python workers have an identity for S3; all are as before in the end."""
    assert spark._jvm
    before, java = spark.conf.getAll, spark._jvm.java.lang.System
    # Java has taken its environment with it when it was started, and its Python workers have theirs from it.
    java.setProperty("aws.accessKeyId", KEY_ID)
    java.setProperty("aws.secretAccessKey", SECRET)
    workers = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
    spark.sparkContext.environment.update(workers)
    yield spark
    for name in workers:
        del spark.sparkContext.environment[name]
    java.clearProperty("aws.accessKeyId")
    java.clearProperty("aws.secretAccessKey")
    for name in spark.conf.getAll.keys() - before.keys():
        # A catalog that is loaded stays as it was told.
        if not name.startswith("spark.sql.catalog."):
            spark.conf.unset(name)
    for name, value in before.items():
        if spark.conf.isModifiable(name):
            spark.conf.set(name, value)


def settings(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "STEDI_PSEUDONYM_KEY": PSEUDONYM_KEY,
        "STEDI_SUPPRESSION_KEY": SUPPRESSION_KEY,
    }


@dataclass(frozen=True)
class OnS3:
    """A lake in a bucket of its own. `s3` goes to the server straight; the lake and Spark may go by way of a proxy."""

    lake: Lake
    spark: SparkResource
    s3: Any
    kms_key: str | None = None

    @property
    def storage(self) -> S3Bucket:
        return cast("S3Bucket", self.lake.storage)

    @property
    def name(self) -> str:
        return self.storage.bucket

    def take_over(self, folder: Lake, what: str = "*/landing/*") -> None:
        """Put the landing files of a folder into the bucket, or whatever else of it."""
        for file in root_of(folder).glob(what):
            if file.is_file():
                self.storage.write(file.relative_to(root_of(folder)).as_posix(), file.read_bytes())

    def put(self, source: Source, name: str, content: bytes) -> None:
        """Put a landing file into the bucket."""
        self.s3.put_object(Bucket=self.name, Key=f"{self.storage.prefix}/{source.raw_path}/{name}", Body=content)

    def resources(self) -> dict[str, Any]:
        """Return the resources of the definitions."""
        lake = S3LakeResource(
            location=self.lake.location,
            namespace=self.lake.namespace,
            s3=S3Resource(max_attempts=10),
            kms_key=self.kms_key,
        )
        return {
            **resources(self.lake, self.spark, quarantine_rate=1),
            "lake": lake,
            LANDING_IO: LandingIOManager(lake=lake, spark=self.spark),
            PARQUET_IO: ParquetIOManager(lake=lake, spark=self.spark),
        }

    def materialise(self, tables: dg.AssetSelection | None = None) -> dg.ExecuteInProcessResult:
        """Materialise tables with their checks; it may fail."""
        config = {"ops": {"customer_trusted": {"config": {"as_of": AS_OF}}}}
        return dg.materialize(
            [*ASSETS, *CHECKS],
            selection=tables,
            resources=self.resources(),
            run_config=config if tables is None else {},
            raise_on_error=False,
        )

    def versions(self, *, raw: bool = False) -> Iterator[tuple[str, str]]:
        """Yield key and version of every version of an object; without the raw files, if they are not asked for."""
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.name):
            for version in page.get("Versions", []):
                if raw or "/landing/" not in version["Key"]:
                    yield version["Key"], version["VersionId"]

    def content(self, key: str, version: str) -> bytes:
        """Return what an object holds, Parquet's pages unpacked."""
        content: bytes = self.s3.get_object(Bucket=self.name, Key=key, VersionId=version)["Body"].read()
        if key.endswith(".parquet") and content:
            content += str(pq.read_table(io.BytesIO(content)).to_pylist()).encode()
        return content


MakeLake = Callable[..., OnS3]


@pytest.fixture
def make(server: S3Server, session: SparkSession, monkeypatch: pytest.MonkeyPatch) -> MakeLake:
    """Makes an empty lake, in a bucket of its own, which clients reach by `endpoint`."""

    def made(endpoint: str = server.endpoint, *, versioned: bool = False, kms_key: str | None = None) -> OnS3:
        name = f"lake-{next(_numbers)}"
        s3 = bucket(server, name, versioned=versioned)
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        location, namespace = f"s3://{name}/a/lake", name.replace("-", "_")
        # Glue is one for all buckets, and not what is in doubt here.
        monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", server.endpoint)
        spark = SparkResource(lake=location, s3_kms_key=kms_key)
        assert spark.spark_session is session
        session.conf.set("fs.s3a.retry.interval", "20ms")
        session.conf.set("fs.s3a.retry.throttle.interval", "20ms")
        return OnS3(Lake.at(location, kms_key=kms_key, namespace=namespace), spark, s3, kms_key)

    return made


@pytest.fixture
def place(make: MakeLake) -> OnS3:
    """An empty lake."""
    return make()


def show_requests(requests: Counter[tuple[str, str]]) -> None:
    clients = ("boto3", "S3A", "Arrow")
    by_operation = {name: [requests[name, client] for client in clients] for name, _ in requests}
    by_operation["all"] = [sum(counts) for counts in zip(*by_operation.values(), strict=True)]
    show(f"\n| operation | {' | '.join(clients)} | all |", "|---|---:|---:|---:|---:|")
    for name, counts in sorted(by_operation.items(), key=lambda found: (found[0] == "all", -sum(found[1]))):
        show(f"| {name} | {' | '.join(f'{count:,}' for count in (*counts, sum(counts)))} |")


def show(*what: str) -> None:
    print(*what, sep="\n")  # noqa: T201


def encryption_of(place: OnS3) -> Counter[tuple[str | None, str | None]]:
    """Count how the objects of a lake are encrypted, all but the raw files."""
    heads = (place.s3.head_object(Bucket=place.name, Key=key) for key, _ in place.versions())
    return Counter((head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")) for head in heads)


def assert_same_rows(lake: Lake, other: Lake) -> None:
    """Assert that every table of two lakes has the same hash of all its rows, whatever their order."""

    def hashed(lake: Lake, name: str) -> str:
        rows = current_dataset(lake, name).to_table().to_pylist()
        return hashlib.sha256("\n".join(sorted(map(repr, rows))).encode()).hexdigest()

    assert {name: hashed(lake, name) for name in SAME_AS_IN_A_FOLDER} == {
        name: hashed(other, name) for name in SAME_AS_IN_A_FOLDER
    }


def run(command: list[str], folder: Path, endpoint: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder as a user would, with few settings of this machine's."""
    home = folder / "dagster"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser()),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "DAGSTER_HOME": str(home),
        **settings(endpoint),
        **more,
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


# --- Whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.matrix
def test_the_course_data_become_the_same_rows_as_in_a_folder(server: S3Server, make: MakeLake, lake: Lake) -> None:
    """By way of a proxy that counts the requests; with a KMS key, which every single write must name."""
    if not COURSE_DATA.is_dir():
        pytest.skip(f"the course data is not at {COURSE_DATA}; set COURSE_DATA to its folder")
    for source in SOURCES.values():
        (root_of(lake) / source.raw_path).parent.mkdir(parents=True)
        (root_of(lake) / source.raw_path).symlink_to(COURSE_DATA / source.name / "landing")
    with Counting(server.endpoint) as proxy:
        place = make(proxy.endpoint, kms_key=KMS_KEY)
        assert materialise(lake, place.spark, as_of=AS_OF).success
        assert not proxy.requests
        place.take_over(lake)
        proxy.requests.clear()
        result = place.materialise()
        show_requests(proxy.requests)
        assert result.success
        assert all(check.passed for check in result.get_asset_check_evaluations())
        assert_same_rows(place.lake, lake)
        assert current(place.lake, TABLES["machine_learning_curated"]).rows == 40_981
    assert set(proxy.encrypted) == {("aws:kms", KMS_KEY)}
    assert set(encryption_of(place)) == {("aws:kms", KMS_KEY)}


def test_a_whole_run_gives_the_same_rows_as_in_a_folder_and_its_credentials_away_nowhere(
    server: S3Server, make: MakeLake, lake: Lake, tmp_path: Path
) -> None:
    """Spark's whole log is on; looked for is what proves the identity, and its name."""
    write_worlds(lake, random.Random("on S3"), count=40)
    place = make()
    place.take_over(lake)
    with Counting(server.endpoint) as proxy:
        named = {"STEDI_LAKE": place.lake.location, "STEDI_NAMESPACE": place.lake.namespace}
        done = run(START, tmp_path, proxy.endpoint, **named, STEDI_SPARK_LOG="info")
    assert done.returncode == 0, done.stderr[-3000:]
    show_requests(proxy.requests)

    assert materialise(lake, place.spark, quarantine_rate=1).success
    assert_same_rows(place.lake, lake)
    assert min(current(place.lake, table).rows for table in (*TABLES.values(), SOURCES["customer"].quarantine)) > 0
    assert set(proxy.encrypted) == {("AES256", None)}
    assert set(encryption_of(place)) == {("AES256", None)}

    assert f"s3a://{place.name}" in done.stderr, "Spark's log shows no path"
    assert "CodeGenerator" in done.stderr, "Spark's log is not on"
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    stored = [place.content(*version) for version in place.versions(raw=True)]
    everything = b"\n".join([done.stdout.encode(), done.stderr.encode(), *written, *stored])
    assert_holds_no_credentials(everything)


def test_an_object_of_icebergs_metadata_is_read_once(server: S3Server, make: MakeLake) -> None:
    with Counting(server.endpoint) as proxy:
        place = make(proxy.endpoint)
        snapshot = published(place, arrow_readings(1), 1, None)
        proxy.requests.clear()
        for _ in range(5):
            assert len(data_paths(place.lake, PHONE, snapshot.id)) == 1
    # The metadata file, the list of manifests, and the one manifest.
    assert proxy.requests["GetObject", "boto3"] <= 3


def test_metadata_that_was_damaged_is_read_again(place: OnS3) -> None:
    """By a process that lives on, once the object is restored."""
    snapshot = published(place, arrow_readings(1), 1, None)
    as_a_new_process()
    manifests = next(key for key, _ in place.versions() if "/snap-" in key)
    content = place.s3.get_object(Bucket=place.name, Key=manifests)["Body"].read()
    for body in (b"damaged", content):
        place.s3.put_object(Bucket=place.name, Key=manifests, Body=body)
        with pytest.raises(CorruptTableError) if body != content else nullcontext():
            assert len(data_paths(place.lake, PHONE, snapshot.id)) == 1


def test_no_setting_and_no_plan_holds_credentials(place: OnS3, session: SparkSession) -> None:
    place.put(PHONES, "one.json", lines(phone_reading("ada", CONSENTED)))
    landing = land(lambda: session, place.lake, PHONES)
    assert landing.accepted is not None
    plan = landing.accepted.groupBy("user").count()._jdf.queryExecution()
    plans = [plan.toString(), plan.stringWithStats(), str(landing.accepted.inputFiles())]
    assert place.name in plans[0]
    assert session._jvm
    hadoop = session._jvm.java.io.StringWriter()
    session._jsparkSession.sessionState().newHadoopConf().writeXml(hadoop)
    known = [*session.sparkContext.getConf().getAll(), *session.conf.getAll.items(), hadoop.toString(), *plans]
    assert ("fs.s3a.endpoint", os.environ["AWS_ENDPOINT_URL"]) in known
    assert_holds_no_credentials(repr(known).encode())
    landing.stage.discard()


def assert_holds_no_credentials(content: bytes) -> None:
    for secret in (KEY_ID, SECRET):
        forms = {secret, secret.replace("/", "\\/"), quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
        assert not [form for form in forms if form.encode() in content]


@pytest.mark.parametrize("command", ["start", pytest.param("job", marks=pytest.mark.matrix)])
@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("missing", r"there is no such bucket: s3://nowhere"),
        ("denied", r"S3 denies (HeadBucket \(403\)|GetObject \(AccessDenied\)): s3://denied/lake"),
        ("nobody", r"no AWS credentials were found; set AWS_PROFILE or AWS_ACCESS_KEY_ID: s3://denied/lake"),
        pytest.param("nothing there", r"S3 cannot be reached", marks=pytest.mark.matrix),
    ],
)
def test_a_bucket_that_cannot_be_used_gives_one_clear_message(
    command: str, problem: str, message: str, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a run that has to be cleaned up after, and without what S3 says, for it quotes the identity."""
    location = "s3://nowhere/lake" if problem == "missing" else "s3://denied/lake"
    away = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""} if problem == "nobody" else {}
    with FaultProxy(server.endpoint, seed=1) as proxy:
        if problem == "denied":
            denied = cast("Kind", "denied")
            monkeypatch.setitem(fault_proxy._REFUSALS, denied, (403, "AccessDenied", f"User {KEY_ID} may not"))
            proxy.share, proxy.kinds = 1, (denied,)
        endpoint = "http://127.0.0.1:9" if problem == "nothing there" else proxy.endpoint
        done = run(START if command == "start" else JOB, tmp_path, endpoint, STEDI_LAKE=location, **away)
    assert done.returncode == 1, done.stdout + done.stderr
    printed = done.stdout + done.stderr
    assert re.search(message, printed), printed
    assert not JAVA_TRACES.search(printed), printed
    assert_holds_no_credentials(printed.encode())
    if command == "start":
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


# --- Landing ----------------------------------------------------------------------------------------------------------


def landed(
    place: OnS3, spark: SparkSession, source: Source, log: Callable[[str], None] = lambda _: None
) -> tuple[Landing, dict[str, tuple[int, int]]]:
    """Land a source; return what came of it, and the records of each file as they were accepted and quarantined."""
    landing = land_without_erased(
        lambda: spark, place.lake, source, LandingOptions(log=log), suppression_key=SUPPRESSION_KEY.encode
    )
    counts = count_by_file(landing.accepted, landing.quarantined)
    # Every record is in a table, and every byte in a record or between two.
    for file in landing.files:
        assert (file.accepted, file.quarantined) == counts.get(file.path, (0, 0)), file
        assert file.error or file.accepted_bytes + file.quarantined_bytes + file.separator_bytes == file.bytes, file
    landing.stage.discard()
    assert [key for key, _ in place.versions()] == []
    return landing, counts


def test_every_key_that_s3_knows_is_landed_whatever_hadoop_makes_of_it(place: OnS3, session: SparkSession) -> None:
    """In the middle of a key, at its end, as a folder; packed or not, and named for it or not."""
    names = [key for key in ODD_KEYS if not key.endswith("/")]
    names += ["[a]", "{a,b}", "a*b", "*", "%2F", "%", "+", "a\u0301", "é", "a.json/b", "~", "$HOME", "a|b", "a^b`"]
    record = lines(phone_reading("ada", CONSENTED))
    expected = {}
    for number, name in enumerate(names):
        # In turns what the key says it is, and not.
        packed, suffix = number % 2 == 0, (".json", ".json", ".json.gz")[number % 3]
        content = record * (number + 1)
        path = f"{name}/x{suffix}" if number % 5 == 0 else f"{name}{suffix}"
        place.put(PHONES, path, gzip.compress(content) if packed else content)
        if not any(part.startswith(".") for part in path.split("/")):
            expected[alias(path, SUPPRESSION_KEY.encode)] = (number + 1, 0)
    said: list[str] = []
    landing, counts = landed(place, session, PHONES, said.append)
    assert counts == expected
    assert said[0].startswith(f"accelerometer: reading {len(expected)} of {len(expected)} files")
    assert {file.path for file in landing.files} == set(expected)
    assert {file.gzip for file in landing.files} == {False, True}
    assert all(path.startswith("./") or "../" in path for path in landing.listing.hidden)


@pytest.mark.matrix
def test_more_keys_than_a_listing_holds_are_landed(place: OnS3, session: SparkSession) -> None:
    rng = random.Random(1)
    expected, contents = {}, {}
    for number in range(1_050):
        good, bad = rng.randint(0, 3), rng.randint(0, 1)
        path = f"{number % 7}/{number:04}.json" + (".gz" if number % 5 == 0 else "")
        content = lines(*(phone_reading(f"p{number}", CONSENTED + instant) for instant in range(good)))
        content += b'{"user": 1}\n' * bad
        contents[path] = gzip.compress(content) if number % 5 == 0 else content
        if good + bad:
            expected[path] = (good, bad)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: place.put(PHONES, path, contents[path]), contents))
    landing, counts = landed(place, session, PHONES)
    assert len(landing.files) == 1_050
    assert counts == expected


@pytest.mark.parametrize("change", ["replaced", "cut", "deleted"])
def test_a_key_that_changes_between_listing_and_reading_is_left_out_and_named(
    change: str, place: OnS3, session: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = lines(phone_reading("ada", CONSENTED))
    for name in ("stays.json", "plain.json", "array.json"):
        place.put(PHONES, name, b"[" + record.strip() + b"]" if name == "array.json" else record)

    def then_change(*arguments: Any, **named: Any) -> Any:
        listing = list_landing_files(*arguments, **named)
        for name in ("plain.json", "array.json"):
            if change == "deleted":
                place.storage.delete(f"{PHONES.raw_path}/{name}")
            else:
                place.put(PHONES, name, record[:-20] if change == "cut" else lines(phone_reading("ben", CONSENTED + 1)))
        return listing

    monkeypatch.setattr(landing_module, "list_landing_files", then_change)
    landing, counts = landed(place, session, PHONES)
    assert counts == {"stays.json": (1, 0)}
    changed = "it was replaced, cut or removed while it was being read"
    assert {file.path: file.error for file in landing.files} == {
        "array.json": changed,
        "plain.json": changed,
        "stays.json": None,
    }


def test_what_arrives_is_told_by_its_etag_and_size(place: OnS3) -> None:
    source, record = SOURCES["step_trainer"], lines(device_reading("a-device", CONSENTED))

    def arrived() -> tuple[list[str], tuple[str, ...]]:
        # At no time: an object has settled when it appears.
        listing = PortionedListing(place.lake)
        assert not listing.list_further(1_000)
        found = find_arrivals(place.lake, 0, listing.found, key=SUPPRESSION_KEY.encode)[source.name]
        return [entry.path for entry in found.changed], found.gone

    place.put(source, "a.json", record)
    place.put(source, "b.json", record)
    assert arrived() == (["a.json", "b.json"], ())
    assert place.materialise(dg.AssetSelection.assets(source.landing.name)).success
    assert arrived() == ([], ())
    place.put(source, "a.json", record)
    assert arrived() == ([], ())
    place.put(source, "a.json", record.replace(b"250", b"251"))
    place.put(source, "c/d e.json.gz", gzip.compress(record))
    place.storage.delete(f"{source.raw_path}/b.json")
    assert arrived() == (["a.json", alias("c/d e.json.gz", SUPPRESSION_KEY.encode)], ("b.json",))


def test_landing_goes_on_whatever_s3_answers_now_and_then(
    server: S3Server, make: MakeLake, session: SparkSession
) -> None:
    with FaultProxy(server.endpoint, seed=7, pause=0.05) as proxy:
        place, expected = make(proxy.endpoint), {}
        for number in range(12):
            content = lines(*(phone_reading("ada", CONSENTED + instant) for instant in range(199 + number)))
            is_array = number % 4 == 0
            place.put(PHONES, f"{number}.json", b"[" + content.replace(b"\n", b",") + b"{}]" if is_array else content)
            expected[f"{number}.json"] = (199 + number, int(is_array))
        proxy.share = 0.1
        _, counts = landed(place, session, PHONES)
    show(f"\nfaults: {dict(proxy.injected)}")
    assert proxy.injected.total() > 3
    assert counts == expected


def test_spark_reads_on_where_an_answer_breaks_off(server: S3Server, make: MakeLake, session: SparkSession) -> None:
    """Each of the answers that a small table takes, one at a time."""
    with FaultProxy(server.endpoint, seed=1, share=1, kinds=("cut_short",), only=lambda *_: False) as proxy:
        place = make(proxy.endpoint)
        published(place, readings(place, session, 4), 4, None)
        for broken in itertools.count():
            asked = itertools.count()
            proxy.injected.clear()
            _, rows = read_current(session, place.lake, PHONE)
            proxy.only = lambda method, target, asked=asked, broken=broken: (
                method == "GET" and target.endswith(".parquet") and next(asked) == broken
            )
            assert run_in([row["x"] for row in rows.collect()]) == 4
            proxy.only = lambda *_: False
            if not proxy.injected:
                break
    assert broken > 1


# --- Publishing -------------------------------------------------------------------------------------------------------

# Without the rules that look at other tables.
PHONE = replace(TABLES["accelerometer_trusted"], own_rules=(), instant=None)
AT_ONCE = Retention(snapshots=2, readers=timedelta(0))


def by(run: str) -> RunContext:
    return RunContext(run, Purpose.PRODUCTION, as_of=AS_OF, policy=Policy())


def readings(place: OnS3, spark: SparkSession, run: int) -> DataFrame:
    """Return the rows of a run, which tell it and how many they are."""
    return (
        session_of(spark, place.lake)
        .range(0, rows_of(run), 1, 2)
        .selectExpr("concat('p', id, '@example.com') AS user", "id AS timestamp", f"{run}D AS x", "2D AS y", "3D AS z")
    )


def rows_of(run: int) -> int:
    return 2 + run % 5


def published(place: OnS3, rows: DataFrame | pa.Table, run: int, expected: Snapshot | None) -> Snapshot:
    return publish(
        place.lake, PHONE, rows, run=by(f"run-{run}"), before=expected, inputs={}, audit=lambda _: {}, retention=AT_ONCE
    ).snapshot


def run_in(x: list[float]) -> int:
    """Return the run that a table holds, once it is seen to hold that one whole, and no other."""
    (run,) = set(x)
    assert len(x) == rows_of(int(run))
    return int(run)


def run_read(place: OnS3) -> int:
    return run_in(current_dataset(place.lake, PHONE.name).to_table()["x"].to_pylist())


def test_a_commit_whose_answer_is_lost_is_published(server: S3Server, make: MakeLake, session: SparkSession) -> None:
    with FaultProxy(server.endpoint, seed=1) as proxy:
        place = make(proxy.endpoint)
        proxy.share, proxy.kinds = 1, ("reset_after",)
        for run in range(3):
            proxy.injected.clear()
            proxy.only = lambda method, target: (
                method == "PUT" and target.endswith(".metadata.json") and not proxy.injected
            )
            snapshot = published(place, readings(place, session, run), run, read_snapshot_of(place.lake, PHONE))
            assert proxy.injected == {"reset_after": 1}
            assert read_snapshot_of(place.lake, PHONE) == snapshot
            assert run_read(place) == run


@pytest.mark.matrix
def test_the_loser_of_a_race_says_so_and_the_table_stays_whole(
    place: OnS3, session: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of Dagster's, whose table another one publishes at the last moment."""
    write = lines(customer("ada", CONSENTED, CONSENTED))
    place.put(SOURCES["customer"], "one.json", write)
    tables = dg.AssetSelection.assets("customer_landing").without_checks()
    assert place.materialise(tables).success
    fast_forward = branches.fast_forward

    def after_another(lake: Lake, table: Any, *arguments: Any) -> bool:
        if table.name == "customer_landing":
            said = replace(current(lake, table), run_id="another").summary()
            branches.commit(
                lake,
                table,
                lambda iceberg: iceberg.append(iceberg.schema().as_arrow().empty_table(), snapshot_properties=said),
            )
        return fast_forward(lake, table, *arguments)

    monkeypatch.setattr(publishing, "fast_forward", after_another)
    result = place.materialise(tables)
    assert not result.success
    failure = result.failure_data_for_node("customer_landing")
    assert failure
    assert failure.user_failure_data
    assert "another run has published customer_landing" in (failure.user_failure_data.description or "")
    snapshot, rows = read_current(session, place.lake, TABLES["customer_landing"])
    assert (snapshot.run_id, rows.count()) == ("another", 1)
    # Nothing of what the loser has written is known any more.
    for table in (TABLES["customer_landing"], SOURCES["customer"].quarantine, SOURCES["customer"].files):
        found = load(place.lake, table)
        assert found
        assert {name for name in found.metadata.refs if not name.startswith("landed_")} == {"main"}


FAILURES = (LakeError, OSError, PySparkException, Py4JError)


def arrow_readings(run: int) -> pa.Table:
    """Return the rows of a run where Spark would only take its time."""
    numbers = range(rows_of(run))
    return pa.table(
        {
            "user": [f"p{number}@example.com" for number in numbers],
            "timestamp": list(numbers),
            "x": [float(run)] * len(numbers),
            "y": [2.0] * len(numbers),
            "z": [3.0] * len(numbers),
        }
    )


@dataclass
class Torture:
    """Publishes and reads a table again and again, with faults, and looks at what is there without any after each."""

    place: OnS3
    proxy: FaultProxy
    rows: Callable[[int], Any]
    read: Callable[[], int]
    outcomes: Counter[str]
    last: int | None = None

    def publish_and_read(self, runs: list[int], share: float) -> None:
        """Let runs publish at once, all from the same state, and read meanwhile."""
        expected = read_snapshot_of(self.place.lake, PHONE)
        before = self.last
        self.proxy.share = share
        with ThreadPoolExecutor(len(runs) + 1) as pool:
            tasks = [pool.submit(self._publish, run, expected) for run in runs]
            reading = pool.submit(self._read) if before is not None else None
            succeeded = [run for run, task in zip(runs, tasks, strict=True) if task.result()]
        if reading and (seen := reading.result()) is not None:
            assert seen in {before, *runs}
        self.proxy.share = 0
        snapshot = read_snapshot_of(self.place.lake, PHONE)
        if snapshot is None:
            assert before is None
            assert not succeeded
            return
        self.last = run_read(self.place)
        assert snapshot.run_id == f"run-{self.last}"
        assert snapshot.rows == rows_of(self.last)
        # Nothing that was published is lost. What failed may be there all the same, and then whole.
        assert [self.last] == succeeded or (not succeeded and self.last in {before, *runs})

    def _publish(self, run: int, expected: Snapshot | None) -> bool:
        try:
            published(self.place, self.rows(run), run, expected)
        except CommitConflictError:
            self.outcomes["lost the race"] += 1
        except FAILURES as error:
            self.outcomes[f"failed: {type(error).__name__}"] += 1
        else:
            self.outcomes["published"] += 1
            return True
        return False

    def _read(self) -> int | None:
        try:
            run = self.read()
        except FAILURES as error:
            self.outcomes[f"not read: {type(error).__name__}"] += 1
            return None
        self.outcomes["read"] += 1
        return run


def torture(
    place: OnS3,
    proxy: FaultProxy,
    runs: int,
    rows: Callable[[int], Any],
    read: Callable[[], int],
    shares: tuple[float, ...],
) -> None:
    proxy.kinds = (*TRANSIENT, "conflict")
    rng = random.Random(1)
    tortured, run = Torture(place, proxy, rows, read, Counter()), 0
    while run < runs:
        together = 2 if rng.random() < 0.25 else 1
        tortured.publish_and_read(list(range(run, run + together)), rng.choice(shares))
        run += together
    show(f"\n{run} runs: {dict(tortured.outcomes)}", f"faults: {dict(proxy.injected)}")
    assert tortured.outcomes["published"] >= runs / 2
    assert proxy.injected.total() > runs
    # Whoever publishes next removes what those who failed have left.
    published(place, rows(run), run, read_snapshot_of(place.lake, PHONE))
    found = load(place.lake, PHONE)
    assert found
    assert set(found.metadata.refs) == {"main"}
    assert set(place.storage.below(PHONE.path)) <= referenced(place.lake, found, with_old_metadata=True)


@pytest.mark.parametrize("runs", [12, pytest.param(200, marks=pytest.mark.torture)])
def test_no_table_is_lost_mixed_or_doubled_whatever_s3_answers(
    runs: int, server: S3Server, make: MakeLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(server.endpoint, seed=2, pause=0.02) as proxy:
        place = make(proxy.endpoint)
        torture(place, proxy, runs, arrow_readings, lambda: run_read(place), (0.02, 0.1, 0.3))


@pytest.mark.parametrize("runs", [4, pytest.param(60, marks=pytest.mark.torture)])
def test_spark_loses_mixes_and_doubles_no_table_whatever_s3_answers(
    runs: int, server: S3Server, make: MakeLake, session: SparkSession
) -> None:
    with FaultProxy(server.endpoint, seed=3, pause=0.02) as proxy:
        place = make(proxy.endpoint)

        def read() -> int:
            _, rows = read_current(session, place.lake, PHONE)
            return run_in([row["x"] for row in rows.collect()])

        # S3A waits for seconds before it tries for the fourth time.
        torture(place, proxy, runs, lambda run: readings(place, session, run), read, (0.02, 0.05, 0.1))


def test_what_may_not_be_read_is_not_called_damaged(
    server: S3Server, make: MakeLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by readers, and not by a repair, which would have the catalog forget a table that has a whole snapshot."""
    denied = cast("Kind", "denied")
    monkeypatch.setitem(fault_proxy._REFUSALS, denied, (403, "AccessDenied", "Access Denied"))
    with FaultProxy(server.endpoint, seed=1, kinds=(denied,), only=lambda _, target: ".parquet" in target) as proxy:
        place = make(proxy.endpoint)
        published(place, arrow_readings(1), 1, None)
        proxy.share = 1
        with pytest.raises(OSError):  # noqa: PT011  # in the words of whoever reads
            run_read(place)
        forget(place.lake, PHONE)
        with pytest.raises((OSError, SecondEngineFailed)):
            repair(place.lake, Keys(PSEUDONYM_KEY.encode, SUPPRESSION_KEY.encode))
        assert load(place.lake, PHONE)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-20] + b"\xff" * 11 + content[-9:], id="as long as it was"),
        pytest.param(lambda content: content[:-9], id="shorter"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(None, id="gone"),
    ],
)
def test_a_damaged_footer_is_called_damaged(place: OnS3, damage: Callable[[bytes], bytes] | None) -> None:
    published(place, arrow_readings(1), 1, None)
    damaged = next(path for path, _ in place.versions() if path.endswith(".parquet"))
    content = place.s3.get_object(Bucket=place.name, Key=damaged)["Body"].read()
    if damage:
        place.s3.put_object(Bucket=place.name, Key=damaged, Body=damage(content))
    else:
        place.s3.delete_object(Bucket=place.name, Key=damaged)
    with pytest.raises(CorruptTableError, match="is damaged"):
        run_read(place)


# --- Who leaves -------------------------------------------------------------------------------------------------------

ADA = person_hash("ada@example.com", SUPPRESSION_KEY.encode())
SUBJECT = hmac.new(PSEUDONYM_KEY.encode(), b"ada@example.com", hashlib.sha256).hexdigest().encode()


def tables_with_ada(place: OnS3) -> set[str]:
    """Return the tables below whose folders any version of any object holds a trace of ada."""
    keys = {
        key
        for key, version in place.versions()
        if TRACES_OF_ADA.search(content := place.content(key, version)) or SUBJECT in content
    }
    prefixes = {name: f"{place.storage.prefix}/{table.path}/" for name, table in ALL_TABLES.items()}
    return {name for name, prefix in prefixes.items() if any(key.startswith(prefix) for key in keys)} | {
        key for key in keys if not key.startswith(tuple(prefixes.values()))
    }


def erase(place: OnS3) -> dg.ExecuteInProcessResult:
    return erase_person.execute_in_process(
        run_config={"ops": {"erase_from_lake": {"config": {"person": ADA}}}},
        resources={name: found for name, found in place.resources().items() if name in {"lake", "spark"}},
        raise_on_error=False,
    )


def withdraw(place: OnS3) -> None:
    place.put(SOURCES["customer"], "later.json", lines(customer("ada", CONSENTED + 1, None)))


def why(result: dg.ExecuteInProcessResult) -> str:
    """Return why the steps of a run failed."""
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return "\n".join(
        (failure.user_failure_data.description if failure.user_failure_data else str(failure.error)) or ""
        for failure in failures
    )


def test_who_withdraws_or_is_erased_is_in_no_version_of_any_object(make: MakeLake, lake: Lake) -> None:
    """In a bucket that keeps what is deleted."""
    place = make(versioned=True)
    write_ada_and_ben(lake)
    place.take_over(lake)
    assert place.materialise().success
    assert tables_with_ada(place) == set(TABLES)
    withdraw(place)
    _leave_unfinished(place)
    # Whoever takes consent back has left when the customers have landed.
    assert place.materialise(dg.AssetSelection.assets("customer_landing").without_checks()).success
    assert tables_with_ada(place) == {name for name, table in TABLES.items() if table.zone is Zone.LANDING}
    assert {table.name: current(place.lake, table).rows for table in MADE_OF_PEOPLE} == ONLY_BEN
    assert place.s3.list_multipart_uploads(Bucket=place.name).get("Uploads", []) == []

    assert erase(place).success
    assert tables_with_ada(place) == set()
    assert {table.name: current(place.lake, table).rows for table in MADE_OF_PEOPLE} == ONLY_BEN


def _leave_unfinished(place: OnS3) -> None:
    """Have a dead run's upload in customer_trusted."""
    key = f"{place.storage.prefix}/{TABLES['customer_trusted'].path}/data/dead.parquet"
    begun = place.s3.create_multipart_upload(Bucket=place.name, Key=key)
    upload = {"Bucket": place.name, "Key": key, "UploadId": begun["UploadId"]}
    place.s3.upload_part(**upload, PartNumber=1, Body=b"ada@example.com")


def deny_deleting(monkeypatch: pytest.MonkeyPatch, below: bytes) -> None:
    """Have S3 delete no version below a folder, as without the right s3:DeleteObjectVersion."""
    make_client = s3_module.s3_client
    denied = b"<DeleteResult><Error><Key>x</Key><Code>AccessDenied</Code></Error></DeleteResult>"

    def answer(request: Any, **_: Any) -> Any:
        if below not in request.body:
            return None
        raw = type("Raw", (), {"stream": lambda *_, **__: iter([denied])})()
        return botocore.awsrequest.AWSResponse(request.url, 200, {}, raw)

    def make_denied(*where: Any) -> Any:
        client = make_client(*where)
        client.meta.events.register("before-send.s3.DeleteObjects", answer)
        return client

    monkeypatch.setattr(s3_module, "s3_client", make_denied)
    monkeypatch.setattr(S3Resource, "get_client", lambda _: make_denied())


@pytest.mark.matrix
def test_without_the_right_to_delete_versions_nobody_leaves_unnoticed(
    make: MakeLake, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make(versioned=True)
    write_ada_and_ben(lake)
    place.take_over(lake)
    assert place.materialise().success
    withdraw(place)
    with monkeypatch.context() as denied:
        deny_deleting(denied, b"/customer/trusted/")
        withdrawn, erased = place.materialise(), erase(place)
        assert not withdrawn.success
        assert not erased.success
        for failed in (withdrawn, erased):
            said = why(failed)
            assert "older files of it could not be removed: S3 denies DeleteObjectVersion" in said, said
            assert "Give the run permission to remove them, all versions included" in said
    assert "customer_trusted" in tables_with_ada(place)
    # With the right, the same again is enough.
    assert place.materialise().success
    assert erase(place).success
    assert tables_with_ada(place) == set()


@pytest.mark.matrix
def test_a_stage_that_may_not_be_removed_is_explained(place: OnS3, monkeypatch: pytest.MonkeyPatch) -> None:
    place.put(SOURCES["customer"], "one.json", lines(customer("ada", CONSENTED, CONSENTED)))
    deny_deleting(monkeypatch, b"/landing_table/_stage-")
    failed = place.materialise(dg.AssetSelection.assets("customer_landing").without_checks())
    assert not failed.success
    assert why(failed).startswith("S3 denies DeleteObjectVersion (AccessDenied): s3://"), why(failed)


@pytest.mark.matrix
def test_small_files_become_few_on_s3_too(place: OnS3) -> None:
    source = SOURCES["accelerometer"]
    run = RunContext("run", Purpose.PRODUCTION, as_of=1_700_000_000_000)
    for number in range(5):
        reading = lines(phone_reading("ada", INSTANTS[0] + number))
        place.lake.storage.write(f"{source.raw_path}/{number}.json", reading)
        landing = land(lambda: place.spark.spark_session, place.lake, source)
        try:
            publish_landing(lambda: place.spark.spark_session, place.lake, source, landing, run, Retention())
        finally:
            landing.stage.discard()
    (done, *_) = maintain(lambda: place.spark.spark_session, place.lake, source.landing, run, Retention())
    assert (done.files_before, done.files_now) == (5, 1)
    rows = current_dataset(place.lake, source.landing.name).to_table()
    assert sorted(rows["timestamp"].to_pylist()) == [INSTANTS[0] + number for number in range(5)]
