"""The pictures of the pages, made anew: sample data with known defects, built by a real `dagster dev`.

python -m stedi_assets_tests.screenshots docs/pictures
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stedi_assets.sample_data import SampleOptions, write_sample
from stedi_assets_tests.browser import opened
from stedi_assets_tests.dagster_dev import DagsterDev

if TYPE_CHECKING:
    from playwright.sync_api import Page

_SAMPLE = SampleOptions(
    customers=300,
    withdrawals=12,
    repeated_emails=20,
    serials_shared_by=3,
    broken={"cut_off": 2, "wrong_type": 3, "missing_key": 2},
)


@contextmanager
def built_in_dagster(folder: Path) -> Iterator[DagsterDev]:
    """Have a `dagster dev` whose sensor has built a sample, and then met a file that is cut off."""
    dev = DagsterDev(folder, folder / "lake")
    write_sample(dev.lake, _SAMPLE)
    dev.start()
    try:
        dev.wait_for_runs(0)
        dev.wait_for_ticks(1)
        (dev.lake / "accelerometer" / "landing" / "yesterday.json.gz").write_bytes(b"\x1f\x8b\x08\x00cut off")
        dev.wait_for_runs(1)
        yield dev
    finally:
        dev.stop()


def materialise_report(page: "Page") -> None:
    """Materialise the report in the browser, and wait until it is there."""
    page.goto("/assets/machine_learning_report?view=overview")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("are in the ML table", exact=True).first.wait_for(timeout=180_000)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write the pictures")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, built_in_dagster(Path(place)) as dev, opened(dev.address) as page:
        page.goto("/asset-groups")
        page.get_by_text("machine_learning_curated").first.wait_for()
        page.wait_for_timeout(5_000)
        page.screenshot(path=folder / "lineage.png")
        page.goto("/assets/machine_learning_curated?view=overview")
        page.get_by_text("data card", exact=True).first.wait_for()
        page.screenshot(path=folder / "table.png")
        page.goto("/assets/accelerometer_landing?view=checks")
        page.get_by_text("files_readable").first.click()
        page.wait_for_timeout(2_000)
        page.screenshot(path=folder / "checks.png")
        materialise_report(page)
        page.wait_for_timeout(2_000)
        page.screenshot(path=folder / "report.png")


if __name__ == "__main__":
    main()
