"""Assets that no step of ours materialises: the raw files, and the quarantine tables that landing tables bring along.

The sensor observes raw files; publishing a landing table reports its quarantine. Observations carry no data version:
Dagster 1.13 does not record it with what is made from the files, and would show every landing table as out of date.
"""

import dagster as dg

from stedi_assets.contracts import SOURCES, Source
from stedi_assets.ingest.arrivals import Arrivals
from stedi_assets.orchestration.metadata import OWNER, column_schema


def raw_files(source: Source) -> dg.AssetKey:
    """Return the key of a source's raw files."""
    return dg.AssetKey(f"{source.name}_raw_files")


def observation(found: Arrivals) -> dg.AssetObservation:
    """Return what there is of a source's raw files, in numbers."""
    return dg.AssetObservation(
        raw_files(found.source),
        metadata={
            "files": found.files,
            "bytes": found.bytes,
            "new or replaced": len(found.changed),
            "may still be written": found.unsettled,
            "gone": len(found.gone),
        },
    )


def _specs_of(source: Source) -> list[dg.AssetSpec]:
    raw, quarantine = raw_files(source), source.quarantine
    return [
        dg.AssetSpec(
            raw,
            group_name="raw",
            description=f"The JSON files that the source delivers into `{source.raw_path}`, gzipped or not. "
            "They are read and never changed. The sensor new_landing_files observes them, and updates what depends on "
            "them.",
            kinds={"json"},
            tags={"zone": "raw", "personal_data": "direct"},
            metadata={"folder": source.raw_path},
        ),
        dg.AssetSpec(
            quarantine.name,
            deps=[raw],
            group_name=quarantine.zone.value,
            description=f"A row is {quarantine.row}, with its reasons. "
            f"It is published together with {source.landing.name}.",
            kinds={"pyspark", "iceberg"},
            owners=[OWNER],
            tags={"zone": quarantine.zone.value, "personal_data": "direct"},
            metadata={
                "dagster/column_schema": column_schema(quarantine),
                "a row is": quarantine.row,
                "folder": quarantine.path,
            },
        ),
    ]


EXTERNAL_ASSETS = [spec for source in SOURCES.values() for spec in _specs_of(source)]
