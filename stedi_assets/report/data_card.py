"""The data card of a table that leaves the house: what whoever works with it has to know, written with each snapshot.

Counts only, nothing of one person. What cannot be found out is left open.
"""

from datetime import datetime, timezone

import pyarrow.dataset as ds

from stedi_assets.contracts import TABLES, Policy, Readings, Table
from stedi_assets.contracts.rules import UNATTRIBUTED_SHARE
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.pointers import Pointer
from stedi_assets.tables.snapshots import current, saved_counts
from stedi_assets.verification.engine import SecondEngineFailed, engine_for

_UNKNOWN = "not known"


def data_card(lake: Lake, table: Table, pointer: Pointer, folder: str, rows: ds.Dataset) -> str:
    """Return the card of a snapshot as Markdown. `folder` is how people name where it lies, `rows` are its own."""
    policy = Policy.from_dict(pointer.policy) if pointer.policy else Policy()
    lines = [
        f"# {table.name}",
        "",
        f"A row is {table.row}. {table.description}",
        "",
        f"- **Rows** {pointer.rows:,}, of **{_extent(table, rows)}",
        f"- **Snapshot** `{pointer.snapshot}`, made by run `{pointer.run_id}`, consent as of {_moment(pointer.as_of)}",
        f"- **Device readings that belong to nobody**, left out: {_unattributed(lake)}",
        f"- **Policy** {_switches(policy)}; purpose `{pointer.purpose}`",
        "",
        "## May I use it?",
        "",
        _permission(policy),
        f"It is **pseudonymised, not anonymous**: an instant to the {policy.published_time.value} can single somebody "
        "out, so it stays personal data. Do not publish it, do not join it with anything that names people, and do not "
        "keep copies: who withdraws consent leaves the next snapshot.",
        "",
        "## Columns",
        "",
        "| column | type | unit | what it is |",
        "|---|---|---|---|",
        *(f"| `{c.name}` | {c.type.value} | {c.unit or 'none'} | {c.description} |" for c in table.columns),
        "",
        "## What is known to be wrong",
        "",
        "- A phone logs several readings at one instant: each makes a row with the same device reading. Rows are not "
        "independent, and none is deduplicated.",
        "- The sources document no unit for the distance and the three axes.",
        *(["- Some instants lie before the person's consent."] if policy.readings is Readings.ALL else []),
        "",
        "## How to work with it",
        "",
        "Split by subject, never by row, or a model is tested on people that it was trained on:",
        "",
        "```python",
        *_loading(folder)["pandas"],
        "test = rows.subject_id.map(lambda subject: int(subject[:8], 16) % 5 == 0)",
        "```",
        "",
        *(f"- {name}: `{code[-1]}`" for name, code in _loading(folder).items() if name != "pandas"),
        "",
        f"To cite it: {table.name}, snapshot {pointer.snapshot}, {pointer.rows:,} rows.",
        "",
    ]
    return "\n".join(lines)


def _loading(folder: str) -> dict[str, list[str]]:
    """Return how to load a snapshot, by library, in two lines each."""
    query = f"SELECT * FROM '{folder}/*.parquet'"
    loading = {
        "pandas": ["import pandas", f"rows = pandas.read_parquet({folder!r})"],
        "polars": ["import polars", f"rows = polars.read_parquet({f'{folder}/*.parquet'!r})"],
        "DuckDB": ["import duckdb", f"rows = duckdb.sql({query!r})"],
    }
    if folder.startswith("s3:"):
        # It knows neither profiles nor roles unless it is told to look for them.
        del loading["DuckDB"]
    return loading


def _extent(table: Table, rows: ds.Dataset) -> str:
    """Return how many subjects there are, and from when to when."""
    try:
        with engine_for(table.name) as engine:
            engine.register("stored", rows)
            query = 'SELECT count(DISTINCT subject_id), min("timestamp"), max("timestamp") FROM stored'
            subjects, first, last = engine.execute(query).fetchone() or (0, None, None)
    except SecondEngineFailed:
        return f"{_UNKNOWN}**"
    return f"{subjects:,} subjects**, from {_moment(first)[:10]} to {_moment(last)[:10]} (UTC)"


def _unattributed(lake: Lake) -> str:
    try:
        table = TABLES["step_trainer_trusted"]
        trusted, landing = current(lake, table), TABLES["step_trainer_landing"]
        left_out = saved_counts(lake, table, trusted.snapshot)[UNATTRIBUTED_SHARE.name]
        readings = saved_counts(lake, landing, trusted.inputs[landing.name])["rows"]
    except (LakeError, OSError, KeyError):
        return _UNKNOWN
    return f"{left_out:,} of {readings:,} ({left_out / readings:.1%})" if readings else "none"


def _switches(policy: Policy) -> str:
    switches = ", ".join(f"{name} `{value}`" for name, value in policy.as_dict().items())
    return f"{'the default' if policy.is_default else '**not the default**'}: {switches}"


def _permission(policy: Policy) -> str:
    if policy.needs_comparison:
        return (
            "**No.** It was made to reproduce published counts, and holds people who withdrew, or rows that mix two "
            "people. It is for comparing counts, and for nothing else."
        )
    return "**For research, yes**: it holds the readings of people who consent to research, and of nobody else."


def _moment(instant: int | None) -> str:
    if instant is None:
        return _UNKNOWN
    return datetime.fromtimestamp(instant / 1000, timezone.utc).isoformat(timespec="seconds")
