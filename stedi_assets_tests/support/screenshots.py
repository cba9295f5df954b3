"""The pictures of the pages, made anew: sample data with known defects, built by a real `dagster dev`.

python -m stedi_assets_tests.support.screenshots docs/pictures
"""

import argparse
import gzip
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from matplotlib.figure import Figure

from stedi_assets.report.numbers import ML
from stedi_assets.sample_data import SampleOptions, write_sample
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current_dataset
from stedi_assets_tests.support.browser import opened
from stedi_assets_tests.support.dagster_dev import DagsterDev

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
    """Have a `dagster dev` whose sensor has built a sample."""
    # The broken file is tried once, so that nothing is under way while somebody looks.
    dev = DagsterDev(folder, folder / "lake", {"STEDI_SENSOR_PAUSE_SECONDS": "100000"})
    write_sample(dev.lake, _SAMPLE)
    dev.start()
    try:
        dev.wait_for_runs(0)
        dev.wait_for_ticks(1)
        yield dev
    finally:
        dev.stop()


def deliver_a_broken_file(dev: DagsterDev) -> None:
    """Have a phone file arrive that is cut off, and a run meet it."""
    before = len(dev.runs())
    (dev.lake / "accelerometer" / "landing" / "yesterday.json.gz").write_bytes(gzip.compress(b"{}" * 100)[:-4])
    dev.wait_for_runs(before)


def open_report(dev: DagsterDev, page: "Page") -> None:
    """Wait until the sensor has had the report drawn, and open its page."""
    dev.wait("the report", lambda: any(run.is_success for run in dev.reports()))
    page.goto("/assets/machine_learning_report?view=overview")
    page.get_by_text("are in the ML table", exact=True).first.wait_for()


def show_markdown(page: "Page", name: str) -> None:
    """Open a piece of Markdown among the metadata of the page."""
    row = page.locator("tr").filter(has=page.get_by_text(name, exact=True)).first
    row.get_by_text("Show Markdown").click()


def draw_one_subject(lake: Lake, path: Path) -> None:
    """Draw the readings of the subject with the most of them. Of invented people only: it shows one of them."""
    table = current_dataset(lake, ML.name).to_table()
    subjects = Counter(table["subject_id"].to_pylist())
    (subject, _), *_ = sorted(subjects.items(), key=lambda found: (-found[1], found[0]))
    rows = table.filter(pc.equal(table["subject_id"], subject)).sort_by("timestamp").to_pydict()
    seconds = [(instant - rows["timestamp"][0]) / 1000 for instant in rows["timestamp"]]
    figure = Figure(figsize=(9, 4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(seconds, rows["distanceFromObject"], ".-", color="#0072B2")
    above.set_ylabel("distance\n(as the device\nreports it)")
    for axis, marker, colour in (("x", "o", "#E69F00"), ("y", "s", "#009E73"), ("z", "^", "#CC79A7")):
        below.plot(seconds, rows[axis], marker, color=colour, label=axis, alpha=0.7)
    below.set_ylabel("acceleration\n(as the phone\nreports it)")
    below.set_xlabel("seconds since the first reading")
    below.legend(loc="center right")
    figure.suptitle("One invented subject")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write the pictures")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, built_in_dagster(Path(place)) as dev, opened(dev.address) as page:
        page.goto("/assets/machine_learning_curated?view=lineage&lineageScope=upstream&lineageDepth=3")
        page.get_by_text("customer_raw_files").first.wait_for()
        page.wait_for_timeout(3_000)
        page.get_by_label("zoom_out").click()
        page.wait_for_timeout(1_000)
        page.screenshot(path=folder / "lineage.png")
        draw_one_subject(Lake.at(str(dev.lake)), folder / "subject.png")
        page.goto("/assets/machine_learning_curated?view=overview")
        page.get_by_text("data card", exact=True).first.wait_for()
        page.wait_for_timeout(3_000)
        page.screenshot(path=folder / "table.png")
        show_markdown(page, "data card")
        page.wait_for_timeout(2_000)
        page.screenshot(path=folder / "card.png")
        deliver_a_broken_file(dev)
        page.goto("/assets/accelerometer_landing?view=checks")
        page.get_by_text("files_readable").first.click()
        page.wait_for_timeout(2_000)
        page.screenshot(path=folder / "checks.png")
        open_report(dev, page)
        show_markdown(page, "funnel")
        page.wait_for_timeout(2_000)
        page.screenshot(path=folder / "report.png")


if __name__ == "__main__":
    main()
