"""The landing folder of one source: which line is in which file, and what must become of each file."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path

from stedi_assets.sample_data.broken_kinds import BROKEN_KINDS
from stedi_assets.sample_data.mixing import Broken, Delivered, Mixer
from stedi_assets.sample_data.plan import Plan, times
from stedi_assets.sample_data.sources import SOURCES, Source
from stedi_assets.sample_data.truth import SourceSummary
from stedi_assets.sample_data.whole_files import packed, write_whole

_FIRST_DELIVERY = 1_700_000_000_000
_LATE_MODIFIED = 1_655_600_000  # seconds: before any file can have been written


@dataclass
class _File:
    """A file, and what must become of its content."""

    path: Path
    accepted: int = 0
    quarantined: int = 0
    broken: Counter[str] = field(default_factory=Counter)

    def count(self, delivered: Delivered) -> None:
        if isinstance(delivered, bytes):
            self.accepted += 1
        else:
            kind = BROKEN_KINDS[delivered.kind]
            self.accepted += kind.takes
            self.quarantined += kind.quarantined
            self.broken[delivered.kind] += 1


class _FileSeries:
    """Files with the same number of records each, in the order in which they come in."""

    def __init__(
        self, folder: Path, next_name: Callable[[], str], records: int, *, gzip: bool, modified: int | None = None
    ) -> None:
        self._folder, self._next_name, self._records = folder, next_name, records
        self._gzip, self._modified = gzip, modified
        self._waiting: list[Delivered] = []
        self.files: list[_File] = []

    def add(self, delivered: Iterable[Delivered]) -> None:
        for one in delivered:
            self._waiting.append(one)
            if len(self._waiting) == self._records:
                self.write_waiting()

    def write_waiting(self) -> None:
        if not self._waiting:
            return
        file = _File(self._folder / self._next_name())
        for one in self._waiting:
            file.count(one)
        content = b"".join(one if isinstance(one, bytes) else one.content for one in self._waiting)
        write_whole(file.path, packed(content) if self._gzip else content, self._modified)
        self.files.append(file)
        self._waiting = []


class LandingFolder:
    """The landing folder of one source."""

    # The readings of every customer arrive through several gateways, each of which delivers a batch at a time. So they
    # are spread over many files; within a file they are together, newest first.
    _GATEWAYS = 8
    _BATCH = 100_000

    def __init__(self, source: Source, folder: Path, plan: Plan) -> None:
        self._name, self._folder, self._options = source.name, folder, plan.options
        self._random = random.Random(f"{plan.options.seed} files of {source.name}")
        self._delivered_at = _FIRST_DELIVERY + SOURCES.index(source)
        self._mixer = Mixer(source, plan)
        self._gateways: list[list[Delivered]] = [[] for _ in range(self._GATEWAYS)]
        self._in_gateways = 0
        records, gzip = plan.options.records_per_file, plan.options.gzip
        self._regular = _FileSeries(folder, self._next_name, records, gzip=gzip)
        self._late = _FileSeries(folder / "late", self._next_name, records, gzip=gzip, modified=_LATE_MODIFIED)
        self._of_their_own: list[_File] = []

    def deliver(self, lines: list[bytes], *, late: bool) -> None:
        """Deliver lines of one customer. They are written now or later."""
        if late:
            self._late.add(lines)
        else:
            self._through_gateways(self._mixer.mix(lines))

    def finish(self) -> SourceSummary:
        """Write what has not been written yet, and return what the folder holds."""
        self._through_gateways(self._mixer.rest())
        self._deliver_batch()
        self._regular.write_waiting()
        self._late.write_waiting()
        repeated = [self._repeat(file) for file in self._to_be_repeated()]

        files = [*self._regular.files, *self._late.files, *self._of_their_own, *repeated]
        broken = sum((file.broken for file in files), Counter[str]())
        fates = Counter(BROKEN_KINDS[kind].fate for file in self._of_their_own for kind in file.broken)
        return SourceSummary(
            files=len(files),
            accepted=sum(file.accepted for file in files),
            quarantined=sum(file.quarantined for file in files),
            unreadable_files=fates["unreadable"],
            ignored_files=fates["ignored"],
            late_files=len(self._late.files),
            repeated_files=len(repeated),
            broken=dict(sorted(broken.items())),
        )

    def _through_gateways(self, delivered: Iterable[Delivered]) -> None:
        for one in delivered:
            if isinstance(one, Broken) and BROKEN_KINDS[one.kind].file_name:
                self._write_of_its_own(one)
            else:
                self._gateways[int(self._random.random() * self._GATEWAYS)].append(one)
                self._in_gateways += 1
        if self._in_gateways >= self._BATCH:
            self._deliver_batch()

    def _deliver_batch(self) -> None:
        for gateway in self._gateways:
            self._regular.add(gateway)
            gateway.clear()
        self._in_gateways = 0

    def _write_of_its_own(self, broken: Broken) -> None:
        name = BROKEN_KINDS[broken.kind].file_name or ""
        file = _File(self._folder / name.format(self._next_stem()))
        file.count(broken)
        write_whole(file.path, broken.content)
        self._of_their_own.append(file)

    def _to_be_repeated(self) -> Iterable[_File]:
        files = [*self._regular.files, *self._late.files]
        return islice(cycle(files), times(self._options.repeated_deliveries, len(files)))

    def _repeat(self, file: _File) -> _File:
        repeated = replace(file, path=self._folder / self._next_name())
        write_whole(repeated.path, file.path.read_bytes())
        return repeated

    def _next_name(self) -> str:
        return f"{self._next_stem()}.json{'.gz' if self._options.gzip else ''}"

    def _next_stem(self) -> str:
        self._delivered_at += self._random.randint(40, 150)
        return f"{self._name}-{self._delivered_at}"
