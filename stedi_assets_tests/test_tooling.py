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
from packaging.utils import canonicalize_name

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


def test_the_lock_pins_what_setup_asks_for_and_names_no_registry() -> None:
    lock = (PROJECT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    pins: dict[str, list[str]] = {}
    for name, pinned in re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,-]+\])?==([^\s;]+)", lock, re.MULTILINE):
        pins.setdefault(name, []).append(pinned)
    texts = [node.value for node in ast.walk(ast.parse(_SETUP)) if isinstance(node, ast.Constant)]
    asked = [Requirement(text) for text in texts if isinstance(text, str) and re.match(r"[a-z0-9-]+(\[.*\])?>=", text)]
    assert len(asked) > 30
    for one in asked:
        found = pins.get(canonicalize_name(one.name), [])
        assert found, f"{one} is not in requirements.lock: write it again, by the command in its first lines"
        assert all(version in one.specifier for version in found), f"{one}: {found}"


def test_dagsters_newer_command_line_finds_the_definitions(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "dg"), "list", "defs", "--json"]
    environment = {**os.environ, "STEDI_LAKE": str(tmp_path)}
    said = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert {asset["asset_key"] for asset in json.loads(said.stdout)["assets"]} >= {*TABLES}
