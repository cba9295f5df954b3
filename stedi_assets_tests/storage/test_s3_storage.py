"""The lake's storage on S3, without Spark: what a folder does as well, and what only a bucket needs."""

import errno
import itertools
import os
import pickle
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import boto3
import botocore.retries.standard
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stedi_assets.ingest.landing_files import changed_since, list_landing_files
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.interface import ATTEMPTS, Storage
from stedi_assets.storage.local import LocalFolder
from stedi_assets.storage.s3 import S3Bucket
from stedi_assets_tests.storage.test_s3_server import ODD_KEYS
from stedi_assets_tests.support import fault_proxy
from stedi_assets_tests.support.fault_proxy import TRANSIENT, FaultProxy, Kind
from stedi_assets_tests.support.lakes import folders_in
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket

KEY_ID = "AKIDOFTHESTORAGETEST"
KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/storage"
# Above this, boto3 uploads in parts.
IN_PARTS = 9 << 20
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(autouse=True)
def _standard_chain(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have boto3 find the server and an identity as it finds the real ones; and not wait before it tries again."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    # Which has looked for an identity once and for all.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0)


def new_bucket(server: S3Server, *, versioned: bool = False) -> tuple[str, Any]:
    """Make a bucket; return its name, and a client that goes to the server straight."""
    name = f"storage-{next(_numbers)}"
    return name, bucket(server, name, versioned=versioned)


@pytest.fixture(params=["folder", "bucket", "bucket without a prefix"])
def storage(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path) -> Storage:
    """A place of each kind: what holds of one, holds of all."""
    if request.param == "folder":
        return LocalFolder(tmp_path)
    name, _ = new_bucket(server)
    return S3Bucket.at(f"s3://{name}/a/lake" if request.param == "bucket" else f"s3://{name}")


@pytest.fixture
def s3(server: S3Server) -> S3Bucket:
    return S3Bucket.at(f"s3://{new_bucket(server)[0]}/lake")


@pytest.fixture
def versioned(server: S3Server) -> S3Bucket:
    return S3Bucket.at(f"s3://{new_bucket(server, versioned=True)[0]}/lake")


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """What boto3 takes for S3 from now on."""
    with FaultProxy(server.endpoint, seed=1, pause=0.01) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def refuse(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, only: Callable[[str, str], bool], code: str = "AccessDenied"
) -> None:
    """Have S3 refuse some requests; what it says of them quotes the identity, as the real one does."""
    refused = cast("Kind", "refused")
    monkeypatch.setitem(fault_proxy._REFUSALS, refused, (403, code, f"User {KEY_ID} is not authorized"))
    proxy.share, proxy.kinds, proxy.only = 1, (refused,), only


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Call something so many times, all at the same moment."""
    start = threading.Barrier(count)

    def called(number: int) -> Any:
        start.wait()
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(called, range(count)))


def blocks(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(1 << 20), b"")


def content_of(storage: Storage, path: str) -> bytes:
    with storage.open(path) as stream:
        return b"".join(blocks(stream))


def put_many(s3: Any, name: str, keys: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=name, Key=key, Body=b"1"), keys))


def left(s3: Any, name: str) -> list[str]:
    """Return the keys of every version, delete marker and unfinished upload in a bucket."""
    found = list(s3.get_paginator("list_object_versions").paginate(Bucket=name))
    versions = [v["Key"] for page in found for v in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]]
    return versions + [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", [])]


# --- As in a folder ---------------------------------------------------------------------------------------------------


def test_a_small_file_is_replaced_by_whoever_has_seen_it_last(storage: Storage) -> None:
    path = "t/_keys.json"
    assert storage.read(path) is None
    assert storage.replace(path, b"0", '"never seen"') is None
    first = storage.replace(path, b"1", None)
    assert first
    assert storage.replace(path, b"2", None) is None
    second = storage.replace(path, b"2", first)
    assert second
    assert storage.replace(path, b"3", first) is None
    found = storage.read(path)
    assert found
    assert (found.content, found.version) == (b"2", second)
    for _ in range(2):
        storage.delete(path)
        assert storage.read(path) is None
    assert storage.replace(path, b"4", second) is None


def test_of_many_who_have_seen_the_same_one_succeeds(storage: Storage) -> None:
    version = storage.replace("t/_keys.json", b"", None)
    for race in range(10):

        def replaced(number: int, race: int = race, seen: str | None = version) -> str | None:
            return storage.replace("t/_keys.json", b"%d in race %d" % (number, race), seen)

        versions = at_once(6, replaced)
        (winner,) = [number for number, version in enumerate(versions) if version]
        version = versions[winner]
        found = storage.read("t/_keys.json")
        assert found
        assert (found.content, found.version) == (b"%d in race %d" % (winner, race), version)


def test_files_of_any_size_come_back_as_they_were_written(storage: Storage) -> None:
    storage.write("t/s/small", b"small")
    storage.write("t/s/empty", b"")
    big = random.Random(1).randbytes(IN_PARTS)
    with storage.writing("t/s/big") as file:
        file.write(big)
    assert content_of(storage, "t/s/big") == big
    assert content_of(storage, "t/s/empty") == b""
    small = storage.read("t/s/small")
    assert small
    assert small.content == b"small"
    assert dict(storage.files("t/s")) == {"t/s/small": 5, "t/s/empty": 0, "t/s/big": IN_PARTS}


def test_arrow_reads_what_was_written(storage: Storage) -> None:
    table = pa.table({"a": list(range(1_000))})
    with storage.writing("t/s/part-0.parquet") as file:
        pq.write_table(table, file)
    read = pq.read_table(storage.arrow_path("t/s/part-0.parquet"), filesystem=storage.arrow())
    assert read.equals(table)


def test_a_folder_holds_what_lies_below_it_and_nothing_of_its_neighbours(storage: Storage) -> None:
    for path in ("t/a.json", "t/b/c.json", "t/b/d/e.json", "t/_hidden/f.json", "t2/g.json", "t_landing/h.json"):
        storage.write(path, path.encode())
    readable = {entry.path: entry.size for entry in storage.entries("t") if entry.is_file}
    assert readable == {"a.json": 8, "b/c.json": 10, "b/d/e.json": 12}
    assert any(entry.path.startswith("_hidden") for entry in storage.entries("t"))
    assert folders_in(storage, "t") == {"b", "_hidden"}
    assert set(storage.files("t")) == {"t/a.json", "t/b/c.json", "t/b/d/e.json", "t/_hidden/f.json"}
    storage.delete_permanently("t/b")
    assert {entry.path for entry in storage.entries("t") if entry.is_file} == {"a.json"}
    storage.delete_permanently("t")
    storage.delete_permanently("t")
    assert list(storage.entries("t")) == []
    assert folders_in(storage, "t") == set()
    assert {entry.path for entry in storage.entries("t2")} == {"g.json"}
    assert set(storage.files("t_landing")) == {"t_landing/h.json"}
    assert storage.files("nowhere") == {}


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise PermissionError(errno.EACCES, "no permission", "here")

    monkeypatch.setattr(os, "scandir", refused)
    for listed in (LocalFolder(tmp_path).files, LocalFolder(tmp_path).below):
        with pytest.raises(PermissionError):
            listed("t")


def test_the_size_of_a_file_is_known_and_none_where_there_is_none(storage: Storage) -> None:
    assert storage.size("t/a.json") is None
    storage.write("t/a.json", b"")
    assert storage.size("t/a.json") == 0
    storage.write("t/a.json", b"12345")
    assert storage.size("t/a.json") == 5
    storage.delete("t/a.json")
    assert storage.size("t/a.json") is None


def test_every_file_below_a_folder_is_found_hidden_or_not(storage: Storage) -> None:
    for path in ("t/a", "t/_stage-1/b", "t/data/day=1/.c.crc", "t2/d", "t"):
        if path != "t" or not isinstance(storage, LocalFolder):
            storage.write(path, path.encode())
    assert dict(storage.below("t")) == {"t/a": 3, "t/_stage-1/b": 12, "t/data/day=1/.c.crc": 19}
    assert dict(storage.below("t/data")) == {"t/data/day=1/.c.crc": 19}
    assert dict(storage.below("nowhere")) == {}


def test_a_file_that_was_written_since_is_told_from_older_ones(storage: Storage) -> None:
    storage.write("table/old", b"1")
    storage.write("table/again", b"1")
    # S3 gives whole seconds.
    time.sleep(1.1)
    between = int(time.time() * 1000)
    time.sleep(1.1)
    storage.write("table/again", b"2")
    storage.write("table/.new", b"1")
    assert storage.unchanged_since("table", between) == {"table/old"}
    assert storage.unchanged_since("table", between + 60_000) == {"table/old", "table/again", "table/.new"}
    assert storage.unchanged_since("nothing", between) == set()


def test_files_are_removed_for_good_by_name_and_nothing_else(storage: Storage) -> None:
    for path in ("t/a", "t/b", "t/data/day=1/c", "t/data/day=1/d", "t/data/day=2/e", "t2/a"):
        storage.write(path, b"1")
    storage.delete_permanently("t", [])
    assert len(storage.below("t")) == 5
    storage.delete_permanently("t", ["t/a", "t/data/day=1/c", "t/data/day=2/e", "t/never was"])
    assert set(storage.below("t")) == {"t/b", "t/data/day=1/d"}
    # A folder goes with its last file, and not before.
    assert folders_in(storage, "t/data") == {"day=1"}
    storage.delete_permanently("t", ["t/a", "t/b"])
    assert set(storage.below("t")) == {"t/data/day=1/d"}
    assert set(storage.below("t2")) == {"t2/a"}


def test_what_was_written_is_made_to_last(storage: Storage) -> None:
    storage.write("t/data/a", b"1")
    storage.fsync(["t/data/a"])
    storage.fsync([])
    if isinstance(storage, LocalFolder):
        with pytest.raises(FileNotFoundError):
            storage.fsync(["t/data/b"])


def test_a_file_that_is_replaced_or_gone_has_changed(storage: Storage) -> None:
    for name in ("same", "other", "gone"):
        storage.write(f"t/{name}.json", b"1")
    files = list_landing_files(storage, "t", {}).files
    storage.write("t/other.json", b"2")
    storage.delete("t/gone.json")
    assert changed_since(storage, "t", files) == {"other.json", "gone.json"}


# --- More, and odder, than a folder holds -----------------------------------------------------------------------------


def test_more_than_a_page_is_listed_and_removed_whole(server: S3Server) -> None:
    name, s3 = new_bucket(server, versioned=True)
    put_many(s3, name, [f"lake/t/s/{number:04}" for number in range(1_001)])
    storage = S3Bucket.at(f"s3://{name}/lake")
    assert len({entry.path for entry in storage.entries("t")}) == 1_001
    assert len(storage.files("t/s")) == 1_001
    storage.delete_permanently("t/s")
    assert left(s3, name) == []


def test_folders_are_listed_over_pages(s3: S3Bucket) -> None:
    for number in range(5):
        s3.write(f"t/{number}/part", b"1")

    def in_short_pages(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 2

    s3.client.meta.events.register("before-parameter-build.s3.ListObjectVersions", in_short_pages)
    assert folders_in(s3, "t") == {"0", "1", "2", "3", "4"}


def test_every_key_is_listed_once_and_read_by_its_name(server: S3Server) -> None:
    name, s3 = new_bucket(server)
    for key in ODD_KEYS:
        s3.put_object(Bucket=name, Key=f"lake/t/{key}", Body=key.encode())
    # Consoles make an empty folder of this. It is nobody's file.
    s3.put_object(Bucket=name, Key="lake/t/folder/", Body=b"")
    storage = S3Bucket.at(f"s3://{name}/lake")
    found = {entry.path: entry for entry in storage.entries("t")}
    assert set(found) == set(ODD_KEYS)
    for key in ODD_KEYS:
        with storage.open(f"t/{key}") as stream:
            assert stream.read() == key.encode()
    # Whatever ends like a folder, or has a hidden part, is not read.
    assert {path for path, entry in found.items() if not entry.is_file} == {"last/", "../a", "./a", "a/../b"}
    storage.delete_permanently("t")
    assert left(s3, name) == []


def test_a_file_is_read_from_any_byte_on(storage: Storage) -> None:
    content = random.Random(2).randbytes(1_000)
    storage.write("t/a.json", content)
    for start in (0, 1, 500, 999, 1_000):
        with storage.open("t/a.json", start) as stream:
            assert b"".join(blocks(stream)) == content[start:]


def test_a_task_reads_by_its_own_credentials_where_the_driver_does(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = new_bucket(server)
    driver = S3Bucket.at(f"s3://{name}/a/lake", KMS_KEY, lambda: boto3.client("s3"))
    driver.write("t/a.json", b"content")
    pickled = pickle.dumps(driver)
    assert not [secret for secret in (KEY_ID, "secret") if secret.encode() in pickled]
    # On an executor that knows neither endpoint nor region.
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    task = pickle.loads(pickled)
    assert task == driver
    assert content_of(task, "t/a.json") == b"content"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PermissionError, match="no AWS credentials were found"):
        content_of(pickle.loads(pickled), "t/a.json")


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(s3: S3Bucket) -> None:
    with s3.writing("t/a") as file:
        file.write(b"1" * 2 * IN_PARTS)
    with s3.open("t/a") as stream:
        assert stream.read(10) == b"1" * 10
        s3.write("t/a", b"2" * 2 * IN_PARTS)
        with pytest.raises(OSError, match="S3 refuses GetObject"):
            list(blocks(stream))
    with s3.open("t/a") as stream:
        assert stream.read(10) == b"2" * 10
        s3.delete("t/a")
        with pytest.raises(FileNotFoundError, match="no such object"):
            list(blocks(stream))


def test_a_key_that_goes_between_listing_and_reading_cannot_be_opened(s3: S3Bucket) -> None:
    s3.write("t/a.json", b"{}")
    (file,) = list_landing_files(s3, "t", {}).files
    s3.delete("t/a.json")
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        s3.open("t/a.json")
    assert changed_since(s3, "t", [file]) == {"a.json"}


def test_of_a_file_that_fails_half_way_nothing_is_in_the_bucket(server: S3Server) -> None:
    name, client = new_bucket(server)
    storage = S3Bucket.at(f"s3://{name}/lake")

    def write_half() -> None:
        with storage.writing("t/big") as file:
            file.write(b"1" * IN_PARTS)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # of its own
        write_half()
    assert left(client, name) == []


@pytest.mark.parametrize("location", ["s3://", "s3:///lake", "s3://b/a//b", "s3://b/a b", "s3://b/ü", "s3://b/a%20b"])
def test_a_location_that_tools_would_read_differently_is_refused(location: str) -> None:
    with pytest.raises(LakeError, match="Write s3://bucket/prefix"):
        S3Bucket.at(location)


# --- The conditional write --------------------------------------------------------------------------------------------


def _keys_put(method: str, target: str) -> bool:
    return method == "PUT" and "_keys.json" in target


@pytest.mark.parametrize("seen", [False, True], ids=["the first", "a later one"])
@pytest.mark.parametrize("kind", ["reset_after", "cut_short", "reset_before", "internal_error", "slow_down"])
def test_a_write_whose_answer_is_lost_counts_as_written(
    kind: Kind, *, seen: bool, s3: S3Bucket, proxy: FaultProxy
) -> None:
    before = s3.replace("t/_keys.json", b"before", None) if seen else None
    proxy.share, proxy.kinds = 1, (kind,)
    # The first time only.
    proxy.only = lambda method, target: _keys_put(method, target) and not proxy.injected
    version = s3.replace("t/_keys.json", b"ours", before)
    assert proxy.injected.total() == 1
    found = s3.read("t/_keys.json")
    assert found
    assert (found.content, found.version) == (b"ours", version)


def test_who_loses_the_answer_and_the_race_has_lost(s3: S3Bucket, proxy: FaultProxy) -> None:
    """Another run writes before ours, whose first answer is lost: ours must not take theirs for its own."""
    before = s3.replace("t/_keys.json", b"before", None)

    def only(method: str, target: str) -> bool:
        if not _keys_put(method, target) or proxy.injected:
            return False
        proxy.only = None
        proxy.share = 0
        assert s3.replace("t/_keys.json", b"theirs", before)
        proxy.share = 1
        proxy.only = lambda method, target: _keys_put(method, target) and not proxy.injected
        return True

    proxy.share, proxy.kinds, proxy.only = 1, ("reset_after",), only
    assert s3.replace("t/_keys.json", b"ours", before) is None
    assert proxy.injected == {"reset_after": 1}
    found = s3.read("t/_keys.json")
    assert found
    assert found.content == b"theirs"


@pytest.mark.parametrize("conflicts", [1, ATTEMPTS - 1])
def test_a_conflict_is_tried_again(conflicts: int, s3: S3Bucket, proxy: FaultProxy) -> None:
    proxy.share, proxy.kinds = 1, ("conflict",)
    proxy.only = lambda *_: proxy.injected["conflict"] < conflicts
    assert s3.replace("t/_keys.json", b"ours", None)
    assert proxy.injected == {"conflict": conflicts}


def test_who_meets_nothing_but_conflicts_has_lost(s3: S3Bucket, proxy: FaultProxy) -> None:
    proxy.share, proxy.kinds = 1, ("conflict",)
    assert s3.replace("t/_keys.json", b"ours", None) is None
    assert s3.read("t/_keys.json") is None


def test_what_cannot_be_written_is_an_error_and_no_lost_race(
    s3: S3Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(proxy, monkeypatch, _keys_put)
    with pytest.raises(PermissionError, match=r"S3 denies PutObject \(AccessDenied\)"):
        s3.replace("t/_keys.json", b"ours", None)
    assert s3.read("t/_keys.json") is None


# --- What goes wrong on the way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_what_may_be_repeated_is_repeated(seed: int, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    name, client = new_bucket(server, versioned=True)
    with FaultProxy(server.endpoint, seed, share=0.3, pause=0.01, kinds=(*TRANSIENT, "conflict")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        storage = S3Bucket.at(f"s3://{name}/lake")
        version, big = None, random.Random(seed).randbytes(IN_PARTS)
        for number in range(10):
            version = storage.replace("t/_keys.json", b"%d" % number, version)
            assert version
            storage.write(f"t/s/{number}", b"%d" % number)
        with storage.writing("t/s/big") as file:
            file.write(big)
        assert content_of(storage, "t/s/big") == big
        assert storage.files("t/s") == {**{f"t/s/{number}": 1 for number in range(10)}, "t/s/big": IN_PARTS}
        assert folders_in(storage, "t") == {"s"}
        last = storage.read("t/_keys.json")
        assert last
        assert last.content == b"9"
        storage.delete_permanently("t")
    assert proxy.injected.total() > 5
    assert left(client, name) == []


def test_what_breaks_off_is_read_again(s3: S3Bucket, proxy: FaultProxy) -> None:
    s3.write("t/a", b"0123456789")
    proxy.kinds, proxy.only = ("cut_short",), lambda method, _: method == "GET" and proxy.injected["cut_short"] < 2
    calls: list[Callable[[], bytes]] = [lambda: content_of(s3, "t/a"), lambda: s3.content("t/a").content]
    for call in calls:
        proxy.injected.clear()
        proxy.share = 1
        assert call() == b"0123456789"
        assert proxy.injected == {"cut_short": 2}


def test_a_missing_bucket_is_told_from_a_missing_object(s3: S3Bucket) -> None:
    assert s3.read("nothing") is None
    gone = S3Bucket.at("s3://gone/lake")
    for call in (
        gone.require_writable,
        lambda: gone.read("x"),
        lambda: gone.files("x"),
        lambda: gone.delete_permanently("x"),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert caught.value.strerror == "there is no such bucket"
        assert str(caught.value.filename).startswith("s3://gone/lake")


def test_what_s3_denies_is_said_without_its_words(
    s3: S3Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can quote the identity."""
    s3.write("t/a", b"1")
    refuse(proxy, monkeypatch, lambda *_: True, "InvalidAccessKeyId")
    with pytest.raises(PermissionError, match=r"S3 denies HeadBucket \(403\)"):
        s3.require_writable()
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("GetObject", lambda: s3.read("t/a")),
        ("PutObject", lambda: s3.write("t/a", b"2")),
        ("ListObjectsV2", lambda: list(s3.entries("t"))),
        ("ListMultipartUploads", lambda: s3.delete_permanently("t")),
        ("DeleteObject", lambda: s3.delete("t/a")),
    ]
    for operation, call in calls:
        with pytest.raises(PermissionError, match=rf"S3 denies {operation} \(InvalidAccessKeyId\)") as caught:
            call()
        assert KEY_ID not in repr(caught.value) + str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_without_credentials_it_says_what_to_set(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for call in (s3.require_writable, s3.arrow):
        with pytest.raises(PermissionError, match="set AWS_PROFILE or AWS_ACCESS_KEY_ID"):
            call()


def test_an_s3_that_cannot_be_reached_is_no_missing_object(s3: S3Bucket, proxy: FaultProxy) -> None:
    s3.write("t/a", b"1")
    proxy.share, proxy.kinds = 1, ("reset_before",)
    calls: list[Callable[[], Any]] = [
        lambda: s3.read("t/a"),
        lambda: s3.files("t"),
        lambda: s3.replace("t/a", b"2", None),
        lambda: s3.open("t/a"),
    ]
    for call in calls:
        with pytest.raises(ConnectionError, match="S3 cannot be reached"):
            call()


# --- Encryption -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kms_key", "expected"), [(None, ("AES256", None)), (KMS_KEY, ("aws:kms", KMS_KEY))], ids=["S3's keys", "a KMS key"]
)
def test_whatever_is_written_is_encrypted(
    kms_key: str | None, expected: tuple[str, str | None], server: S3Server
) -> None:
    name, client = new_bucket(server)
    storage = S3Bucket.at(f"s3://{name}/lake", kms_key)
    storage.write("small", b"1")
    storage.replace("replaced", b"2", storage.replace("replaced", b"1", None))
    for path, size in (("one part", 10), ("parts", IN_PARTS)):
        with storage.writing(path) as file:
            file.write(b"1" * size)
    for path in ("small", "replaced", "one part", "parts"):
        head = client.head_object(Bucket=name, Key=f"lake/{path}")
        assert (head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")) == expected, path


# --- Removal for good -------------------------------------------------------------------------------------------------


def _begin_upload(storage: S3Bucket, path: str) -> None:
    key = f"{storage.prefix}/{path}"
    begun = storage.client.create_multipart_upload(Bucket=storage.bucket, Key=key)
    upload = {"Bucket": storage.bucket, "Key": key, "UploadId": begun["UploadId"]}
    storage.client.upload_part(**upload, PartNumber=1, Body=b"ada@example.com")


def _fill(storage: S3Bucket) -> None:
    """Put into the folder t what a removal could forget: old versions, a deleted object, an upload that was begun."""
    storage.write("t/s/a", b"ada@example.com")
    storage.write("t/s/a", b"ben@example.com")
    storage.write("t/s/deleted", b"ada@example.com")
    storage.delete("t/s/deleted")
    _begin_upload(storage, "t/s/begun")
    storage.write("t2/s/stays", b"1")


def test_no_version_and_no_upload_outlives_a_removal(versioned: S3Bucket) -> None:
    _fill(versioned)
    _begin_upload(versioned, "t/only begun/x")
    versioned.write("t/only deleted/x", b"1")
    versioned.delete("t/only deleted/x")
    # Also those are to be found, for somebody to remove them.
    assert folders_in(versioned, "t") == {"s", "only begun", "only deleted"}
    for folder in sorted(folders_in(versioned, "t")):
        versioned.delete_permanently(f"t/{folder}")
    assert left(versioned.client, versioned.bucket) == ["lake/t2/s/stays"]
    assert folders_in(versioned, "t") == set()


def test_of_a_file_that_is_removed_by_name_no_version_and_no_upload_stays(versioned: S3Bucket) -> None:
    """And they are found by its name, though there may be nothing to see of it."""
    _fill(versioned)
    versioned.write("t/s/stays", b"12")
    assert dict(versioned.below("t")) == {"t/s/a": 15, "t/s/deleted": 0, "t/s/begun": 0, "t/s/stays": 2}
    versioned.delete_permanently("t", ["t/s/a", "t/s/deleted", "t/s/begun"])
    assert dict(versioned.below("t")) == {"t/s/stays": 2}
    assert sorted(left(versioned.client, versioned.bucket)) == ["lake/t/s/stays", "lake/t2/s/stays"]


def test_an_upload_that_another_has_aborted_is_no_error(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    _begin_upload(s3, "t/s/x")
    abort = s3.client.abort_multipart_upload
    monkeypatch.setattr(s3.client, "abort_multipart_upload", lambda **upload: (abort(**upload), abort(**upload)))
    s3.delete_permanently("t/s")
    assert left(s3.client, s3.bucket) == []


@pytest.mark.parametrize(
    ("method", "query", "operation"),
    [
        ("GET", "versions", "ListObjectVersions"),
        ("GET", "uploads", "ListMultipartUploads"),
        ("DELETE", "uploadId", "AbortMultipartUpload"),
        ("POST", "delete", "DeleteObjects"),
    ],
)
def test_who_may_not_remove_everything_is_told_so(
    method: str, query: str, operation: str, versioned: S3Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(versioned)
    refuse(proxy, monkeypatch, lambda m, target: m == method and query in target.partition("?")[2])
    with pytest.raises(PermissionError, match=rf"S3 denies {operation} \(AccessDenied\)"):
        versioned.delete_permanently("t/s")
    assert proxy.injected


def test_a_version_that_may_not_be_deleted_among_those_that_may_is_an_error(
    versioned: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 says so in an answer that is a success otherwise."""
    _fill(versioned)
    answer = (
        f"<DeleteResult><Error><Key>lake/t/s/a</Key><VersionId>1</VersionId><Code>AccessDenied</Code>"
        f"<Message>User {KEY_ID} is not authorized</Message></Error></DeleteResult>"
    )
    raw = type("Raw", (), {"stream": lambda *_, **__: iter([answer.encode()])})()
    said = botocore.awsrequest.AWSResponse("http://s3", 200, {}, raw)
    versioned.client.meta.events.register("before-send.s3.DeleteObjects", lambda **_: said)
    with pytest.raises(PermissionError, match=r"S3 denies DeleteObjectVersion \(AccessDenied\)") as caught:
        versioned.delete_permanently("t/s")
    assert KEY_ID not in str(caught.value)
