"""The tests' own S3: that it keeps S3's promises where moto does not, and what its fault proxy does to clients."""

import io
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.message import Message
from http.client import HTTPConnection
from typing import Any, get_args
from urllib.parse import urlsplit

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError, ResponseStreamingError

from stedi_assets_tests.support.fault_proxy import TRANSIENT, FaultProxy, Kind
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket, client

LAKE = "lake"
VERSIONED = "versioned"
MB = 1 << 20
ODD_KEYS = [
    *("a b", " a", "a=b/c=1", "a+b", "a%20b", "a%2Fb", "a%", "ü/ñ/日本", "emoji😀", "x//y", "/first", "last/", "a&b"),
    *("a#b", "a?b", "a;b", "a:b", "a,b@c$d!e*(f)", "a'b\"c", "a<b>", "a\\b", "a\tb", "../a", "./a", "a/../b", "~.-_"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        bucket(server, LAKE)
        bucket(server, VERSIONED, versioned=True)
        yield server


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint, seed=1) as proxy:
        yield proxy


@pytest.fixture
def s3(server: S3Server) -> Any:
    return client(server.endpoint)


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Return the status and the code with which S3 refuses a call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_an_update_of_a_table_that_has_moved_is_refused(server: S3Server) -> None:
    """As Iceberg's commits to Glue rely on."""
    glue = boto3.client(
        "glue", endpoint_url=server.endpoint, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
    )
    glue.create_database(DatabaseInput={"Name": "stedi"})
    glue.create_table(DatabaseName="stedi", TableInput={"Name": "readings"})
    seen = glue.get_table(DatabaseName="stedi", Name="readings")["Table"]["VersionId"]
    update = {"DatabaseName": "stedi", "TableInput": {"Name": "readings"}, "VersionId": seen}
    glue.update_table(**update)
    assert refused(glue.update_table, **update) == (400, "ConcurrentModificationException")
    now = glue.get_table(DatabaseName="stedi", Name="readings")["Table"]["VersionId"]
    glue.update_table(**update | {"VersionId": now})


def test_a_write_may_depend_on_what_is_there(s3: Any) -> None:
    key = {"Bucket": LAKE, "Key": "conditional"}
    assert refused(s3.put_object, **key, Body=b"1", IfMatch='"0"') == (404, "NoSuchKey")
    first = s3.put_object(**key, Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(s3.put_object, **key, Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
    s3.put_object(**key, Body=b"2", IfMatch=first)
    assert refused(s3.put_object, **key, Body=b"3", IfMatch=first) == (412, "PreconditionFailed")
    assert s3.get_object(**key)["Body"].read() == b"2"
    # Conditions that are not looked at are refused.
    assert refused(s3.copy_object, **key, CopySource=f"{LAKE}/conditional", IfNoneMatch="*") == (501, "NotImplemented")


def test_of_two_conditional_writes_at_once_exactly_one_wins(s3: Any) -> None:
    def outcome(start: threading.Barrier, body: bytes, arguments: dict[str, str]) -> bytes | None:
        start.wait()
        try:
            s3.put_object(**arguments, Body=body)
        except ClientError as error:
            return None if error.response["Error"]["Code"] == "PreconditionFailed" else b"another error"
        return body

    with ThreadPoolExecutor(2) as writers:
        for race in range(50):
            key = {"Bucket": LAKE, "Key": f"race/{race}"}
            # In turns for who is first, and for who is next.
            condition = {"IfMatch": s3.put_object(**key, Body=b"")["ETag"]} if race % 2 else {"IfNoneMatch": "*"}
            start = threading.Barrier(2)
            racing = [writers.submit(outcome, start, letter * 100_000, {**key, **condition}) for letter in (b"a", b"b")]
            outcomes = [writer.result() for writer in racing]
            assert outcomes.count(None) == 1
            assert s3.get_object(**key)["Body"].read() in outcomes


def test_versions_and_delete_markers_are_listed_and_removed_for_good(s3: Any) -> None:
    for body in (b"1", b"2"):
        s3.put_object(Bucket=VERSIONED, Key="v/a", Body=body)
    s3.delete_object(Bucket=VERSIONED, Key="v/a")
    assert refused(s3.get_object, Bucket=VERSIONED, Key="v/a") == (404, "NoSuchKey")
    # A delete marker is no object.
    s3.put_object(Bucket=VERSIONED, Key="v/a", Body=b"3", IfNoneMatch="*")
    listed = s3.list_object_versions(Bucket=VERSIONED, Prefix="v/")
    assert [version["IsLatest"] for version in listed["Versions"]] == [True, False, False]
    assert [marker["IsLatest"] for marker in listed["DeleteMarkers"]] == [False]
    versions = [*listed["Versions"], *listed["DeleteMarkers"]]
    named = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]
    assert "Errors" not in s3.delete_objects(Bucket=VERSIONED, Delete={"Objects": named})
    assert not {"Versions", "DeleteMarkers"} & s3.list_object_versions(Bucket=VERSIONED, Prefix="v/").keys()


def test_no_page_and_no_deletion_is_longer_than_s3_allows(s3: Any) -> None:
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda i: s3.put_object(Bucket=VERSIONED, Key=f"p/{i:04}", Body=b""), range(1_001)))
    assert s3.list_objects_v2(Bucket=VERSIONED, Prefix="p/", MaxKeys=5_000)["KeyCount"] == 1_000
    for operation, part in (("list_objects_v2", "Contents"), ("list_object_versions", "Versions")):
        pages = list(s3.get_paginator(operation).paginate(Bucket=VERSIONED, Prefix="p/"))
        assert [len(page[part]) for page in pages] == [1_000, 1]
        assert [found["Key"] for page in pages for found in page[part]] == [f"p/{i:04}" for i in range(1_001)]
    named = [{"Key": f"p/{i:04}"} for i in range(1_001)]
    assert refused(s3.delete_objects, Bucket=VERSIONED, Delete={"Objects": named}) == (400, "MalformedXML")
    assert len(s3.delete_objects(Bucket=VERSIONED, Delete={"Objects": named[:1_000]})["Deleted"]) == 1_000
    assert s3.list_objects_v2(Bucket=VERSIONED, Prefix="p/")["KeyCount"] == 1


def test_uploads_are_listed_with_their_age_until_they_are_aborted(s3: Any) -> None:
    begun = s3.create_multipart_upload(Bucket=LAKE, Key="u/a b")
    upload = {"Bucket": LAKE, "Key": "u/a b", "UploadId": begun["UploadId"]}
    s3.upload_part(**upload, PartNumber=1, Body=b"part")
    (listed,) = s3.list_multipart_uploads(Bucket=LAKE, Prefix="u/")["Uploads"]
    assert listed["Key"] == "u/a b"
    assert abs(datetime.now(timezone.utc) - listed["Initiated"]) < timedelta(minutes=1)
    s3.abort_multipart_upload(**upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=LAKE, Prefix="u/")
    assert refused(s3.abort_multipart_upload, **upload) == (404, "NoSuchUpload")
    assert refused(s3.upload_part, **upload, PartNumber=2, Body=b"part") == (404, "NoSuchUpload")


def test_what_a_client_did_not_send_whole_is_not_there(s3: Any, server: S3Server) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(server.endpoint).port or 0)) as connection:
        connection.sendall(b"PUT /lake/half HTTP/1.1\r\nHost: s3\r\nContent-Length: 100\r\n\r\nhalf")
    assert refused(s3.get_object, Bucket=LAKE, Key="half") == (404, "NoSuchKey")


def test_ranges_are_as_in_s3(s3: Any) -> None:
    s3.put_object(Bucket=LAKE, Key="range", Body=b"0123456789")
    for asked, part in (("0-0", b"0"), ("2-4", b"234"), ("8-99", b"89"), ("7-", b"789"), ("-2", b"89")):
        assert s3.get_object(Bucket=LAKE, Key="range", Range=f"bytes={asked}")["Body"].read() == part
    assert refused(s3.get_object, Bucket=LAKE, Key="range", Range="bytes=10-") == (416, "InvalidRange")


def test_a_new_server_is_empty_and_a_stopped_one_is_gone(s3: Any) -> None:
    with S3Server() as another:
        assert client(another.endpoint).list_buckets()["Buckets"] == []
        assert len(s3.list_buckets()["Buckets"]) == 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(another.endpoint).port or 0))


def test_the_proxy_changes_nothing_by_itself(proxy: FaultProxy, s3: Any) -> None:
    through = client(proxy.endpoint)
    for key in ODD_KEYS:
        body = f"the body of {key}".encode()
        through.put_object(Bucket=LAKE, Key=f"odd/{key}", Body=body)
        through.copy_object(Bucket=LAKE, Key=f"copy/{key}", CopySource={"Bucket": LAKE, "Key": f"odd/{key}"})
        assert through.head_object(Bucket=LAKE, Key=f"copy/{key}")["ContentLength"] == len(body)
        for each in (through, s3):
            assert each.get_object(Bucket=LAKE, Key=f"copy/{key}")["Body"].read() == body
    for each in (through, s3):
        found = [found["Key"] for found in each.list_objects_v2(Bucket=LAKE, Prefix="odd/")["Contents"]]
        assert found == sorted((f"odd/{key}" for key in ODD_KEYS), key=str.encode)
    whole = bytes(range(256)) * (12 * MB // 256)
    parts = TransferConfig(multipart_threshold=5 * MB, multipart_chunksize=5 * MB)
    through.upload_fileobj(io.BytesIO(whole), LAKE, "a=b/whole", Config=parts)
    for each in (through, s3):
        copy = io.BytesIO()
        each.download_fileobj(LAKE, "a=b/whole", copy, Config=parts)
        assert copy.getvalue() == whole
    assert not proxy.injected


def test_the_proxy_keeps_connections_and_takes_bodies_in_chunks(proxy: FaultProxy, s3: Any) -> None:
    connection = HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=10)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}
    connection.request("PUT", f"/{LAKE}/chunked", iter((b"one ", b"two")), signed, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    kept = connection.sock
    connection.request("PUT", f"/{LAKE}/expected", b"body", {**signed, "Expect": "100-continue"})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert connection.sock is kept is not None
    connection.close()
    assert s3.get_object(Bucket=LAKE, Key="chunked")["Body"].read() == b"one two"
    assert s3.get_object(Bucket=LAKE, Key="expected")["Body"].read() == b"body"


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("internal_error", 500, "InternalError"),
        ("slow_down", 503, "SlowDown"),
        ("conflict", 409, "ConditionalRequestConflict"),
    ],
)
def test_a_client_is_refused_and_nothing_is_done(
    kind: Kind, status: int, code: str, proxy: FaultProxy, s3: Any
) -> None:
    through = client(proxy.endpoint)
    proxy.share, proxy.kinds = 1, (kind,)
    arguments = {"Bucket": LAKE, "Key": f"refused/{kind}", "Body": b"1", "IfNoneMatch": "*"}
    assert refused(through.put_object, **arguments) == (status, code)
    assert proxy.injected == {kind: 1}
    assert refused(s3.get_object, Bucket=LAKE, Key=f"refused/{kind}") == (404, "NoSuchKey")


def test_only_a_conditional_write_meets_a_conflict(proxy: FaultProxy) -> None:
    proxy.share, proxy.kinds = 1, ("conflict",)
    client(proxy.endpoint).put_object(Bucket=LAKE, Key="unconditional", Body=b"")
    assert not proxy.injected


@pytest.mark.parametrize(("kind", "is_done"), [("reset_before", False), ("reset_after", True)])
def test_a_connection_is_reset_before_or_after_the_server_has_done_it(
    kind: Kind, *, is_done: bool, proxy: FaultProxy, s3: Any
) -> None:
    proxy.share, proxy.kinds = 1, (kind,)
    with pytest.raises(ConnectionClosedError) as caught:
        client(proxy.endpoint).put_object(Bucket=LAKE, Key=kind, Body=b"1")
    assert "reset" in repr(caught.value.__context__)
    assert proxy.injected == {kind: 1}
    assert ("Contents" in s3.list_objects_v2(Bucket=LAKE, Prefix=kind)) == is_done


def test_a_lost_answer_makes_a_repeated_conditional_write_fail_on_itself(proxy: FaultProxy, s3: Any) -> None:
    # The first time only.
    proxy.share, proxy.kinds = 1, ("reset_after",)
    proxy.only = lambda method, _: method == "PUT" and not proxy.injected
    through = client(proxy.endpoint, attempts=3)
    arguments = {"Bucket": LAKE, "Key": "lost answer", "Body": b"ours", "IfNoneMatch": "*"}
    assert refused(through.put_object, **arguments) == (412, "PreconditionFailed")
    assert s3.get_object(Bucket=LAKE, Key="lost answer")["Body"].read() == b"ours"


def test_a_body_is_cut_short(proxy: FaultProxy, s3: Any) -> None:
    s3.put_object(Bucket=LAKE, Key="cut", Body=b"0123456789")
    proxy.share, proxy.kinds = 1, ("cut_short",)
    through = client(proxy.endpoint)
    body = through.get_object(Bucket=LAKE, Key="cut")["Body"]
    with pytest.raises(ResponseStreamingError, match="IncompleteRead"):
        body.read()
    with pytest.raises(ConnectionClosedError):
        through.head_object(Bucket=LAKE, Key="cut")
    assert proxy.injected == {"cut_short": 1, "reset_after": 1}


def test_an_answer_is_late(proxy: FaultProxy) -> None:
    proxy.share, proxy.kinds, proxy.pause = 1, ("delay",), 1
    through = client(proxy.endpoint, read_timeout=0.5)
    with pytest.raises(ReadTimeoutError):
        through.list_objects_v2(Bucket=LAKE)
    assert proxy.injected == {"delay": 1}


def test_faults_are_drawn_from_the_seed_and_only_for_what_is_picked(server: S3Server) -> None:
    def drawn(seed: int) -> list[Kind | None]:
        with FaultProxy(server.endpoint, seed, share=0.5, only=lambda method, _: method == "GET") as proxy:
            assert {proxy.draw("PUT", "/", Message()) for _ in range(50)} == {None}
            return [proxy.draw("GET", "/", Message()) for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert set(drawn(1)) == {None, *TRANSIENT}
    assert {*TRANSIENT, "conflict"} == set(get_args(Kind))


def test_a_client_that_repeats_gets_everything_done(proxy: FaultProxy, s3: Any) -> None:
    through = client(proxy.endpoint, attempts=10)
    proxy.share, proxy.pause = 0.2, 0.1

    def operate(number: int) -> None:
        key, body = f"busy/{number}", b"%d" % number * 10_000
        through.put_object(Bucket=LAKE, Key=key, Body=body)
        assert through.head_object(Bucket=LAKE, Key=key)["ContentLength"] == len(body)
        assert through.list_objects_v2(Bucket=LAKE, Prefix=key)["KeyCount"] > 0
        copy = io.BytesIO()
        through.download_fileobj(LAKE, key, copy)
        assert copy.getvalue() == body

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(operate, range(50)))
    assert s3.list_objects_v2(Bucket=LAKE, Prefix="busy/")["KeyCount"] == 50
    assert proxy.injected.total() > 20
