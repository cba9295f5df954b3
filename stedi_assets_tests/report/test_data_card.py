"""The data card of the ML table: in Dagster with each publication, true, and with code that loads the table."""

import re

import dagster as dg
import pytest

from stedi_assets.contracts import TABLES, ConsentRecord, Policy
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.report import data_card
from stedi_assets.storage.errors import CorruptTableError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current
from stedi_assets.verification.engine import SecondEngineFailed
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    TRACES_OF_ADA,
    customer,
    device_reading,
    lines,
    local_lake,
    materialise,
    root_of,
    write_ada_and_ben,
)

ML = TABLES["machine_learning_curated"]


def card_of(lake: Lake) -> str:
    return data_card.data_card(lake, ML, current(lake, ML))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Lake:
    """The lake of ada and ben, with a device reading that belongs to nobody."""
    lake = local_lake(tmp_path_factory.mktemp("card") / "lake")
    write_ada_and_ben(lake)
    landing = root_of(lake) / "step_trainer" / "landing"
    (landing / "nobodys.json").write_bytes(lines(device_reading("device-of-ada", CONSENTED)))
    assert materialise(lake, spark_resource, checks=False).success
    return lake


@pytest.fixture
def card(built: Lake) -> str:
    return card_of(built)


def test_it_says_what_the_table_is_and_may_be_used_for(built: Lake, card: str) -> None:
    snapshot = current(built, ML)
    assert card.startswith(f"# machine_learning_curated\n\nA row is {ML.row}. {ML.description}\n")
    assert "- **Rows** 4, of **2 subjects**, from 2022-06-18 to 2022-06-18 (UTC)" in card
    assert f"- **Snapshot** `{snapshot.id}`, made by run `{snapshot.run_id}`" in card
    assert "left out: 1 of 5 (20.0%)" in card
    assert "- **Policy** the default: consent_record `latest`" in card
    assert "**For research, yes**" in card
    assert "**pseudonymised, not anonymous**" in card
    assert f"To cite it: machine_learning_curated, snapshot {snapshot.id}, 4 rows." in card
    assert not TRACES_OF_ADA.search(card.encode())


def test_it_has_every_column_with_its_unit(card: str) -> None:
    found = dict(re.findall(r"^\| `(\w+)` \| \w+ \| (.+?) \|", card, re.MULTILINE))
    assert found == {column.name: column.unit or "none" for column in ML.columns}
    assert found["timestamp"] == "epoch milliseconds"


@pytest.mark.parametrize("library", ["pandas", "polars", "DuckDB"])
def test_the_table_loads_in_two_lines(library: str, card: str) -> None:
    if library == "pandas":
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    else:
        ((imports, line),) = re.findall(rf"^- {library}, after `(.*)`: `(.*)`$", card, re.MULTILINE)
        code = f"{imports}\n{line}"
    names: dict[str, object] = {}
    exec(code, names)
    rows = names["rows"]
    columns = list(getattr(rows, "columns"))  # noqa: B009  (of three libraries)
    assert (tuple(columns), len(rows)) == (ML.column_names, 4)  # type: ignore[arg-type]
    if library == "pandas":
        # Whole subjects are on one side.
        sides = rows.assign(test=names["test"]).groupby("subject_id")["test"].nunique()  # type: ignore[attr-defined]
        assert (sides == 1).all()


def test_dagster_shows_it(lake: Lake, spark_resource: SparkResource) -> None:
    write_ada_and_ben(lake)
    result = materialise(lake, spark_resource)
    (materialisation,) = result.asset_materializations_for_node(ML.name)
    assert materialisation.metadata["data card"] == dg.MetadataValue.md(card_of(lake))
    # Who leaves is not counted any more, also where nothing else can be made anew.
    (root_of(lake) / "customer" / "landing" / "later.json").write_bytes(lines(customer("ada", CONSENTED + 1, None)))
    (root_of(lake) / "step_trainer" / "landing" / "one.json").unlink()
    assert not materialise(lake, spark_resource).success
    assert "- **Rows** 2, of **1 subjects**" in card_of(lake)


def test_a_table_for_comparison_may_not_be_used(lake: Lake, spark_resource: SparkResource) -> None:
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource, Policy(ConsentRecord.ANY)).success
    card = card_of(lake)
    assert "- **Policy** **not the default**: consent_record `any`" in card
    assert "**No.** It was made to reproduce published counts" in card


def test_no_publication_waits_for_it(
    lake: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_damaged(*_: object) -> None:
        raise CorruptTableError("damaged")

    def cannot_count(*_: object) -> None:
        raise SecondEngineFailed(ML.name, "IOException")

    monkeypatch.setattr(data_card, "current", is_damaged)
    monkeypatch.setattr(data_card, "engine_for", cannot_count)
    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource).success
    assert "- **Rows** 4, of **not known**" in card_of(lake)
    assert "left out: not known" in card_of(lake)


@pytest.mark.matrix
def test_nobodys_leaving_waits_for_it(
    lake: Lake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with the card, as with an instant that no calendar has."""

    def no_calendar_has_it(*_: object) -> str:
        raise ValueError("year 54432 is out of range")

    write_ada_and_ben(lake)
    assert materialise(lake, spark_resource, checks=False).success
    monkeypatch.setattr(data_card, "_moment", no_calendar_has_it)
    (root_of(lake) / "customer" / "landing" / "later.json").write_bytes(lines(customer("ada", CONSENTED + 1, None)))
    (root_of(lake) / "step_trainer" / "landing" / "one.json").unlink()
    assert not materialise(lake, spark_resource).success
    assert current(lake, ML).rows == 2
    assert "its card could not be made (ValueError)" in card_of(lake)
