"""A proxy before an S3 that counts the requests, by operation and client, and how writes are to be encrypted."""

from collections import Counter
from email.message import Message
from urllib.parse import parse_qs

from stedi_assets_tests.support.fault_proxy import FaultProxy, Kind


class Counting(FaultProxy):
    """A proxy that notes which operation each request is, and which writes do not say how to encrypt."""

    def __init__(self, endpoint: str) -> None:
        """Nothing is counted yet."""
        super().__init__(endpoint, seed=1)
        self.requests: Counter[tuple[str, str]] = Counter()
        self.encrypted: Counter[tuple[str | None, str | None]] = Counter()

    def __enter__(self) -> "Counting":  # noqa: PYI034  # Python 3.10 has no Self
        return self

    def draw(self, method: str, target: str, headers: Message) -> Kind | None:
        """Count a request, and let nothing go wrong with it."""
        with self._lock:
            operation = operation_of(method, target, headers)
            self.requests[operation, client_of(headers)] += 1
            if operation in {"PutObject", "CopyObject", "CreateMultipartUpload"}:
                kind = headers.get("x-amz-server-side-encryption")
                self.encrypted[kind, headers.get("x-amz-server-side-encryption-aws-kms-key-id")] += 1
        return super().draw(method, target, headers)


def operation_of(method: str, target: str, headers: Message) -> str:
    """Return the name that S3 has for a request."""
    path, _, query = target.partition("?")
    asked = parse_qs(query, keep_blank_values=True)
    is_object = "/" in path[1:].rstrip("/")
    if method == "GET":
        if "versions" in asked:
            return "ListObjectVersions"
        return "ListMultipartUploads" if "uploads" in asked else "GetObject" if is_object else "ListObjectsV2"
    if method == "PUT":
        return "UploadPart" if "uploadId" in asked else "CopyObject" if "x-amz-copy-source" in headers else "PutObject"
    if method == "POST" and "delete" not in asked:
        return "CreateMultipartUpload" if "uploads" in asked else "CompleteMultipartUpload"
    if method == "DELETE" and "uploadId" in asked:
        return "AbortMultipartUpload"
    names = {"HEAD": "HeadObject" if is_object else "HeadBucket", "DELETE": "DeleteObject", "POST": "DeleteObjects"}
    return names[method]


def client_of(headers: Message) -> str:
    """Return which of our clients has sent a request."""
    agent = headers.get("User-Agent", "").lower()
    return "S3A" if "java" in agent else "Arrow" if "cpp" in agent else "boto3" if "boto" in agent else agent
