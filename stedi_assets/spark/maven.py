"""Jars from a Maven repository, fetched whole, with the certificates and proxies that pip uses.

Python fetches them, not Spark's resolver: the Java that comes with the installation trusts no company's certificates.
"""

import ast
import contextlib
import hashlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit

from stedi_assets.storage.errors import LakeError

if TYPE_CHECKING:
    from rich.progress import Progress

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
POSSIBLE_REPOSITORIES = f"Use the address of a Maven repository, such as {MAVEN_CENTRAL}."

_ATTEMPTS = 4
# Before the second attempt; doubled before each further one.
_FIRST_PAUSE_SECONDS = 1.0
_SILENCE_SECONDS = 30
_PIECE = 1 << 18
_DRAFT = ".part"
_DRAFT_IS_DEAD_AFTER_SECONDS = 3600
# Answers that may differ next time.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Artifact:
    """A jar in any Maven repository: its coordinates `group:name:version`, size and digest."""

    coordinates: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        """The jar's file name."""
        _, name, version = self.coordinates.split(":")
        return f"{name}-{version}.jar"

    @property
    def path(self) -> str:
        """The jar's path in a repository."""
        group, name, version = self.coordinates.split(":")
        return f"{group.replace('.', '/')}/{name}/{version}/{self.file}"


def is_possible_repository(address: str) -> bool:
    """Whether an address can be that of a Maven repository."""
    try:
        parts = urlsplit(address)
        return bool(re.fullmatch(r"https?://[!-~]+", address) and parts.hostname and parts.port != 0) and not (
            parts.query or parts.fragment
        )
    except ValueError:  # a port that is no number
        return False


def fetch(artifacts: Sequence[Artifact], repository: str, folder: Path) -> None:
    """Fetch jars, if any, into a folder. Each appears there once it is whole and has the right digest.

    Several processes may do so at once. Progress goes to standard error. Raises `LakeError` with the reason in words. A
    user and a password in the address are not shown.
    """
    if not artifacts:
        return
    from stedi_assets import terminal  # noqa: PLC0415  (loads rich, and the settings load this module)

    shown = _without_credential(repository)
    wanted = artifacts[0].file if len(artifacts) == 1 else f"{len(artifacts)} jars for Spark"
    _say(f"Fetching {wanted}, {sum(each.size for each in artifacts):,} bytes, once, from {shown} to {folder}")
    try:
        _prepare(folder)
        source = _Source(repository)
        with terminal.downloads() as display:
            for artifact in artifacts:
                wanted = artifact.file
                if display.disable:
                    _say(f"{artifact.file}: {artifact.size:,} bytes")
                source.fetch(artifact, folder, display)
    except _Failed as failed:
        msg = (
            f"{wanted} could not be fetched from {shown} to {folder}: {failed}. HTTPS_PROXY names a proxy, "
            "SSL_CERT_FILE a file of certificates to trust, STEDI_MAVEN another Maven repository. Or run `stedi "
            "fetch-jars` where such a repository can be reached, and copy that folder here."
        )
        raise LakeError(msg) from None
    except OSError as error:
        msg = (
            f"{wanted} could not be written to {folder}: {error.strerror}. Free some space, or set XDG_CACHE_HOME to a "
            "folder that can be written to."
        )
        raise LakeError(msg) from None


class _Failed(Exception):
    """A request failed, for a reason in words. `passes`: another try may succeed."""

    def __init__(self, why: str, *, passes: bool) -> None:
        super().__init__(why)
        self.passes = passes


class _Source:
    """A repository, and how it is reached."""

    def __init__(self, repository: str) -> None:
        address = urlsplit(repository.rstrip("/"))
        host = address.netloc.rpartition("@")[2]
        self._base = address._replace(netloc=host).geturl()
        self._credential = _basic(address) if address.username else None
        told = _told_to_pip()
        proxies = _proxies(told)
        through = "" if urllib.request.proxy_bypass(host) else proxies.get(address.scheme, "")
        self._by = f" by the proxy {_without_credential(through)}" if through else ""
        if "://" in through and not through.startswith(("http://", "https://")):
            # It would be used as if it were an HTTP proxy.
            raise _Failed(f"there is no way{self._by}, which is not an HTTP proxy", passes=False)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=_trust(told))
        )

    def fetch(self, artifact: Artifact, folder: Path, display: "Progress") -> None:
        """Fetch a jar, in several attempts if necessary."""
        task = display.add_task(artifact.file, total=artifact.size)
        with _draft(folder, artifact) as draft:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._receive(artifact, draft, lambda received: display.update(task, completed=received))
                    break
                except _Failed as failed:
                    if attempt == _ATTEMPTS or not failed.passes:
                        raise
                    time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            draft.flush()
            Path(draft.name).replace(folder / artifact.file)

    def _receive(self, artifact: Artifact, draft: IO[bytes], tell: Callable[[int], None]) -> None:
        draft.seek(0)
        draft.truncate()
        digest = hashlib.sha256()
        for piece in self._pieces(artifact):
            draft.write(piece)
            digest.update(piece)
            tell(draft.tell())
            if draft.tell() > artifact.size:
                break
        if digest.hexdigest() != artifact.sha256:
            raise _Failed(
                f"what arrives{self._by} is something else, such as a proxy's own page: {draft.tell():,} bytes with "
                f"the SHA-256 digest {digest.hexdigest()}, not {artifact.size:,} with {artifact.sha256}",
                passes=False,
            )

    def _pieces(self, artifact: Artifact) -> Iterator[bytes]:
        address = f"{self._base}/{artifact.path}"
        request = urllib.request.Request(address, headers={"User-Agent": "stedi"})  # noqa: S310  (http and https alone)
        if self._credential:
            # Not sent along if an answer redirects elsewhere.
            request.add_unredirected_header("Authorization", self._credential)
        try:
            with self._opener.open(request, timeout=_SILENCE_SECONDS) as answer:
                while piece := answer.read(_PIECE):
                    yield piece
                if answer.length:
                    raise http.client.IncompleteRead(b"", answer.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why, passes = _in_words(error)
            raise _Failed(f"{why}{self._by}", passes=passes) from None


def _in_words(error: Exception) -> tuple[str, bool]:  # noqa: PLR0911  (one for each reason)
    """Return why a request failed, and whether another may succeed.

    Only numbers are repeated from what the other side says.
    """
    reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    match reason:
        case HTTPError():
            return _refused(reason.code)
        case ssl.SSLCertVerificationError():
            return f"the certificate is not trusted ({reason.verify_message})", False
        case ssl.SSLError():
            return f"no encrypted connection can be made ({reason.reason or 'it is cut'})", True
        case socket.gaierror():
            return "the name is not known to this machine's DNS", True
        case TimeoutError():
            return f"there is no answer within {_SILENCE_SECONDS} s", True
        case http.client.IncompleteRead():
            return f"the answer breaks off {reason.expected or 0:,} bytes before its end", True
        case OSError() if refused := re.match(r"Tunnel connection failed: (\d+)", str(reason)):
            return _refused(int(refused[1]))
        case OSError():
            return f"the connection fails ({reason.strerror or 'it is closed'})", True
    return f"the request is not possible ({type(reason).__name__})", False


def _refused(code: int) -> tuple[str, bool]:
    return f"the answer is {code} {http.client.responses.get(code, '')}".rstrip(), code in _PASSING


def _told_to_pip() -> dict[str, str]:
    """Return what pip's configuration files set for all of its commands; nothing if there is no pip."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SILENCE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = re.findall(r"^global\.(cert|proxy)=(['\"].*)$", done.stdout, re.MULTILINE)
    return {name: str(ast.literal_eval(value)) for name, value in lines}


def _proxies(told_to_pip: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy for each scheme: pip's, or else the environment's."""
    found = urllib.request.getproxies()
    for_pip = os.environ.get("PIP_PROXY") or told_to_pip.get("proxy")
    proxies = {scheme: for_pip or found.get(scheme) or found.get("all") for scheme in ("https", "http")}
    return {scheme: proxy for scheme, proxy in proxies.items() if proxy}


def _trust(told_to_pip: Mapping[str, str]) -> ssl.SSLContext:
    """Trust the system's certificates, which SSL_CERT_FILE and SSL_CERT_DIR replace, and those of pip and requests."""
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError):
        # Some Pythons do not find the system's certificates; those of requests come as this package.
        import certifi  # noqa: PLC0415  (not everybody has it)

        context.load_verify_locations(certifi.where())
    named = {name: os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
    for name, path in {"the setting cert of pip": told_to_pip.get("cert"), **named}.items():
        if path:
            try:
                context.load_verify_locations(**{"capath" if Path(path).is_dir() else "cafile": path})
            except OSError as error:
                why = f"{name} names {path}, where no certificates can be read ({error.strerror or 'they are damaged'})"
                raise _Failed(why, passes=False) from None
    return context


def _basic(address: SplitResult) -> str:
    pair = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _without_credential(address: str) -> str:
    return re.sub(r"^([a-z0-9+.-]+://)?.*@", r"\1", address)


def _prepare(folder: Path) -> None:
    """Create a folder, and remove the drafts of dead processes from it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    dead = time.time() - _DRAFT_IS_DEAD_AFTER_SECONDS
    for draft in folder.glob(f"*{_DRAFT}"):
        with contextlib.suppress(FileNotFoundError):  # another process is done with it
            if draft.stat().st_mtime < dead:
                draft.unlink()


@contextlib.contextmanager
def _draft(folder: Path, artifact: Artifact) -> Iterator[IO[bytes]]:
    """Open a draft that belongs to this process and this user; remove it unless it is moved."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{artifact.file}.", suffix=_DRAFT, delete=False) as draft:
        try:
            yield draft
        finally:
            Path(draft.name).unlink(missing_ok=True)


def _say(text: str) -> None:
    # People wait for this, and a log may not be shown.
    sys.stderr.write(f"{text}\n")
