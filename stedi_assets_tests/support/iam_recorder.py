"""A proxy before AWS that notes, by access key, which action of IAM's each request needs on which resource."""

import json
import re
from collections.abc import Iterator
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote

from moto.core.models import DEFAULT_ACCOUNT_ID

from stedi_assets_tests.support.counting_proxy import operation_of
from stedi_assets_tests.support.fault_proxy import FaultProxy
from stedi_assets_tests.support.s3_server import REGION

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_OF_S3 = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}
# How services are called in the header that names an operation.
_SERVICES = {
    "AWSGlue": "glue",
    "secretsmanager": "secretsmanager",
    "Logs_20140328": "logs",
    "AmazonSQS": "sqs",
    "AmazonAthena": "athena",
}
_ARN = f"{REGION}:{DEFAULT_ACCOUNT_ID}"


class IamRecorder(FaultProxy):
    """A proxy; `asked` has what was asked for: access key, action, resource."""

    def __init__(self, endpoint: str) -> None:
        """Nothing was asked for yet."""
        super().__init__(endpoint, seed=1)
        self.asked: set[tuple[str, str, str]] = set()

    def __enter__(self) -> "IamRecorder":  # noqa: PYI034  # Python 3.10 has no Self
        return self

    def see(self, method: str, target: str, headers: Message, body: bytes) -> None:
        """Note what a request needs."""
        signed = re.search("Credential=([^/]+)/", headers.get("Authorization", ""))
        with self._lock:
            self.asked |= {
                (signed[1] if signed else "", action, resource)
                for action, resource in _needed(method, target, headers, body)
            }


def _needed(method: str, target: str, headers: Message, body: bytes) -> Iterator[tuple[str, str]]:
    if named := headers.get("X-Amz-Target"):
        service, _, operation = named.partition(".")
        asked = json.loads(body)
        for resource in _resources(_SERVICES[service], asked):
            # What is done to several messages of a queue is allowed as for one.
            yield f"{_SERVICES[service]}:{operation.removesuffix('Batch')}", resource
    elif b"Action=" in body:
        form = parse_qs(body.decode())
        yield f"sns:{form['Action'][0]}", form["TopicArn"][0]
    else:
        yield from _needed_of_s3(method, target, headers, body)


def _needed_of_s3(method: str, target: str, headers: Message, body: bytes) -> Iterator[tuple[str, str]]:
    path, _, query = target.partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    top, operation = f"arn:aws:s3:::{bucket}", operation_of(method, target, headers)
    if operation == "DeleteObjects":
        for entry in re.findall("<Object>.*?</Object>", body.decode(), re.DOTALL):
            (deleted,) = re.findall("<Key>(.*?)</Key>", entry, re.DOTALL)
            yield f"s3:DeleteObject{'Version' if '<VersionId>' in entry else ''}", f"{top}/{deleted}"
    elif operation == "DeleteObject":
        yield f"s3:DeleteObject{'Version' if 'versionId=' in query else ''}", f"{top}/{key}"
    elif "location" in parse_qs(query, keep_blank_values=True):
        yield "s3:GetBucketLocation", top
    else:
        yield _OF_S3[operation], f"{top}/{key}" if key else top
    if operation == "CopyObject":
        yield "s3:GetObject", f"arn:aws:s3:::{unquote(headers['x-amz-copy-source']).lstrip('/').split('?')[0]}"


def _resources(service: str, asked: dict[str, Any]) -> list[str]:
    if service == "glue":
        return _of_glue(asked)
    if service == "secretsmanager":
        return [asked["SecretId"]]
    if service == "logs":
        return [f"arn:aws:logs:{_ARN}:log-group:{asked['logGroupName']}:log-stream:{asked['logStreamName']}"]
    if service == "sqs":
        return [f"arn:aws:sqs:{_ARN}:{asked['QueueUrl'].rsplit('/', 1)[-1]}"]
    # Athena's other requests name the query, and IAM looks its workgroup up.
    return [f"arn:aws:athena:{_ARN}:workgroup/{asked.get('WorkGroup', 'stedi-lakehouse-checks')}"]


def _of_glue(asked: dict[str, Any]) -> list[str]:
    top = f"arn:aws:glue:{_ARN}"
    if "JobName" in asked:
        return [f"{top}:job/{asked['JobName']}"]
    database = asked.get("DatabaseName")
    if database is None:
        database = asked.get("Name") or asked["DatabaseInput"]["Name"]
        return [f"{top}:catalog", f"{top}:database/{database}"]
    table = asked.get("Name") or asked["TableInput"]["Name"]
    return [f"{top}:catalog", f"{top}:database/{database}", f"{top}:table/{database}/{table}"]
