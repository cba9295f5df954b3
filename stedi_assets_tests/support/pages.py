"""The project's pages, for tests: the README and those beside it, and what it links to below `docs`."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
# In an order in which their commands can be run: the first one builds the sample lake that others use.
_PAGES = ("own-data", "looking", "new-files", "checks", "privacy", "maintenance", "catalog")
HOW_TO = ("README.md", *(f"docs/{name}.md" for name in _PAGES))
ON_S3 = "docs/s3.md"
_BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md")
ALL = (
    "README.md",
    *_BESIDE,
    *sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "docs").rglob("*.md")),
)


def page(name: str) -> str:
    """Return a page by its path in the project."""
    return (PROJECT / name).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
