"""What Dagster loads: `definitions.txt` lists it, and the rest follows from the contracts."""

from datetime import timedelta

import dagster as dg

from stedi_assets.contracts import SOURCES, TABLES, Zone
from stedi_assets.definitions import defs
from stedi_assets_tests.support.loaded import HOW_TO_RENEW, WRITTEN, loaded

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
