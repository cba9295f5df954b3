"""`stedi quarantine`: which records could not be accepted, in which files, where, and why."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice

from rich.text import Text

from stedi_assets import terminal
from stedi_assets.contracts import SOURCES, Source
from stedi_assets.contracts.reasons import advice
from stedi_assets.contracts.rules import FILES_MATCH_MANIFESTS, FILES_WHOLE
from stedi_assets.ingest.lines import line_numbers
from stedi_assets.privacy.keys import suppression_key
from stedi_assets.settings import Settings
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import counted
from stedi_assets.tables.file_reports import FileReport, read_file_reports, trouble_of
from stedi_assets.tables.manifest_report import ManifestReport, read_manifest_report
from stedi_assets.tables.quarantine import Place, in_words, places, quarantine_of, reasons_by_file
from stedi_assets.tables.snapshots import Snapshot, read_snapshot_of

_TROUBLE = "yellow"


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Print the files in trouble, or the places of their records; with --raw the records themselves.

    If records go to standard output, places go to standard error. Return the exit code: 1 if a named file has not
    landed.
    """
    lake = settings.open_lake()
    found = False
    for source in [SOURCES[chosen.source]] if chosen.source else SOURCES.values():
        snapshot = read_snapshot_of(lake, source.landing)
        if snapshot is None:
            terminal.say(f"{source.name}: nothing has landed yet")
            continue
        files = read_file_reports(lake, source, snapshot)
        if chosen.file is None and not chosen.raw:
            _print_files(lake, source, snapshot, files)
            continue
        wanted = [file for file in files if chosen.file in {None, file.path}]
        found |= bool(wanted)
        _print_places(settings, lake, source, snapshot, wanted, chosen)
    if chosen.file is None or found:
        return 0
    print(f"No file {chosen.file} has landed. `stedi quarantine` names those in trouble.", file=sys.stderr)
    return 1


def _print_files(lake: Lake, source: Source, snapshot: Snapshot, files: Sequence[FileReport]) -> None:
    quarantine = quarantine_of(lake, source, snapshot)
    reasons = reasons_by_file(lake, source, quarantine)
    troubled = sorted((file for file in files if trouble_of(file)), key=lambda file: (-file.quarantined, file.path))
    records, kept = (sum(getattr(file, name) for file in files) for name in ("records", "quarantined"))
    manifests = read_manifest_report(snapshot)
    terminal.say(
        f"{source.name}: {kept:,} of {counted(records, 'record')} in quarantine; trouble in {len(troubled):,} of "
        f"{counted(len(files), 'file')}{_manifests_in_words(manifests)}"
    )
    for file in troubled:
        why = f": {in_words(reasons[file.path])}" if file.path in reasons else ""
        terminal.say(_line("  ", file, f"{trouble_of(file)}{why}"))
    _print_advice({reason for file in troubled for reason in reasons.get(file.path, ())})
    if any(file.cut_off for file in troubled):
        terminal.say(Text.assemble("    ", ("cut off", _TROUBLE), f": {FILES_WHOLE.what_to_do}"))
    for found in manifests.named:
        terminal.say(Text(f"  {found.in_words}", _TROUBLE))
    if manifests.named:
        terminal.say(f"    {FILES_MATCH_MANIFESTS.what_to_do}")
    if kept:
        terminal.say(
            "  Where they are: stedi quarantine --file FILE. The records themselves, with personal data: --raw."
        )


def _manifests_in_words(report: ManifestReport) -> str:
    listed = f"; {report.differing:,} of {counted(report.listed, 'listed file')} missing or different"
    unusable = f"; {counted(report.unusable, 'unusable manifest')}"
    return (listed if report.differing else "") + (unusable if report.unusable else "")


def _print_places(
    settings: Settings,
    lake: Lake,
    source: Source,
    snapshot: Snapshot,
    files: Sequence[FileReport],
    chosen: argparse.Namespace,
) -> None:
    say = partial(print, file=sys.stderr) if chosen.raw else terminal.say
    quarantine = quarantine_of(lake, source, snapshot)
    for file in files:
        if not trouble_of(file) and chosen.file is None:
            continue
        say(_line(f"{source.name}: ", file, trouble_of(file) or "every record was accepted"))
        found = list(islice(places(lake, source, quarantine, file.path, raw=chosen.raw), chosen.most))
        offsets = [place.offset for place in found]
        lines = line_numbers(lake, source, file, offsets, lambda: suppression_key(settings.suppression_key, lake))
        for place in found:
            where = f"line {lines[place.offset]:,}, " if place.offset in lines else ""
            at = f"  {where}byte {place.offset:,}, {place.length:,} bytes: "
            say(Text.assemble(at, (", ".join(place.reasons), _TROUBLE)))
            if chosen.raw:
                _print_raw(place)
        if file.quarantined > len(found):
            say(f"  … and {file.quarantined - len(found):,} more: --most {file.quarantined}")
        if not chosen.raw:
            _print_advice({reason for place in found for reason in place.reasons})


def _line(before: str, file: FileReport, words: str) -> Text:
    style = _TROUBLE if trouble_of(file) else "green"
    return Text.assemble(before, (file.path, "bold"), f": {counted(file.records, 'record')}, ", (words, style))


def _print_advice(reasons: set[str]) -> None:
    for reason in sorted(reasons):
        terminal.say(Text.assemble("    ", (reason, _TROUBLE), f": {advice(reason)}"))


def _print_raw(place: Place) -> None:
    """Print a record: byte for byte into a pipe, and without control characters on a terminal."""
    if sys.stdout.isatty():
        text = place.raw.decode(errors="backslashreplace")
        print("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(place.raw + b"\n")
