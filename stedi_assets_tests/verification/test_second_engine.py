"""DuckDB's own account of the derived tables: right by the oracle, blind to no difference, in SQL that Athena runs.

Belongs here: the recomputation in SQL, and the comparison. Without Spark: the oracle lands the files.
"""

import itertools
import json
import random
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from stedi_assets.contracts import (
    LANDING_TABLES,
    QUARANTINE_TABLES,
    TABLES,
    ConsentRecord,
    MatchOn,
    Policy,
    PublishedTime,
    Readings,
    Type,
)
from stedi_assets.spark.scratch import sweep_all
from stedi_assets.verification import engine as module
from stedi_assets.verification import rules
from stedi_assets.verification.compare import Comparison, compare
from stedi_assets.verification.engine import RuleContext, SecondEngineFailed
from stedi_assets.verification.queries import READS, inputs_of
from stedi_assets_tests.support import oracle
from stedi_assets_tests.support.lakes import local_lake, root_of
from stedi_assets_tests.support.worlds import AS_OF, write_worlds
from stedi_assets_tests.transforms.test_tables import (
    COURSE_DATA,
    EACH_POLICY,
    IN_THE_ORDER_OF_ANSWERS,
    KEY,
    KNOWN_ANSWERS,
    POLICIES,
)

Row = tuple[Any, ...]
Tables = Mapping[str, list[Row]]
Landings = Mapping[oracle.Source, oracle.Landing]

DEFAULT = Policy()
DERIVED = [name for name, table in TABLES.items() if table.policy_applies]
ALL_POLICIES = [
    *(Policy(*switches) for switches in itertools.product(ConsentRecord, Readings, MatchOn)),
    *(Policy(published_time=time) for time in PublishedTime if time is not DEFAULT.published_time),
]
ARROW_TYPES = {
    Type.STRING: pa.string(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BINARY: pa.binary(),
    Type.BOOLEAN: pa.bool_(),
    Type.STRINGS: pa.list_(pa.string()),
}


def tables_of(landings: Landings, policy: Policy) -> Tables:
    """Return the oracle's tables, with the pseudonyms that the product must use."""
    tables = oracle.tables(landings, oracle.Policy(**policy.as_dict()), AS_OF)  # type: ignore[arg-type]  # the enums' texts
    pairs = [(oracle.subject_id(person, KEY), *rest) for person, *rest in tables["machine_learning_curated"]]
    return {**tables, "machine_learning_curated": pairs}


def dataset(name: str, rows: list[Row]) -> ds.Dataset:
    columns = (TABLES.get(name) or QUARANTINE_TABLES[name]).columns
    names = oracle.COLUMNS[name] if name in {*LANDING_TABLES, *QUARANTINE_TABLES} else [c.name for c in columns]
    values = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    arrays = [pa.array(values.get(c.name, [None] * len(rows)), ARROW_TYPES[c.type]) for c in columns]
    return ds.dataset(pa.Table.from_arrays(arrays, [c.name for c in columns]))


def given(tables: Tables, policy: Policy = DEFAULT, key: bytes = KEY) -> RuleContext:
    """Give the oracle's tables."""
    return RuleContext(lambda name: dataset(name, tables[name]), policy, AS_OF, lambda: key)


def compared(tables: Tables, name: str, policy: Policy = DEFAULT, published: list[Row] | None = None) -> Comparison:
    """Hold a table, the oracle's if no rows are given, against what DuckDB makes of the oracle's landing tables."""
    rows = tables[name] if published is None else published
    landed = {landed: tables[landed] for landed in inputs_of(TABLES[name])}
    return compare(TABLES[name], dataset(name, rows), given(landed, policy))


def same(rows: int) -> Comparison:
    return Comparison(published=rows, recomputed=rows, missing=0, surplus=0)


def landings_of(*customers: bytes, phones: bytes = b"", devices: bytes = b"") -> Landings:
    """Land records as the oracle does."""
    contents: dict[oracle.Source, bytes] = {
        "customer": b"\n".join(customers),
        "accelerometer": phones,
        "step_trainer": devices,
    }
    return {s: oracle.Landing(files={"one.json": oracle.read_file(s, content)}) for s, content in contents.items()}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Landings:
    """Three hundred small worlds, no person or device in two of them."""
    lake = local_lake(tmp_path_factory.mktemp("worlds"))
    write_worlds(lake, random.Random(7), count=300)
    return oracle.read_lake(root_of(lake))


@pytest.fixture(scope="module")
def tables(worlds: Landings) -> Tables:
    """The worlds' tables under the default policy."""
    return tables_of(worlds, DEFAULT)


# --- Random worlds, and differences put into them ---------------------------------------------------------------------


@pytest.mark.parametrize("policy", ALL_POLICIES, ids=lambda policy: "-".join(policy.as_dict().values()))
def test_random_worlds_are_what_the_oracle_says(policy: Policy, worlds: Landings) -> None:
    tables = tables_of(worlds, policy)
    for name in DERIVED:
        assert compared(tables, name, policy) == same(len(tables[name])), name
        # A world that exercised nothing would prove nothing.
        assert len(tables[name]) > 300 / 8, name


def test_random_worlds_tell_all_policies_apart(worlds: Landings) -> None:
    results = {tuple(sorted(tables_of(worlds, policy)["machine_learning_curated"])) for policy in ALL_POLICIES}
    assert len(results) == len(ALL_POLICIES)


def one_missing(table: str, rows: list[Row]) -> list[Row]:
    return rows[1:]


def one_twice(table: str, rows: list[Row]) -> list[Row]:
    return [*rows, rows[0]]


def one_value_changed(table: str, rows: list[Row]) -> list[Row]:
    place, value = next((i, v) for i, v in enumerate(rows[0]) if isinstance(v, int | float))
    return [(*rows[0][:place], value + 1, *rows[0][place + 1 :]), *rows[1:]]


def one_value_gone(table: str, rows: list[Row]) -> list[Row]:
    place = next(i for i, v in enumerate(rows[0]) if v is not None)
    return [(*rows[0][:place], None, *rows[0][place + 1 :]), *rows[1:]]


def two_people_exchanged(table: str, rows: list[Row]) -> list[Row]:
    names = TABLES[table].column_names
    place = next(names.index(name) for name in ("user", "email", "subject_id") if name in names)
    one, other = rows[0], next(row for row in rows if row[place] != rows[0][place])
    exchanged = [(*one[:place], other[place], *one[place + 1 :]), (*other[:place], one[place], *other[place + 1 :])]
    rest = list((Counter(rows) - Counter([one, other])).elements())
    return exchanged + rest


@pytest.mark.parametrize("name", DERIVED)
@pytest.mark.parametrize(
    ("differ", "missing", "surplus"),
    [
        (one_missing, 1, 0),
        (one_twice, 0, 1),
        (one_value_changed, 1, 1),
        (one_value_gone, 1, 1),
        (two_people_exchanged, 2, 2),
    ],
)
def test_a_difference_is_found_and_counted(
    name: str, differ: Callable[[str, list[Row]], list[Row]], missing: int, surplus: int, tables: Tables
) -> None:
    rows = tables[name]
    found = compared(tables, name, published=differ(name, rows))
    assert found == Comparison(len(rows) - missing + surplus, len(rows), missing, surplus)


def test_a_row_is_counted_as_often_as_it_stands_there(tables: Tables) -> None:
    row, times = Counter(tables["machine_learning_curated"]).most_common(1)[0]
    assert times > 1
    once = [other for other in tables["machine_learning_curated"] if other != row] + [row]
    assert compared(tables, "machine_learning_curated", published=once).missing == times - 1


def test_the_pseudonyms_of_another_key_are_other_people(tables: Tables) -> None:
    name = "machine_learning_curated"
    rows = len(tables[name])
    found = compare(TABLES[name], dataset(name, tables[name]), given(tables, key=KEY[::-1]))
    assert found == Comparison(rows, rows, missing=rows, surplus=rows)


def test_tables_without_rows_are_the_same() -> None:
    tables = tables_of(landings_of(), DEFAULT)
    assert {name: compared(tables, name) for name in DERIVED} == dict.fromkeys(DERIVED, same(0))


def test_each_table_needs_only_what_it_is_made_from() -> None:
    people = ("customer_landing", "customer_quarantine")
    phones = ("customer_landing", "accelerometer_landing", "customer_quarantine")
    everything = ("customer_landing", "accelerometer_landing", "step_trainer_landing", "customer_quarantine")
    assert {name: inputs_of(TABLES[name]) for name in DERIVED} == {
        "customer_trusted": people,
        "accelerometer_trusted": phones,
        # Who has readings may follow from any day, so that what is published of each day is taken.
        "customers_curated": (*people, "accelerometer_trusted"),
        "step_trainer_trusted": everything,
        "machine_learning_curated": everything,
    }


# --- Who is who -------------------------------------------------------------------------------------------------------

ADA, BEN = "ada@example.com", "ben@example.com"
OLDER, CONSENTED, NEWER = AS_OF - 3_000, AS_OF - 2_000, AS_OF - 1_000
SPELLINGS = [
    (" ADA@Example.COM\t", "ada@example.com"),
    ("Ada <ada@example.com>", "mailto:ada@example.com"),
    ("\uff21da@exam\u200bple.com", "ada@example.com"),
    ("jos\u00e9@example.com", "JOSE\u0301@example.com"),
    ("\u039d\u0399\u039a\u039f\u03a3@example.com", "\u03bd\u03b9\u03ba\u03bf\u03c2@example.com"),
]


def line(**members: Any) -> bytes:
    """Return a JSON record, characters beyond ASCII as they are."""
    return json.dumps(members, ensure_ascii=False).encode()


def consenting(email: str = ADA, serial: str = "device", **members: Any) -> bytes:
    dates = {"lastUpdateDate": CONSENTED, "shareWithResearchAsOfDate": CONSENTED}
    return line(email=email, serialNumber=serial, **(dates | members))


def phone_reading(user: str, instant: int = AS_OF) -> bytes:
    return line(user=user, timestamp=instant, x=1, y=2, z=3)


def device_reading(serial: str = "device", instant: int = AS_OF) -> bytes:
    return line(serialNumber=serial, sensorReadingTime=instant, distanceFromObject=200)


@pytest.mark.parametrize(("one", "other"), SPELLINGS, ids=ascii)
def test_spellings_of_one_person_are_one_person(one: str, other: str) -> None:
    for email, user in ((one, other), (other, one)):
        landings = landings_of(
            consenting(email, serial=" S-1"), phones=phone_reading(user), devices=device_reading(serial="\uff33-1")
        )
        tables = tables_of(landings, DEFAULT)
        assert {name: compared(tables, name) for name in DERIVED} == dict.fromkeys(DERIVED, same(1))


@pytest.mark.parametrize(("updated", "counts"), [(OLDER, False), (CONSENTED, True), (NEWER, True), (12, True)])
def test_a_quarantined_record_counts_against_everybody_it_names(updated: int, counts: bool) -> None:  # noqa: FBT001  # a case
    doubtful = line(email=5, lastUpdateDate=updated, a=[{"email": ADA}, {"email": BEN}])
    tables = tables_of(landings_of(consenting(), consenting(BEN), doubtful), DEFAULT)
    assert len(tables["customer_trusted"]) == (0 if counts else 2)
    assert compared(tables, "customer_trusted") == same(len(tables["customer_trusted"]))


@pytest.mark.parametrize(("serial", "holds"), [("DEVICE ", True), ("other", False), (["device"], False)])
def test_a_quarantined_record_makes_everybody_it_names_a_holder(serial: Any, holds: bool) -> None:  # noqa: FBT001  # a case
    """Ada's and Ben's phones are both there at the instant: the reading is Ada's only if Ben is no holder."""
    doubtful = line(email=BEN, serialNumber=serial, lastUpdateDate=OLDER, more={"email": "cy@example.com"}, phone=True)
    phones = phone_reading(ADA) + phone_reading(BEN)
    tables = tables_of(landings_of(consenting(), doubtful, phones=phones, devices=device_reading()), DEFAULT)
    assert len(tables["step_trainer_trusted"]) == (0 if holds else 1)
    assert compared(tables, "step_trainer_trusted") == same(len(tables["step_trainer_trusted"]))


# --- What DuckDB may see and say --------------------------------------------------------------------------------------


def test_an_error_names_the_table_and_shows_no_value(tmp_path: Path, tables: Tables) -> None:
    """The e-mails lie where instants belong: DuckDB's own message quotes the first one."""
    landed = dataset("customer_landing", tables["customer_landing"])
    emails = landed.to_table()["email"]
    pq.write_table(landed.to_table().set_column(6, "lastUpdateDate", emails), tmp_path / "part.parquet")
    broken_landing = ds.dataset(tmp_path, schema=landed.schema)
    with duckdb.connect() as connection, pytest.raises(duckdb.Error, match="@"):
        connection.from_arrow(broken_landing).fetchall()

    def stored(name: str) -> ds.Dataset:
        return broken_landing if name == "customer_landing" else dataset(name, tables[name])

    with pytest.raises(SecondEngineFailed, match=r"^customer_trusted .* InvalidInputException\.") as failed:
        compare(
            TABLES["customer_trusted"], stored("customer_trusted"), RuleContext(stored, DEFAULT, AS_OF, lambda: KEY)
        )
    shown = "".join(traceback.format_exception(failed.value))
    assert "@" not in shown
    assert failed.value.__suppress_context__
    assert failed.value.__cause__ is None


@dataclass(frozen=True)
class Overheard:
    """A connection of DuckDB, and what was said to it."""

    connection: duckdb.DuckDBPyConnection
    said: list[str]

    def execute(self, *arguments: Any) -> duckdb.DuckDBPyConnection:
        self.said.append(repr(arguments))
        return self.connection.execute(*arguments)

    def register(self, name: str, data: ds.Dataset | pa.Table) -> None:
        rows = data.to_table() if isinstance(data, ds.Dataset) else data
        self.said.append(f"{name}: {rows.to_pylist()}")
        self.connection.register(name, data)


def test_the_key_is_in_nothing_that_duckdb_gets(monkeypatch: pytest.MonkeyPatch, tables: Tables) -> None:
    said: list[str] = []
    connect = duckdb.connect

    @contextmanager
    def overheard(*arguments: Any, **options: Any) -> Iterator[Overheard]:
        with connect(*arguments, **options) as connection:
            yield Overheard(connection, said)

    monkeypatch.setattr(duckdb, "connect", overheard)
    assert compared(tables, "machine_learning_curated").recomputed
    assert any("CREATE TABLE machine_learning_curated" in statement for statement in said)
    assert any(oracle.subject_id(tables["customer_trusted"][0][1], KEY) in statement for statement in said)
    for form in (KEY.decode(), KEY.hex(), KEY.hex().upper()):
        assert not any(form in statement for statement in said)


def test_duckdb_reaches_nothing_that_it_was_not_given(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("a\n1\n")
    with module.engine_for("a table") as engine:
        for statement in (f"FROM read_csv('{tmp_path}/some.csv')", "INSTALL httpfs", "LOAD httpfs"):
            with pytest.raises(duckdb.PermissionException):
                engine.execute(statement)
        (folder,) = engine.execute("SELECT current_setting('temp_directory')").fetchall()[0]
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        engine.execute("SET memory_limit = '60MB'")
        (rows,) = engine.execute(
            "SELECT count(*) FROM (SELECT DISTINCT md5(i::VARCHAR) AS a FROM range(2000000) AS r(i))"
        ).fetchall()[0]
        assert rows == 2_000_000
    assert not Path(folder).exists()


def test_what_a_killed_process_has_spilled_goes_with_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can hold rows of anybody. The folder of a living process stays."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    killed = "import os; from stedi_assets.verification.engine import engine_for\nwith engine_for('t'): os.abort()"
    subprocess.run([sys.executable, "-c", killed], check=False, capture_output=True)
    (left,) = tmp_path.iterdir()
    with module.engine_for("a table"):
        sweep_all()
        assert not left.exists()
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


# --- Portable SQL -----------------------------------------------------------------------------------------------------

FOLDER = Path(module.__file__).parent
DIALECT = "duckdb"
PORTABLE = {path.stem: path.read_text("utf-8") for path in FOLDER.glob("*.sql") if path.stem != DIALECT}
# The rules' queries go the same way: checks run them on DuckDB, and anybody may on Athena.
QUERIES = {
    **PORTABLE,
    **{
        f"{rule.name} of {table.name}": rule.violations_sql.replace("{as_of}", f"{AS_OF}")
        for table in TABLES.values()
        for rule in table.rules
        if rule.violations_sql
    },
}
# Of one name and meaning in both, as they are used here.
IN_BOTH = {"cast", "coalesce", "count", "min", "max", "row_number", "unnest"}
# DuckDB has these from us.
FROM_US = {"cardinality", "regexp_like"}
# Words that may stand before a bracket and are no functions.
NO_FUNCTIONS = {"as", "over", "in", "from", "and", "or", "not", "exists"}


def test_every_table_and_view_has_its_sql() -> None:
    assert set(PORTABLE) == set(READS) - {"subjects"}
    assert set(DERIVED) <= set(PORTABLE)


@pytest.mark.parametrize("name", sorted(PORTABLE))
def test_sql_reads_what_it_is_said_to_read(name: str) -> None:
    query = sqlglot.parse_one(PORTABLE[name], read="athena")
    own = {cte.alias for cte in query.find_all(exp.CTE)}
    assert {table.name for table in query.find_all(exp.Table)} - own == set(READS[name])


@pytest.mark.parametrize("name", sorted(QUERIES))
@pytest.mark.parametrize("dialect", ["athena", "duckdb"])
def test_sql_is_one_query_that_both_engines_can_parse(name: str, dialect: str) -> None:
    (query,) = sqlglot.parse(QUERIES[name], read=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    assert isinstance(query, exp.Query)
    # Where the engines differ: an integer by an integer, a name for a type, and what only DuckDB understands.
    for kind in (exp.Div, exp.IntDiv, exp.Qualify, exp.Lambda, exp.Bracket, exp.PropertyEQ, exp.Pivot, exp.Command):
        assert not list(query.find_all(kind)), kind
    for star in query.find_all(exp.Star):
        assert not any(star.args.values())
    assert "::" not in QUERIES[name]


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_sql_uses_only_functions_that_both_engines_have(name: str) -> None:
    tokens = sqlglot.tokenize(QUERIES[name], read="athena")
    called = {
        token.text.lower()
        for token, following in itertools.pairwise(tokens)
        if following.text == "(" and token.text.replace("_", "a").isalnum()
    }
    named = {alias.name for alias in sqlglot.parse_one(QUERIES[name], read="athena").find_all(exp.TableAlias)}
    assert called - named <= IN_BOTH | FROM_US | NO_FUNCTIONS


def test_nothing_is_given_to_duckdb_that_the_sql_does_not_use() -> None:
    with module.engine_for("a table") as engine:
        macros = engine.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'macro' AND NOT internal"
        ).fetchall()
    assert {macro for (macro,) in macros} == FROM_US
    held = [rule.row_predicate for table in TABLES.values() for rule in table.rules if rule.row_predicate]
    assert all(any(f"{macro}(" in text for text in (*QUERIES.values(), *held)) for macro in FROM_US)


def test_a_customer_record_that_names_nobody_is_counted() -> None:
    doubtful = (line(email=ADA), b"null", b'{"email": "ada@exa', line(email="ada", serialNumber="device"))
    tables = tables_of(landings_of(consenting(), *doubtful), DEFAULT)
    stored = dataset("customer_landing", tables["customer_landing"])
    queries = rules._queries(TABLES["customer_landing"], DEFAULT, None)
    assert rules._counted(TABLES["customer_landing"], stored, given(tables), queries)["quarantined_people_known"] == 3


# --- The course data --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def course() -> Landings:
    if not COURSE_DATA.is_dir():
        pytest.skip(f"the course data is not at {COURSE_DATA}; set COURSE_DATA to its folder")
    return oracle.read_lake(COURSE_DATA)


@pytest.mark.parametrize("name", EACH_POLICY)
def test_the_course_data_give_the_known_answers(name: str, course: Landings) -> None:
    tables = tables_of(course, POLICIES[name])
    answers = dict(zip(IN_THE_ORDER_OF_ANSWERS, KNOWN_ANSWERS[name], strict=True))
    assert {table: compared(tables, table, POLICIES[name]) for table in DERIVED} == {
        table: same(rows) for table, rows in answers.items()
    }


@pytest.fixture(scope="module")
def course_tables(course: Landings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with the tables of the course data under the default policy."""
    tables = tables_of(course, DEFAULT)
    with duckdb.connect() as connection:
        for name in TABLES:
            connection.register(name, dataset(name, tables[name]))
        yield connection


AT_ONE_INSTANT = """step_trainer_trusted AS steps JOIN accelerometer_trusted AS phones
    ON phones."timestamp" = steps."sensorReadingTime" """
ALL_STEPS = AT_ONE_INSTANT.replace("step_trainer_trusted", "step_trainer_landing")
ALL_OF_BOTH = ALL_STEPS.replace("accelerometer_trusted", "accelerometer_landing")
WITHOUT_PEOPLE = f"""(SELECT DISTINCT "sensorReadingTime", "serialNumber", "distanceFromObject", x, y, z
    FROM {AT_ONE_INSTANT})"""
# Rows whose instant, so many milliseconds long, no other subject has: 93.7, 1.5, 0.3 and 0 % of 40,981.
SINGLED_OUT = ((38_416, 1), (605, 1_000), (126, 60_000), (0, 3_600_000))
CUSTOMERS_PER_READING = """(SELECT customer_trusted.*
    FROM customer_trusted JOIN accelerometer_trusted AS phones ON email = phones."user")"""


def singled_out(milliseconds: int) -> str:
    """Return the rows of the table a model is trained on whose published instant only one subject has."""
    instants = f"""SELECT phones."user" AS subject, steps."sensorReadingTime" // {milliseconds} AS instant
        FROM {AT_ONE_INSTANT} AND steps."user" = phones."user" """
    alone = f"SELECT instant FROM ({instants}) GROUP BY instant HAVING count(DISTINCT subject) = 1"
    return f"({instants}) AS pairs WHERE instant IN ({alone})"


@pytest.mark.parametrize(
    ("rows", "counted"),
    [
        (40_981, f'{AT_ONE_INSTANT} AND steps."user" = phones."user"'),
        (43_681, AT_ONE_INSTANT),
        (2_700, f'{AT_ONE_INSTANT} AND steps."user" <> phones."user"'),
        (43_259, WITHOUT_PEOPLE),
        (46_022, ALL_STEPS),
        (90_742, ALL_OF_BOTH),
        (1_229_430, f'step_trainer_landing JOIN {CUSTOMERS_PER_READING} AS customers USING ("serialNumber")'),
        (13_823_760, "customer_trusted CROSS JOIN step_trainer_landing"),
        (27_110, '(SELECT DISTINCT "sensorReadingTime" FROM step_trainer_landing)'),
        (14_005, '(SELECT DISTINCT "timestamp" FROM accelerometer_trusted)'),
        (956, '(SELECT 1 FROM step_trainer_landing GROUP BY "serialNumber" HAVING count(*) = 30)'),
        *((rows, singled_out(milliseconds)) for rows, milliseconds in SINGLED_OUT),
    ],
)
def test_joins_on_less_than_a_key_give_the_counts_that_are_told(
    rows: int, counted: str, course_tables: duckdb.DuckDBPyConnection
) -> None:
    assert course_tables.execute(f"SELECT count(*) FROM {counted}").fetchall() == [(rows,)]
