"""docs/settings.md and .env.example, written from the class `Settings`.

`python -m stedi_assets_tests.support.settings_page` writes both again, in the folder where it is started.
"""

from enum import Enum
from pathlib import Path

from pydantic.fields import FieldInfo

from stedi_assets.settings import variables


def settings_page() -> str:
    """Return docs/settings.md."""
    lines = [
        f"| `{name}` | {_without(field) or f'`{_default(field)}`'} | {field.description} |"
        for name, field in variables().items()
    ]
    return _PAGE.format(table="\n".join(lines))


def example() -> str:
    """Return .env.example: every setting with its default, none of them set."""
    return _EXAMPLE.format(variables="\n".join(f"# {name}={_default(field)}" for name, field in variables().items()))


def _without(field: FieldInfo) -> str | None:
    extra = field.json_schema_extra
    return str(extra["without"]) if isinstance(extra, dict) else None


def _default(field: FieldInfo) -> str:
    """Return a default in the form that the variable would have."""
    default = field.default.value if isinstance(field.default, Enum) else field.default
    return "" if default is None else str(default)


_PAGE = """\
# Settings

Environment variables, or lines of `.env` (see `.env.example`). An unknown value is an error when the definitions load.

| variable | default | values |
|---|---|---|
{table}

Java: Spark runs on the Java of `JAVA_HOME` or of the PATH if it is version 17 or 21, otherwise on the one that pip
installed. With a local master, `SPARK_…`, `PYSPARK_…`, `HADOOP_…` and `YARN_…` are ignored; `JAVA_TOOL_OPTIONS` and
the like apply. On a cluster, or in an existing session, everything stays as it is set there.

## One environment

Every command of `stedi`, and `dagster dev`, `dagster job execute`, `dagster asset materialize` and the like, read the
`.env` of the folder where they are started, and no other. **It overrides the environment**, as in Dagster. If the two
disagree about a variable whose name begins with `STEDI_`, `DAGSTER_` or `AWS_`, `stedi` says which value is used. To
use the environment's, remove the line from the file; or write `STEDI_LAKE=${{STEDI_LAKE:-./lake}}`, which is the
environment's value if it has one, else `./lake`.

The file is UTF-8, and read by python-dotenv: `export NAME=value`, values in single or double quotes, ` # comments` and
`${{NAME}}`, also in quotes. A line that cannot be read is named by its number, and left out.

`DAGSTER_HOME` is where Dagster keeps its runs: the absolute path of a folder that exists. If it is not set,
`stedi start` creates `.dagster` and adds the line to `.env`. Only `dagster asset list` reads no `.env`.

From the class `Settings`, `.venv/bin/python -m stedi_assets_tests.support.settings_page` writes this page and
`.env.example`.
"""

_EXAMPLE = """\
# `stedi` and `dagster` read this file, and it overrides the environment. Every setting has a default;
# docs/settings.md says what each means.
# The absolute path of a folder that exists. If it is not set, `stedi start` creates one and adds a line here.
# DAGSTER_HOME=
{variables}
"""

if __name__ == "__main__":
    Path("docs/settings.md").write_text(settings_page(), "utf-8")
    Path(".env.example").write_text(example(), "utf-8")
