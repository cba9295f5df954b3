"""Crash safety: whatever befalls a run, at whichever point, each table is whole, and the next run leaves no litter.

A few of each family run with the other tests. All of them, and the numbers:

    pytest -m torture -s stedi_assets_tests/tables/test_torture.py
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import boto3
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from pyspark.sql import SparkSession

from stedi_assets.contracts import TABLES, Table
from stedi_assets.storage.lake import NAMESPACE, Lake
from stedi_assets.tables import snapshots
from stedi_assets.tables.retention import NOTHING_OLD, Retention
from stedi_assets.tables.snapshots import current, current_dataset, require_whole
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    customer,
    device_reading,
    lines,
    phone_reading,
    read_current,
)
from stedi_assets_tests.support.s3_server import REGION, S3Server, bucket
from stedi_assets_tests.support.torture import (
    AT_ONCE,
    AUDITED,
    FOR_READERS,
    KINDS,
    LANDED,
    LANDING_POINTS,
    POINTS,
    UNAUDITED,
    Arena,
    Fault,
    Generation,
    Kind,
    Place,
    Reader,
    Torn,
    Writer,
    generation_of,
    litter,
)

Where = Literal["local", "s3"]

SEED = 20_261_123
# With those at each point, more than 500 in all.
KILLS: dict[Where, int] = {"local": 36, "s3": 15}
POLLS: dict[Where, int] = {"local": 2_000, "s3": 100}
RACES = 60
JOBS: dict[Where, int] = {"local": 6, "s3": 2}
# Where two writers wait for each other. None: they do not, once both have seen what is current.
MEETINGS = ("before branch", "after write", "before fast-forward", "during fast-forward", None)
FIRST_TIME, RANDOM, FULL = "first time", "random instant", "full disk"

AT_EACH = pytest.mark.parametrize(
    ("where", "retention", "table"),
    [
        pytest.param("local", AT_ONCE, AUDITED, id="local-at_once"),
        pytest.param("local", FOR_READERS, UNAUDITED, id="local-for_readers"),
        pytest.param("local", NOTHING_OLD, UNAUDITED, id="local-nothing_old"),
        pytest.param("local", AT_ONCE, LANDED, id="local-landing"),
        pytest.param("s3", AT_ONCE, AUDITED, id="s3-at_once"),
        pytest.param("s3", AT_ONCE, LANDED, id="s3-landing"),
    ],
)
ANYWHERE = pytest.mark.parametrize("where", ["local", "s3"])

ROWS_OF_A_PERSON = {
    "customer_landing": 1,
    "accelerometer_landing": 2,
    "step_trainer_landing": 2,
    "customer_trusted": 1,
    "accelerometer_trusted": 2,
    "customers_curated": 1,
    "step_trainer_trusted": 2,
    "machine_learning_curated": 2,
}


@dataclass
class Score:
    """What was done to the tables, and what readers saw meanwhile."""

    faults: Counter[tuple[Where, str, Kind]] = field(default_factory=Counter)
    jobs: Counter[Where] = field(default_factory=Counter)
    races: Counter[Where] = field(default_factory=Counter)
    polls: Counter[Where] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        columns: list[tuple[Where, Kind]] = [(where, kind) for where in KILLS for kind in KINDS]
        rows = [("", *(where for where, _ in columns)), ("faults of a publication", *(kind for _, kind in columns))]
        rows += [
            (point, *(str(self.faults[where, point, kind] or "") for where, kind in columns))
            for point in (*LANDING_POINTS, FIRST_TIME, RANDOM, FULL)
        ]
        table = [f"{first:32}" + "".join(f"{cell:>10}" for cell in cells) for first, *cells in rows]
        counts = {
            "faults of a publication": dict(Counter(where for where, _, _ in self.faults.elements())),
            "kills of the whole job": self.jobs,
            "races of two writers": self.races,
            "polls": self.polls,
        }
        totals = [
            f"{what}: {sum(by.values()):,} ({', '.join(f'{where} {count:,}' for where, count in by.items())})"
            for what, by in counts.items()
        ]
        return "\n".join(["", *table, *totals, f"bad reads: {len(self.bad)}"])


@pytest.fixture(scope="module")
def score() -> Iterator[Score]:
    """What this module counts. It is printed at the end."""
    score = Score()
    yield score
    print(score)  # noqa: T201


@pytest.fixture(scope="module")
def s3_environment() -> Iterator[Mapping[str, str]]:
    """What a process needs to find the tests' S3, which this one has as well. Its bucket keeps every version."""
    with S3Server() as server, pytest.MonkeyPatch.context() as patch:
        bucket(server, "lake", versioned=True)
        environment = {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture
def place_at(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Where], Place]:
    """Give a place for a lake of the test's own, in a folder or on S3."""

    def place(where: Where) -> Place:
        if where == "local":
            return Place(str(tmp_path / "lake"))
        # Only those who ask for it start one.
        environment = request.getfixturevalue("s3_environment")
        # Its Glue may know the tables of the lake before.
        with contextlib.suppress(ClientError):
            boto3.client("glue").delete_database(Name=NAMESPACE)
        return Place(f"s3://lake/{tmp_path.name}", environment)

    return place


@contextlib.contextmanager
def polled(place: Place, table: Table, where: Where, score: Score) -> Iterator[Reader]:
    """Have a reader poll a table meanwhile; it must have seen nothing bad."""
    reader = Reader(place, table)
    try:
        yield reader
    finally:
        score.polls[where] += reader.polls
        bad = reader.stop()
        score.bad += bad
    assert bad == []


def suffer_all(arena: Arena, where: Where, points: tuple[str, ...], kinds: tuple[Kind, ...], score: Score) -> None:
    """Have each of these faults befall a writer at each of these points."""
    for point in points:
        for kind in kinds:
            arena.suffer(Fault(point, kind))
            score.faults[where, point, kind] += 1


def race_all(arena: Arena, where: Where, races: int, score: Score) -> None:
    """Have so many races, by turns at each point where two writers can meet."""
    for race in range(races):
        arena.race(MEETINGS[race % len(MEETINGS)])
        score.races[where] += 1


@pytest.mark.parametrize("table", [AUDITED, LANDED], ids=["alone", "landing"])
def test_rows_that_are_not_one_whole_generation_give_themselves_away(table: Table) -> None:
    old, new = (Generation(number).rows(table) for number in (1, 2))
    assert (generation_of(old), generation_of(new)) == (1, 2)
    for torn in (
        pa.concat_tables([old, new]),
        pa.concat_tables([old, old]),
        pa.concat_tables([old, old.slice(3, 1)]),
        old.slice(1),
        old.slice(0, 0),
    ):
        with pytest.raises(Torn):
            generation_of(torn)


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        *((point, "SIGKILL") for point in POINTS if not point.startswith("during")),
        *(("before fast-forward", kind) for kind in KINDS[1:]),
        ("after expire", "exception"),
    ],
)
def test_a_writer_that_dies_or_fails_leaves_the_old_table_or_the_new_one(
    point: str, kind: Kind, place_at: Callable[[Where], Place], score: Score
) -> None:
    arena = Arena(place_at("local"), table=AUDITED)
    arena.publish()
    suffer_all(arena, "local", (point,), (kind,), score)


@pytest.mark.parametrize(
    "point", ["companion after seal", "companion after tag", "after fast-forward", "companion after fast-forward"]
)
def test_a_landing_table_and_what_it_names_are_of_one_run_wherever_that_died(
    point: str, place_at: Callable[[Where], Place], score: Score
) -> None:
    arena = Arena(place_at("local"), table=LANDED)
    arena.publish()
    suffer_all(arena, "local", (point,), ("SIGKILL",), score)


def test_a_writer_that_dies_leaves_nothing_on_s3_that_stays(place_at: Callable[[Where], Place], score: Score) -> None:
    arena = Arena(place_at("s3"))
    suffer_all(arena, "s3", ("after write", "before removal"), ("SIGKILL",), score)


@pytest.mark.parametrize(
    "table", [pytest.param(AUDITED, id="alone"), pytest.param(LANDED, id="landing", marks=pytest.mark.torture)]
)
def test_of_two_writers_at_once_exactly_one_wins(
    table: Table, place_at: Callable[[Where], Place], score: Score
) -> None:
    arena = Arena(place_at("local"), table=table)
    arena.publish()
    race_all(arena, "local", len(MEETINGS), score)


@pytest.fixture
def overtaken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose next reader is overtaken: once a step of it knows the files, they are replaced and removed."""
    step = getattr(request, "param", "listed_in")
    arena, proper = Arena(Place(str(tmp_path / "lake")), NOTHING_OLD, AUDITED), getattr(snapshots, step)
    seen: list[object] = []
    arena.publish()

    def known_before_they_go(*given: object) -> object:
        found = proper(*given)
        if not seen:
            seen.append(found)
            # By a process of its own, which knows nothing of this.
            assert Writer(arena.order()).outcome().published
        return found

    monkeypatch.setattr(snapshots, step, known_before_they_go)
    return arena.lake


@pytest.mark.parametrize("overtaken", ["listed_in", "data_files_in"], indirect=True)
def test_a_reader_reads_what_came_instead_of_what_is_removed_meanwhile(overtaken: Lake) -> None:
    assert generation_of(current_dataset(overtaken, AUDITED.name).to_table()) == 2


def test_spark_reads_what_came_instead_of_what_is_removed_meanwhile(spark: SparkSession, overtaken: Lake) -> None:
    snapshot, rows = read_current(spark, overtaken, AUDITED)
    assert snapshot == current(overtaken, AUDITED)
    assert rows.count() == snapshot.rows == Generation(2).count


@pytest.mark.torture
@AT_EACH
def test_faults_at_each_point(
    where: Where, retention: Retention, table: Table, place_at: Callable[[Where], Place], score: Score
) -> None:
    arena = Arena(place_at(where), retention, table)
    arena.publish()
    # What is refused or fails goes one way through the code, whatever the table and the place: once with every kind.
    each = (where, retention, table) == ("local", AT_ONCE, AUDITED)
    kinds: tuple[Kind, ...] = KINDS if each else ("SIGKILL", "exception") if where == "local" else ("SIGKILL",)
    with polled(arena.place, table, where, score) as reader:
        suffer_all(arena, where, LANDING_POINTS if table == LANDED else POINTS, kinds, score)
        while reader.polls < POLLS[where]:
            arena.publish()


@pytest.mark.torture
@AT_EACH
def test_kills_at_random_instants(
    where: Where, retention: Retention, table: Table, place_at: Callable[[Where], Place], score: Score
) -> None:
    arena, chance = Arena(place_at(where), retention, table), random.Random(SEED)
    arena.publish()
    with polled(arena.place, table, where, score) as reader:
        killed = 0
        while killed < KILLS[where] or reader.polls < POLLS[where]:
            kind: Kind = "SIGKILL" if chance.random() < 0.7 else "SIGTERM"
            if arena.suffer_at(chance.random(), kind):
                killed += 1
                score.faults[where, RANDOM, kind] += 1


@pytest.mark.torture
def test_faults_before_a_table_was_ever_published(tmp_path: Path, score: Score) -> None:
    for point in POINTS:
        for kind in KINDS[::2]:
            Arena(Place(str(tmp_path / f"{point} {kind}"))).suffer(Fault(point, kind))
            score.faults["local", FIRST_TIME, kind] += 1


@contextlib.contextmanager
def nearly_full(disk: Path, left: int) -> Iterator[None]:
    """Leave so many bytes of a disk. SQLite's readers need some as well."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"0" * (shutil.disk_usage(disk).free - left))
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.torture
def test_a_disk_that_really_is_full(tmp_path: Path, score: Score) -> None:
    """From where not one page is left to where there is room for everything."""
    disk, page = tmp_path / "disk", os.sysconf("SC_PAGESIZE")
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False, stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip("no right to mount a file system")
    try:
        arena, failed = Arena(Place(str(disk / "lake"))), []
        arena.publish()
        for left in range(0, 160, 10):
            failed.append(arena.suffer_whatever_comes(nearly_full(disk, left * page)))
            arena.publish()
        score.faults["local", FULL, "disk full"] += sum(failed)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert failed[0]
    assert not failed[-1]


@pytest.mark.torture
@pytest.mark.parametrize(
    ("where", "table"),
    [
        pytest.param("local", AUDITED, id="local-alone"),
        pytest.param("local", LANDED, id="local-landing"),
        pytest.param("s3", AUDITED, id="s3-alone"),
    ],
)
def test_races(where: Where, table: Table, place_at: Callable[[Where], Place], score: Score) -> None:
    race_all(Arena(place_at(where), table=table), where, RACES, score)


class Job:
    """The whole job, in processes of its own, on a lake of a few people."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.lake, self.people = Lake.at(place.location), 0
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME")},
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser()),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "DAGSTER_HOME": str(folder),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "STEDI_LAKE": place.location,
            "STEDI_PSEUDONYM_KEY": "a pseudonym key for tests, 32 bytes and more",
            "STEDI_SUPPRESSION_KEY": "a suppression key for tests, 32 bytes and more",
            **place.environment,
        }
        self._log = folder / "log"

    def land_one_more(self) -> None:
        """Let one more person land."""
        person = f"person-{self.people}"
        for source, records in {
            "customer": [customer(person, CONSENTED, CONSENTED)],
            "accelerometer": [phone_reading(person, instant) for instant in INSTANTS],
            "step_trainer": [device_reading(f"device-of-{person}", instant) for instant in INSTANTS],
        }.items():
            self.lake.storage.write(f"{source}/landing/{person}.json", lines(*records))
        self.people += 1

    def run_again(self) -> float:
        """Run the job to its end, on what has landed; all tables have everybody. Return how long it took."""
        began = time.monotonic()
        assert self.start().wait() == 0, self._log.read_text()[-5_000:]
        seconds = time.monotonic() - began
        assert [self.people_in(table) for table in TABLES.values()] == [self.people] * len(TABLES)
        assert litter(self.lake, *TABLES.values()) == []
        return seconds

    def people_in(self, table: Table) -> int:
        """Return how many people a table is of. It must be whole, each with as many rows as everybody has."""
        snapshot, rows = current(self.lake, table), current_dataset(self.lake, table.name).to_table()
        require_whole(self.lake, table, snapshot.id)
        person = next(name for name in ("email", "user", "subject_id", "serialNumber") if name in rows.column_names)
        people = Counter(rows[person].to_pylist())
        assert set(people.values()) == {ROWS_OF_A_PERSON[table.name]}, (table.name, people)
        return len(people)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the job, in a process group of its own."""
        command = ["job", "execute", "-m", "stedi_assets.definitions", "-j", "rebuild_lakehouse"]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / "dagster"), *command],
                cwd=Path(__file__).parents[2],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@pytest.mark.torture
@ANYWHERE
def test_kills_of_the_whole_job(
    where: Where, place_at: Callable[[Where], Place], tmp_path: Path, score: Score, request: pytest.FixtureRequest
) -> None:
    if where == "s3":
        request.getfixturevalue("s3a")
    job, chance, killed = Job(place_at(where), tmp_path), random.Random(SEED), 0
    job.land_one_more()
    usual = job.run_again()
    while killed < JOBS[where]:
        job.land_one_more()
        process, began = job.start(), time.monotonic()
        # In its first quarter it only loads.
        ends = began + usual * chance.uniform(0.25, 1)
        while time.monotonic() < ends:
            table = chance.choice(list(TABLES.values()))
            assert job.people_in(table) in (job.people - 1, job.people)
            score.polls[where] += 1
            time.sleep(0.2)
        kind = chance.choice([signal.SIGKILL, signal.SIGTERM])
        died = process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        process.wait()
        for table in TABLES.values():
            assert job.people_in(table) in (job.people - 1, job.people)
        killed += died
        score.jobs[where] += died
        usual = job.run_again()
