"""A Maven repository over HTTPS, and a proxy on the way to it, on loopback, for tests."""

import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stedi_assets.spark.maven import Artifact

JAR = b"a jar for tests " * 40_000
ARTIFACT = Artifact("org.example.things:thing_2.13:1.0", len(JAR), hashlib.sha256(JAR).hexdigest())

# What a repository does with a request: it answers by itself, or leaves that to the repository.
Doing = Callable[[BaseHTTPRequestHandler], bool]


@dataclass
class Repository:
    """Holds one jar at any path that is asked for; `does` may do something else of the first requests, one each."""

    address: str
    does: list[Doing] = field(default_factory=list)
    asked: list[tuple[str, Message]] = field(default_factory=list)
    jar: bytes = JAR

    def with_credential(self, user: str, password: str) -> str:
        """Return its address with a user and a password."""
        return self.address.replace("://", f"://{user}:{password}@")

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        self.asked.append((handler.path, handler.headers))
        if self.does and self.does.pop(0)(handler):
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.jar)))
        handler.end_headers()
        handler.wfile.write(self.jar)


@dataclass
class Proxy:
    """Passes on what it is asked for, by CONNECT or by a whole address; it may refuse, or want a credential."""

    address: str = ""
    refuses: int = 0
    wants: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        self.asked.append(f"{handler.command} {handler.path}")
        wanted = f"Basic {base64.b64encode(self.wants.encode()).decode()}"
        if self.refuses or (self.wants and handler.headers["Proxy-Authorization"] != wanted):
            refuse(self.refuses or 407)(handler)
        elif handler.command == "CONNECT":
            host, port = handler.path.split(":")
            with socket.create_connection((host, int(port))) as there:
                handler.send_response(200)
                handler.end_headers()
                back = threading.Thread(target=_pump, args=(there, handler.connection))
                back.start()
                _pump(handler.connection, there)
                back.join()
        else:
            asked = urlsplit(handler.path)
            with socket.create_connection((asked.hostname or "", asked.port or 80)) as there:
                there.sendall(f"GET {asked.path} HTTP/1.0\r\nHost: {asked.netloc}\r\n\r\n".encode())
                _pump(there, handler.connection)
        handler.close_connection = True


def refuse(code: int) -> Doing:
    """Answer with an error."""

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(code, "words of the other side")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


def break_off(handler: BaseHTTPRequestHandler) -> bool:
    """Close the connection half-way through the jar."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(JAR)))
    handler.end_headers()
    handler.wfile.write(JAR[: len(JAR) // 2])
    handler.close_connection = True
    return True


def lead_to(address: str) -> Doing:
    """Answer that the jar is elsewhere."""

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", f"{address}{handler.path}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


@contextlib.contextmanager
def repository(certificate: Path | None) -> Iterator[Repository]:
    """Serve a repository, over HTTPS with a certificate and its key."""
    served = Repository("")
    with _serving(served.answer, certificate) as port:
        served.address = f"{'https' if certificate else 'http'}://127.0.0.1:{port}/maven2"
        yield served


@contextlib.contextmanager
def proxy() -> Iterator[Proxy]:
    """Serve a proxy."""
    served = Proxy()
    with _serving(served.answer, None) as port:
        served.address = f"http://127.0.0.1:{port}"
        yield served


def write_certificate(path: Path) -> Path:
    """Write a key, and the certificate for 127.0.0.1 that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a repository for tests")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@contextlib.contextmanager
def _serving(answer: Callable[[BaseHTTPRequestHandler], None], certificate: Path | None) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        do_CONNECT = do_GET  # noqa: N815  (http.server's names)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Say nothing of clients that hang up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is a matter of each connection's own thread.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
