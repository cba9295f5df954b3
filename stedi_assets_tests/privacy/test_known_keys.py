"""The keys that a lake was made with: another one is refused wherever it is used, and rotated only on purpose."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import dagster as dg
import pytest

from stedi_assets.cli.main import main
from stedi_assets.contracts import TABLES, Purpose
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy import known_keys
from stedi_assets.privacy.known_keys import (
    keep_suppression_key,
    require_pseudonym_key,
    require_suppression_key,
    rotate_pseudonym_key,
)
from stedi_assets.storage.errors import CommitConflictError, LakeError, WrongKey
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.local import LocalFolder
from stedi_assets.tables.catalog import forget, load
from stedi_assets.tables.publishing import mark
from stedi_assets.tables.snapshots import current, current_dataset, read_snapshot_of
from stedi_assets.tables.staging import RunContext
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    check,
    customer,
    folders_in,
    lines,
    local_lake,
    materialise,
    messages,
    root_of,
    write_ada_and_ben,
)

KEY, ANOTHER = b"a pseudonym key for tests, 32 bytes and more", b"another pseudonym key, of 32 bytes and more"
ML = TABLES["machine_learning_curated"]
STEDI = str(Path(sys.executable).parent / "stedi")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Iterator[KeptLake]:
    """A lake that was built with a key, which stays the one in force."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_PSEUDONYM_KEY", KEY.decode())
        lake = local_lake(tmp_path_factory.mktemp("first") / "lake")
        write_ada_and_ben(lake)
        assert materialise(lake, spark_resource, checks=False).success
        yield KeptLake.of(lake)


@pytest.fixture
def built(first: KeptLake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """That lake, as it was built."""
    lake = first.restored()
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    return lake


def known(lake: Lake) -> dict[str, str]:
    """Return what a lake knows of its keys."""
    found: dict[str, str] = json.loads((root_of(lake) / "_keys.json").read_text())
    return found


def check_value(key: bytes) -> str:
    return hmac.new(key, b"the subjects of a STEDI lakehouse", hashlib.sha256).hexdigest()


def subjects(lake: Lake) -> set[str]:
    return set(current_dataset(lake, ML.name).to_table(columns=["subject_id"])["subject_id"].to_pylist())


def subjects_under(key: bytes) -> set[str]:
    return {hmac.new(key, f"{name}@example.com".encode(), hashlib.sha256).hexdigest() for name in ("ada", "ben")}


def forget_keys(lake: Lake) -> None:
    """Leave a lake as an earlier version made it."""
    (root_of(lake) / "_keys.json").unlink()


# ---- The lake's key, and another one ------------------------------------------------------------------------------


def test_a_lake_keeps_a_check_value_and_no_key(built: Lake) -> None:
    assert known(built) == {"pseudonym": check_value(KEY)}
    assert require_pseudonym_key(built, KEY) == KEY


def test_another_pseudonym_key_is_refused_wherever_it_is_used(
    built: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the table itself, its checks, a withdrawal and a repair; under the right one all of them go well."""
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", ANOTHER.decode())
    before = {name: current(built, table) for name, table in TABLES.items()}
    (root_of(built) / "customer" / "landing" / "later.json").write_bytes(lines(customer("ada", CONSENTED + 1, None)))
    withdrawal = dg.AssetSelection.assets("customer_landing")
    for refused in (
        materialise(built, spark_resource, tables=dg.AssetSelection.assets(ML.name)),
        materialise(built, spark_resource, tables=withdrawal),
        check(built, spark_resource),
    ):
        assert not refused.success
        assert "Set STEDI_PSEUDONYM_KEY" in messages(refused)
        assert "`stedi rotate-key`" in messages(refused)
    assert {name: current(built, table) for name, table in TABLES.items()} == before

    iceberg = load(built, ML)
    assert iceberg
    metadata = Path(iceberg.metadata_location)
    metadata.write_text(metadata.read_text()[:50])
    assert main(["repair"]) == 1
    assert "`stedi rotate-key`" in capsys.readouterr().err
    assert len(metadata.read_text()) == 50

    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY.decode())
    assert main(["repair"]) == 0
    assert current(built, ML).id == before[ML.name].id
    assert materialise(built, spark_resource, tables=withdrawal).success
    assert current(built, ML).rows == 2


def test_a_lake_of_an_earlier_version_takes_the_key_that_its_subjects_were_made_with(built: Lake) -> None:
    forget_keys(built)
    with pytest.raises(WrongKey, match="Set STEDI_PSEUDONYM_KEY"):
        require_pseudonym_key(built, ANOTHER)
    assert not (root_of(built) / "_keys.json").exists()
    assert require_pseudonym_key(built, KEY) == KEY
    assert known(built) == {"pseudonym": check_value(KEY)}


def test_a_lake_without_subjects_takes_the_first_key(built: Lake) -> None:
    forget_keys(built)
    forget(built, ML)
    built.storage.delete_permanently(ML.path)
    assert require_pseudonym_key(built, ANOTHER) == ANOTHER
    with pytest.raises(WrongKey):
        require_pseudonym_key(built, KEY)


def test_of_keys_that_come_first_at_once_one_is_taken(lake: Lake) -> None:
    keys = [bytes([number]) * 32 for number in range(8)]
    for claim in (require_pseudonym_key, keep_suppression_key):
        start = Barrier(len(keys))

        def taken(key: bytes, claim: Callable[[Lake, bytes], object] = claim, start: Barrier = start) -> bool:
            start.wait()
            try:
                claim(lake, key)
            except WrongKey:
                return False
            return True

        with ThreadPoolExecutor(len(keys)) as pool:
            assert sum(pool.map(taken, keys)) == 1
    assert {*known(lake)} == {"pseudonym", "suppression"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pseudonym": 5}', '{"pseudonym": "\u00e9"}'.encode()])
def test_damaged_check_values_are_refused_and_may_be_removed(content: bytes, built: Lake) -> None:
    (root_of(built) / "_keys.json").write_bytes(content)
    for require in (require_pseudonym_key, require_suppression_key, keep_suppression_key, rotate_pseudonym_key):
        with pytest.raises(LakeError, match=r"_keys\.json, are damaged.* or remove the file"):
            require(built, KEY)
    forget_keys(built)
    assert require_pseudonym_key(built, KEY) == KEY


def test_the_suppression_key_is_kept_when_it_is_needed_and_never_another(lake: Lake) -> None:
    for key in (KEY, ANOTHER):
        # Nobody was erased, and nothing is kept.
        assert require_suppression_key(lake, key) == key
    assert not root_of(lake).exists()
    keep_suppression_key(lake, KEY)
    keep_suppression_key(lake, KEY)
    for use in (require_suppression_key, keep_suppression_key):
        with pytest.raises(WrongKey, match=r"Set STEDI_SUPPRESSION_KEY.* can never be rotated"):
            use(lake, ANOTHER)
    # Two keys that are the same are not seen to be.
    require_pseudonym_key(lake, KEY)
    assert len(set(known(lake).values())) == 2


# ---- Rotation -----------------------------------------------------------------------------------------------------


def test_a_rotation_is_a_command_of_its_own(
    built: Lake, spark_resource: SparkResource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_suppression_key(built, KEY)
    suppression = known(built)["suppression"]
    others = {name: current(built, table) for name, table in TABLES.items() if table is not ML}

    def rotate(key: bytes) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [STEDI, "rotate-key"],
            cwd=tmp_path,
            env={**os.environ, "STEDI_PSEUDONYM_KEY": key.decode()},
            capture_output=True,
            text=True,
            check=False,
        )

    same = rotate(KEY)
    assert same.returncode == 1
    assert "is already that of" in same.stderr
    assert subjects(built) == subjects_under(KEY)

    done = rotate(ANOTHER)
    assert (done.returncode, done.stderr) == (0, "")
    assert "removed 1 snapshots made with the old key" in done.stdout
    assert ANOTHER.decode() not in done.stdout
    assert read_snapshot_of(built, ML) is None
    assert folders_in(built.storage, ML.path) == set()
    assert known(built) == {"pseudonym": check_value(ANOTHER), "suppression": suppression}
    assert {name: current(built, TABLES[name]) for name in others} == others

    with pytest.raises(WrongKey):
        require_pseudonym_key(built, KEY)
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", ANOTHER.decode())
    assert materialise(built, spark_resource, tables=dg.AssetSelection.assets(ML.name)).success
    assert subjects(built) == subjects_under(ANOTHER)


@pytest.mark.parametrize(("owner", "step", "left"), [(known_keys, "forget", 1), (LocalFolder, "delete_permanently", 0)])
def test_a_rotation_that_died_is_finished_by_the_next_and_nothing_is_made_before(
    owner: object, step: str, left: int, built: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the catalog does not know any more is not counted again, and goes all the same."""

    def die(*_: object) -> None:
        raise OSError(5, "died", "here")

    with monkeypatch.context() as dying:
        dying.setattr(owner, step, die)
        with pytest.raises(OSError, match="died"):
            rotate_pseudonym_key(built, ANOTHER)
    for key in (KEY, ANOTHER):
        with pytest.raises(WrongKey, match=r"is not finished. Run `stedi rotate-key` again"):
            require_pseudonym_key(built, key)
    assert rotate_pseudonym_key(built, ANOTHER) == left
    assert read_snapshot_of(built, ML) is None
    assert folders_in(built.storage, ML.path) == set()
    assert require_pseudonym_key(built, ANOTHER) == ANOTHER


def test_whoever_publishes_under_the_old_key_meanwhile_loses(built: Lake) -> None:
    snapshot = current(built, ML)
    rotate_pseudonym_key(built, ANOTHER)
    with pytest.raises(CommitConflictError):
        mark(built, ML, snapshot, RunContext("late", Purpose.PRODUCTION), withdrawn_through=1)


def test_a_key_that_was_made_here_is_rotated_by_moving_its_file_aside(
    built: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the message says."""
    kept = tmp_path / "config" / "stedi" / "pseudonym.key"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STEDI_PSEUDONYM_KEY")
    assert main(["rotate-key"]) == 1
    assert "pseudonym.key aside" in capsys.readouterr().err
    kept.rename(kept.with_name("pseudonym.key.old"))
    assert main(["rotate-key"]) == 0
    assert known(built) == {"pseudonym": check_value(kept.read_bytes())}
    assert kept.read_bytes() != KEY


def test_a_lake_of_an_earlier_version_is_rotated_too(built: Lake) -> None:
    forget_keys(built)
    with pytest.raises(LakeError, match="nothing was changed"):
        rotate_pseudonym_key(built, KEY)
    assert subjects(built) == subjects_under(KEY)
    assert rotate_pseudonym_key(built, ANOTHER) == 1
    assert known(built) == {"pseudonym": check_value(ANOTHER)}
