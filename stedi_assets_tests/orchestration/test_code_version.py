"""The version of a table's code changes with everything that decides what the table holds."""

import ast
import inspect
from types import ModuleType

import pytest

from stedi_assets.contracts import Zone
from stedi_assets.orchestration.assets import _COMPUTED_BY

# Of these rooms and modules, what a listed module imports has to be listed.
_DECIDE = (
    "stedi_assets.ingest.",
    "stedi_assets.transforms.",
    "stedi_assets.contracts.rules",
    "stedi_assets.tables.days",
)


def _imported(module: ModuleType) -> set[str]:
    tree = ast.parse(inspect.getsource(module))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("zone", Zone)
def test_every_module_that_computes_a_table_is_part_of_its_version(zone: Zone) -> None:
    listed = {module.__name__ for module in _COMPUTED_BY[zone]}
    imported = {name for module in _COMPUTED_BY[zone] for name in _imported(module)}
    assert {name for name in imported if name.startswith(_DECIDE)} <= listed
