"""A proxy between the clients of an S3 and its server, which makes a share of the requests go wrong."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.message import Message
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, cast
from urllib.parse import urlsplit

Kind = Literal["internal_error", "slow_down", "reset_before", "reset_after", "delay", "cut_short", "conflict"]
# All but `conflict`, which clients do not repeat by themselves.
TRANSIENT: tuple[Kind, ...] = ("internal_error", "slow_down", "reset_before", "reset_after", "delay", "cut_short")
_REFUSALS: dict[Kind, tuple[int, str, str]] = {
    "internal_error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting conditional operation is currently in progress."),
}
# What is said of one connection only, and says nothing of the next.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


class FaultProxy:
    """Forwards all requests to `endpoint`, and lets something go wrong with a `share` of those that `only` picks.

    - `internal_error` and `slow_down`: S3's own answers, 500 and 503. The server never hears of the request.
    - `reset_before`: the connection is reset, and the server never hears of the request.
    - `reset_after`: the server has done it, and the connection is reset instead of an answer.
    - `delay`: the answer comes `pause` seconds late.
    - `cut_short`: the connection closes half-way through the answer's body. With no body, it is `reset_after`.
    - `conflict`: S3's 409 to a conditional write that meets another. Other requests are left alone.

    `only` is asked with the method and the target as it was sent: quoted, with its query. `share`, `kinds` and `only`
    can be set at any time; `injected` counts what has gone wrong.
    """

    def __init__(
        self,
        endpoint: str,
        seed: int,
        share: float = 0.0,
        *,
        kinds: tuple[Kind, ...] = TRANSIENT,
        only: Callable[[str, str], bool] | None = None,
        pause: float = 0.3,
    ) -> None:
        self.share, self.kinds, self.only, self.pause = share, kinds, only, pause
        self.injected: Counter[str] = Counter()
        self.upstream = urlsplit(endpoint).netloc
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._listener = _Listener(self)
        # Every so many seconds it looks whether it is to stop.
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Its URL, for the clients."""
        return f"http://127.0.0.1:{self._listener.server_port}"

    def stop(self) -> None:
        """Take no more connections."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    def __enter__(self) -> "FaultProxy":  # noqa: PYI034  # Python 3.10 has no Self
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def draw(self, method: str, target: str, headers: Message) -> Kind | None:
        """Decide what goes wrong with a request, if anything."""
        only = self.only
        if only is not None and not only(method, target):
            return None
        with self._lock:
            if self._random.random() >= self.share:
                return None
            kind = self._random.choice(self.kinds)
        is_conditional_write = method in {"PUT", "POST"} and ("If-Match" in headers or "If-None-Match" in headers)
        return None if kind == "conflict" and not is_conditional_write else kind

    def see(self, method: str, target: str, headers: Message, body: bytes) -> None:
        """Look at a request that has arrived whole."""

    def count(self, kind: Kind) -> None:
        """Note that something has gone wrong."""
        with self._lock:
            self.injected[kind] += 1


class _Answer(NamedTuple):
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection at once: a farewell before it would make a reset look like an orderly end."""
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second must not wait until the client has acknowledged the first.
    disable_nagle_algorithm = True
    server: _Listener

    def handle(self) -> None:
        """Answer requests until the client hangs up."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
        """Say nothing."""

    def _answer(self) -> None:
        body = _body(cast("BinaryIO", self.rfile), self.headers)
        proxy = self.server.proxy
        kind = proxy.draw(self.command, self.path, self.headers)
        if body is None:
            return self._reset()
        proxy.see(self.command, self.path, self.headers, body)
        if kind in _REFUSALS:
            proxy.count(kind)
            return self._send(_refusal(*_REFUSALS[kind]))
        if kind == "reset_before":
            proxy.count(kind)
            return self._reset()
        try:
            answer = self._forwarded(body)
        except (OSError, HTTPException):
            return self._reset()
        if kind == "cut_short" and not answer.body:
            kind = "reset_after"
        if kind:
            proxy.count(kind)
        if kind == "reset_after":
            return self._reset()
        if kind == "delay":
            time.sleep(proxy.pause)
        return self._send(answer, cut_short=kind == "cut_short")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _answer  # noqa: N815  # http.server's names

    def _forwarded(self, body: bytes) -> _Answer:
        """Let the server do what the client asks for."""
        with contextlib.closing(HTTPConnection(self.server.proxy.upstream, timeout=60)) as upstream:
            # The client's own Host and encodings, not those of this connection.
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    upstream.putheader(name, value)
            if body and "Content-Length" not in self.headers:
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            return _Answer(answer.status, answer.reason, answer.getheaders(), answer.read())

    def _send(self, answer: _Answer, *, cut_short: bool = False) -> None:
        self.send_response_only(answer.status, answer.reason)
        headers = [(name, value) for name, value in answer.headers if name.lower() not in _HOP_BY_HOP]
        for name, value in headers:
            self.send_header(name, value)
        if answer.body and not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if cut_short else answer.body)
        self.close_connection = self.close_connection or cut_short

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _refusal(status: int, code: str, message: str) -> _Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    return _Answer(status, code, headers, body.encode())


def _body(stream: BinaryIO, headers: Message) -> bytes | None:
    """Read a request's body; None if the client has hung up within it."""
    if "chunked" not in headers.get("Transfer-Encoding", "").lower():
        length = int(headers.get("Content-Length", 0))
        body = stream.read(length)
        return body if len(body) == length else None
    chunks = []
    while line := stream.readline():
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        chunks.append(stream.read(size))
        stream.readline()
    else:
        return None
    # What follows the last chunk ends with an empty line.
    while stream.readline().strip():
        pass
    return b"".join(chunks)
