"""The raw files of a source: which there are, what each is called, and whether one has changed since it was listed.

Belongs here: files and folders as they lie on a disk. What becomes of the records in them is for the landing gate.
"""

import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest

from stedi_assets.ingest.landing_files import LandingFile, Listing, changed_since, list_landing_files
from stedi_assets.storage.local import LocalFolder, fingerprint_of
from stedi_assets.storage.names import alias, masked
from stedi_assets.tables.file_reports import FileReport

_RECORD = b'{"user":"ada@example.com","x":1.5}\n'
_FORBIDDEN = "no permission to read it"
_LEAVES = "it is a link that leaves the lake, and is not followed; put the file itself there"
_DANGLES = "it is a link to something that does not exist"

_needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


def _key(secret: bytes = b"a secret of a test") -> Callable[[], bytes]:
    return lambda: secret


def listing_of(folder: Path, known: dict[str, FileReport]) -> Listing:
    """Return the listing of a local folder."""
    return list_landing_files(LocalFolder(folder.parent), folder.name, known, key=_key())


def has_changed(folder: Path, file: LandingFile) -> bool:
    """Whether a file of a local folder has changed since it was listed."""
    return file.path in changed_since(LocalFolder(folder.parent), folder.name, [file])


def put(folder: Path, *names: str, content: bytes = _RECORD) -> Path:
    """Write files below a folder; return the last."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path


def listed(folder: Path) -> list[str]:
    """Return the paths of the files that are to be read."""
    return [file.path for file in listing_of(folder, {}).files]


def looked_at(folder: Path, content: bytes, name: str = "a.json") -> LandingFile:
    """Put a file alone into a folder, and return what is seen of it."""
    put(folder, name, content=content)
    (file,) = listing_of(folder, {}).files
    return file


def wait_for_the_clock_of(path: Path) -> None:
    """Wait until the file system would give a file another time than this one has."""
    probe = path.with_name(".probe")
    while True:
        probe.write_bytes(b"")
        passed = os.stat(probe).st_ctime_ns > os.stat(path).st_ctime_ns
        probe.unlink()
        if passed:
            return
        time.sleep(0.001)


# --- Which there are --------------------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist_or_is_empty_holds_nothing(tmp_path: Path) -> None:
    for folder in (tmp_path / "gone", tmp_path):
        listing = listing_of(folder, {})
        assert (listing.files, listing.ignored, listing.hidden) == ((), (), ())


def test_files_are_found_at_any_depth_and_in_the_order_of_their_paths(tmp_path: Path) -> None:
    put(tmp_path, "b.json", "2024/05/c.json", "a.json", "2024/z.json", "folder.json/d.json")
    assert listed(tmp_path) == ["2024/05/c.json", "2024/z.json", "a.json", "b.json", "folder.json/d.json"]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "ndjson"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_suffix_counts_in_any_letter_case(tmp_path: Path, suffix: str, packed: str) -> None:
    name = f"a.{suffix}{packed}"
    names = sorted({name, name.upper(), name.title()})
    put(tmp_path, *names)
    assert listed(tmp_path) == names


def test_what_has_another_suffix_or_none_is_ignored_by_name(tmp_path: Path) -> None:
    names = ["a", "a.csv", "a.gz", "a.json.bak", "a.json.gz.gz", "a.json.zip", "a.jsonx", "ajson", "b/readme.txt"]
    put(tmp_path, *names)
    listing = listing_of(tmp_path, {})
    assert listing.files == ()
    assert listing.ignored == tuple(names)


def test_what_is_hidden_is_named_once_and_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path, ".a.json", "_b.json", ".git/c.json", "_temporary/0/d.json", "e/.f.json", "e/_g/h.json", "e/i.json")
    listing = listing_of(tmp_path, {})
    assert [file.path for file in listing.files] == ["e/i.json"]
    assert listing.hidden == (".a.json", ".git", "_b.json", "_temporary", "e/.f.json", "e/_g")
    assert listing.ignored == ()


def test_names_are_taken_to_the_letter(tmp_path: Path) -> None:
    names = ["a b.json", "a%20b.json", "a+b.json", "a\nb.json", "caf\u00e9.json", "cafe\u0301.json", "{a,b}[c]*?.json"]
    put(tmp_path, *names)
    assert listed(tmp_path) == sorted(names)


def test_a_name_that_is_no_utf_8_is_an_error(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    try:
        put(tmp_path, name)
    except OSError:
        pytest.skip("this file system has no such names")
    (file,) = listing_of(tmp_path, {}).files
    assert (file.path, file.error) == (name, "its name is not UTF-8; have it renamed")


def lake_with_links(top: Path, **links: str) -> Path:
    """Return the landing folder of a lake with a file and links in it, and a file beside the lake; names lack `.json`.

    In the lake, `aside/b.json` lies outside of every landing folder.
    """
    landing = put(top, "lake/customer/landing/real/a.json").parent.parent
    put(top, "lake/aside/b.json", "lake/aside/_hidden/c.json", "outside/secret.json")
    for name, target in links.items():
        (landing / f"{name}.json").symlink_to(target)
    return landing


def fates_of(landing: Path) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return the errors of the files to read, and what is passed over, in the landing folder of a lake."""
    listing = list_landing_files(LocalFolder(landing.parent.parent), "customer/landing", {})
    return {file.path: file.error for file in listing.files}, listing.ignored


def test_what_links_in_the_lake_lead_to_is_read_once(tmp_path: Path) -> None:
    inside = str(tmp_path / "lake/aside/b.json")
    landing = lake_with_links(tmp_path, own="real/a.json", b="../../aside/b.json", b_again=inside, chain="b.json")
    assert fates_of(landing) == ({"real/a.json": None, "b.json": None}, ("b_again.json", "chain.json", "own.json"))


def test_a_link_to_what_is_passed_over_by_its_own_name_is_read(tmp_path: Path) -> None:
    landing = lake_with_links(tmp_path, text="real/a.txt", hidden="_b.json")
    put(landing, "real/a.txt", "_b.json")
    assert fates_of(landing) == ({"real/a.json": None, "text.json": None, "hidden.json": None}, ("real/a.txt",))


@pytest.mark.parametrize(
    "target", ["../../../outside/secret.json", "../../../outside", "/etc/passwd", "/", "real/../../../../outside"]
)
def test_a_link_that_leaves_the_lake_is_an_error_of_its_name(tmp_path: Path, target: str) -> None:
    landing = lake_with_links(tmp_path, out=target)
    assert fates_of(landing) == ({"real/a.json": None, "out.json": _LEAVES}, ())
    with pytest.raises(OSError, match="leaves the lake"):
        LocalFolder(tmp_path / "lake").open("customer/landing/out.json")


@pytest.mark.parametrize("target", ["gone.json", "round.json"])
def test_a_link_that_leads_nowhere_is_an_error_of_its_name(tmp_path: Path, target: str) -> None:
    assert fates_of(lake_with_links(tmp_path, round=target)) == ({"real/a.json": None, "round.json": _DANGLES}, ())


def test_a_link_by_way_of_a_folder_that_leaves_the_lake_is_an_error(tmp_path: Path) -> None:
    landing = lake_with_links(tmp_path, away="../../../outside", by_way="away.json/secret.json")
    assert fates_of(landing)[0] == {"real/a.json": None, "away.json": _LEAVES, "by_way.json": _LEAVES}


def test_files_of_a_linked_folder_are_read_once_and_in_no_circle(tmp_path: Path) -> None:
    landing = lake_with_links(tmp_path, folder="../../aside", again="../../aside", own="real", up=".", root="../..")
    (tmp_path / "lake/aside/back").symlink_to(landing)
    (tmp_path / "lake/aside/out.json").symlink_to("../../outside/secret.json")
    assert fates_of(landing) == (
        {"real/a.json": None, "again.json/b.json": None, "again.json/out.json": _LEAVES},
        ("again.json/back", "folder.json", "own.json", "root.json", "up.json"),
    )
    with LocalFolder(tmp_path / "lake").open("customer/landing/again.json/b.json") as opened:
        assert opened.read() == _RECORD


def test_a_landing_folder_may_itself_lie_elsewhere_by_a_link(tmp_path: Path) -> None:
    landing = lake_with_links(tmp_path, inside="real/a.json", out="../../outside/secret.json")
    landing.rename(tmp_path / "disk")
    landing.symlink_to(tmp_path / "disk")
    assert fates_of(landing) == ({"real/a.json": None, "out.json": _LEAVES}, ("inside.json",))
    with LocalFolder(tmp_path / "lake").open("customer/landing/real/a.json") as opened:
        assert opened.read() == _RECORD


@pytest.mark.parametrize("swapped", ["real", "real/a.json"])
def test_a_link_that_is_put_there_while_a_file_is_opened_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, swapped: str
) -> None:
    landing = lake_with_links(tmp_path)
    put(tmp_path, "outside/a.json", content=b"secret")
    resolved = os.path.realpath

    def resolved_before_the_swap(path: str) -> str:
        found = resolved(path)
        if found.endswith("a.json"):
            (landing / swapped).rename(landing / "gone")
            (landing / swapped).symlink_to(tmp_path / "outside" / ("" if swapped == "real" else "a.json"))
        return found

    monkeypatch.setattr(os.path, "realpath", resolved_before_the_swap)
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        LocalFolder(tmp_path / "lake").open("customer/landing/real/a.json")


def test_what_is_no_file_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind("socket.json")
        listing = listing_of(tmp_path, {})
    assert listing.files == ()
    assert listing.ignored == ("socket.json",)


def test_a_pipe_where_a_file_was_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(put(tmp_path, "gone").parent / "a.json")
    with LocalFolder(tmp_path).open("a.json") as opened:
        assert opened.read() == b""


@pytest.mark.parametrize(("hours", "is_ahead"), [(-1, False), (0, False), (1, True), (24 * 365 * 30, True)])
def test_a_file_that_is_dated_in_the_future_is_named_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hours: int, *, is_ahead: bool
) -> None:
    put(tmp_path, "landing/a.json")
    now = time.time() - hours * 3600
    monkeypatch.setattr(time, "time", lambda: now)
    listing = list_landing_files(LocalFolder(tmp_path), "landing", {}, settled_before=int(now * 1000) - 1000)
    assert listing.dated_ahead == (("a.json",) if is_ahead else ())
    # Of one that has just been written it is not known whether it is whole.
    assert listing.unsettled == (("a.json",) if hours == 0 else ())


def test_a_file_whose_writer_dates_it_in_the_future_is_named_and_settles_by_when_it_changed(tmp_path: Path) -> None:
    later = time.time() + 365 * 24 * 3600
    os.utime(put(tmp_path, "landing/a.json"), (later, later))
    listing = list_landing_files(LocalFolder(tmp_path), "landing", {}, settled_before=0)
    assert (listing.dated_ahead, listing.unsettled) == (("a.json",), ("a.json",))


@_needs_permissions
def test_a_file_that_may_not_be_read_is_listed_and_cannot_be_opened(tmp_path: Path) -> None:
    put(tmp_path, "a.json", "c.json")
    put(tmp_path, "b.json").chmod(0)
    assert {file.path: file.error for file in listing_of(tmp_path, {}).files} == {
        "a.json": None,
        "b.json": None,
        "c.json": None,
    }
    with pytest.raises(PermissionError):
        LocalFolder(tmp_path).open("b.json")


@_needs_permissions
def test_a_folder_that_may_not_be_listed_is_an_error_and_the_others_are_read(tmp_path: Path) -> None:
    put(tmp_path, "a.json")
    closed = put(tmp_path, "closed/b.json").parent
    closed.chmod(0)
    try:
        found = {file.path: file.error for file in listing_of(tmp_path, {}).files}
    finally:
        closed.chmod(0o700)
    assert found == {"a.json": None, "closed": "the folder cannot be listed: no permission"}


@_needs_permissions
def test_files_of_a_folder_that_may_be_listed_but_not_entered_are_accounted_for(tmp_path: Path) -> None:
    closed = put(tmp_path, "closed/b.json").parent
    closed.chmod(0o600)
    try:
        listing = listing_of(tmp_path, {})
    finally:
        closed.chmod(0o700)
    assert [(file.path, file.error) for file in listing.files] == [("closed/b.json", _FORBIDDEN)]


# --- What a file is called --------------------------------------------------------------------------------------------


def _no_key() -> bytes:
    raise AssertionError("the secret was asked for")


@pytest.mark.parametrize(
    "path", ["a.json", "2024/05/a-b_c.json.gz", "x=1/{a,b}[c]*.JSONL", "a", "", "(1)~#.ndjson", "a:b.json"]
)
def test_a_file_with_a_usual_name_is_called_by_its_path(path: str) -> None:
    assert masked(path) == path
    assert alias(path, _no_key) == path


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("ada@example.com.json", "***.json"),
        ("Ada Lovelace.JSON.gz", "***.json.gz"),
        ("2024/ada@example.com/a.json", "2024/***/a.json"),
        ("2024/ad\u00e9.ndjson", "2024/***.ndjson"),
        ("a\nERROR b.jsonl", "***.jsonl"),
        ("%40.json", "***.json"),
        ("'a'.json", "***.json"),
        ("@.json/b/@", "***.json/b/***"),
        (os.fsdecode(b"caf\xe9.json"), "***.json"),
        ("a.json ", "***"),
    ],
)
def test_a_part_of_a_name_that_could_hold_somebodys_data_is_not_shown(path: str, shown: str) -> None:
    called = alias(path, _key())
    assert masked(path) == shown
    assert masked(called) == called
    assert alias(called, _no_key) == called
    # What tells paths apart stands in the last part; of the others nothing is shown.
    folder, _, last = shown.rpartition("/")
    mark = r"\*\*\*[0-9a-f]{12}" + ("" if "***" in last else "-")
    assert re.fullmatch(re.escape(folder) + "/?" + mark + re.escape(last.removeprefix("***")), called)


def test_an_alias_is_of_its_path_and_of_the_secret_alone() -> None:
    paths = [
        "ada@x.json",
        "ben@x.json",
        "ada@x/a.json",
        "ben@x/a.json",
        "ada@x/b.json",
        "c/ada@x.json",
        "ada@x.json.gz",
    ]
    called = [alias(path, _key()) for path in paths]
    assert called == [alias(path, _key()) for path in paths]
    assert len({*called, *(alias(path, _key(b"another secret")) for path in paths)}) == 2 * len(paths)


def test_files_are_listed_by_what_they_are_called_and_opened_by_their_paths(tmp_path: Path) -> None:
    put(tmp_path, "ada@example.com.json", "b.json", "notes of ada.txt", ".ada@example.com")
    listing = list_landing_files(LocalFolder(tmp_path.parent), tmp_path.name, {}, key=_key())
    called = alias("ada@example.com.json", _key())
    assert {file.path: file.name for file in listing.files} == {"ada@example.com.json": called, "b.json": "b.json"}
    assert (listing.ignored, listing.hidden) == (("***",), ("***",))
    known = {called: FileReport(called, listing.files[0].size, listing.files[0].fingerprint)}
    again = list_landing_files(LocalFolder(tmp_path.parent), tmp_path.name, known, settled_before=0, key=_key())
    assert [file.name for file in again.files] == [called]
    assert again.unsettled == ("b.json",)


def test_nothing_is_opened_to_be_listed(tmp_path: Path) -> None:
    put(tmp_path, "a.json", "b.json.gz", content=b"\x1f\x8b cut off")
    with mock.patch.object(LocalFolder, "open", side_effect=AssertionError("it was opened")):
        listing = listing_of(tmp_path, {})
    assert [(file.path, file.size, file.error) for file in listing.files] == [
        ("a.json", 10, None),
        ("b.json.gz", 10, None),
    ]


# --- Whether one has changed ------------------------------------------------------------------------------------------


def test_a_file_that_is_let_be_has_not_changed(tmp_path: Path) -> None:
    file = looked_at(tmp_path, _RECORD)
    wait_for_the_clock_of(tmp_path / file.path)
    (tmp_path / file.path).read_bytes()
    put(tmp_path, "b.json")
    assert not has_changed(tmp_path, file)


def _replace(path: Path) -> None:
    put(path.parent, "new", content=_RECORD[::-1]).replace(path)


def _overwrite(path: Path) -> None:
    path.write_bytes(_RECORD[::-1])


def _cut(path: Path) -> None:
    os.truncate(path, 5)


def _lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(_RECORD)


def _remove(path: Path) -> None:
    path.unlink()


def _turn_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_elsewhere(path: Path) -> None:
    put(path.parent, "other", content=_RECORD[::-1])
    path.unlink()
    path.symlink_to(path.parent / "other")


def _touch(path: Path) -> None:
    os.utime(path)


@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize(
    "change", [_replace, _overwrite, _cut, _lengthen, _remove, _turn_into_a_folder, _link_elsewhere, _touch]
)
def test_a_file_that_is_touched_in_any_way_has_changed(
    tmp_path: Path, change: Callable[[Path], None], *, keep_times: bool
) -> None:
    file = looked_at(tmp_path, _RECORD)
    path = tmp_path / file.path
    before = os.stat(path)
    wait_for_the_clock_of(path)
    change(path)
    if keep_times and path.exists():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert has_changed(tmp_path, file)


@pytest.mark.parametrize("changed", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"])
def test_each_sign_of_a_change_counts_by_itself(changed: str) -> None:
    # The clocks of some file systems are coarse, and some have numbers for files that mean nothing.
    signs = dict.fromkeys(["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"], 1)
    before, after = (cast("os.stat_result", SimpleNamespace(**found)) for found in (signs, {**signs, changed: 2}))
    assert fingerprint_of(before) != fingerprint_of(after)


def test_another_file_of_the_same_size_and_times_has_changed_even_within_one_tick_of_the_clock(tmp_path: Path) -> None:
    file = looked_at(tmp_path, _RECORD)
    path = tmp_path / file.path
    before = os.stat(path)
    _replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert has_changed(tmp_path, file)


def test_a_file_that_could_not_be_read_counts_as_changed(tmp_path: Path) -> None:
    put(tmp_path, "a.json")
    assert has_changed(tmp_path, LandingFile("a.json", "a.json", 0, "", error="no permission to read it"))
