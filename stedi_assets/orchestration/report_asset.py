"""The asset `machine_learning_report`, pictures of the ML table, and the sensor that has them drawn.

It is in a job of its own: whatever becomes of the pictures, no table waits for them.
"""

import base64
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.orchestration.metadata import OWNER
from stedi_assets.report.numbers import ML, content_of_pictures, count_for_pictures
from stedi_assets.storage.errors import LakeError

NAME = "machine_learning_report"
_ENOUGH = 20


@dg.asset(
    name=NAME,
    group_name="report",
    deps=[ML.name],
    kinds={"matplotlib", "duckdb"},
    owners=[OWNER],
    description="Pictures of machine_learning_curated as it is published now: who is in it and why the others are not, "
    "what the sensors measured, how many rows each subject has, and when they were taken. Counts only, nothing of one "
    "person. The sensor report_is_old has them drawn again when the tables change.",
)
def machine_learning_report(lake: LakeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Draw the pictures, keep them with the snapshot, and show them."""
    from stedi_assets.report.pictures import draw, keep_pictures  # noqa: PLC0415  (matplotlib takes a second to load)

    with as_dagster_failures():
        # Take this digest first: any change from here on then has the report drawn again.
        content = content_of_pictures(lake.lake)
        numbers = count_for_pictures(lake.lake, lake.pseudonym_key)
        pictures = draw(numbers)
        keep_pictures(lake.lake, numbers.snapshot, pictures)
    subjects = numbers.funnel[-1].left
    shown: dict[str, Any] = {name: _shown(name, png) for name, png in pictures.items()}
    if subjects < _ENOUGH:
        # Dagster keeps metadata forever, and a picture of few people can show one of them.
        shown = {"pictures": f"not shown, with fewer than {_ENOUGH} subjects; they are kept with the snapshot only"}
    return dg.MaterializeResult(
        metadata={
            "snapshot": str(numbers.snapshot.id),
            "customer records": numbers.customer_records,
            **{step.name: step.left for step in numbers.funnel},
            **shown,
        },
        data_version=dg.DataVersion(content),
    )


def _shown(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")


draw_report = dg.define_asset_job(
    "draw_report", selection=[NAME], description="Draw the pictures of machine_learning_curated. It needs no Spark."
)


@dg.sensor(
    job=draw_report,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has the report drawn when its numbers may have changed, whatever changed the tables: a run or "
    "a command. After an erasure, it waits for the next update_lakehouse.",
)
def report_is_old(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
    """Request the report if what it counts may have changed since it was drawn."""
    try:
        content = content_of_pictures(lake.lake)
    except LakeError as error:
        return dg.SkipReason(str(error))
    except OSError as error:
        return dg.SkipReason(f"The lake cannot be reached: {error.strerror or type(error).__name__}. Try again later.")
    last = context.instance.get_latest_materialization_event(dg.AssetKey(NAME))
    drawn = last.asset_materialization if last else None
    if drawn and drawn.tags and drawn.tags.get(DATA_VERSION_TAG) == content:
        return dg.SkipReason("Nothing that the report counts has changed.")
    # Dagster launches one run for a key, even if that run fails.
    return dg.RunRequest(run_key=f"{content} after {last.timestamp if last else 'none'}")
