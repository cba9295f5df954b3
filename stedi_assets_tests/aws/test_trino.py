"""What a real Trino, the engine of Athena, finds in the tables of the public course data, through the Glue catalog.

Belongs here: that our SQL means there what it means to us, word for word. It is large and not in the default run.
"""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import ALL_TABLES, LANDING_TABLES, TABLES, Policy
from stedi_assets.contracts.policy import Readings
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot, current
from stedi_assets.verification.athena_sql import comparison
from stedi_assets_tests.support.athena_server import AthenaServer
from stedi_assets_tests.support.environments import own_environment
from stedi_assets_tests.support.lakes import read_current
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket
from stedi_assets_tests.support.trino_server import RAW_FILES, QueryFailed, Trino, find_java, trino_server
from stedi_assets_tests.transforms.test_tables import COURSE_DATA

pytestmark = [pytest.mark.trino, pytest.mark.usefixtures("s3a")]

DOCS = Path(__file__).parents[2] / "docs"
ACCESS_KEY, SECRET_KEY, NAMESPACE = "AKIDOFTHELAKETEST", "the+secret/access/key", "stedi"
JOB = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "stedi_assets.definitions", "-j"]
DERIVED = [name for name in TABLES if name not in LANDING_TABLES]


@dataclass(frozen=True)
class InTrino:
    """The lake, and a Trino that reads it."""

    trino: Trino
    lake: Lake
    s3: Any
    environment: dict[str, str]

    def rows(self, sql: str) -> list[list[Any]]:
        return self.trino.run(sql, NAMESPACE)[1]

    def snapshot(self, name: str) -> Snapshot:
        return current(self.lake, ALL_TABLES[name])

    def comparison(self, name: str, policy: Policy | None = None, days: frozenset[str] | None = None) -> str:
        found = self.snapshot(name)
        ids = {table: self.snapshot(table).id for table in ALL_TABLES}
        made_under = Policy.from_dict(found.policy or {})
        return comparison(TABLES[name], policy or made_under, found.as_of or 0, ids, NAMESPACE, days)


@pytest.fixture(scope="module")
def in_trino(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTrino]:
    if not COURSE_DATA.is_dir():
        pytest.skip(f"the course data is not at {COURSE_DATA}; set COURSE_DATA to its folder")
    if find_java() is None:
        pytest.skip("no Java 24 or newer for Trino: set STEDI_TRINO_JAVA to its folder")
    folder = tmp_path_factory.mktemp("trino")
    (folder / "home").mkdir()
    with S3Server() as server, pytest.MonkeyPatch.context() as patch:
        environment = {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "STEDI_LAKE": "s3://athena-lake/lake",
            "STEDI_PSEUDONYM_KEY": "a pseudonym key for tests, 32 bytes and more",
            "STEDI_SUPPRESSION_KEY": "a suppression key for tests, 32 bytes and more",
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        s3 = bucket(server, "athena-lake")
        for file in COURSE_DATA.glob("*/landing/*"):
            s3.upload_file(str(file), "athena-lake", f"lake/{file.relative_to(COURSE_DATA)}")
        everything = {**own_environment(), **environment, "DAGSTER_HOME": str(folder / "home")}
        subprocess.run([*JOB, "rebuild_lakehouse"], env=everything, cwd=folder, check=True, capture_output=True)
        with trino_server(folder / "server", server.endpoint, ACCESS_KEY, SECRET_KEY) as trino:
            yield InTrino(trino, Lake.at("s3://athena-lake/lake"), s3, everything)


# --- The check --------------------------------------------------------------------------------------------------------


def test_every_table_agrees_with_athena(in_trino: InTrino, tmp_path: Path) -> None:
    """The job of the README, with Athena's API in front of Trino."""
    with AthenaServer(in_trino.trino.run) as athena:
        environment = {
            **in_trino.environment,
            "AWS_ENDPOINT_URL_ATHENA": athena.endpoint,
            "STEDI_ATHENA_WORKGROUP": athena.workgroup,
        }
        ran = subprocess.run(
            [*JOB, "check_lakehouse"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert ran.returncode == 0, ran.stderr[-4000:]
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        keys = [dg.AssetCheckKey(dg.AssetKey(name), "agrees_with_athena") for name in TABLES]
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    events = {key.asset_key.path[-1]: record.event.dagster_event for key, record in found.items() if record.event}
    results = {name: event.asset_check_evaluation_data for name, event in events.items() if event}
    assert {name: result.passed for name, result in results.items()} == dict.fromkeys(TABLES, True)
    assert {name: result.metadata["looked at"].value for name, result in results.items()} == {
        name: in_trino.snapshot(name).rows for name in TABLES
    }
    for query in athena.queries:
        assert "@" not in query.sql
        assert in_trino.environment["STEDI_PSEUDONYM_KEY"] not in query.sql
        for row in query.rows:
            assert all(
                value is None or re.fullmatch(r"published|recomputed|\d+|[0-9A-F]{16}", str(value)) for value in row
            )


@pytest.mark.parametrize("name", DERIVED)
def test_some_days_agree_too(in_trino: InTrino, name: str) -> None:
    days = frozenset(sorted(in_trino.snapshot(name).days)[:1])
    published, recomputed = in_trino.rows(in_trino.comparison(name, days=days))
    assert published[1:] == recomputed[1:]
    assert published[1] > 0


# What somebody could have done to the published rows, of which `{}` is the query. Counts alone would not show all.
CHANGES = {
    "a row less": "SELECT * FROM ({}) OFFSET 1",
    "a row twice": "SELECT * FROM ({0}) UNION ALL SELECT * FROM ({0} LIMIT 1)",
}


@pytest.mark.parametrize("change", sorted(CHANGES))
@pytest.mark.parametrize("name", DERIVED)
def test_a_change_to_the_rows_is_seen(in_trino: InTrino, name: str, change: str) -> None:
    query = changed(in_trino, name, CHANGES[change])
    published, recomputed = in_trino.rows(query)
    assert published[1] != recomputed[1]


@pytest.mark.parametrize(
    ("column", "value"),
    [("distanceFromObject", "distanceFromObject + 1"), ("x", "x + 0.000001"), ("timestamp", "timestamp + 1")],
)
def test_a_changed_value_is_seen_where_the_counts_are_the_same(in_trino: InTrino, column: str, value: str) -> None:
    names = TABLES["machine_learning_curated"].column_names
    named = ", ".join(f"{value if name == column else name} AS {name}" for name in names)
    query = changed(in_trino, "machine_learning_curated", f"SELECT {named} FROM ({{0}})")
    published, recomputed = in_trino.rows(query)
    assert published[1] == recomputed[1]
    assert published[2] != recomputed[2]


def test_rows_of_one_subject_under_another_are_seen_in_the_groups_alone(in_trino: InTrino) -> None:
    name = "machine_learning_curated"
    columns = ", ".join(column for column in TABLES[name].column_names if column != "subject_id")
    (first,), (second,) = in_trino.rows(f"SELECT DISTINCT subject_id FROM {name} ORDER BY 1 LIMIT 2")
    moved = f"SELECT CASE subject_id WHEN '{first}' THEN '{second}' ELSE subject_id END AS subject_id, {columns}"
    published, recomputed = in_trino.rows(changed(in_trino, name, f"{moved} FROM ({{0}})"))
    assert published[1:3] == recomputed[1:3]
    assert published[3] != recomputed[3]


def test_another_policy_is_seen(in_trino: InTrino) -> None:
    query = in_trino.comparison("accelerometer_trusted", policy=Policy(readings=Readings.SINCE_CONSENT))
    published, recomputed = in_trino.rows(query)
    assert (published[1], recomputed[1]) == (40_981, 32_025)


def changed(in_trino: InTrino, name: str, change: str) -> str:
    """Return the comparison of a table as if its published rows were others."""
    query = in_trino.comparison(name)
    published = f'SELECT * FROM "{NAMESPACE}"."{name}" FOR VERSION AS OF {in_trino.snapshot(name).id}'
    before, after = query.split(f"published AS (\n{published}\n)")
    return f"{before}published AS (\n{change.format(published)}\n){after}"


# --- The pages --------------------------------------------------------------------------------------------------------


def counted() -> list[tuple[int, str]]:
    """Return the queries of docs/counts.md, each with the number that it says."""
    blocks = re.findall(r"```sql\n-- ([\d,]+)\n(.+?)```", (DOCS / "counts.md").read_text("utf-8"), re.DOTALL)
    return [(int(number.replace(",", "")), query) for number, query in blocks]


def test_the_page_has_a_query_for_each_of_its_numbers() -> None:
    page = (DOCS / "counts.md").read_text("utf-8")
    explained = re.findall(r"^\| \**([\d,]+)\** \| ", page, re.MULTILINE)
    assert [f"{number:,}" for number, _ in counted()] == explained


@pytest.mark.parametrize(("number", "query"), counted())
def test_queries_of_counts_give_in_trino_and_in_spark_what_the_page_says(
    in_trino: InTrino, spark: SparkSession, number: int, query: str
) -> None:
    assert in_trino.rows(query) == [[number]]
    for name, table in TABLES.items():
        read_current(spark, in_trino.lake, table)[1].createOrReplaceTempView(name)
    ((found,),) = spark.sql(query).collect()
    assert found == number


def differences() -> list[tuple[str, str, str]]:
    """Return the table of docs/athena.md: an expression, what Spark gives, and what Athena does."""
    page = (DOCS / "athena.md").read_text("utf-8")
    return re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE)


@pytest.mark.parametrize(("expression", "in_spark", "in_athena"), differences())
def test_spark_and_trino_differ_as_the_page_says(
    in_trino: InTrino, spark: SparkSession, expression: str, in_spark: str, in_athena: str
) -> None:
    (row,) = spark.sql(f"SELECT {expression}").collect()
    assert shown(row[0]) == in_spark
    try:
        found = shown(in_trino.rows(f"SELECT {expression}")[0][0])
    except QueryFailed:
        found = "an error"
    assert found == in_athena


def shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value).lower()
    return str(value)


BROKEN = b'{"a": 1}\n{"a": \n{"a": 3}\n'
HIVE, OPENX = "org.apache.hive.hcatalog.data.JsonSerDe", "org.openx.data.jsonserde.JsonSerDe"


@pytest.mark.parametrize(
    ("serde", "options", "found"),
    [(HIVE, {}, None), (OPENX, {}, None), (OPENX, {"ignore.malformed.json": "true"}, [[1], [None], [3]])],
)
def test_a_broken_line_stops_a_json_table_or_is_a_row_of_nulls(
    in_trino: InTrino, spark: SparkSession, tmp_path: Path, serde: str, options: dict[str, str], found: Any
) -> None:
    in_trino.s3.put_object(Bucket="athena-lake", Key="raw/lines.json", Body=BROKEN)
    (tmp_path / "lines.json").write_bytes(BROKEN)
    rows = spark.read.schema("a INT").json(str(tmp_path / "lines.json")).collect()
    assert [list(row) for row in rows] == [[1], [None], [3]]

    glue, name = boto3.client("glue"), f"lines_{len(options)}_{serde.split('.')[1]}"
    with contextlib.suppress(glue.exceptions.AlreadyExistsException):
        glue.create_database(DatabaseInput={"Name": "raw"})
    storage = {
        "Columns": [{"Name": "a", "Type": "int"}],
        "Location": "s3://athena-lake/raw/",
        "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.IgnoreKeyTextOutputFormat",
        "SerdeInfo": {"SerializationLibrary": serde, "Parameters": options},
    }
    table = {"Name": name, "TableType": "EXTERNAL_TABLE", "StorageDescriptor": storage, "Parameters": {}}
    glue.create_table(DatabaseName="raw", TableInput=table)
    query = f"SELECT a FROM {RAW_FILES}.raw.{name}"
    if found is None:
        with pytest.raises(QueryFailed):
            in_trino.rows(query)
    else:
        assert in_trino.rows(query) == found
