"""The README keeps what it says: its commands run, and its tables are those of the contracts and settings."""

import os
import re
import subprocess
import sys
from pathlib import Path

from stedi_assets.contracts import TABLES

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_the_table_list_is_that_of_the_contracts() -> None:
    for name, table in TABLES.items():
        assert f"| `{name}` | {table.row} | `{table.path}` |" in README


def test_it_counts_the_checks_right() -> None:
    rules = [rule.name for table in TABLES.values() for rule in table.rules]
    assert f"asset checks, {len(rules)} in all of {len(set(rules))} kinds" in README


def test_ci_runs_the_test_command_word_for_word() -> None:
    found = re.search(r"<!-- test command -->\n```bash\n(.*)\n```", README)
    assert found
    assert found.group(1).endswith(".venv/bin/pytest")
    script = (PROJECT / ".ci" / "run").read_text()
    extract = next(line for line in script.splitlines() if line.startswith("command="))
    printed = subprocess.run(
        ["bash", "-c", f'{extract}; printf %s "$command"'], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == found.group(1)


def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    """In the order of the page, in a folder of their own; what installs has run, or this test would not."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    ran = 0
    for command in commands():
        without_install = re.sub(r"^.*pip install .*? && ", "", command)
        if without_install.endswith("pytest"):
            continue
        done = subprocess.run(
            ["bash", "-c", without_install],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{without_install}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        ran += 1
    assert ran == 8
    assert (tmp_path / "mylake" / "step_trainer" / "curated" / "_current.json").is_file()
