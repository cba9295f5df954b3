"""A lake in an S3 bucket: encrypted objects, conditional writes, and purges that leave no version behind."""

import contextlib
import errno
import io
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import Any, BinaryIO, cast

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

from stedi_assets.storage.aws_errors import code_of
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.interface import ATTEMPTS, Entry, Small, is_hidden

_BLOCK = 8 << 20
_KEYS_AT_ONCE = 1000
_GONE = {"NoSuchKey", "NoSuchBucket", "404"}
_DENIED = {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_MOVED = {"PreconditionFailed", "412", "NoSuchKey"}
_IN_CONFLICT = {"ConditionalRequestConflict", "409"}
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_BROKEN_OFF = (HTTPClientError, BotoConnectionError, IncompleteReadError)
_NO_BUCKET = "there is no such bucket"


def s3_client(endpoint: str | None = None, region: str | None = None) -> Any:
    """Return a boto3 client by the standard chain, which retries what can be retried."""
    config = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
    return boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config)


@dataclass(frozen=True)
class S3Bucket:
    """A prefix in a bucket as the place of a lake. `storage.interface.Storage` says what each method does.

    `kms_key` encrypts what is written; if it is None, S3's own keys do.
    """

    bucket: str
    prefix: str
    kms_key: str | None = None
    make_client: Callable[[], Any] = field(default=s3_client, compare=False, repr=False)

    @classmethod
    def at(cls, location: str, kms_key: str | None = None, make_client: Callable[[], Any] = s3_client) -> "S3Bucket":
        """Return the place that `s3://bucket/prefix` names. Raises `LakeError` if it names none."""
        named = re.fullmatch(r"s3a?://([^/]+)/*(.*?)/*", location)
        if not named or re.search(r"//|[^\w/.=-]|(^|/)\.{1,2}(/|$)", named[2], re.ASCII):
            msg = f"STEDI_LAKE={location} is not possible. Write s3://bucket/prefix, with A-Z a-z 0-9 _ - . = /"
            raise LakeError(msg)
        return cls(named[1], named[2], kms_key, make_client)

    def __reduce__(self) -> tuple[Any, ...]:
        """Give a Spark task the address of S3, but no credentials. It finds those itself."""
        found = self.client.meta
        make_client = partial(s3_client, found.endpoint_url, found.region_name)
        return S3Bucket, (self.bucket, self.prefix, self.kms_key, make_client)

    @cached_property
    def client(self) -> Any:
        """The boto3 client, made when it is first needed."""
        with _as_os_errors(self.location):
            return self.make_client()

    @property
    def location(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def encryption(self) -> dict[str, str]:
        """The arguments by which boto3 encrypts what it writes."""
        if self.kms_key:
            return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key}
        return {"ServerSideEncryption": "AES256"}

    def url(self, path: str) -> str:
        return f"s3a://{self.bucket}/{self._key(path)}"

    def shown(self, path: str) -> str:
        return f"s3://{self.bucket}/{self._key(path)}"

    def arrow(self) -> S3FileSystem:
        # Use the identity and endpoint that boto3 has found.
        credentials = boto3.Session().get_credentials()
        if credentials is None:
            raise _no_credentials(self.location)
        frozen = credentials.get_frozen_credentials()
        return S3FileSystem(
            access_key=frozen.access_key,
            secret_key=frozen.secret_key,
            session_token=frozen.token,
            region=self.client.meta.region_name or "us-east-1",
            endpoint_override=self.client.meta.endpoint_url,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        )

    def arrow_path(self, path: str) -> str:
        return f"{self.bucket}/{self._key(path)}"

    def require_writable(self) -> None:
        with _as_os_errors(self.location):
            self.client.head_bucket(Bucket=self.bucket)

    def read(self, path: str) -> Small | None:
        try:
            return self.content(path)
        except FileNotFoundError as error:
            if error.strerror == _NO_BUCKET:
                raise
            return None

    def write(self, path: str, content: bytes) -> None:
        with self._told(path):
            self.client.put_object(Bucket=self.bucket, Key=self._key(path), Body=content, **self.encryption)

    def replace(self, path: str, content: bytes, seen: str | None) -> str | None:
        condition = {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen}
        for _ in range(ATTEMPTS):
            try:
                answer = self.client.put_object(
                    Bucket=self.bucket, Key=self._key(path), Body=content, **condition, **self.encryption
                )
                return str(answer["ETag"])
            except (ClientError, BotoCoreError) as error:
                if code_of(error) in _IN_CONFLICT:
                    continue
                # If an answer is lost, the request is repeated, and then our own write has moved the version.
                found = self.read(path)
                if found is not None and found.content == content:
                    return found.version
                if code_of(error) in _MOVED:
                    return None
                with self._told(path):
                    raise
        return None

    def size(self, path: str) -> int | None:
        try:
            return self.status(path)[0]
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        with self._told(path):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(path))

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        # Write to the local disk first: what fails half-way must not be in the bucket.
        with tempfile.TemporaryFile(prefix="stedi-") as local:
            yield cast("BinaryIO", local)
            local.seek(0)
            with self._told(path):
                self.client.upload_fileobj(local, self.bucket, self._key(path), ExtraArgs=self.encryption)

    def open(self, path: str, start: int = 0) -> BinaryIO:
        return io.BufferedReader(_Object(self, path, start), _BLOCK)

    def status(self, path: str) -> tuple[int, str]:
        """Return an object's size in bytes, and its version."""
        with self._told(path):
            found = self.client.head_object(Bucket=self.bucket, Key=self._key(path))
        return found["ContentLength"], found["ETag"]

    def entries(self, folder: str) -> Iterator[Entry]:
        top = self._key(folder) + "/"
        for listed in self._pages("list_objects_v2", top, "Contents"):
            path = listed["Key"].removeprefix(top)
            stamp = f"{listed['Size']}-{listed['ETag']}"
            hidden = any(is_hidden(part) for part in path.split("/"))
            # Consoles make an empty folder as a key that ends with /.
            if path and not (path.endswith("/") and listed["Size"] == 0):
                yield Entry(path, not hidden and not path.endswith("/"), listed["Size"], stamp)

    def files(self, folder: str) -> Mapping[str, int]:
        skipped = len(self._key(""))
        listed = self._pages("list_objects_v2", self._key(folder) + "/", "Contents")
        return {file["Key"][skipped:]: file["Size"] for file in listed}

    def below(self, folder: str) -> Mapping[str, int]:
        top = self._key(folder) + "/"
        found = {upload["Key"]: 0 for upload in self._pages("list_multipart_uploads", top, "Uploads")}
        for version in self._pages("list_object_versions", top, "Versions", "DeleteMarkers"):
            current = version["IsLatest"] and "Size" in version
            found[version["Key"]] = version["Size"] if current else found.get(version["Key"], 0)
        skipped = len(self._key(""))
        return {key[skipped:]: size for key, size in found.items()}

    def unchanged_since(self, folder: str, instant: int) -> frozenset[str]:
        top, skipped = self._key(folder) + "/", len(self._key(""))
        uploads = self._pages("list_multipart_uploads", top, "Uploads")
        versions = self._pages("list_object_versions", top, "Versions", "DeleteMarkers")
        changed: dict[str, float] = {}
        for key, at in chain(
            ((upload["Key"], upload["Initiated"]) for upload in uploads),
            ((version["Key"], version["LastModified"]) for version in versions),
        ):
            changed[key] = max(changed.get(key, 0), at.timestamp() * 1000)
        return frozenset(key[skipped:] for key, at in changed.items() if at <= instant)

    def fsync(self, paths: Iterable[str]) -> None:
        """Do nothing: an object that S3 has acknowledged is safe."""

    def delete_permanently(self, folder: str, paths: Collection[str] | None = None) -> None:
        top = self._key(folder) + "/"
        wanted = None if paths is None else {self._key(path) for path in paths}
        for upload in self._pages("list_multipart_uploads", top, "Uploads"):
            if wanted is not None and upload["Key"] not in wanted:
                continue
            with self._told(folder), contextlib.suppress(self.client.exceptions.NoSuchUpload):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        found = self._pages("list_object_versions", top, "Versions", "DeleteMarkers")
        versions = [
            {"Key": version["Key"], "VersionId": version["VersionId"]}
            for version in found
            if wanted is None or version["Key"] in wanted
        ]
        for start in range(0, len(versions), _KEYS_AT_ONCE):
            with self._told(folder):
                answer = self.client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": versions[start : start + _KEYS_AT_ONCE], "Quiet": True}
                )
            for refused in answer.get("Errors", []):
                raise _refused(refused.get("Code", ""), "DeleteObjectVersion", self.shown(folder))

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def content(self, path: str, **more: str) -> Small:
        """Return an object, or the part that `more` asks for; ask again if the connection breaks off within it."""
        for left in reversed(range(ATTEMPTS)):
            try:
                with self._told(path):
                    answer = self.client.get_object(Bucket=self.bucket, Key=self._key(path), **more)
                    return Small(answer["Body"].read(), answer["ETag"])
            except ConnectionError:
                if not left:
                    raise
        raise AssertionError

    def _pages(self, operation: str, top: str, *parts: str) -> Iterator[Any]:
        with _as_os_errors(f"s3://{self.bucket}/{top}"):
            for page in self.client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=top):
                for part in parts:
                    yield from page.get(part, [])

    def _told(self, path: str) -> contextlib.AbstractContextManager[None]:
        return _as_os_errors(self.shown(path))


class _Object(io.RawIOBase):
    """An object as a stream. It is read in ranges, each again if the connection breaks within it."""

    def __init__(self, storage: S3Bucket, path: str, start: int) -> None:
        self._storage, self._path, self._place = storage, path, start
        self._size, self._version = storage.status(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position: Parquet is read from its end."""
        self._place = max(0, {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence] + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from where the last call ended."""
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        # Fail if it is not the object that was opened.
        part = {"Range": f"bytes={self._place}-{end - 1}", "IfMatch": self._version}
        content = self._storage.content(self._path, **part).content
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


@contextmanager
def _as_os_errors(where: str) -> Iterator[None]:
    """Turn boto3's errors into those that a folder would raise, without S3's message: it can quote a key."""
    try:
        yield
    except ClientError as error:
        raise _refused(code_of(error), error.operation_name, where) from None
    except _NO_CREDENTIALS:
        raise _no_credentials(where) from None
    except _BROKEN_OFF as error:
        raise ConnectionError(errno.ECONNABORTED, f"S3 cannot be reached ({type(error).__name__})", where) from None
    except (BotoCoreError, Boto3Error) as error:
        raise OSError(errno.EIO, f"S3 cannot be used ({type(error).__name__})", where) from None


def _refused(code: str, operation: str, where: str) -> OSError:
    if code == "NoSuchBucket" or (code == "404" and operation == "HeadBucket"):
        return FileNotFoundError(errno.ENOENT, _NO_BUCKET, where)
    if code in _GONE:
        return FileNotFoundError(errno.ENOENT, "there is no such object", where)
    if code in _DENIED:
        return PermissionError(errno.EACCES, f"S3 denies {operation} ({code})", where)
    return OSError(errno.EIO, f"S3 refuses {operation} ({code})", where)


def _no_credentials(where: str) -> OSError:
    return PermissionError(errno.EACCES, "no AWS credentials were found; set AWS_PROFILE or AWS_ACCESS_KEY_ID", where)
