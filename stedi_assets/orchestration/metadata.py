"""What Dagster shows about tables, from their contracts, and about publications: counts and names, nothing of a row."""

import time
from collections import defaultdict
from typing import Any

import dagster as dg

from stedi_assets.contracts import Column, Table
from stedi_assets.contracts.tables import made_from
from stedi_assets.ingest.landing import Landing
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import counted
from stedi_assets.tables.file_reports import FileReport, trouble_of
from stedi_assets.tables.quarantine import in_words as reasons_in_words
from stedi_assets.tables.snapshots import Snapshot
from stedi_assets.tables.staging import Staged

OWNER = "team:stedi"
_FILES_SHOWN = 50
_FILES = dg.TableSchema(
    [
        dg.TableColumn("file", "string", "Path below the landing folder, or an alias"),
        dg.TableColumn("trouble", "string", "What is wrong with it"),
        dg.TableColumn("records", "int"),
        dg.TableColumn("accepted", "int"),
        dg.TableColumn("quarantined", "int"),
        dg.TableColumn("reasons", "string", "Why records are in quarantine, with their numbers"),
        dg.TableColumn("read by this run", "bool"),
    ]
)
_QUARANTINED_FILES = dg.TableSchema(
    [
        dg.TableColumn("file", "string", "Path below the landing folder, or an alias"),
        dg.TableColumn("reasons", "string", "Why records are in quarantine, with their numbers"),
    ]
)
_WHERE = dg.MetadataValue.md("`stedi quarantine --file FILE` prints the line and the byte of each record.")


def column_schema(table: Table) -> dg.TableSchema:
    """Return a table's columns, each with whose data it holds and which columns it is made from.

    The origin is a link, because Dagster shows its own column lineage only where Dagster hosts it: the open-source page
    leaves that metadata out.
    """
    return dg.TableSchema(columns=[_column(table, column) for column in table.columns])


def _column(table: Table, column: Column) -> dg.TableColumn:
    origins = " and ".join(f"[{name}.{theirs}](/assets/{name})" for name, theirs in made_from(table, column))
    return dg.TableColumn(
        column.name,
        column.type.value,
        f"{column.description}. Made from {origins}" if origins else column.description,
        constraints=dg.TableColumnConstraints(nullable=not column.required),
        tags={"personal_data": column.personal_data},
    )


def of_publication(lake: Lake, published: Staged, began: float, landing: Landing | None = None) -> dict[str, Any]:
    """Return the metadata of a publication; of a landing table, with what landed. `began` is by the monotonic clock."""
    snapshot = published.snapshot
    which = "days touched" if landing else "days computed"
    has_days = published.table.instant is not None
    return {
        "dagster/row_count": snapshot.rows,
        "change": change_in_words(snapshot.rows, snapshot.previous_rows),
        "rows added": published.added,
        "rows removed": published.removed,
        **({which: _days(snapshot, landing), "days": len(snapshot.days)} if has_days else {}),
        "bytes": sum(published.sizes.values()),
        "files": len(published.sizes),
        "seconds": round(time.monotonic() - began, 1),
        "snapshot": str(snapshot.id),
        "path": dg.MetadataValue.path(lake.storage.shown(published.table.path)),
    }


def in_words(published: Staged, landing: Landing | None = None) -> str:
    """Return in a line what a run made of a table; of a landing table, from how many new files."""
    snapshot = published.snapshot
    files = f"{_files_in_words(landing)}, " if landing else ""
    days = f"{_days(snapshot, landing):,} of {counted(len(snapshot.days), 'day')}, " if published.table.instant else ""
    is_changed = published.added or published.removed
    change = f"{counted(published.added, 'row')} added, {published.removed:,} removed" if is_changed else "unchanged"
    return f"{published.table.name}: {files}{days}{change}; {counted(snapshot.rows, 'row')}"


def _files_in_words(landing: Landing) -> str:
    again = max(0, len(landing.read) - landing.new_files)
    found = [(landing.new_files, "new file", ""), (again, "file", " read again")]
    return ", ".join(f"{counted(number, noun)}{what}" for number, noun, what in found if number) or "no new files"


def _days(snapshot: Snapshot, landing: Landing | None) -> int:
    if landing:
        return len(landing.touched)
    return len(snapshot.days if snapshot.computed is None else snapshot.computed)


def of_landing(landing: Landing, quarantined: int, reasons: dict[str, int]) -> dict[str, Any]:
    """Return the metadata of a delivery: its files, and what became of their records."""
    return {
        "landing files": len(landing.files),
        "new landing files": landing.new_files,
        "files left for a later run": len(landing.listing.unsettled),
        "files dated in the future": len(landing.listing.dated_ahead),
        **({"files listed in manifests": landing.manifests.listed} if landing.manifests.seen else {}),
        "bytes read": landing.bytes_read,
        "records": sum(file.records for file in landing.files),
        "quarantined": quarantined,
        **({"superseded": sum(landing.superseded)} if any(landing.superseded) else {}),
        **{f"quarantined for {reason}": count for reason, count in reasons.items()},
    }


def files_table(landing: Landing, reasons: dict[str, dict[str, int]]) -> dg.TableMetadataValue:
    """Return a delivery's files as a table: first those in trouble, of these first those that this run has read.

    `reasons` counts the quarantined records of each file by reason. A file that a manifest lists and that is missing
    has a row, too.
    """
    there = {file.path for file in landing.files}
    missing = [FileReport(found.file, 0, "") for found in landing.manifests.named if found.file not in there]
    as_listed = defaultdict(list)
    for found in landing.manifests.named:
        as_listed[found.file].append(found.details)

    def trouble(file: FileReport) -> str:
        return ", ".join(filter(None, [trouble_of(file), *as_listed.get(file.path, ())]))

    files = sorted(
        [*missing, *landing.files], key=lambda file: (not trouble(file), file.path not in landing.read, file.path)
    )
    records = [
        dg.TableRecord(
            {
                "file": file.path,
                "trouble": trouble(file),
                "records": file.records,
                "accepted": file.accepted,
                "quarantined": file.quarantined,
                "reasons": reasons_in_words(reasons.get(file.path, {})),
                "read by this run": file.path in landing.read,
            }
        )
        for file in files[:_FILES_SHOWN]
    ]
    return dg.MetadataValue.table(records, _FILES)


def of_quarantine(
    quarantine: Snapshot, landing: Staged, reasons: dict[str, int], by_file: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Return the metadata of a quarantine, which is published with its landing table.

    `reasons` counts its records by reason, `by_file` those of each file.
    """
    return {
        **({"files": _quarantined_files(by_file), "where in a file": _WHERE} if by_file else {}),
        "dagster/row_count": quarantine.rows,
        **reasons,
        "snapshot": str(quarantine.id),
        "published with": f"snapshot {landing.snapshot.id} of {landing.table.name}",
    }


def _quarantined_files(by_file: dict[str, dict[str, int]]) -> dg.TableMetadataValue:
    files = sorted(by_file.items(), key=lambda found: (-max(found[1].values()), found[0]))
    records = [dg.TableRecord({"file": name, "reasons": reasons_in_words(found)}) for name, found in files]
    return dg.MetadataValue.table(records[:_FILES_SHOWN], _QUARANTINED_FILES)


def change_in_words(rows: int, before: int | None) -> str:
    """Return in words how a table's number of rows differs from the last time."""
    if before is None:
        return "published for the first time"
    if rows == before:
        return "as many rows as the last time"
    share = f" ({abs(rows - before) / before:.1%})" if before else ""
    return f"{abs(rows - before):,} rows {'more' if rows > before else 'fewer'} than the last time{share}"
