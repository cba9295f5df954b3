"""The pages keep what they say: commands run, links lead somewhere, tables are those of the contracts and settings."""

import ast
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import sqlglot

from stedi_assets.cli.arguments import COMMANDS
from stedi_assets.contracts import SOURCES, TABLES
from stedi_assets.sample_data import SampleOptions, write_sample
from stedi_assets.storage import errors
from stedi_assets.storage.catalog_address import CatalogAddress
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current, current_dataset
from stedi_assets_tests.support import postgresql
from stedi_assets_tests.support.environments import own_environment, settings_of
from stedi_assets_tests.support.lakes import local_lake
from stedi_assets_tests.support.pages import ALL, HOW_TO, ON_S3, PROJECT, blocks, page
from stedi_assets_tests.support.s3_server import S3Server, bucket

README = page("README.md")
TEST_COMMAND = ".venv/bin/pytest"
DAGSTER = ".venv/bin/dagster job execute -m stedi_assets.definitions"


def commands(text: str) -> list[str]:
    return [line.strip() for block in blocks(text, "bash") for line in block.splitlines() if line.strip()]


def run(text: str, folder: Path, environment: dict[str, str]) -> int:
    """Run the commands of a text in a folder, but for those that install and test; return how many."""
    (folder / ".venv").symlink_to(sys.prefix)
    ran = 0
    for command in commands(text):
        without_install = re.sub(r"^.*pip install .*? && ", "", command)
        if without_install.startswith(TEST_COMMAND):
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


def test_the_table_list_is_that_of_the_contracts() -> None:
    for name, table in TABLES.items():
        assert f"| `{name}` | {table.row} | `{table.path}` |" in README


def test_it_counts_the_checks_right() -> None:
    rules = [rule.name for table in TABLES.values() for rule in table.rules]
    assert f"asset checks, {len(rules)} in all of {len(set(rules))} kinds" in page("docs/checks.md")


def test_ci_runs_the_test_command_word_for_word() -> None:
    found = re.search(r"<!-- test command -->\n```bash\n(.*)\n```", README)
    assert found
    assert TEST_COMMAND in found.group(1)
    script = (PROJECT / ".ci" / "run").read_text()
    extract = next(line for line in script.splitlines() if line.startswith("command="))
    printed = subprocess.run(
        ["bash", "-c", f'{extract}; printf %s "$command"'], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == found.group(1)


def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    """In the order of the page, in a folder of their own; what installs has run, or this test would not."""
    assert run("".join(map(page, HOW_TO)), tmp_path, own_environment()) == 13
    assert current(local_lake(tmp_path / "mylake"), TABLES["machine_learning_curated"]).rows


@pytest.mark.matrix
@pytest.mark.usefixtures("s3a")
def test_every_command_for_s3_runs_with_the_settings_shown(tmp_path: Path) -> None:
    (settings,) = blocks(page(ON_S3), "dotenv")
    (tmp_path / ".env").write_text(settings)
    with S3Server() as server:
        s3 = bucket(server, "my-bucket")
        credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        environment = {**own_environment(), **credentials, "AWS_ENDPOINT_URL": server.endpoint}
        assert run(page(ON_S3), tmp_path, environment) == 3
        glue = boto3.client(
            "glue",
            endpoint_url=server.endpoint,
            region_name="eu-central-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        shown = glue.get_table(DatabaseName="stedi", Name="machine_learning_curated")["Table"]
        assert s3.head_object(Bucket="my-bucket", Key=shown["Parameters"]["metadata_location"].split("/", 3)[3])
    assert shown["Parameters"]["table_type"] == "ICEBERG"
    assert shown["StorageDescriptor"]["Location"] == "s3://my-bucket/stedi/step_trainer/curated"


@pytest.mark.matrix
@pytest.mark.usefixtures("s3a")
def test_s3_is_tried_without_aws_as_the_page_says(tmp_path: Path) -> None:
    """Its commands, word for word; then PyIceberg reads the lake as the page on reading says."""
    (settings,) = blocks(page(ON_S3), "dotenv")
    (tmp_path / ".env").write_text(settings)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (commands,) = blocks(page(ON_S3), "console")
    install, *rest = re.split(r"^\$ ", commands, flags=re.MULTILINE)[1:]
    assert install == ".venv/bin/pip install -q -e '.[dev]'\n"
    reads = "".join(
        re.findall(r'load_catalog\("lake", type="glue"|\*\*\{"s3.endpoint": [^}]+\}', page("docs/reading.md"))
    )
    code = f"import os; from pyiceberg.catalog import load_catalog; lake = {reads.replace('**', ', **')})\n"
    (tmp_path / "read.py").write_text(
        f"{code}print(lake.load_table('stedi.machine_learning_curated').scan().to_arrow().num_rows)"
    )
    # The server has to be there before the next line looks for it.
    script = "".join(rest).replace(" &\n", " > /dev/null 2>&1 & sleep 8\n")
    region = "export AWS_DEFAULT_REGION=eu-central-1"
    run_script(f"{script}{region}\n.venv/bin/python read.py\n", tmp_path, own_environment())
    printed = (tmp_path / "printed.txt").read_text()
    assert re.search(rf"^machine_learning_curated +{int(printed.splitlines()[-1]):,} ", printed, re.MULTILINE)


def test_the_queries_for_athena_are_queries_on_columns_that_there_are() -> None:
    (found,) = blocks(page(ON_S3), "sql")
    queries = sqlglot.parse(found, read="athena")
    reserved = set()
    for query in queries:
        assert isinstance(query, sqlglot.exp.Select)
        (table,) = query.find_all(sqlglot.exp.Table)
        columns = {column.name.lower() for column in TABLES[table.name].columns} | {"readings"}
        assert {column.name for column in query.find_all(sqlglot.exp.Column)} <= columns
        reserved |= {column.name for column in query.find_all(sqlglot.exp.Column) if column.this.quoted}
    assert reserved == {"timestamp", "user"}


@pytest.mark.parametrize("name", ALL)
def test_every_link_leads_somewhere(name: str) -> None:
    folder = (PROJECT / name).parent
    for link in re.findall(r"\]\(([^)]+)\)", page(name)):
        if not link.startswith("http"):
            path, _, heading = link.partition("#")
            found = folder / path
            assert found.exists(), link
            headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE) if heading else []
            assert not heading or heading in {title.lower().replace(" ", "-") for title in headings}, link


def test_the_walkthrough_names_files_and_what_is_in_them() -> None:
    text = page("docs/walkthrough.md").replace("\n", " ")
    named = re.findall(r"`([a-z_]+/[a-z_]+\.py)`(?::\s+`(\w+)`)?", text)
    assert len(named) > 20
    for path, name in named:
        module = (PROJECT / "stedi_assets" / path).read_text("utf-8")
        assert not name or re.search(rf"^(    )?(def|class) {name}\b|^{name} = ", module, re.MULTILINE), (path, name)


def test_every_page_with_commands_is_run_by_a_test() -> None:
    assert {name for name in ALL if blocks(page(name), "bash")} == {*HOW_TO, ON_S3}


# What people see. Other errors become a part of a message.
_ERRORS = {"AwsCallFailed", "MessageNotSent", *(name for name, kind in vars(errors).items() if isinstance(kind, type))}


def _messages() -> Iterator[tuple[str, list[str]]]:
    """Yield each message that the product raises or tells: the module, and its parts between what differs."""
    package = PROJECT / "stedi_assets"
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text: ast.expr | None = None
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in {"msg", "message"}:
                text = node.value
            elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = node.exc.args[0] if getattr(node.exc.func, "id", "") in _ERRORS else None
            parts = [part.value for part in ast.walk(text) if isinstance(part, ast.Constant)] if text else []
            if said := [part for part in parts if isinstance(part, str) and part.strip()]:
                yield module, said


def test_troubleshooting_knows_every_message() -> None:
    known = page("docs/troubleshooting.md")
    rows = re.findall(r"^\| (.+?) \|", known, re.MULTILINE)
    words = [part.strip() for row in rows for part in re.split(r"[…/*]", row)]
    ours = [(name, parts) for name, parts in _messages() if not name.startswith("sample_data/")]
    assert len(ours) > 30
    unknown = [
        (name, parts) for name, parts in ours if not any(len(w) > 6 and w in part for w in words for part in parts)
    ]
    assert unknown == []


def test_every_command_that_a_page_names_is_one() -> None:
    named = {command for name in ALL for command in re.findall(r"`(?:\.venv/bin/)?stedi ([a-z0-9-]+)", page(name))}
    assert {"repair", "purge", "relocate", "status", "hash-person"} <= named <= {"start", "path", "aws", *COMMANDS}


@pytest.mark.parametrize("name", [name for name in ALL if blocks(page(name), "dotenv")])
def test_the_settings_that_a_page_shows_can_be_read(name: str) -> None:
    for block in blocks(page(name), "dotenv"):
        shown = dict(line.split("=", 1) for line in block.splitlines())
        assert {*shown} <= {*re.findall(r"`(\w+)`", page("docs/settings.md"))} | {"AWS_DEFAULT_REGION"}
        assert settings_of(shown)


# --- On a cluster -----------------------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.skipif(not postgresql.programs(), reason="this machine has no PostgreSQL")
def test_a_run_on_a_cluster_goes_as_the_page_says_and_so_does_an_update(tmp_path: Path) -> None:
    """Its commands, word for word, with a master and two workers of Spark's own on loopback; then more arrives.

    The tables end as a rebuild of the same files makes them on one machine.
    """
    (tmp_path / ".venv").symlink_to(sys.prefix)
    write_sample(tmp_path / "lake", SampleOptions(customers=20))
    withhold(tmp_path / "lake", tmp_path / "later")
    (commands,) = blocks(page("docs/cluster.md"), "console")
    *start, rebuild = re.split(r"^\$ ", commands, flags=re.MULTILINE)
    update = "cp -r later/. lake/\n" + rebuild.replace("rebuild_lakehouse", "update_lakehouse")
    # Each has to be there before the next one looks for it.
    begin = "".join(start).replace(" &\n", " > /dev/null 2>&1 & sleep 8\n")
    with postgresql.postgresql() as database:
        environment = {**own_environment(), "DAGSTER_HOME": str(tmp_path), "STEDI_PSEUDONYM_KEY": "k" * 32}
        run_script(f"{begin}{rebuild}{update}", tmp_path, environment | database.settings)
        catalog = CatalogAddress(database.address, postgresql.USER, postgresql.PASSWORD)
        on_cluster = rows_of(Lake.at(str(tmp_path / "lake"), catalog=catalog))
    for source in SOURCES.values():
        shutil.copytree(tmp_path / "lake" / source.raw_path, tmp_path / "other" / source.raw_path)
    run_script(f"STEDI_LAKE=other {DAGSTER} -j rebuild_lakehouse", tmp_path, environment)
    assert on_cluster == rows_of(Lake.at(str(tmp_path / "other")))
    assert all(on_cluster.values())


def withhold(lake: Path, later: Path) -> None:
    """Have every other reading arrive later, with the withdrawal of one person."""
    for source in SOURCES.values():
        (later / source.raw_path).mkdir(parents=True)
        for file in (lake / source.raw_path).iterdir() if source.landing.instant else ():
            lines = file.read_bytes().splitlines(keepends=True)
            file.write_bytes(b"".join(lines[::2]))
            (later / source.raw_path / f"later-{file.name}").write_bytes(b"".join(lines[1::2]))
    (people,) = (lake / "customer" / "landing").iterdir()
    records = map(json.loads, people.read_bytes().splitlines())
    leaver = next(record for record in records if record.get("shareWithResearchAsOfDate"))
    del leaver["shareWithResearchAsOfDate"]
    left = {**leaver, "lastUpdateDate": leaver["lastUpdateDate"] + 1}
    (later / "customer" / "landing" / "leaves.json").write_text(json.dumps(left))


def run_script(script: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a script, and end whatever it has started."""
    with (folder / "printed.txt").open("w") as printed:
        began = subprocess.Popen(
            ["bash", "-ec", script],
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert began.wait(600) == 0, (folder / "printed.txt").read_text()[-4_000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(began.pid, signal.SIGKILL)


def rows_of(lake: Lake) -> dict[str, list[str]]:
    """Return the rows of every table that is made of others."""
    derived = [name for name, table in TABLES.items() if table.inputs]
    return {name: sorted(map(repr, current_dataset(lake, name).to_table().to_pylist())) for name in derived}
