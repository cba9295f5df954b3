"""Raw files that lie outside the lake: in other folders, and in other buckets."""

import errno
import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import boto3
import pytest

from stedi_assets.contracts import SOURCES, TABLES
from stedi_assets.ingest.landing_files import list_landing_files
from stedi_assets.ingest.manifests import compare_with_manifests
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.landing import LandingElsewhere, name_of
from stedi_assets.storage.local import LocalFolder
from stedi_assets.storage.names import no_key
from stedi_assets.tables.file_reports import FileReport
from stedi_assets.tables.manifest_report import Mismatch
from stedi_assets.tables.snapshots import current, current_dataset
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    customer,
    lines,
    materialise,
    messages,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.s3_server import REGION, S3Server

FOLDER = SOURCES["customer"].raw_path


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket that boto3 finds as it finds the real ones, with a file below a prefix and one beside it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    client = boto3.client("s3", endpoint_url=server.endpoint)
    client.create_bucket(Bucket="deliveries")
    client.put_object(Bucket="deliveries", Key="from/crm/2024/a.json", Body=b"from S3")
    client.put_object(Bucket="deliveries", Key="from/crm2/b.json", Body=b"of another source")
    return "deliveries"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders, the second with a part that would be hidden in a landing folder."""
    one, other = tmp_path / "in", tmp_path / "_more" / "in"
    for place in (one, other):
        place.mkdir(parents=True)
        (place / "a.json").write_text(f"from {place.name}")
    return one, other


def raw_of(tmp_path: Path, *locations: str) -> LandingElsewhere:
    return LandingElsewhere.of(LocalFolder(tmp_path / "lake"), {FOLDER: locations})


def read(raw: LandingElsewhere) -> dict[str, bytes]:
    """Return what the listed files hold, as a task in another process would read it."""
    files = list_landing_files(raw, FOLDER, {}).files
    there = pickle.loads(pickle.dumps(raw))
    return {file.name: there.open(f"{FOLDER}/{file.path}").read() for file in files}


def test_the_files_of_one_place_are_named_as_in_the_lake(tmp_path: Path, places: tuple[Path, Path]) -> None:
    raw = raw_of(tmp_path, str(places[0]))
    assert read(raw) == {"a.json": b"from in"}
    assert raw.shown(FOLDER) == str(places[0])


def test_the_files_of_several_places_are_named_after_them(
    tmp_path: Path, places: tuple[Path, Path], bucket: str
) -> None:
    raw = raw_of(tmp_path, *map(str, places), f"s3://{bucket}/from/crm/")
    found = read(raw)
    assert found == {
        f"{str(tmp_path).lstrip('/')}/in/a.json": b"from in",
        f"{str(tmp_path).lstrip('/')}/more/in/a.json": b"from in",
        f"{bucket}/from/crm/2024/a.json": b"from S3",
    }
    assert raw.shown(FOLDER) == f"{places[0]} and {places[1]} and s3://{bucket}/from/crm/"


def test_a_place_that_is_not_there_is_an_error_and_the_others_are_read(
    tmp_path: Path, places: tuple[Path, Path]
) -> None:
    """Its files may hold withdrawals."""
    listed = list_landing_files(raw_of(tmp_path, str(tmp_path / "mistyped"), str(places[0])), FOLDER, {})
    top = str(tmp_path).lstrip("/")
    assert {file.name: file.error for file in listed.files} == {
        f"{top}/in/a.json": None,
        f"{top}/mistyped/.": "there is no such folder",
    }


def test_a_place_that_may_not_be_listed_is_an_error(
    tmp_path: Path, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: str) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)

    monkeypatch.setattr(os, "scandir", refused)
    (file,) = list_landing_files(raw_of(tmp_path, str(places[0])), FOLDER, {}).files
    assert (file.name, file.error) == (".", "the folder cannot be listed: no permission")


def test_a_manifest_lists_the_files_of_its_own_place(tmp_path: Path, places: tuple[Path, Path], bucket: str) -> None:
    raw = raw_of(tmp_path, *map(str, places), f"s3://{bucket}/from/crm/")
    digest = hashlib.sha256(b"from S3").hexdigest()
    manifest = f'{{"files": [{{"path": "2024/a.json", "bytes": 7, "sha256": "{digest}"}}, {{"path": "b.json"}}]}}'
    (places[0] / "manifest.json").write_text('{"files": [{"path": "a.json", "bytes": 7}]}')
    boto3.client("s3").put_object(Bucket=bucket, Key="from/crm/manifest.json", Body=manifest.encode())
    listing = list_landing_files(raw, FOLDER, {})
    reports = [FileReport(file.name, file.size, file.fingerprint) for file in listing.files]
    hashed, found = compare_with_manifests(raw, FOLDER, listing, reports, no_key)
    assert (found.unusable, found.listed, found.differing) == (0, 3, 1)
    manifest_on_s3 = f"{bucket}/from/crm/manifest.json"
    assert found.named == (Mismatch(f"{bucket}/from/crm/b.json", "missing", manifest_on_s3),)
    assert {file.sha256 for file in hashed} == {"", digest}


def test_other_sources_lie_in_the_lake(tmp_path: Path, places: tuple[Path, Path]) -> None:
    raw = raw_of(tmp_path, str(places[0]))
    other = SOURCES["accelerometer"].raw_path
    (tmp_path / "lake" / other).mkdir(parents=True)
    (tmp_path / "lake" / other / "b.json").write_text("in the lake")
    assert [entry.path for entry in raw.entries(other)] == ["b.json"]
    assert raw.open(f"{other}/b.json").read() == b"in the lake"
    assert raw.shown(other) == str(tmp_path / "lake" / other)


def test_a_link_that_leaves_the_place_is_not_followed(tmp_path: Path, places: tuple[Path, Path]) -> None:
    (tmp_path / "secret.json").write_text("not a delivery")
    (places[0] / "inside.json").symlink_to(places[0] / "a.json")
    (places[0] / "outside.json").symlink_to(tmp_path / "secret.json")
    listing = list_landing_files(raw_of(tmp_path, *map(str, places)), FOLDER, {})
    errors = {file.path.rpartition("/")[2]: file.error for file in listing.files}
    assert errors == {"a.json": None, "outside.json": errors["outside.json"]}
    assert errors["outside.json"]
    assert [name.rpartition("/")[2] for name in listing.ignored] == ["inside.json"]


def test_no_part_of_a_place_hides_its_files() -> None:
    assert name_of("/srv/_in/.new/...") == "srv/in/new/hidden/"
    assert name_of("s3://bucket/_in/") == "bucket/in/"


def test_a_lake_whose_customers_come_from_two_places_is_as_one_that_holds_them(
    tmp_path: Path, lake: Lake, spark_resource: SparkResource
) -> None:
    write_ada_and_ben(lake)
    crm, shop = tmp_path / "crm", tmp_path / "shop"
    (root_of(lake) / FOLDER).rename(crm)
    shop.mkdir()
    (shop / "one.json").write_bytes(lines(customer("cleo", CONSENTED, CONSENTED)))
    # A file that lies where nobody looks any more.
    (root_of(lake) / FOLDER).mkdir()
    (root_of(lake) / FOLDER / "old.json").write_bytes(lines(customer("dora", CONSENTED, CONSENTED)))
    elsewhere = Lake.at(lake.location, landing={FOLDER: [str(crm), str(shop)]})
    assert materialise(elsewhere, spark_resource).success
    stored = current_dataset(elsewhere, "customer_landing").to_table()
    assert {*zip(stored["_person"].to_pylist(), stored["_source_file"].to_pylist(), strict=True)} == {
        ("ada@example.com", name_of(str(crm)) + "one.json"),
        ("ben@example.com", name_of(str(crm)) + "one.json"),
        ("cleo@example.com", name_of(str(shop)) + "one.json"),
    }
    assert current(elsewhere, TABLES["machine_learning_curated"]).rows > 0
    # Ada withdraws in one place, and a file goes in the other.
    (crm / "two.json").write_bytes(lines(customer("ada", CONSENTED + 1, None)))
    assert materialise(elsewhere, spark_resource).success
    people = current_dataset(elsewhere, "customer_trusted").to_table()["email"].to_pylist()
    assert sorted(people) == ["ben@example.com", "cleo@example.com"]
    (shop / "one.json").unlink()
    failed = materialise(elsewhere, spark_resource)
    assert not failed.success
    assert name_of(str(shop)) + "one.json" in messages(failed)
