"""The README keeps what it says: its commands run, and its tables are those of the contracts and settings."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import sqlglot

from stedi_assets.contracts import TABLES
from stedi_assets_tests.s3_server import S3Server, bucket

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()


_LOCAL, _ON_S3 = re.split(r"^## On S3$", README, flags=re.MULTILINE)
_ON_S3, _REST = re.split(r"^## ", _ON_S3, maxsplit=1, flags=re.MULTILINE)


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def run(text: str, folder: Path, environment: dict[str, str]) -> int:
    """Run the commands of a text in a folder, but for those that install and test; return how many."""
    (folder / ".venv").symlink_to(sys.prefix)
    ran = 0
    for command in commands(text):
        without_install = re.sub(r"^.*pip install .*? && ", "", command)
        if without_install.endswith("pytest"):
            continue
        done = subprocess.run(
            ["bash", "-c", without_install],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{without_install}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        ran += 1
    return ran


def own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}


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
    assert run(_LOCAL + _REST, tmp_path, own_environment()) == 9
    assert (tmp_path / "mylake" / "step_trainer" / "curated" / "_current.json").is_file()


@pytest.mark.usefixtures("s3a")
def test_every_command_for_s3_runs_with_the_settings_shown(tmp_path: Path) -> None:
    found = re.search(r"```dotenv\n(.*?)```", _ON_S3, re.DOTALL)
    assert found
    (tmp_path / ".env").write_text(found[1])
    with S3Server() as server:
        s3 = bucket(server, "my-bucket")
        credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        environment = {**own_environment(), **credentials, "AWS_ENDPOINT_URL": server.endpoint}
        assert run(_ON_S3, tmp_path, environment) == 4
        pointer = s3.get_object(Bucket="my-bucket", Key="stedi/step_trainer/curated/_current.json")
        glue = boto3.client(
            "glue",
            endpoint_url=server.endpoint,
            region_name="eu-central-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        shown = glue.get_table(DatabaseName="stedi", Name="machine_learning_curated")["Table"]
    snapshot = json.loads(pointer["Body"].read())["snapshot"]
    location = f"s3://my-bucket/stedi/step_trainer/curated/{snapshot}/"
    assert shown["StorageDescriptor"]["Location"] == location


def test_the_queries_for_athena_are_queries_on_columns_that_there_are() -> None:
    found = re.search(r"```sql\n(.*?)```", _ON_S3, re.DOTALL)
    assert found
    queries = sqlglot.parse(found[1], read="athena")
    reserved = set()
    for query in queries:
        assert isinstance(query, sqlglot.exp.Select)
        (table,) = query.find_all(sqlglot.exp.Table)
        columns = {column.name.lower() for column in TABLES[table.name].columns} | {"readings"}
        assert {column.name for column in query.find_all(sqlglot.exp.Column)} <= columns
        reserved |= {column.name for column in query.find_all(sqlglot.exp.Column) if column.this.quoted}
    assert reserved == {"timestamp", "user"}
