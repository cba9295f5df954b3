"""A real browser on a real `dagster dev`: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The marks of a module of tests that need it. It is no Python package: the project cannot install it.
NEED_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium"),
]
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
_MILLISECONDS = 60_000


@contextmanager
def opened(address: str, height: int = 1_000) -> Iterator["Page"]:
    """Open a browser at an address, as wide as a laptop's."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (not on every developer's machine)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_QUIET))
        page = browser.new_page(viewport={"width": 1_400, "height": height}, base_url=address)
        page.set_default_timeout(_MILLISECONDS)
        yield page
        browser.close()


def metadata_of(page: "Page", asset: str) -> dict[str, str]:
    """Open an asset's page, and return what it shows as metadata, by name."""
    page.goto(f"/assets/{asset}?view=overview")
    page.get_by_text("Metadata", exact=True).first.wait_for()
    page.get_by_text("path", exact=True).or_(page.get_by_text("snapshot", exact=True)).first.wait_for()
    rows = page.locator("table tr").filter(has=page.locator("td")).all()
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]
    return {row[0].strip(): row[-1].strip() for row in cells if len(row) > 1}
