"""The records of a stream one by one, as the splitter finds them alone or in blocks."""

from collections.abc import Iterator

from stedi_assets.ingest.splitter import Block, Record, Stream, split


def split_records(content: Stream) -> Iterator[Record]:
    """Yield the records of a stream, in order; the last one is empty, and carries the separators at the end."""
    for found in split(content):
        if isinstance(found, Block):
            yield from found.records()
        elif isinstance(found, Record):
            yield found
        else:
            yield Record(b"", found.offset, 0, found.separator_bytes)
