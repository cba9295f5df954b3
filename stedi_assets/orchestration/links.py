"""What an asset's page links to: its code and the page about it, for an editor on this machine, and consoles of AWS."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg

from stedi_assets.aws.console import query_editor, table_in_glue
from stedi_assets.contracts import LANDING_TABLES, QUARANTINE_TABLES, TABLES, Table
from stedi_assets.ingest.landing import land
from stedi_assets.settings import Settings
from stedi_assets.storage.catalog_address import CatalogKind
from stedi_assets.transforms import curated, trusted

# Only a clone has the pages.
_DOCS = Path(__file__).parents[2] / "docs"
# By the group of the asset.
_PAGES = {"raw": "own-data", "landing": "new-files", "trusted": "privacy", "curated": "reading", "report": "looking"}
_COMPUTED_BY = {
    **dict.fromkeys(LANDING_TABLES, land),
    **{name: getattr(zone, name) for zone in (trusted, curated) for name in TABLES if hasattr(zone, name)},
}


def with_code_links(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return an asset with links to the function that computes it, and to the page of the documentation about it."""
    name = spec.key.path[-1]
    page = _DOCS / f"{'checks' if name in QUARANTINE_TABLES else _PAGES[str(spec.group_name)]}.md"
    found = [dg.LocalFileCodeReference(file_path=str(page), label=f"docs/{page.name}")] if page.is_file() else []
    if computed_by := _COMPUTED_BY.get(name):
        path = Path(inspect.getfile(computed_by))
        line = inspect.getsourcelines(computed_by)[1]
        label = f"{path.parent.name}/{path.name}"
        found.insert(0, dg.LocalFileCodeReference(file_path=str(path), line_number=line, label=label))
    if not found:
        return spec
    references = dg.CodeReferencesMetadataValue(code_references=[*found])
    return spec.merge_attributes(metadata={"dagster/code_references": references})


def console_links(settings: Settings) -> Callable[[Table], Mapping[str, dg.UrlMetadataValue]]:
    """Return what gives a table's links to the consoles of AWS, by name: none without Glue's catalog or a region."""
    region = _own_region() if settings.catalog_address.kind is CatalogKind.GLUE else None
    if region is None:
        return lambda _: {}
    editor = {"in Amazon Athena": dg.MetadataValue.url(query_editor(region))} if settings.athena_workgroup else {}
    return lambda table: {
        "in AWS Glue": dg.MetadataValue.url(table_in_glue(region, settings.namespace, table.name)),
        **editor,
    }


def _own_region() -> str | None:
    import boto3  # noqa: PLC0415  (takes a while to load; only a lake with Glue's catalog needs it)

    region: str | None = boto3.Session().region_name
    return region
