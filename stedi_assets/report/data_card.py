"""The data card of a table that is given to others: what its users have to know about each snapshot.

Counts only, nothing of one person. What cannot be found out is left open.
"""

from datetime import datetime, timezone

import pyarrow.dataset as ds

from stedi_assets.contracts import TABLES, Policy, Readings, Table
from stedi_assets.contracts.rules import UNATTRIBUTED_SHARE
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot, current, dataset, named_snapshot
from stedi_assets.verification.engine import SecondEngineFailed, engine_for

_UNKNOWN = "not known"


def data_card(lake: Lake, table: Table, snapshot: Snapshot) -> str:
    """Return the card of a snapshot as Markdown. No publication waits for it: if it cannot be made, it says so."""
    try:
        return _card(lake, table, snapshot)
    except Exception as error:  # noqa: BLE001  (whatever stored tables and clocks have come up with)
        return f"# {table.name}\n\nSnapshot {snapshot.id}: its card could not be made ({type(error).__name__}).\n"


def _card(lake: Lake, table: Table, snapshot: Snapshot) -> str:
    rows = dataset(lake, table, snapshot.id)
    policy = Policy.from_dict(snapshot.policy)
    loading = _loading(lake, table, snapshot.id)
    lines = [
        f"# {table.name}",
        "",
        f"A row is {table.row}. {table.description}",
        "",
        f"- **Rows** {snapshot.rows:,}, of **{_extent(table, rows)}",
        f"- **Snapshot** `{snapshot.id}`, made by run `{snapshot.run_id}`, consent as of {_moment(snapshot.as_of)}",
        f"- **Device readings that belong to nobody**, left out: {_unattributed(lake)}",
        f"- **Policy** {_switches(policy)}; purpose `{snapshot.purpose}`",
        "",
        "## May I use it?",
        "",
        _permission(policy),
        f"It is **pseudonymised, not anonymous**: an instant to the {policy.published_time.value} can single somebody "
        "out, so it stays personal data. Do not publish it, do not join it with anything that names people, and do not "
        "keep copies: people who withdraw consent are not in the next snapshot.",
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
        *loading.pop("pandas"),
        "test = rows.subject_id.map(lambda subject: int(subject[:8], 16) % 5 == 0)",
        "```",
        "",
        *(f"- {library}, after `{imports}`: `{code}`" for library, (imports, code) in loading.items()),
        "",
        f"To cite it: {table.name}, snapshot {snapshot.id}, {snapshot.rows:,} rows.",
        "",
    ]
    return "\n".join(lines)


def _loading(lake: Lake, table: Table, snapshot: int) -> dict[str, tuple[str, str]]:
    """Return how to load a snapshot, by library: what is imported, and the line that loads."""
    scan = f"stedi_assets.open_table({table.name!r}, lake={lake.location!r}).scan(snapshot_id={snapshot})"
    return {
        "pandas": ("import stedi_assets", f"rows = {scan}.to_pandas()"),
        "polars": ("import polars, stedi_assets", f"rows = polars.from_arrow({scan}.to_arrow())"),
        "DuckDB": ("import stedi_assets", f"rows = {scan}.to_duckdb('ml').sql('SELECT * FROM ml')"),
    }


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
        left_out = trusted.counts[UNATTRIBUTED_SHARE.name]
        readings = named_snapshot(lake, landing, trusted.inputs[landing.name]).rows
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
