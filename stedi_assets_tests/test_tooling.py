"""The linter and the type checker, in strict mode, find nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_a_tool_finds_nothing(tool: list[str]) -> None:
    found = subprocess.run([sys.executable, "-m", *tool], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
