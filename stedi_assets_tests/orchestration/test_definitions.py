"""What Dagster loads: `definitions.txt` lists it, and the rest follows from the contracts."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.contracts import SOURCES, TABLES, Zone
from stedi_assets.definitions import defs
from stedi_assets.orchestration.links import console_links
from stedi_assets_tests.support.environments import settings_of
from stedi_assets_tests.support.loaded import HOW_TO_RENEW, WRITTEN, loaded

ON_S3 = {
    "STEDI_LAKE": "s3://bucket/lake",
    "STEDI_NAMESPACE": "ours",
    "STEDI_PSEUDONYM_KEY": "a pseudonym key for tests, 32 bytes and more",
    "STEDI_SUPPRESSION_KEY": "a suppression key for tests, 32 bytes and more",
}
DEFINITIONS = defs.get_repository_def()


def test_what_is_loaded_is_what_the_list_says() -> None:
    """Others rely on these names: whoever changes one sees it here, and in the list's diff."""
    assert loaded(DEFINITIONS) == WRITTEN.read_text("utf-8"), (
        f"Dagster loads something else than {WRITTEN.name} says. If that is meant, run `{HOW_TO_RENEW}` and commit it."
    )


def test_the_tables_are_made_together_and_the_report_apart() -> None:
    graph = DEFINITIONS.asset_graph
    for name, source in SOURCES.items():
        for table in (source.landing, source.quarantine):
            assert graph.get(dg.AssetKey(table.name)).parent_keys == {dg.AssetKey(f"{name}_raw_files")}
    for job in ("update_lakehouse", "rebuild_lakehouse"):
        made = {key.path[-1] for key in DEFINITIONS.get_job(job).asset_layer.selected_asset_keys}
        assert made == {*TABLES}


def test_the_curated_tables_are_to_be_fresh_and_no_others() -> None:
    windows = {
        name: dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=48), warn_window=timedelta(hours=24))
        for name, table in TABLES.items()
        if table.zone is Zone.CURATED
    }
    nodes = DEFINITIONS.asset_graph.asset_nodes
    found = {node.key.path[-1]: node.freshness_policy for node in nodes if node.freshness_policy}
    assert found == windows


def test_every_asset_leads_to_its_code_and_to_the_page_about_it() -> None:
    for node in DEFINITIONS.asset_graph.asset_nodes:
        links = {found.label: found for found in node.metadata["dagster/code_references"].code_references}
        assert all(Path(found.file_path).is_file() for found in links.values()), node.key
        assert [label for label in links if label and label.startswith("docs/")], node.key
        if (table := TABLES.get(node.key.path[-1])) and table.zone is not Zone.LANDING:
            (computed_by,) = (found for label, found in links.items() if label and label.startswith("transforms/"))
            line = Path(computed_by.file_path).read_text("utf-8").splitlines()[computed_by.line_number - 1]
            assert line.startswith(f"def {table.name}("), node.key


@pytest.mark.parametrize(
    ("region", "console"),
    [
        ("eu-central-1", "https://eu-central-1.console.aws.amazon.com"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_a_table_of_glue_leads_to_the_consoles(region: str, console: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    glue = f"{console}/glue/home?region={region}#/v2/data-catalog/tables/view/customer_trusted?database=ours"
    table = TABLES["customer_trusted"]
    assert console_links(settings_of(ON_S3))(table) == {"in AWS Glue": dg.MetadataValue.url(glue)}
    with_athena = console_links(settings_of(ON_S3 | {"STEDI_ATHENA_WORKGROUP": "w"}))(table)
    assert with_athena["in Amazon Athena"].value == f"{console}/athena/home?region={region}#/query-editor"


def test_where_no_console_shows_a_table_nothing_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = TABLES["customer_trusted"]
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert console_links(settings_of({"STEDI_LAKE": "lake"}))(table) == {}
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert console_links(settings_of(ON_S3))(table) == {}
