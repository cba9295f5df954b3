"""The linter and the type checker, in strict mode, find nothing; CI, the hooks and the lock keep to setup.py."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from stedi_assets.contracts import TABLES

PROJECT = Path(__file__).parents[1]
_SETUP = (PROJECT / "setup.py").read_text("utf-8")


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_a_tool_finds_nothing(tool: list[str]) -> None:
    found = subprocess.run([sys.executable, "-m", *tool], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def _read(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text("utf-8"))


def _supported() -> list[str]:
    """Return the versions of Python that setup.py allows, in order."""
    (declared,) = re.findall(r'python_requires="(.*)"', _SETUP)
    return [f"3.{minor}" for minor in range(50) if f"3.{minor}.0" in SpecifierSet(declared)]


def _commands(job: Any) -> str:
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


def test_ci_runs_the_tests_on_every_version_of_python_that_setup_allows() -> None:
    jobs = _read(".github/workflows/ci.yml")["jobs"]
    tests = jobs["tests"]
    assert tests["strategy"]["matrix"]["python"] == _supported()
    assert {step["with"]["python-version"] for step in tests["steps"] if "with" in step} == {"${{ matrix.python }}"}
    assert _commands(tests) == ".ci/run"
    (lowest,) = (step["with"]["python-version"] for step in jobs["lowest"]["steps"] if "with" in step)
    assert lowest == _supported()[0]
    assert "--resolution lowest-direct" in _commands(jobs["lowest"])
    for tool in ("ruff check", "ruff format --check", "mypy"):
        assert f".venv/bin/{tool}" in _commands(jobs["tools"])


def test_the_hooks_run_a_version_of_ruff_that_setup_allows() -> None:
    repos = {repo["repo"]: repo for repo in _read(".pre-commit-config.yaml")["repos"]}
    hooks = {hook["id"] for repo in repos.values() for hook in repo["hooks"]}
    assert hooks == {"ruff-check", "ruff-format", "mypy", "detect-secrets", "typos"}
    (allowed,) = re.findall(r'"ruff(.*)"', _SETUP)
    assert repos["https://github.com/astral-sh/ruff-pre-commit"]["rev"].removeprefix("v") in SpecifierSet(allowed)


def test_the_lock_is_of_what_setup_asks_for() -> None:
    """And pyproject.toml allows the same versions of Python."""
    lock = (PROJECT / "uv.lock").read_text("utf-8")
    given = {node.arg: node.value for node in ast.walk(ast.parse(_SETUP)) if isinstance(node, ast.keyword)}
    asked = {Requirement(text) for text in ast.literal_eval(given["install_requires"])}
    for extra, texts in ast.literal_eval(given["extras_require"]).items():
        asked |= {Requirement(f"{text}; extra == '{extra}'") for text in texts}
    assert len(asked) > 30
    (locked,) = re.findall(r"^requires-dist = \[\n(.*?)^\]", lock, re.MULTILINE | re.DOTALL)
    found = {_requirement(line) for line in locked.splitlines()}
    assert found == asked, "uv.lock is of another setup.py: run `uv lock`"

    allowed = SpecifierSet(ast.literal_eval(given["python_requires"]))
    for text in (lock, (PROJECT / "pyproject.toml").read_text("utf-8")):
        (declared,) = re.findall(r'^requires-python = "(.*)"', text, re.MULTILINE)
        assert SpecifierSet(declared) == allowed


def _requirement(line: str) -> Requirement:
    """Read a line of the lock's `requires-dist`."""
    table = dict(re.findall(r'(\w+) = (\[.*?\]|".*?")', line))
    extras = table.get("extras", "[]").replace('"', "")
    name, specifier, marker = (table.get(key, '""').strip('"') for key in ("name", "specifier", "marker"))
    return Requirement(f"{name}{extras}{specifier}{marker and f'; {marker}'}")


def test_the_lock_names_the_public_registry_alone() -> None:
    lock = (PROJECT / "uv.lock").read_text("utf-8")
    assert {*re.findall(r'[a-z]+://[^/"]+', lock)} == {"https://pypi.org", "https://files.pythonhosted.org"}
    sources = {*re.findall(r"^source = (.*)$", lock, re.MULTILINE)}
    assert sources == {'{ registry = "https://pypi.org/simple" }', '{ editable = "." }'}


def test_dagsters_newer_command_line_finds_the_definitions(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "dg"), "list", "defs", "--json"]
    environment = {**os.environ, "STEDI_LAKE": str(tmp_path)}
    said = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert {asset["asset_key"] for asset in json.loads(said.stdout)["assets"]} >= {*TABLES}
