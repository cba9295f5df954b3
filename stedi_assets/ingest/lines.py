"""Which line of a raw file a record is on. People look for lines; the tables store bytes."""

from collections.abc import Callable, Collection

from stedi_assets.contracts import Source
from stedi_assets.ingest.content import Content, FileError
from stedi_assets.ingest.landing_files import list_landing_files
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.file_reports import FileReport

_BLOCK = 1 << 20


def line_numbers(
    lake: Lake, source: Source, report: FileReport, offsets: Collection[int], key: Callable[[], bytes]
) -> dict[int, int]:
    """Return the line, from 1, of each offset in a file's unpacked content; none if the file is not as it was landed.

    `key` returns the secret that hides file names.
    """
    listed = list_landing_files(lake.raw, source.raw_path, {}, key=key).files
    path = next((file.path for file in listed if file.name == report.path), None)
    if path is None or not offsets:
        return {}
    lines: dict[int, int] = {}
    wanted, line, position = sorted(offsets), 1, 0
    try:
        with lake.raw.open(f"{source.raw_path}/{path}") as raw:
            content = Content(raw)
            while block := content.read(_BLOCK):
                while wanted and wanted[0] < position + len(block):
                    offset = wanted.pop(0)
                    lines[offset] = line + block.count(b"\n", 0, offset - position)
                line += block.count(b"\n")
                position += len(block)
    except (OSError, FileError):
        return {}
    return lines if content.digest == report.known_sha256 else {}
