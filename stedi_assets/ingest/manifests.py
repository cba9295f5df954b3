"""Delivery manifests: files in which a source lists what it has delivered, compared with what has landed.

A manifest lists files relative to its own folder, and may give the size, the number of records and the SHA-256 hash of
each. It holds no records, so no table is made from it; once it is removed, what it said no longer counts.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stedi_assets.ingest.landing_files import LandingFile, Listing
from stedi_assets.storage.interface import RawFiles
from stedi_assets.storage.names import alias, counted
from stedi_assets.tables.file_reports import FileReport
from stedi_assets.tables.manifest_report import ManifestReport, Mismatch

_MOST_BYTES = 16 << 20
_MOST_NAMED = 50
_AT_ONCE = 8
_BLOCK = 1 << 20
# No file has so many bytes. A larger number would fill the page that names it.
_TOO_LARGE = 1 << 63
# As long as the key of an object in S3 can be.
_LONGEST_PATH = 1_024
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


class UnusableManifest(Exception):
    """A manifest cannot be used. The message says why, and quotes nothing of it."""


@dataclass(frozen=True)
class Promise:
    """A file that a manifest lists, by its path from the manifest's folder, and what it says of that file.

    `size` is in bytes, as stored; `sha256` is in lower-case hex digits. What it does not say is None.
    """

    path: str
    size: int | None = None
    records: int | None = None
    sha256: str | None = None


def compare_with_manifests(
    raw: RawFiles, folder: str, listing: Listing, reports: Sequence[FileReport], key: Callable[[], bytes]
) -> tuple[tuple[FileReport, ...], ManifestReport]:
    """Read the manifests of a listing, and compare the reports of files with what they say.

    Returns the reports, with the hash of each file whose hash is asked for and was not known, and what was found.
    `folder` is the source's landing folder, and `key` returns the secret that hides file names.
    """
    if not listing.manifests:
        return tuple(reports), ManifestReport()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = list(pool.map(partial(_read, raw, folder), listing.manifests))
        unusable, listed = _sorted_out(listing.manifests, read, key)
        asked_for = {name for name, promise, _ in listed if promise.sha256}
        lacking = {report.path for report in reports if not report.error and not report.known_sha256} & asked_for
        to_hash = [file for file in listing.files if file.name in lacking]
        hashes = dict(zip((file.name for file in to_hash), pool.map(partial(_hash, raw, folder), to_hash), strict=True))
    with_hashes = tuple(replace(file, sha256=hashes[file.path]) if file.path in hashes else file for file in reports)
    by_name = {file.path: file for file in with_hashes}
    differing = [
        Mismatch(name, trouble, manifest)
        for name, promise, manifest in sorted(listed, key=lambda found: (found[0], found[2]))
        if name not in listing.unsettled
        and (trouble := mismatch(promise, by_name.get(name), passed_over=name in listing.passed_over))
    ]
    seen = digest_of_manifests((file.name, file.fingerprint) for file in listing.manifests)
    named = tuple([*unusable, *differing][:_MOST_NAMED])
    return with_hashes, ManifestReport(seen, len(unusable), len(listed), len(differing), named)


def digest_of_manifests(manifests: Iterable[tuple[str, str]]) -> str:
    """Return a digest of manifests, given their names and fingerprints; nothing if there are none."""
    listed = "\n".join(sorted(f"{name}\0{fingerprint}" for name, fingerprint in manifests))
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()[:32] if listed else ""


def parse_manifest(content: bytes) -> list[Promise]:
    """Return what a manifest says. Raises `UnusableManifest`."""
    found = _decoded(content)
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, list):
        raise UnusableManifest('it is not an object with a list "files"')
    promises = [_promise(number, entry) for number, entry in enumerate(files, start=1)]
    first: dict[str, int] = {}
    for number, promise in enumerate(promises, start=1):
        if first.setdefault(promise.path, number) != number:
            raise UnusableManifest(f"entry {number:,} has the same path as entry {first[promise.path]:,}")
    return promises


def mismatch(promise: Promise, file: FileReport | None, *, passed_over: bool = False) -> str:
    """Return in words how a file differs from what a manifest says; nothing if it does not.

    `file` is its report, None if it has not landed; `passed_over`: it is there, and is not read.
    """
    if file is None:
        return "it is there, but is not read because of its name" if passed_over else "missing"
    differing = []
    if promise.size not in {None, file.size}:
        differing.append(f"{file.size:,} bytes instead of {promise.size:,}")
    # Of a file that cannot be read, the rule `files_readable` says so.
    if not file.error and file.records < (promise.records or 0):
        differing.append(f"{counted(file.records, 'record')} instead of {promise.records:,}")
    if not file.error and promise.sha256 not in {None, file.known_sha256}:
        differing.append("another SHA-256" if file.known_sha256 else "its SHA-256 could not be computed")
    return ", ".join(differing)


def _sorted_out(
    manifests: Sequence[LandingFile], read: Sequence[list[Promise] | UnusableManifest], key: Callable[[], bytes]
) -> tuple[list[Mismatch], list[tuple[str, Promise, str]]]:
    """Return the manifests that cannot be used, and what the others list, each with the file's name and theirs."""
    unusable: list[Mismatch] = []
    listed: list[tuple[str, Promise, str]] = []
    for file, found in zip(manifests, read, strict=True):
        if isinstance(found, UnusableManifest):
            unusable.append(Mismatch(file.name, f"not a usable manifest: {found}"))
        else:
            listed += [(alias(_beside(file, promise.path), key), promise, file.name) for promise in found]
    return unusable, listed


def _read(raw: RawFiles, folder: str, file: LandingFile) -> list[Promise] | UnusableManifest:
    try:
        return parse_manifest(_content(raw, folder, file))
    except UnusableManifest as error:
        return error


def _content(raw: RawFiles, folder: str, file: LandingFile) -> bytes:
    if file.error:
        raise UnusableManifest(file.error)
    try:
        with raw.open(f"{folder}/{file.path}") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UnusableManifest(f"it cannot be read: {error.strerror or type(error).__name__}") from None
    if len(content) > _MOST_BYTES:
        raise UnusableManifest(f"it has more than {_MOST_BYTES >> 20} MB")
    return content


def _beside(manifest: LandingFile, path: str) -> str:
    parent, slash, _ = manifest.path.rpartition("/")
    return f"{parent}{slash}{path}"


def _hash(raw: RawFiles, folder: str, file: LandingFile) -> str:
    """Return the SHA-256 hash of a file as stored; nothing if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with raw.open(f"{folder}/{file.path}") as opened:
            while block := opened.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_refused)
    except UnicodeDecodeError:
        raise UnusableManifest("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnusableManifest(f"it is not JSON (line {error.lineno:,})") from None
    except ValueError:
        # A number with thousands of digits.
        raise UnusableManifest("it has a number that is too large") from None
    except RecursionError:
        raise UnusableManifest("it is nested too deep") from None


def _once(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise UnusableManifest("an object in it has a key twice")
    return found


def _refused(_: str) -> Any:
    raise UnusableManifest("it has NaN or Infinity, which are not JSON")


def _promise(number: int, entry: Any) -> Promise:
    if not isinstance(entry, dict):
        raise UnusableManifest(f"entry {number:,} is not an object")
    path, sha256 = entry.get("path"), entry.get("sha256")
    if not isinstance(path, str) or not _is_below(path):
        raise UnusableManifest(f'entry {number:,} has no usable "path": a file in the manifest\'s folder or below it')
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise UnusableManifest(f'entry {number:,} has a "sha256" that is not 64 hex digits')
    size, records = (_count(number, entry, name) for name in ("bytes", "records"))
    return Promise(path, size, records, sha256.lower() if sha256 else None)


def _is_below(path: str) -> bool:
    try:
        if len(path.encode()) > _LONGEST_PATH:
            return False
    except UnicodeEncodeError:
        return False
    return not {"", ".", ".."} & {*path.split("/")}


def _count(number: int, entry: Mapping[str, Any], name: str) -> int | None:
    found = entry.get(name)
    if found is None or (type(found) is int and 0 <= found < _TOO_LARGE):
        return found
    raise UnusableManifest(f'entry {number:,} has "{name}" that is not a whole number from 0, or is too large')
