"""Broken deliveries among the good ones: spread evenly over the lines of a source."""

import random
import sys
from collections.abc import Iterator
from typing import NamedTuple

from stedi_assets.sample_data.broken_kinds import BROKEN_KINDS
from stedi_assets.sample_data.course_data import FIRST_REGISTRATION
from stedi_assets.sample_data.customers import serial_number
from stedi_assets.sample_data.plan import Plan
from stedi_assets.sample_data.sources import DEVICE, PHONE, Source, Values


class Broken(NamedTuple):
    """A broken delivery as it is written."""

    kind: str
    content: bytes


Delivered = bytes | Broken
"""A line with one good record, or something broken."""


class Mixer:
    """Mixes the broken deliveries of a source into its good lines, and replaces those that they take."""

    def __init__(self, source: Source, plan: Plan) -> None:
        self._source, self._seed = source, plan.options.seed
        self._due = [kind for kind, count in plan.broken[source.name].items() for _ in range(count)]
        random.Random(f"{self._seed} broken {source.name}").shuffle(self._due)
        needed = sum(BROKEN_KINDS[kind].takes for kind in self._due)
        # The last one starts where enough lines are left for all of them, whatever they take.
        self._spread_over = max(0, plan.on_time_at_least(source) - needed)
        self._mixed = self._seen = 0
        self._held: list[bytes] = []

    def mix(self, lines: list[bytes]) -> list[Delivered]:
        """Return the lines, some of them replaced. Lines may be held back until the next call."""
        if not self._held and self._next_at() >= self._seen + len(lines):
            self._seen += len(lines)
            return list(lines)
        delivered: list[Delivered] = []
        for line in lines:
            self._held.append(line)
            self._seen += 1
            delivered += self._broken_now()
            if self._next_at() >= self._seen:
                delivered += self._held
                self._held = []
        return delivered

    def rest(self) -> list[Delivered]:
        """Return what is still due because there were no lines to mix it into: all lines are late."""
        self._seen = sys.maxsize
        return list(self._broken_now())

    def _next_at(self) -> int:
        return self._mixed * self._spread_over // len(self._due) if self._mixed < len(self._due) else sys.maxsize

    def _broken_now(self) -> Iterator[Broken]:
        while self._next_at() < self._seen:
            name = self._due[self._mixed]
            kind = BROKEN_KINDS[name]
            if len(self._held) < kind.takes:
                return
            taken, self._held = self._held[: kind.takes], self._held[kind.takes :]
            nobody = _nobody(self._source, self._seed, self._mixed)
            self._mixed += 1
            yield Broken(name, kind.write(self._source, [line.rstrip(b"\n") for line in taken], nobody))


def _nobody(source: Source, seed: int, number: int) -> Values:
    """Return a good record about a person or device that occurs nowhere else."""
    email = f'"Nobody.{source.name}.{number}@example.org"'
    serial = f'"{serial_number(seed, f"nobody {source.name} {number}")}"'
    instant = str(FIRST_REGISTRATION + number)
    if source is PHONE:
        return {"user": email, "timestamp": instant, "x": "1.0", "y": "0.0", "z": "-1.0"}
    if source is DEVICE:
        return {"sensorReadingTime": instant, "serialNumber": serial, "distanceFromObject": "250"}
    return {
        "customerName": '"Nobody Atall"',
        "email": email,
        "phone": '"8015550100"',
        "birthDay": '"1970-01-01"',
        "serialNumber": serial,
        "registrationDate": instant,
        "lastUpdateDate": instant,
        "shareWithResearchAsOfDate": instant,
    }
