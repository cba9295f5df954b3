"""Somebody who has never seen it finds the answers in the UI alone, as docs/looking.md says where they are.

    pytest -m browser stedi_assets_tests/orchestration/test_browser.py

The data are invented, with known defects; the browser is real, and so is `dagster dev`.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from stedi_assets.contracts import TABLES, Zone
from stedi_assets.tables.snapshots import current, current_dataset
from stedi_assets_tests.support.browser import NEED_CHROMIUM, metadata_of, opened
from stedi_assets_tests.support.dagster_dev import DagsterDev
from stedi_assets_tests.support.lakes import local_lake
from stedi_assets_tests.support.screenshots import built_in_dagster, deliver_a_broken_file, open_report, show_markdown

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = NEED_CHROMIUM


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """A `dagster dev` with a sample that was built, and a phone file that came later and is cut off."""
    with built_in_dagster(tmp_path_factory.mktemp("browser")) as dev:
        deliver_a_broken_file(dev)
        yield dev


@pytest.fixture
def page(dev: DagsterDev) -> "Iterator[Page]":
    with opened(dev.address, height=2_000) as page:
        yield page


def test_the_assets_are_there_by_zone(page: "Page") -> None:
    for zone in Zone:
        page.goto(f"/locations/stedi_assets.definitions/asset-groups/{zone.value}/list")
        page.get_by_text("Asset name", exact=True).first.wait_for()
        page.get_by_text(re.compile("^A row is")).first.wait_for()
        page.wait_for_timeout(3_000)
        shown = {line.strip() for line in page.inner_text("body").splitlines()}
        assert {*TABLES} & shown == {n for n, table in TABLES.items() if table.zone is zone}


def test_how_many_people_are_in_the_table_and_why_the_others_are_not(dev: DagsterDev, page: "Page") -> None:
    # Nobody has asked for it.
    open_report(dev, page)
    shown = metadata_of(page, "machine_learning_report")
    lake = local_lake(dev.lake)
    subjects = {*current_dataset(lake, "machine_learning_curated").to_table()["subject_id"].to_pylist()}
    assert shown["are in the ML table"] == str(len(subjects))
    assert shown["consent to research"] == str(current(lake, TABLES["customer_trusted"]).rows)
    steps = ["people in the records", "consent to research", "have phone readings", "have device readings"]
    left = [int(shown[step]) for step in (*steps, "are in the ML table")]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[1]
    # The picture is shown as one, not as its letters.
    show_markdown(page, "funnel")
    picture = page.locator("img[alt=funnel]").first
    picture.wait_for()
    assert picture.evaluate("picture => picture.naturalWidth") > 400


def test_which_file_broke(page: "Page") -> None:
    page.goto("/assets/accelerometer_landing?view=checks")
    page.get_by_text("files_readable", exact=True).first.click()
    found = page.get_by_text(re.compile(r"yesterday\.json\.gz: its gzip data are cut off")).first
    found.wait_for()


def test_the_files_of_a_landing_table_are_listed_with_those_in_trouble_first(page: "Page") -> None:
    metadata_of(page, "accelerometer_landing")
    row = page.locator("tr").filter(has=page.get_by_text("raw files", exact=True)).first
    cells = [cell.inner_text() for cell in row.locator("tbody tr").first.locator("td").all()]
    assert cells[:2] == ["yesterday.json.gz", "its gzip data are cut off"]


def test_whether_the_data_may_be_used(page: "Page") -> None:
    page.goto("/assets/machine_learning_curated?view=overview")
    show_markdown(page, "data card")
    page.get_by_text("May I use it?").first.wait_for()
    page.get_by_text("For research, yes").first.wait_for()
    page.get_by_text("pseudonymised, not anonymous").first.wait_for()


@pytest.mark.parametrize("name", ["customer_landing", "machine_learning_curated"])
def test_a_table_is_shown_as_its_contract_has_it(page: "Page", name: str) -> None:
    table, shown = TABLES[name], metadata_of(page, name)
    for column in table.columns:
        # In its own letter case.
        page.get_by_text(column.name, exact=True).first.wait_for()
        page.get_by_text(f"personal_data: {column.personal_data}", exact=True).first.wait_for()
    assert {"change", "bytes", "files", "seconds", "snapshot", "path"} <= shown.keys()
    for word in ("stedi", f"zone: {table.zone.value}", "PySpark", "Iceberg", "local"):
        page.get_by_text(word, exact=True).first.wait_for()
    page.locator("a", has_text="assets.py").first.wait_for()


def test_no_page_shows_anybody(dev: DagsterDev, page: "Page") -> None:
    people = current_dataset(local_lake(dev.lake), "customer_trusted").to_table(columns=["email"])["email"].to_pylist()
    for name in TABLES:
        for view in ("overview", "checks", "events"):
            page.goto(f"/assets/{name}?view={view}")
            page.get_by_text(name, exact=True).first.wait_for()
            page.wait_for_timeout(1_500)
            text = page.inner_text("body").lower()
            assert not any(person in text for person in people), (name, view)
