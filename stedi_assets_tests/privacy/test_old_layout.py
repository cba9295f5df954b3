"""A lake of the layout before Iceberg: refused as it is, taken over by `stedi upgrade`, and nobody comes back.

`support/data/old_layout.zip` is such a lake, made by the version before: a withdrawal whose file was replaced since
(victim), somebody who came with that file (new), and somebody who was erased, whose raw file is still there.
"""

import re
import zipfile
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.cli.main import main
from stedi_assets.contracts import ALL_TABLES, TABLES
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy import old_layout
from stedi_assets.privacy.old_layout import upgrade
from stedi_assets.storage.errors import CorruptTableError, LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current_dataset, read_snapshot_of
from stedi_assets_tests.support.lakes import (
    check,
    failed_checks,
    local_lake,
    materialise,
    messages,
    root_of,
    write_ada_and_ben,
)

OLD = Path(__file__).parents[1] / "support" / "data" / "old_layout.zip"
PSEUDONYM_KEY = "old-lake-pseudonym-key-of-the-tests-0"
SUPPRESSION_KEY = "old-lake-suppression-key-of-the-tests"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    with zipfile.ZipFile(OLD) as packed:
        packed.extractall(tmp_path)
    lake = local_lake(tmp_path / "lake")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEDI_LAKE", lake.location)
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", PSEUDONYM_KEY)
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", SUPPRESSION_KEY)
    return lake


def people(lake: Lake) -> set[str]:
    return set(current_dataset(lake, "customer_trusted").to_table()["email"].to_pylist())


def test_it_is_refused_with_the_command_that_takes_it_over(
    old: Lake, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    result = materialise(old, spark_resource)
    assert not result.success
    assert "stedi upgrade" in messages(result)
    assert main(["status"]) == 1
    assert capsys.readouterr().out.count("stedi upgrade") == len(TABLES)
    with pytest.raises(LakeError, match="stedi upgrade"):
        read_snapshot_of(old, TABLES["machine_learning_curated"])


def test_who_withdrew_or_was_erased_stays_out(
    old: Lake, spark_resource: SparkResource, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upgrade"]) == 0
    assert "11 tables of the old layout were taken over" in capsys.readouterr().out
    assert materialise(old, spark_resource, checks=False).success
    assert people(old) == {"alice@example.com", "new@example.com"}
    kept = current_dataset(old, "customer_landing").to_table(columns=["email", "_superseded"]).to_pylist()
    assert {"email": "victim@example.com", "_superseded": True} in kept
    # Readings are read anew: a warning says that there were none before.
    assert {name for _, name in failed_checks(check(old, spark_resource))} == {"row_count_change"}
    assert main(["upgrade"]) == 0
    assert "are Iceberg tables already" in capsys.readouterr().out


def test_nothing_of_the_old_tables_is_left(old: Lake) -> None:
    root = root_of(old)
    before = {path for path in root.rglob("*") if path.is_file() and "landing" not in path.relative_to(root).parts}
    assert upgrade(old) == 11
    left = [path for path in root.rglob("*") if path.is_file()]
    assert not [path for path in left if path.name == "_current.json" or re.match(r"\d{8}T", path.parent.name)]
    assert {path.name for path in before & set(left)} <= {
        "_purpose.json",
        "_keys.json",
        "_suppressed.json",
        "_lock",
    } | {path.name for path in left if path.parent.name == "_erasures"}
    tables = [path for path in left if any(f"/{table.path}/" in str(path) for table in ALL_TABLES.values())]
    assert tables
    assert not [
        path for path in tables if b"victim@example.com" in path.read_bytes() and "landing_table" not in str(path)
    ]


@pytest.mark.matrix
@pytest.mark.parametrize("after", range(4))
def test_one_that_dies_is_finished_by_the_next(
    after: int, old: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0
    for name in ("_take_over", "_remove"):
        step = getattr(old_layout, name)

        def dying(*arguments: object, step: object = step) -> None:
            nonlocal done
            if done == after * 3:
                raise KeyboardInterrupt
            done += 1
            step(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(old_layout, name, dying)
    with pytest.raises(KeyboardInterrupt):
        upgrade(old)
    monkeypatch.undo()
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", PSEUDONYM_KEY)
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", SUPPRESSION_KEY)
    assert not materialise(old, spark_resource).success
    upgrade(old)
    if after == 2:
        assert materialise(old, spark_resource).success
        assert people(old) == {"alice@example.com", "new@example.com"}


def test_nothing_is_landed_until_an_upgrade_has_ended(lake: Lake, spark_resource: SparkResource) -> None:
    write_ada_and_ben(lake)
    phones = dg.AssetSelection.assets("accelerometer_landing").without_checks()
    assert materialise(lake, spark_resource, tables=phones).success
    (root_of(lake) / "accelerometer" / "landing_table" / "_current.json").write_text("{}")
    refused = materialise(lake, spark_resource, tables=phones)
    assert not refused.success
    assert "Run `stedi upgrade`" in messages(refused)


def test_damaged_customers_stop_it_before_anything_is_removed(old: Lake) -> None:
    (files,) = root_of(old).glob("customer/landing_table/2*/_files.json")
    files.write_text("{")
    before = sorted(path for path in root_of(old).rglob("*") if path.suffix == ".parquet")
    with pytest.raises(CorruptTableError, match="Restore it, and run `stedi upgrade` again"):
        upgrade(old)
    assert set(before) <= set(root_of(old).rglob("*"))
