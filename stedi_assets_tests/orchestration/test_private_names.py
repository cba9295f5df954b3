"""Which private names of Dagster the product uses: an upgrade of Dagster may take any of them away without a word.

Found in the source text: what is imported, what a class takes from a base of Dagster's, and what a text names.
"""

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_PACKAGE = Path(__file__).parents[2] / "stedi_assets"
_TREES = {path.relative_to(_PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in _PACKAGE.rglob("*.py")}

# By module: the private names it uses. Before a name is added here, look for a public one.
USED = {
    "aws/glue_job.py": {"dagster._core.events.DagsterEventType"},
    "aws/glue_runs.py": {
        "dagster._core.pipes.context.PipesExecutionResult",
        "dagster_aws.pipes.PipesGlueClient._context_injector",
        "dagster_aws.pipes.PipesGlueClient._message_reader",
    },
    "cli/runs.py": {"dagster._core.errors"},
    "orchestration/alerts.py": {"dagster._core.storage.asset_check_execution_record.AssetCheckExecutionRecordStatus"},
    "orchestration/glue_compute.py": {"dagster._core.pipes.context.PipesExecutionResult"},
    "orchestration/landing_sensor.py": {
        "dagster._core.storage.dagster_run.FINISHED_STATUSES",
        "dagster._core.storage.tags.SENSOR_NAME_TAG",
    },
    "orchestration/report_asset.py": {"dagster._core.definitions.data_version.DATA_VERSION_TAG"},
    "orchestration/run_launcher.py": {
        "dagster._core.launcher.CheckRunHealthResult",
        "dagster._core.launcher.WorkerStatus",
        "dagster._core.launcher.default_run_launcher.DefaultRunLauncher",
        "dagster._core.launcher.default_run_launcher.DefaultRunLauncher._instance",
        "dagster._core.storage.tags.GRPC_INFO_TAG",
    },
    "orchestration/spark_resource.py": {"dagster._core.storage.tags.GRPC_INFO_TAG"},
    "orchestration/sqlite_storage.py": {
        "dagster._core.storage.event_log.sqlite.sqlite_event_log.SqliteEventLogStorage",
        "dagster._core.storage.event_log.sqlite.sqlite_event_log.SqliteEventLogStorage._db_lock",
        "dagster._core.storage.event_log.sqlite.sqlite_event_log.SqliteEventLogStorage._initdb",
        "dagster._core.storage.event_log.sqlite.sqlite_event_log.SqliteEventLogStorage._initialized_dbs",
        "dagster._core.storage.event_log.sqlite.sqlite_event_log.SqliteEventLogStorage.conn_string_for_shard",
        "dagster._core.storage.sqlite.SQLITE_BUSY_TIMEOUT_SECONDS",
        "dagster._core.storage.sqlite_storage.DagsterSqliteStorage",
        "dagster._core.storage.sqlite_storage._event_logs_directory",
        "dagster._serdes.ConfigurableClassData",
    },
}


def _is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def _is_dagster(name: str) -> bool:
    return re.fullmatch(r"dagster(_\w+)?", name.split(".", maxsplit=1)[0]) is not None


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return what of Dagster a module imports: the full name, by the name that the module has for it."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {known_as: name for known_as, name in found.items() if _is_dagster(name)}


def _full_name(node: ast.expr, imported: dict[str, str]) -> str | None:
    """Return the full name of `Name` or `module.Name`, if it is Dagster's."""
    written = ast.unparse(node)
    first, dot, rest = written.partition(".")
    if written in imported:
        return imported[written]
    return f"{imported[first]}{dot}{rest}" if first in imported else None


def _own_names() -> set[str]:
    """Return every attribute that a class of the product defines or sets."""
    own = set()
    for tree in _TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return own


_OWN = _own_names()


def _inherited(tree: ast.Module, imported: dict[str, str]) -> Iterator[str]:
    """Yield the private names that classes reach by `self` and that only a base of Dagster's can have."""
    for node in ast.walk(tree):
        bases = [_full_name(base, imported) for base in node.bases] if isinstance(node, ast.ClassDef) else []
        for base in filter(None, bases):
            attributes = [found for found in ast.walk(node) if isinstance(found, ast.Attribute)]
            yield from (
                f"{base}.{found.attr}"
                for found in attributes
                if isinstance(found.value, ast.Name) and found.value.id == "self" and found.attr not in _OWN
            )


def _named(tree: ast.Module) -> Iterator[str]:
    """Yield the private names that a text has, such as a regular expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (name.replace("\\", "") for name in re.findall(r"\bdagster\w*(?:\\?\.[a-z_]\w+)+", node.value))


def _used(tree: ast.Module) -> set[str]:
    imported = _imported(tree)
    reached = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and (name := _full_name(node, imported))
    }
    return {
        name for name in {*imported.values(), *reached, *_inherited(tree, imported), *_named(tree)} if _is_private(name)
    }


def test_the_private_names_in_use_are_those_listed() -> None:
    found = {module: names for module, tree in _TREES.items() if (names := _used(tree))}
    assert found == USED, "look for a public name of Dagster's; where there is none, list the private one here"


@pytest.mark.parametrize("name", sorted(set[str]().union(*USED.values())))
def test_a_private_name_is_still_there(name: str) -> None:
    found: Any = importlib.import_module(name.split(".", maxsplit=1)[0])
    *modules_and_classes, last = name.split(".")[1:]
    reached = found.__name__
    for part in modules_and_classes:
        reached = f"{reached}.{part}"
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(reached)
    # An attribute that the class sets on itself is not there before.
    is_set = inspect.isclass(found) and f"self.{last} =" in inspect.getsource(found)
    is_module = hasattr(found, "__path__") and importlib.util.find_spec(name) is not None
    assert is_set or is_module or hasattr(found, last), f"{name} is gone from Dagster"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import dagster._core as core", "dagster._core"),
        ("from dagster import _utils", "dagster._utils"),
        ("def run():\n    from dagster_shared._internal import thing", "dagster_shared._internal.thing"),
        ("import dagster as dg\nx = dg._core.events", "dagster._core"),
        (
            "import dagster as dg\nclass A(dg.RunLauncher):\n    def f(self): self._secret()",
            "dagster.RunLauncher._secret",
        ),
        ("x = r'dagster\\._core\\.errors'", "dagster._core.errors"),
    ],
)
def test_each_way_to_use_one_is_found(source: str, name: str) -> None:
    assert name in _used(ast.parse(source))
