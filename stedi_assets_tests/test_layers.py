"""Which module may import which, and what the transforms may not use, so that they run on any cluster.

Belongs here: rules about the source text, checked without running it. Nothing here imports the product.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

_PACKAGE = "stedi_assets"
_ROOT = Path(__file__).resolve().parent.parent / _PACKAGE

# In order: each may import itself and what stands before it.
_ROOMS = [
    *("contracts", "transforms", "storage", "spark", "tables", "verification"),
    *("ingest", "privacy", "report", "aws", "orchestration"),
]
# The script of the Glue job runs the definitions, and nothing imports it.
_GLUE_SCRIPT = "aws/glue_job.py"
_ON_TOP = ["definitions", "cli", "__main__", _GLUE_SCRIPT]
# Beside the rooms: what each may import of the package, besides itself.
_BESIDE = {
    "settings": {"contracts", "storage", "spark"},
    "environment": {"settings"},
    "sample_data": {"contracts"},
    "terminal": set(),
    # Loaded by whoever asks for a table, and by nobody who imports the package.
    "__init__": {"environment", "settings", "storage", "tables"},
}
# Who may import what stands beside: what is AWS's or Dagster's reads the settings, the command makes the sample data.
_ABOVE_SETTINGS = {"aws", "orchestration", *_ON_TOP}
_ABOVE_SAMPLE_DATA = set(_ON_TOP)
# Who speaks to people: the commands, and what takes minutes before Spark is there.
_ABOVE_TERMINAL = {"spark", *_ON_TOP}
# What Spark's tasks and `stedi hash-person` run.
_IN_TASKS = {
    f"ingest/{name}.py"
    for name in (
        *("alphabet", "content", "envelopes", "evidence", "gate", "identity", "json_text", "validation", "splitter"),
    )
}

# Not lazy, not in the JVM, not over Spark Connect, or reading and writing.
_NOT_IN_TRANSFORMS = {
    *("udf", "udtf", "pandas_udf", "arrow_udf", "mapInPandas", "mapInArrow", "applyInPandas", "applyInArrow"),
    *("rdd", "_jvm", "_jdf", "_jc", "_sc", "sparkContext", "SparkContext"),
    *("collect", "toPandas", "toArrow", "toLocalIterator", "foreach", "foreachPartition"),
    *("read", "write", "writeTo", "readStream", "writeStream"),
}

_MODULES = {path.relative_to(_ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in _ROOT.rglob("*.py")}


def _room(module: str) -> str:
    if module == _GLUE_SCRIPT:
        return module
    return module.removesuffix(".py").split("/")[0]


def _in_room(room: str) -> list[str]:
    return sorted(module for module in _MODULES if _room(module) == room)


def _imports(module: str) -> Iterator[str]:
    """Yield the full name of everything a module imports, wherever in it, and however it spells that."""
    inside = [_PACKAGE, *module.split("/")[:-1]]
    for node in ast.walk(_MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = inside[: len(inside) + 1 - node.level] if node.level else []
            origin = ".".join([*relative, *([node.module] if node.module else [])])
            # `from stedi_assets import lake` imports a layer too.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _own_imports(module: str) -> set[str]:
    """Return the layers, and the modules beside and above them, that a module imports."""
    own = (name.split(".") for name in _imports(module))
    return {parts[1] if len(parts) > 1 else "__init__" for parts in own if parts[0] == _PACKAGE}


def _foreign_imports(module: str) -> set[str]:
    """Return the top-level packages that a module imports."""
    return {name.split(".")[0] for name in _imports(module)} - {_PACKAGE}


def _names(module: str) -> set[str]:
    """Return every name and attribute that a module uses."""
    used = set()
    for node in ast.walk(_MODULES[module]):
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.alias):
            used.add(node.name.split(".")[-1])
    return used


def test_every_module_belongs_to_a_room_or_has_its_place_beside_or_above_them() -> None:
    assert {_room(module) for module in _MODULES} == {*_ROOMS, *_ON_TOP, *_BESIDE}


@pytest.mark.parametrize("module", sorted(_MODULES))
def test_imports_go_one_way_only(module: str) -> None:
    room = _room(module)
    if room in _BESIDE:
        allowed = {room, *_BESIDE[room]}
    else:
        allowed = {*_ROOMS[: _ROOMS.index(room) + 1]} if room in _ROOMS else {*_ROOMS, *_ON_TOP}
        allowed |= {"settings", "environment"} if room in _ABOVE_SETTINGS else set()
        allowed |= {"sample_data"} if room in _ABOVE_SAMPLE_DATA else set()
        allowed |= {"terminal"} if room in _ABOVE_TERMINAL else set()
    assert _own_imports(module) <= allowed


@pytest.mark.parametrize(
    ("room", "foreign"),
    [
        ("contracts", {"pyspark", "dagster", "dagster_pyspark", "pyarrow", "boto3", "pydantic"}),
        ("transforms", {"dagster", "dagster_pyspark", "pyarrow", "boto3", "os", "pathlib"}),
        ("storage", {"pyspark", "dagster", "dagster_pyspark", "dagster_aws", "pydantic"}),
        ("spark", {"dagster", "dagster_pyspark", "dagster_aws", "pydantic"}),
        ("tables", {"dagster", "dagster_pyspark", "dagster_aws", "pydantic"}),
        (
            "verification",
            {"pyspark", "dagster", "dagster_pyspark", "dagster_aws", "boto3", "pydantic", "os", "pathlib"},
        ),
        ("ingest", {"dagster", "dagster_pyspark", "dagster_aws", "boto3", "pydantic"}),
        ("privacy", {"dagster", "dagster_pyspark", "dagster_aws", "pydantic"}),
        ("report", {"pyspark", "dagster", "dagster_pyspark", "dagster_aws", "pydantic"}),
        ("aws", {"pyspark", "dagster_pyspark", "pydantic"}),
        ("settings", {"pyspark", "dagster", "pyarrow", "boto3"}),
        ("environment", {"pyspark", "dagster", "pyarrow", "boto3"}),
        ("sample_data", {"pyspark", "dagster", "pyarrow", "boto3", "pydantic"}),
    ],
)
def test_a_room_does_without_what_belongs_to_others(room: str, foreign: set[str]) -> None:
    assert _in_room(room)
    for module in _in_room(room):
        assert not _foreign_imports(module) & foreign, module


@pytest.mark.parametrize("module", sorted(_IN_TASKS))
def test_what_runs_in_tasks_does_without_spark(module: str) -> None:
    assert not _foreign_imports(module) & {"pyspark", "os", "pathlib"}


@pytest.mark.parametrize("module", _in_room("transforms"))
def test_transforms_use_nothing_that_leaves_the_query_or_the_jvm(module: str) -> None:
    assert not _names(module) & _NOT_IN_TRANSFORMS


def test_python_sees_rows_at_the_landing_gate_and_nowhere_else() -> None:
    row_by_row = {name for name in _NOT_IN_TRANSFORMS if name.endswith(("udf", "udtf", "InPandas", "InArrow"))}
    found = {(module, name) for module in _MODULES for name in _names(module) & row_by_row}
    assert found == {("ingest/reading.py", "mapInArrow"), ("ingest/superseded.py", "mapInArrow")}


@pytest.mark.parametrize("module", sorted(_MODULES))
def test_no_module_drops_repeats_without_saying_of_which_columns(module: str) -> None:
    # The meaning of `distinct()` changes with every new column; `dropDuplicates` says what a repeat is.
    assert not _names(module) & {"distinct", "drop_duplicates"}
    calls = [node for node in ast.walk(_MODULES[module]) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "dropDuplicates"]
    assert all(call.args or call.keywords for call in named)


@pytest.mark.parametrize("module", sorted(m for m in _MODULES if "dagster" in _foreign_imports(m)))
def test_modules_that_use_dagster_do_not_postpone_their_annotations(module: str) -> None:
    # Dagster's decorators read the annotations, and cannot read text.
    assert "__future__.annotations" not in set(_imports(module))


def test_modules_that_use_dagster_are_found() -> None:
    assert "dagster" in _foreign_imports("orchestration/assets.py")
    assert "dagster" in _foreign_imports("definitions.py")
