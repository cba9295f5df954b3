"""The keys that hide who a person is: where they are kept, that they are made once, and when they are refused.

Belongs here: the key itself. What Spark makes of it is tested with `machine_learning_curated`.
"""

import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import pytest

from stedi_assets.privacy.keys import LEAST_BYTES, pseudonym_key, suppression_key
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets_tests.support.lakes import local_lake, root_of

_needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture
def key_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the key of this test's own user is kept; nothing is there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "stedi" / "pseudonym.key"


def test_a_key_is_made_that_only_its_owner_can_read(key_file: Path, lake: Lake) -> None:
    key = pseudonym_key(None, lake)
    assert key_file.read_bytes() == key
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700
    assert key_file.stat().st_nlink == 1


def test_a_key_has_as_many_random_bytes_as_are_asked_of_others(key_file: Path, lake: Lake) -> None:
    keys = set()
    for _ in range(20):
        keys.add(pseudonym_key(None, lake))
        key_file.unlink()
    assert len(keys) == 20
    # Written as hex digits, two for each random byte, in the letters of one case.
    assert all(len(bytes.fromhex(key.decode())) >= LEAST_BYTES for key in keys)
    assert all(key == key.lower() for key in keys)


def test_nothing_else_is_left_where_the_key_is_kept(key_file: Path, lake: Lake) -> None:
    for _ in range(3):
        pseudonym_key(None, lake)
    assert list(key_file.parent.iterdir()) == [key_file]
    assert not root_of(lake).exists()


def test_the_suppression_key_is_another(key_file: Path, lake: Lake) -> None:
    suppression = suppression_key(None, lake)
    assert suppression == key_file.with_name("suppression.key").read_bytes()
    assert suppression != pseudonym_key(None, lake)
    with pytest.raises(LakeError, match="STEDI_SUPPRESSION_KEY has 5 bytes"):
        suppression_key("short", lake)


def test_the_key_is_made_once(key_file: Path, lake: Lake, tmp_path: Path) -> None:
    first = pseudonym_key(None, lake)
    assert pseudonym_key(None, lake) == first
    assert pseudonym_key(None, local_lake(tmp_path / "another lake")) == first


def test_a_key_that_is_there_is_taken_as_it_is(key_file: Path, lake: Lake) -> None:
    key_file.parent.mkdir(parents=True)
    key_file.write_bytes(b"k" * LEAST_BYTES)
    assert pseudonym_key(None, lake) == b"k" * LEAST_BYTES
    assert key_file.read_bytes() == b"k" * LEAST_BYTES


def test_the_key_is_kept_in_the_home_folder_where_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lake: Lake
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    kept = tmp_path / "home" / ".config" / "stedi" / "pseudonym.key"
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    key = pseudonym_key(None, lake)
    assert kept.read_bytes() == key
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    assert pseudonym_key(None, lake) == key


def test_a_configured_key_is_used_and_none_is_made(key_file: Path, lake: Lake) -> None:
    assert pseudonym_key("k" * LEAST_BYTES, lake) == b"k" * LEAST_BYTES
    assert pseudonym_key("\u00e9" * LEAST_BYTES, lake) == "\u00e9".encode() * LEAST_BYTES
    assert not key_file.exists()


def test_a_configured_key_wins_over_the_one_that_is_kept(key_file: Path, lake: Lake) -> None:
    kept = pseudonym_key(None, lake)
    assert pseudonym_key("k" * LEAST_BYTES, lake) == b"k" * LEAST_BYTES
    assert pseudonym_key(None, lake) == kept


@pytest.mark.parametrize("key", ["", "secret", "k" * (LEAST_BYTES - 1)])
def test_a_configured_key_that_is_too_short_is_refused_and_not_shown(key_file: Path, lake: Lake, key: str) -> None:
    with pytest.raises(LakeError) as refused:
        pseudonym_key(key, lake)
    assert f"STEDI_PSEUDONYM_KEY has {len(key)} bytes; at least {LEAST_BYTES} are needed" in str(refused.value)
    assert not key or key not in str(refused.value)
    assert not key_file.exists()


def test_the_length_of_a_configured_key_counts_in_bytes(key_file: Path, lake: Lake) -> None:
    half = "\u00e9" * (LEAST_BYTES // 2)
    assert len(pseudonym_key(half, lake)) == LEAST_BYTES
    with pytest.raises(LakeError, match=f"has {LEAST_BYTES - 2} bytes"):
        pseudonym_key(half[1:], lake)


@pytest.mark.parametrize("content", [b"", b"secret", b"k" * (LEAST_BYTES - 1)])
def test_a_kept_key_that_is_too_short_is_refused_not_shown_and_not_replaced(
    key_file: Path, lake: Lake, content: bytes
) -> None:
    key_file.parent.mkdir(parents=True)
    key_file.write_bytes(content)
    with pytest.raises(LakeError) as refused:
        pseudonym_key(None, lake)
    assert f"{key_file} has {len(content)} bytes; at least {LEAST_BYTES} are needed" in str(refused.value)
    assert not content or content.decode() not in str(refused.value)
    assert key_file.read_bytes() == content


@pytest.mark.parametrize("below", ["", "config", "customer/landing", "../lake/config"])
def test_a_key_below_the_lake_is_refused(monkeypatch: pytest.MonkeyPatch, lake: Lake, below: str) -> None:
    root_of(lake).mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(root_of(lake) / below))
    with pytest.raises(LakeError, match=r"would lie below the lake .* Set STEDI_PSEUDONYM_KEY or XDG_CONFIG_HOME"):
        pseudonym_key(None, lake)
    assert list(root_of(lake).iterdir()) == []
    assert pseudonym_key("k" * LEAST_BYTES, lake) == b"k" * LEAST_BYTES


def test_a_key_below_the_lake_is_refused_by_way_of_a_link_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lake: Lake
) -> None:
    (root_of(lake) / "config").mkdir(parents=True)
    (tmp_path / "to the lake").symlink_to(root_of(lake))
    (tmp_path / "to the config").symlink_to(root_of(lake) / "config")
    for home, root in (
        (tmp_path / "to the config", root_of(lake)),
        (tmp_path / "to the lake" / "config", root_of(lake)),
        (root_of(lake) / "config", tmp_path / "to the lake"),
    ):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
        with pytest.raises(LakeError, match="would lie below the lake"):
            pseudonym_key(None, local_lake(root))


def test_a_key_beside_a_lake_of_a_similar_name_is_not_below_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lake: Lake
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", f"{root_of(lake)}-config")
    pseudonym_key(None, lake)
    assert (tmp_path / "lake-config" / "stedi" / "pseudonym.key").exists()


def test_where_no_key_can_be_made_the_error_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lake: Lake
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(LakeError, match=r"cannot be read or created: .* Set STEDI_PSEUDONYM_KEY instead"):
        pseudonym_key(None, lake)


def test_processes_that_make_the_key_at_once_get_the_same_one(tmp_path: Path, lake: Lake) -> None:
    script = (
        "import os, sys, time\n"
        "from stedi_assets.privacy.keys import pseudonym_key\n"
        "from stedi_assets.storage.lake import Lake\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    start, home = line.strip().split(' ', 1)\n"
        "    os.environ['XDG_CONFIG_HOME'] = home\n"
        "    while time.time() < float(start):\n"
        "        pass\n"
        "    print(pseudonym_key(None, Lake.at(sys.argv[1])).decode(), flush=True)\n"
    )
    command = [sys.executable, "-c", script, lake.location]
    with ExitStack() as running:
        started = [
            running.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(3)
        ]
        pipes = [(process.stdin, process.stdout) for process in started if process.stdin and process.stdout]
        assert [answers.readline() for _, answers in pipes] == ["ready\n"] * 3
        for number in range(100):
            home = tmp_path / f"config {number}"
            start = time.time() + 0.005
            for questions, _ in pipes:
                questions.write(f"{start} {home}\n")
                questions.flush()
            keys = {answers.readline().strip() for _, answers in pipes}
            assert keys == {(home / "stedi" / "pseudonym.key").read_text()}
        for questions, _ in pipes:
            questions.close()
    assert [process.returncode for process in started] == [0, 0, 0]


def test_threads_that_make_the_key_at_once_get_the_same_one(key_file: Path, lake: Lake) -> None:
    at_once = 8
    for _ in range(20):
        start = Barrier(at_once)

        def make(start: Barrier = start) -> bytes:
            start.wait()
            return pseudonym_key(None, lake)

        with ThreadPoolExecutor(at_once) as pool:
            keys = {made.result() for made in [pool.submit(make) for _ in range(at_once)]}
        assert keys == {key_file.read_bytes()}
        key_file.unlink()


def test_what_a_dead_process_of_the_same_number_left_does_not_matter(key_file: Path, lake: Lake) -> None:
    # In a container every run has the same process number.
    key_file.parent.mkdir(parents=True)
    key_file.with_name(f"pseudonym.key.{os.getpid()}").write_bytes(b"half a k")
    key = pseudonym_key(None, lake)
    assert key == key_file.read_bytes()
    assert len(key) >= LEAST_BYTES


@_needs_permissions
def test_a_key_that_may_be_read_but_not_written_is_enough(key_file: Path, lake: Lake) -> None:
    key_file.parent.mkdir(parents=True)
    key_file.write_bytes(b"k" * LEAST_BYTES)
    key_file.chmod(0o400)
    key_file.parent.chmod(0o500)
    try:
        assert pseudonym_key(None, lake) == b"k" * LEAST_BYTES
    finally:
        key_file.parent.chmod(0o700)


def test_a_kept_key_is_read_without_writing_beside_it(key_file: Path, lake: Lake) -> None:
    kept = pseudonym_key(None, lake)
    os.utime(key_file.parent, (0, 0))
    assert pseudonym_key(None, lake) == kept
    assert key_file.parent.stat().st_mtime == 0


def test_a_configured_key_may_be_of_any_bytes(lake: Lake) -> None:
    key = bytes(range(128, 128 + LEAST_BYTES))
    # As Python shows a variable of the environment.
    assert pseudonym_key(os.fsdecode(key), lake) == key
