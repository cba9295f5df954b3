"""CONTRIBUTING.md can be followed: each worked example is made word for word in a copy of the project, and holds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stedi_assets_tests.support.pages import PROJECT, blocks, page

PAGE = page("CONTRIBUTING.md")
# By heading: the function of `contributed.py` that says what then holds.
EXAMPLES = {"Add a column": "column", "Add a rule": "rule", "Add a setting": "setting", "Add a table": "table"}
COPIED = ("stedi_assets", "stedi_assets_tests", "docs", "README.md", ".env.example", "pyproject.toml", "setup.py")


def _section(heading: str) -> str:
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def _copy(folder: Path) -> None:
    for name in COPIED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "pictures"))
        else:
            shutil.copy(PROJECT / name, folder / name)


def _run(folder: Path, *command: str, given: str = "") -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("STEDI_", "GIT_"))}
    # The copy is in no repository, wherever it lies, and its package stands before the installed one.
    environment |= {"PYTHONPATH": str(folder), "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@pytest.mark.parametrize(("heading", "what_holds"), EXAMPLES.items())
def test_an_example_can_be_followed(heading: str, what_holds: str, tmp_path: Path) -> None:
    patches = blocks(_section(heading), "diff")
    assert len(patches) > 2
    _copy(tmp_path)
    for patch in patches:
        # Where the code has moved on, this names the file: bring the page's patch up to date.
        _run(tmp_path, "git", "apply", "--verbose", "-", given=patch)
    if what_holds == "setting":
        _run(tmp_path, sys.executable, "-m", "stedi_assets_tests.support.settings_page")
        assert "STEDI_CHECK_HOUR" in (tmp_path / "docs" / "settings.md").read_text("utf-8")
        assert "# STEDI_CHECK_HOUR=6" in (tmp_path / ".env.example").read_text("utf-8")
    changed = re.findall(r"^\+\+\+ b/(.*\.py)$", "".join(patches), re.MULTILINE)
    _run(tmp_path, sys.executable, "-m", "ruff", "check", "--no-cache", *changed)
    _run(tmp_path, sys.executable, "-m", "ruff", "format", "--no-cache", "--check", *changed)
    check = (
        f"import stedi_assets; assert stedi_assets.__file__.startswith({str(tmp_path)!r}); "
        f"from stedi_assets_tests.support import contributed; contributed.{what_holds}()"
    )
    _run(tmp_path, sys.executable, "-c", check)


def test_every_example_is_followed() -> None:
    assert [
        heading for heading in re.findall(r"^## (.*)$", PAGE, re.MULTILINE) if _section(heading).count("```diff")
    ] == [*EXAMPLES]


def test_the_markers_are_those_that_there_are() -> None:
    lines = (PROJECT / "pyproject.toml").read_text("utf-8").partition("\nmarkers = [\n")[2].partition("\n]")[0]
    assert {*re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)} == {*re.findall(r'^ *"(\w+):', lines, re.MULTILINE)}


def test_the_commands_name_modules_and_files_that_there_are() -> None:
    text = "".join(blocks(PAGE, "console"))
    for module in re.findall(r"python -m (stedi\S+)", text):
        assert (PROJECT / f"{module.replace('.', '/')}.py").is_file(), module
    for path in {
        *re.findall(r"stedi_assets_tests/\S+\.py", text),
        *re.findall(r"`((?:docs|stedi_assets\w*)/\S+)`", PAGE),
    }:
        assert (PROJECT / path).exists(), path
