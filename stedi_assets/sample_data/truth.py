"""The truth about a sample: in numbers, and line by line who consents and whose each device reading is."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from stedi_assets.sample_data.customers import Customer


@dataclass(frozen=True)
class SourceSummary:
    """What was written for one source. A record that is delivered again counts each time."""

    files: int
    """All of them, whatever becomes of them."""
    accepted: int
    """Records that a landing table must accept."""
    quarantined: int
    """Records that it must quarantine."""
    unreadable_files: int
    ignored_files: int
    late_files: int
    repeated_files: int
    broken: dict[str, int]
    """How often each kind of `BROKEN_KINDS` was written."""


@dataclass(frozen=True)
class SampleSummary:
    """The truth about a sample, in numbers. Only `sources` counts what is delivered again."""

    customers: int
    consenting: int
    """By their latest record."""
    repeated_emails: int
    withdrawals: int
    serial_numbers: int
    respelled_phones: int
    late_customers: int
    phone_readings: int
    device_readings: int
    sources: dict[str, SourceSummary]


def truth_file(stack: ExitStack, folder: Path | None, name: str) -> Callable[[Iterable[str]], None]:
    """Open a file of the truth, and return a function that writes lines to it; without a folder, it writes nothing."""
    if folder is None:
        return lambda _lines: None
    folder.mkdir(parents=True, exist_ok=True)
    return stack.enter_context((folder / name).open("w", encoding="utf-8", newline="\n")).writelines


def person_truth(customer: Customer) -> Iterator[str]:
    """Yield the line on whether a customer consents, by their latest record."""
    yield json.dumps({"person": customer.person, "consents": customer.research and not customer.withdrawn}) + "\n"


def device_truth(customer: Customer, instants: Sequence[int], distances: Sequence[int]) -> Iterator[str]:
    """Yield a line for each device reading of a customer."""
    beginning = f'{{"person": "{customer.person}", "serialNumber": "{customer.serial_number}", "sensorReadingTime": '
    for instant, distance in zip(instants, distances, strict=True):
        yield f'{beginning}{instant}, "distanceFromObject": {distance}}}\n'
