"""Delivery manifests: what one may say, and how the files that have landed compare with it."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stedi_assets.ingest import manifests
from stedi_assets.ingest.landing_files import Listing, is_manifest, list_landing_files
from stedi_assets.ingest.manifests import (
    Promise,
    UnusableManifest,
    compare_with_manifests,
    digest_of_manifests,
    mismatch,
    parse_manifest,
)
from stedi_assets.storage.local import LocalFolder
from stedi_assets.tables.file_reports import FileReport
from stedi_assets.tables.manifest_report import ManifestReport, Mismatch, read_manifest_report
from stedi_assets.tables.snapshots import Snapshot

_HASH = hashlib.sha256(b"{}\n").hexdigest()
# Stands for whatever a manifest could hold of a person.
_ADA = "ada@example.com"


def manifest(*entries: Any, **more: Any) -> bytes:
    """Return a manifest as a source writes it."""
    return json.dumps({"files": [*entries], **more}).encode()


def refusal_of(content: bytes) -> str:
    """Return why a manifest cannot be used; nothing if it can."""
    try:
        parse_manifest(content)
    except UnusableManifest as refused:
        return str(refused)
    return ""


# --- What a manifest says ---------------------------------------------------------------------------------------------


def test_a_manifest_says_of_each_file_what_it_knows() -> None:
    content = manifest(
        {"path": "a.json", "bytes": 0, "records": 0, "sha256": _HASH.upper()},
        {"path": "2024/b c.json.gz", "bytes": None, "owner": _ADA},
        {"path": "..c.json", "records": 3},
        made_by="the exporter",
    )
    said = [Promise("a.json", 0, 0, _HASH), Promise("2024/b c.json.gz"), Promise("..c.json", records=3)]
    assert parse_manifest(content) == parse_manifest(b"\xef\xbb\xbf" + content) == said
    assert parse_manifest(b'{"files": []}') == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not JSON (line 1)"),
        (b'{"files": [\n', "it is not JSON (line 2)"),
        (b'{"user": "ada@example.com"}\n{"user": "ada@example.com"}\n', "it is not JSON (line 2)"),
        (b'{"user": "ada@example.com"}', 'it is not an object with a list "files"'),
        (b'[{"path": "a.json"}]', 'it is not an object with a list "files"'),
        (b'{"files": {"path": "a.json"}}', 'it is not an object with a list "files"'),
        (b'{"files": [], "files": []}', "an object in it has a key twice"),
        (b'{"files": [{"path": "a.json", "records": NaN}]}', "it has NaN or Infinity, which are not JSON"),
        (b'{"files": [], "n": ' + b"9" * 5_000 + b"}", "it has a number that is too large"),
        (b"[" * 200_000, "it is nested too deep"),
        ('{"files": []}'.encode("utf-16"), "it is not UTF-8"),
        (manifest("ada@example.com.json"), "entry 1 is not an object"),
        (manifest({"path": "a.json"}, {"bytes": 1}), 'entry 2 has no usable "path"'),
        *(
            (manifest({"path": path}), 'entry 1 has no usable "path"')
            for path in (
                5,
                "",
                "/a.json",
                "../a.json",
                "a/../b.json",
                "./a.json",
                "a//b.json",
                "a/",
                "\ud800.json",
                "a" * 1_025,
            )
        ),
        (manifest({"path": "a.json"}, {"path": "b.json"}, {"path": "a.json"}), "entry 3 has the same path as entry 1"),
        *(
            (manifest({"path": "a.json", name: count}), f'entry 1 has "{name}" that is not a whole number from 0')
            for name in ("bytes", "records")
            for count in (-1, "5", 5.0, True, [5], 1 << 63)
        ),
        *(
            (manifest({"path": "a.json", "sha256": digest}), 'entry 1 has a "sha256" that is not 64 hex digits')
            for digest in (5, "", _HASH[:-1], _HASH + "0", "g" * 64)
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:40]),
)
def test_what_is_not_exactly_a_manifest_is_refused_and_says_why(content: bytes, why: str) -> None:
    refusal = refusal_of(content)
    assert refusal.startswith(why)
    assert _ADA not in refusal


@given(st.data())
def test_a_damaged_manifest_is_never_quoted(data: st.DataObject) -> None:
    whole = manifest({"path": f"{_ADA}.json", "bytes": 10, "records": 2, "sha256": _HASH})
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    damaged = whole[:start] + data.draw(st.binary(max_size=3)) + whole[end:]
    assert not re.search("ada|example", refusal_of(damaged))


# --- How a file compares ----------------------------------------------------------------------------------------------

_LANDED = FileReport("a.json", 1_234, "", records=10, accepted=7, quarantined=2, suppressed=1, digest=_HASH)


@pytest.mark.parametrize(
    ("promise", "trouble"),
    [
        (Promise("a.json"), ""),
        (Promise("a.json", 1_234, 10, _HASH), ""),
        (Promise("a.json", 1_235), "1,234 bytes instead of 1,235"),
        (Promise("a.json", 1_000), "1,234 bytes instead of 1,000"),
        (Promise("a.json", 0), "1,234 bytes instead of 0"),
        (Promise("a.json", records=11), "10 records instead of 11"),
        # The splitter finds two records where one is broken in the middle.
        (Promise("a.json", records=9), ""),
        (Promise("a.json", sha256="0" * 64), "another SHA-256"),
        (
            Promise("a.json", 1_235, 11, "0" * 64),
            "1,234 bytes instead of 1,235, 10 records instead of 11, another SHA-256",
        ),
    ],
)
def test_a_file_is_held_against_what_is_said_of_it(promise: Promise, trouble: str) -> None:
    assert mismatch(promise, _LANDED) == trouble


def test_a_file_that_is_not_there_or_not_read_is_named() -> None:
    promise = Promise("a.json", 1_234, 10, _HASH)
    assert mismatch(promise, None) == "missing"
    assert mismatch(promise, None, passed_over=True) == "it is there, but is not read because of its name"
    # Another check says what is wrong with it; its size is known all the same.
    unreadable = FileReport("a.json", 1_000, "", error="its gzip data are cut off")
    assert mismatch(promise, unreadable) == "1,000 bytes instead of 1,234"
    assert mismatch(replace(promise, size=1_000), unreadable) == ""


# --- The manifests of a landing folder --------------------------------------------------------------------------------


def listing_of(folder: Path, settled_before: int | None = None) -> Listing:
    """Return the listing of a local folder."""
    storage = LocalFolder(folder.parent)
    return list_landing_files(storage, folder.name, {}, settled_before, key=lambda: b"a key")


def reports_of(listing: Listing, folder: Path, **more: Any) -> tuple[FileReport, ...]:
    """Return reports of a listing's files as if each had landed; a record is a line."""

    def report(path: str, name: str) -> FileReport:
        content = (folder / path).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        given = {"digest": digest, **more}
        return FileReport(name, len(content), "", records=content.count(b"\n"), **given)

    return tuple(report(file.path, file.name) for file in listing.files)


def compared(folder: Path, settled_before: int | None = None, **more: Any) -> ManifestReport:
    """Return how the files of a folder, all landed, compare with the manifests there."""
    listing = listing_of(folder, settled_before)
    reports = reports_of(listing, folder, **more)
    return compare_with_manifests(LocalFolder(folder.parent), folder.name, listing, reports, lambda: b"a key")[1]


def named(report: ManifestReport) -> list[str]:
    return [found.in_words for found in report.named]


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("manifest.json", True),
        ("2024/06/Manifest.JSON", True),
        ("delivery-7.manifest.json", True),
        ("manifest.jsonl", False),
        ("manifest.json.gz", False),
        ("mymanifest.json", False),
        ("manifest.json/a.json", False),
    ],
)
def test_a_manifest_is_known_by_its_name_and_is_no_file_to_read(name: str, *, yes: bool, tmp_path: Path) -> None:
    put(tmp_path, {name: b"{}\n"})
    listing = listing_of(tmp_path)
    assert is_manifest(name) == yes
    assert [file.path for file in listing.manifests] == [name] * yes
    assert [file.path for file in listing.files] == [name] * (not yes)
    assert listing.ignored == ()


def test_files_are_listed_relative_to_the_manifest_and_named_by_their_aliases(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "june/manifest.json": manifest(
                {"path": "a.json", "records": 2},
                {"path": f"more/{_ADA}.json", "bytes": 4},
                {"path": f"{_ADA}.json"},
                {"path": "notes.txt", "bytes": 5},
                {"path": "_hidden.json"},
            ),
            "june/a.json": b"{}\n",
            f"june/more/{_ADA}.json": b"{}\n",
            "june/notes.txt": b"notes",
            "june/_hidden.json": b"{}\n",
            "a.json": b"{}\n{}\n",
            f"{_ADA}.json": b"{}\n",
        },
    )
    report = compared(tmp_path)
    assert (report.unusable, report.listed, report.differing) == (0, 5, 5)
    assert [re.sub("[0-9a-f]{12}", "#", words) for words in named(report)] == [
        "june/***#.json: missing (listed in june/manifest.json)",
        "june/_hidden.json: it is there, but is not read because of its name (listed in june/manifest.json)",
        "june/a.json: 1 record instead of 2 (listed in june/manifest.json)",
        "june/more/***#.json: 3 bytes instead of 4 (listed in june/manifest.json)",
        "june/notes.txt: it is there, but is not read because of its name (listed in june/manifest.json)",
    ]


def test_what_may_still_be_written_is_not_missing_and_a_manifest_waits_likewise(tmp_path: Path) -> None:
    put(tmp_path, {"manifest.json": manifest({"path": "late.json", "records": 9})})
    settled = os.stat(tmp_path / "manifest.json").st_ctime_ns // 1_000_000
    while os.stat(tmp_path).st_ctime_ns // 1_000_000 <= settled:
        put(tmp_path, {"late.json": b"{}\n"})
        (tmp_path / "late.json").rename(tmp_path / "late.json.tmp")
        (tmp_path / "late.json.tmp").rename(tmp_path / "late.json")
    assert listing_of(tmp_path, settled).unsettled == ("late.json",)
    assert named(compared(tmp_path, settled)) == []
    assert named(compared(tmp_path)) == ["late.json: 1 record instead of 9 (listed in manifest.json)"]
    assert compared(tmp_path, settled - 1) == ManifestReport()


def test_each_manifest_counts_by_itself_and_one_that_cannot_be_used_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "_MOST_BYTES", 100)
    put(
        tmp_path,
        {
            "z.manifest.json": b'{"email": "ada@example.com"}\n' * 2,
            "giant.manifest.json": b'{"files": []}' + b" " * 100,
            "one.manifest.json": manifest({"path": "a.json", "records": 1}, {"path": "b.json"}),
            "two.manifest.json": manifest({"path": "a.json", "records": 2}),
            "a.json": b"{}\n",
        },
    )
    (tmp_path / "gone.manifest.json").symlink_to("nowhere.json")
    report = compared(tmp_path)
    assert (report.unusable, report.listed, report.differing) == (3, 3, 2)
    assert named(report) == [
        "giant.manifest.json: not a usable manifest: it has more than 0 MB",
        "gone.manifest.json: not a usable manifest: it is a link to something that does not exist",
        "z.manifest.json: not a usable manifest: it is not JSON (line 2)",
        "a.json: 1 record instead of 2 (listed in two.manifest.json)",
        "b.json: missing (listed in one.manifest.json)",
    ]


def test_of_very_many_files_the_first_are_named_and_all_counted(tmp_path: Path) -> None:
    put(tmp_path, {"manifest.json": manifest(*({"path": f"{number:04}.json"} for number in range(1_000)))})
    report = compared(tmp_path)
    assert (report.listed, report.differing, len(report.named)) == (1_000, 1_000, 50)
    assert report.named[0].file == "0000.json"


@pytest.mark.parametrize("digest", ["", "1a-2b", "0" * 32], ids=["empty", "in parts", "of another kind"])
def test_the_hash_of_a_file_is_computed_where_it_is_asked_for_and_not_known(
    digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(
        tmp_path,
        {
            "manifest.json": manifest(
                {"path": "a.json", "sha256": _HASH}, {"path": "b.json", "sha256": "0" * 64}, {"path": "c.json"}
            ),
            **dict.fromkeys(("a.json", "b.json", "c.json"), b"{}\n"),
        },
    )
    listing, storage = listing_of(tmp_path), LocalFolder(tmp_path.parent)
    reports = reports_of(listing, tmp_path, digest=digest)
    hashed, report = compare_with_manifests(storage, tmp_path.name, listing, reports, lambda: b"")
    assert [file.known_sha256 for file in hashed] == [_HASH, _HASH, ""]
    assert [file.digest for file in hashed] == [digest] * 3
    assert named(report) == ["b.json: another SHA-256 (listed in manifest.json)"]
    # From then on it is known.
    monkeypatch.setattr(manifests, "_hash", lambda *_: pytest.fail("hashed once more"))
    assert compare_with_manifests(storage, tmp_path.name, listing, hashed, lambda: b"") == (hashed, report)


def test_a_hash_that_cannot_be_computed_is_said(tmp_path: Path) -> None:
    put(tmp_path, {"manifest.json": manifest({"path": "a.json", "sha256": _HASH}), "a.json": b"{}\n"})
    listing = listing_of(tmp_path)
    reports = reports_of(listing, tmp_path, digest="")
    (tmp_path / "a.json").unlink()
    found = compare_with_manifests(LocalFolder(tmp_path.parent), tmp_path.name, listing, reports, lambda: b"")
    assert found[0] == reports
    assert named(found[1]) == ["a.json: its SHA-256 could not be computed (listed in manifest.json)"]


def test_what_is_found_stays_with_the_snapshot_and_older_ones_say_nothing() -> None:
    report = ManifestReport("seen", 1, 2, 1, (Mismatch("m.manifest.json", "not usable"), Mismatch("a", "missing", "m")))
    snapshot = Snapshot(0, "", "", "", delivery=json.loads(json.dumps(report.as_delivery())))
    assert read_manifest_report(snapshot) == report
    assert read_manifest_report(replace(snapshot, delivery={})) == ManifestReport()


_FILES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5), min_size=1)


@given(said=_FILES, there=_FILES)
def test_exactly_the_files_that_differ_are_named(
    said: dict[str, int], there: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("landing")
    entries = [{"path": f"{name}.json", "bytes": 3 * lines, "records": lines} for name, lines in said.items()]
    put(folder, {f"{name}.json": b"{}\n" * lines for name, lines in there.items()})
    put(folder, {"manifest.json": manifest(*entries)})
    differing = [f"{name}.json" for name, lines in sorted(said.items()) if there.get(name) != lines]
    assert [found.file for found in compared(folder).named] == differing


def test_whatever_happens_to_a_manifest_changes_the_digest_of_all() -> None:
    some = [("a", "1"), ("b", "2")]
    others = [some, some[:1], [*some, ("c", "3")], [("a", "1"), ("b", "3")], [("a", "2"), ("b", "1")]]
    assert len({digest_of_manifests(each) for each in others}) == len(others)
    assert digest_of_manifests(reversed(some)) == digest_of_manifests(some)
    assert digest_of_manifests([]) == ManifestReport().seen
