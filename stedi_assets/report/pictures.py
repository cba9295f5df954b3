"""Draws the numbers: labelled axes with units, and colours that colour-blind people can tell apart (Okabe, Ito)."""

import io
from collections.abc import Mapping
from datetime import datetime, time

from matplotlib.dates import date2num
from matplotlib.figure import Figure

from stedi_assets.report.numbers import ML, Histogram, Numbers
from stedi_assets.storage.errors import CommitConflictError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.publishing import pictures_of
from stedi_assets.tables.snapshots import Snapshot, current

_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#E69F00", "#009E73", "#999999"
_UNITS = {column.name: column.unit for column in ML.columns}


def draw(numbers: Numbers) -> dict[str, bytes]:
    """Return the pictures as PNG, by name."""
    return {
        "funnel": _png(_funnel(numbers)),
        "measures": _png(_measures(numbers)),
        "subjects": _png(_subjects(numbers)),
        "coverage": _png(_coverage(numbers)),
    }


def keep_pictures(lake: Lake, snapshot: Snapshot, pictures: Mapping[str, bytes]) -> None:
    """Keep pictures of a snapshot in the table's folder. The next publication of other rows removes them.

    Raises `CommitConflictError` if the table may have other rows by then.
    """
    folder = pictures_of(ML, snapshot)
    for name, png in pictures.items():
        lake.storage.write(f"{folder}/{name}.png", png)
    if current(lake, ML).may_differ_from(snapshot):
        # They may show people who have left since.
        lake.storage.delete_permanently(folder)
        raise CommitConflictError(
            f"{ML.name} was published again while the pictures were drawn. Materialise the report again."
        )


def _funnel(numbers: Numbers) -> Figure:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = list(numbers.funnel)[::-1]
    most = max((step.left for step in steps), default=0) or 1
    axes.barh([step.name for step in steps], [step.left for step in steps], color=_BLUE)
    axes.barh(
        [step.name for step in steps],
        [step.gone for step in steps],
        left=[step.left for step in steps],
        color=_ORANGE,
        hatch="//",
        edgecolor="white",
    )
    for place, step in enumerate(steps):
        gone = f"   {step.gone:,} gone: {step.why}" if step.gone else ""
        axes.text(step.left + step.gone + most * 0.01, place, f"{step.left:,}{gone}", va="center")
    axes.set_xlabel("people")
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= most])
    axes.set_xlim(0, most * 2.3)
    axes.set_title(f"Who is in the ML table, of {numbers.customer_records:,} customer records, and why others are not")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _measures(numbers: Numbers) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    for axes, (name, histogram) in zip(figure.subplots(2, 2).flat, numbers.measures.items(), strict=True):
        _bars(axes, histogram, _BLUE if name == "distanceFromObject" else _GREEN)
        axes.set_xlabel(f"{name} ({_UNITS[name]})")
        axes.set_ylabel("rows")
    figure.suptitle(f"What the sensors saw: {numbers.snapshot.rows:,} rows")
    return figure


def _subjects(numbers: Numbers) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    _bars(axes, numbers.readings_per_subject, _ORANGE)
    axes.set_xlabel("rows of one subject")
    axes.set_ylabel("subjects")
    axes.set_title("How many rows each subject has")
    return figure


def _coverage(numbers: Numbers) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    days = [datetime.combine(day, time()) for day in numbers.coverage]
    # matplotlib counts in days, and has days for ticks.
    axes.bar(date2num(days), list(numbers.coverage.values()), color=_GREY)  # type: ignore[no-untyped-call]  # (its own)
    axes.xaxis_date()
    axes.set_xlabel("day (UTC)")
    axes.set_ylabel("rows")
    axes.set_title("When the readings were taken")
    return figure


def _bars(axes, histogram: Histogram, colour: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  (matplotlib's)
    axes.stairs(histogram.counts, histogram.edges, fill=True, color=colour)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()
