"""Somebody works in the UI alone: has everything built by a click, and erases a person from the launchpad.

    pytest -m browser stedi_assets_tests/orchestration/test_walk.py

The browser is real, and so are `dagster dev`, its sensor and its runs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from stedi_assets.contracts import TABLES
from stedi_assets.tables.snapshots import current, current_dataset
from stedi_assets_tests.support.browser import NEED_CHROMIUM, opened
from stedi_assets_tests.support.dagster_dev import DagsterDev, dev_with_ada_and_ben
from stedi_assets_tests.support.lakes import local_lake

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = NEED_CHROMIUM


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """A `dagster dev` whose sensor has built the tables of ada and ben."""
    with dev_with_ada_and_ben(tmp_path_factory.mktemp("walk")) as dev:
        yield dev


@pytest.fixture
def page(dev: DagsterDev) -> "Iterator[Page]":
    with opened(dev.address) as page:
        yield page


def _next_run(dev: DagsterDev, before: int) -> dg.DagsterRun:
    (newest, *_) = dev.wait_for_runs(before)
    return newest


def test_the_ml_table_is_brought_up_to_date_with_all_that_is_upstream_by_one_job(dev: DagsterDev, page: "Page") -> None:
    before, was = len(dev.runs()), current(local_lake(dev.lake), TABLES["machine_learning_curated"])
    page.goto("/locations/stedi_assets.definitions/jobs/rebuild_lakehouse")
    page.get_by_role("button", name="Materialize all").click()
    run = _next_run(dev, before)
    assert (run.job_name, run.status) == ("rebuild_lakehouse", dg.DagsterRunStatus.SUCCESS)
    assert current(local_lake(dev.lake), TABLES["machine_learning_curated"]).id != was.id


def test_the_ml_table_is_made_with_its_upstream_from_the_graph(dev: DagsterDev, page: "Page") -> None:
    before = len(dev.runs())
    page.goto("/asset-groups")
    page.locator(".CodeMirror").first.click()
    page.keyboard.insert_text('+key:"machine_learning_curated"')
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Materialize all ({len(TABLES)})").click()
    run = _next_run(dev, before)
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert {key.path[-1] for key in run.asset_selection or ()} == {*TABLES}


def test_a_person_is_erased_from_the_launchpad(dev: DagsterDev, page: "Page") -> None:
    hash_person = [sys.executable, "-m", "stedi_assets", "hash-person"]
    environment = {**os.environ, "STEDI_LAKE": str(dev.lake)}
    hashed = subprocess.run(
        hash_person, input="ada@example.com\n", env=environment, text=True, capture_output=True, check=True
    )
    before = len(dev.runs())
    page.goto("/locations/stedi_assets.definitions/jobs/erase_person/playground")
    editor = page.locator(".CodeMirror").first
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(hashed.stdout)
    page.get_by_role("button", name="Launch Run").click()
    run = _next_run(dev, before)
    assert (run.job_name, run.status) == ("erase_person", dg.DagsterRunStatus.SUCCESS)
    emails = current_dataset(local_lake(dev.lake), "customer_trusted").to_table(columns=["email"])["email"]
    assert emails.to_pylist() == ["ben@example.com"]
