"""Updates: whatever arrives in whatever order, every table ends as if it had been made from scratch.

The oracle, which knows nothing of days or of what was there before, says what each table must hold.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from stedi_assets.contracts import QUARANTINE_TABLES, SOURCES, TABLES, ConsentRecord, MatchOn, Policy, Readings
from stedi_assets.orchestration import assets
from stedi_assets.orchestration.assets import ASSETS
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy import withdrawal
from stedi_assets.privacy.suppression import person_hash
from stedi_assets.storage.lake import Lake
from stedi_assets.tables import branches, retention, staging
from stedi_assets.tables.branches import commit
from stedi_assets.tables.days import day_of
from stedi_assets.tables.snapshots import Snapshot, current, current_dataset
from stedi_assets.verification import findings, rules
from stedi_assets_tests.support.lakes import DEFAULT, failed_checks, messages, resources, root_of
from stedi_assets_tests.transforms.test_tables import KEY, assert_same_tables

DAY = 86_400_000
FIRST = 1_655_510_400_000  # 2022-06-18, midnight
DAYS = [FIRST + n * DAY for n in range(6)]
PEOPLE = [f"{name}@example.com" for name in ("ada", "ben", "cleo", "dan")]
DEVICES = ["one", "two", "three"]
READINGS = ("accelerometer", "step_trainer")
SUPPRESSION_KEY = b"a suppression key for tests, 32 bytes and more"


@pytest.fixture(autouse=True)
def _pseudonym_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY.decode())
    monkeypatch.setenv("STEDI_SUPPRESSION_KEY", SUPPRESSION_KEY.decode())


def update(
    lake: Lake,
    spark: SparkResource,
    policy: Policy = DEFAULT,
    *,
    as_of: int,
    forget: dict[str, list[str]] | None = None,
    full: bool = False,
) -> dg.ExecuteInProcessResult:
    """Materialise every table with its checks, as `update_lakehouse` does, or `rebuild_lakehouse`."""
    config: dict[str, dict[str, Any]] = {"customer_trusted": {"as_of": as_of}}
    for source, names in (forget or {}).items():
        config.setdefault(f"{source}_landing", {})["forget_files"] = names
    return dg.materialize(
        [*ASSETS, *CHECKS],
        # Of four people, one who leaves is a large share.
        resources=resources(lake, spark, policy, people_leaving_unread=1.0),
        run_config={"ops": {name: {"config": values} for name, values in config.items()}},
        tags={"stedi/full_rebuild": "true"} if full else {},
        raise_on_error=False,
    )


@dataclass
class World:
    """The landing folders, and what may happen in them. Instants are few, so that readings often meet."""

    folder: Path
    rng: random.Random
    as_of: int = FIRST + 3 * DAY
    files: int = 0
    forgotten: dict[str, list[str]] = field(default_factory=lambda: {source: [] for source in READINGS})
    landed: dict[str, dict[str, bytes]] = field(default_factory=lambda: {source: {} for source in READINGS})

    def landing(self, source: str) -> Path:
        """Return a source's landing folder."""
        return self.folder / source / "landing"

    def write(self, source: str, name: str, records: list[dict[str, object]]) -> None:
        """Write a file, which may replace another."""
        path = self.landing(source) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))

    def instant(self) -> int:
        """Return an instant of some day; the edges of days are as common as what lies between."""
        return self.rng.choice(DAYS) + self.rng.choice((0, 1, 43_200_000, DAY - 1))

    def readings(self, source: str, count: int) -> list[dict[str, object]]:
        """Return readings of a source."""
        rng, found = self.rng, list[dict[str, object]]()
        for _ in range(count):
            instant = self.instant()
            if source == "accelerometer":
                found.append(
                    {"user": rng.choice(PEOPLE), "timestamp": instant, "x": rng.choice((0.0, 1.5)), "y": 1, "z": -1}
                )
            else:
                device = rng.choice(DEVICES)
                found.append({"sensorReadingTime": instant, "serialNumber": device, "distanceFromObject": 200})
        return found

    def customer(self) -> dict[str, object]:
        """Return a customer record: a consent, one that comes into force later, or a withdrawal."""
        rng = self.rng
        consent = rng.choice((None, FIRST - DAY, self.as_of, self.as_of + DAY))
        record: dict[str, object] = {
            "email": rng.choice(PEOPLE),
            "serialNumber": rng.choice(DEVICES),
            "lastUpdateDate": self.as_of - rng.randint(0, 2) * 1_000,
        }
        return record if consent is None else record | {"shareWithResearchAsOfDate": consent}

    def some_file(self, source: str) -> Path:
        """Return one of a source's files."""
        return self.rng.choice(sorted(self.landing(source).iterdir()))

    def next_name(self) -> str:
        """Return a name for a new file, in no order."""
        self.files += 1
        return f"{self.rng.randint(0, 999):03}-{self.files}.json"

    def begin(self) -> None:
        """Write the first delivery: everybody consents, and has readings."""
        self.write(
            "customer",
            "first.json",
            [
                {
                    "email": person,
                    "serialNumber": device,
                    "lastUpdateDate": FIRST - DAY,
                    "shareWithResearchAsOfDate": FIRST - DAY,
                }
                for person, device in zip(PEOPLE, [*DEVICES, DEVICES[0]], strict=True)
            ],
        )
        for source in READINGS:
            self.write(source, "first.json", self.readings(source, 25))

    def add_readings(self) -> None:
        """More readings arrive, late ones among them, and a record that is quarantined."""
        source = self.rng.choice(READINGS)
        self.write(source, self.next_name(), [*self.readings(source, self.rng.randint(1, 6)), {"nothing": 1}])

    def replace_readings(self) -> None:
        """A file of readings is replaced."""
        source = self.rng.choice(READINGS)
        self.write(source, self.some_file(source).name, self.readings(source, self.rng.randint(1, 8)))

    def rename_readings(self) -> None:
        """A file of readings gets another name."""
        source = self.rng.choice(READINGS)
        self.some_file(source).rename(self.landing(source) / self.next_name())

    def forget_readings(self) -> None:
        """A file of readings goes."""
        source = self.rng.choice(READINGS)
        if len(list(self.landing(source).iterdir())) > 1:
            self.some_file(source).unlink()

    def let_go(self) -> None:
        """Before an update: files that have landed, and are neither there nor renamed, may be forgotten."""
        for source, before in self.landed.items():
            now = self.contents(source)
            renamed = {content for name, content in now.items() if name not in before}
            gone = (name for name, content in before.items() if name not in now and content not in renamed)
            self.forgotten[source].extend(gone)

    def has_landed(self) -> None:
        """After an update: what is there has landed."""
        self.landed = {source: self.contents(source) for source in READINGS}

    def contents(self, source: str) -> dict[str, bytes]:
        """Return the contents of a source's files by their names."""
        return {path.name: path.read_bytes() for path in self.landing(source).iterdir()}

    def add_customers(self) -> None:
        """New records of customers arrive."""
        self.write("customer", self.next_name(), [self.customer() for _ in range(self.rng.randint(1, 2))])

    def quarantine_customer(self) -> None:
        """A record of a customer arrives that cannot be accepted, and counts against its person."""
        self.write("customer", self.next_name(), [{**self.customer(), "phone": []}, self.customer()])

    def time_passes(self) -> None:
        """Consents that were dated ahead come into force."""
        self.as_of += DAY

    def nothing(self) -> None:
        """Nothing happens."""


EVENTS: list[tuple[Callable[[World], None], int]] = [
    (World.add_readings, 4),
    (World.replace_readings, 2),
    (World.rename_readings, 1),
    (World.forget_readings, 2),
    (World.add_customers, 3),
    (World.quarantine_customer, 1),
    (World.time_passes, 1),
    (World.nothing, 1),
]


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(2, 1), *(pytest.param(*more, marks=pytest.mark.matrix) for more in [(26, 4), *((n, 25) for n in range(2, 8))])],
)
@pytest.mark.parametrize(
    "policy",
    [
        DEFAULT,
        pytest.param(Policy(readings=Readings.SINCE_CONSENT), marks=pytest.mark.matrix),
        pytest.param(Policy(ConsentRecord.ANY, Readings.ALL, MatchOn.TIMESTAMP), marks=pytest.mark.matrix),
    ],
    ids=lambda policy: "-".join(policy.as_dict().values()),
)
def test_updates_end_as_a_rebuild_would(
    policy: Policy, seed: int, steps: int, spark: SparkSession, spark_resource: SparkResource, lake: Lake
) -> None:
    world = World(root_of(lake), random.Random(f"{seed} {policy}"))
    world.begin()
    happened: list[str] = []
    for step in range(steps + 1):
        for event in world.rng.choices(*zip(*EVENTS, strict=True), k=world.rng.randint(1, 3) if step else 0):
            event(world)
            happened.append(event.__name__)
        world.let_go()
        done = update(lake, spark_resource, policy, as_of=world.as_of, forget=world.forgotten)
        errors = [
            (check.asset_key.path[-1], check.check_name)
            for check in done.get_asset_check_evaluations()
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        ]
        assert done.success, f"{happened} {errors} {messages(done)}"
        world.has_landed()
        assert_same_tables(spark, lake, policy, world.as_of)


def computed(lake: Lake, name: str) -> list[str] | None:
    """Return the days that the last run computed of a table; None if all."""
    return current(lake, TABLES[name]).computed


DERIVED = ("accelerometer_trusted", "step_trainer_trusted", "machine_learning_curated")
LAST = "2022-06-23"


def test_only_the_days_that_are_touched_are_computed(
    spark: SparkSession, spark_resource: SparkResource, lake: Lake, capfd: pytest.CaptureFixture[str]
) -> None:
    world = World(root_of(lake), random.Random(5), as_of=FIRST + 4 * DAY)
    world.begin()
    assert update(lake, spark_resource, as_of=world.as_of).success
    assert {name: computed(lake, name) for name in DERIVED} == dict.fromkeys(DERIVED)

    # Nothing new.
    assert update(lake, spark_resource, as_of=world.as_of).success
    assert {name: computed(lake, name) for name in DERIVED} == {key: [] for key in DERIVED}

    # Readings of one day.
    at = DAYS[-1] + 5
    world.write("accelerometer", "more.json", [{"user": PEOPLE[0], "timestamp": at, "x": 1, "y": 1, "z": 1}])
    assert update(lake, spark_resource, as_of=world.as_of).success
    assert {name: computed(lake, name) for name in DERIVED} == {key: [LAST] for key in DERIVED}
    landed: Snapshot = current(lake, SOURCES["accelerometer"].landing)
    assert landed.computed == []
    assert (
        f"accelerometer_landing: 1 new file, 1 of {len(landed.days)} days, 1 row added, 0 removed; "
        in capfd.readouterr().err
    )

    # A withdrawal touches the days on which the person has rows, and no others.
    people = current_dataset(lake, "customer_trusted").to_table().to_pylist()
    (serial,) = {row["serialNumber"] for row in people if row["email"] == PEOPLE[1]}
    world.write(
        "customer", "leaves.json", [{"email": PEOPLE[1], "serialNumber": serial, "lastUpdateDate": world.as_of}]
    )
    theirs = {
        day_of(json.loads(line)["timestamp"])
        for file in world.landing("accelerometer").iterdir()
        for line in file.read_text().splitlines()
        if json.loads(line)["user"] == PEOPLE[1]
    }
    assert update(lake, spark_resource, as_of=world.as_of).success
    assert 0 < len(theirs) < len(DAYS)
    phones, *others = ({*(computed(lake, name) or ())} for name in DERIVED)
    assert phones == theirs
    assert all(days <= theirs for days in others)
    assert_same_tables(spark, lake, DEFAULT, world.as_of)

    # From scratch.
    assert update(lake, spark_resource, as_of=world.as_of, full=True).success
    assert {name: computed(lake, name) for name in DERIVED} == dict.fromkeys(DERIVED)
    assert_same_tables(spark, lake, DEFAULT, world.as_of)


# --- Against a rebuild of the same lake -------------------------------------------------------------------------------

LATER = int(time.time() * 1000) + 3_600_000
"""An instant after whatever a test does: readings from then belong to whoever has come back after an erasure."""


@dataclass
class Life:
    """A lake, and everything that may happen to it between two updates, erasures and failures included."""

    world: World
    lake: Lake
    spark: SparkResource
    monkeypatch: pytest.MonkeyPatch
    policy: Policy = DEFAULT
    erased: list[str] = field(default_factory=list)

    def update(self, *, full: bool = False) -> dg.ExecuteInProcessResult:
        """Update all tables, or make them from scratch."""
        self.world.let_go()
        done = update(
            self.lake, self.spark, self.policy, as_of=self.world.as_of, forget=self.world.forgotten, full=full
        )
        if done.success:
            self.world.has_landed()
        return done

    def rows(self) -> dict[str, list[str]]:
        """Return the rows of every table, in an order of their own."""
        names = (*TABLES, *QUARANTINE_TABLES)
        return {name: sorted(map(repr, current_dataset(self.lake, name).to_table().to_pylist())) for name in names}

    def files_change(self) -> None:
        """Anything that may happen in the landing folders."""
        for event in self.world.rng.choices(*zip(*EVENTS, strict=True), k=2):
            event(self.world)

    def late_readings(self) -> None:
        """Readings arrive from long after the others."""
        person, device = self.world.rng.choice(PEOPLE), self.world.rng.choice(DEVICES)
        at = LATER + self.world.rng.randint(0, 2)
        self.world.write(
            "accelerometer", self.world.next_name(), [{"user": person, "timestamp": at, "x": 1, "y": 1, "z": 1}]
        )
        step = {"sensorReadingTime": at, "serialNumber": device, "distanceFromObject": 100}
        self.world.write("step_trainer", self.world.next_name(), [step])

    def replace_customers(self) -> None:
        """A file of customers is replaced: what it said is not unsaid."""
        self.world.write("customer", self.world.some_file("customer").name, [self.world.customer()])

    def erase(self) -> None:
        """A person is erased."""
        person = self.world.rng.choice(PEOPLE)
        hashed = person_hash(person, SUPPRESSION_KEY)
        assert erase_person.execute_in_process(
            run_config={"ops": {"erase_from_lake": {"config": {"person": hashed, "expect_nobody": True}}}},
            resources={name: found for name, found in resources(self.lake, self.spark).items() if name in _FOR_ERASURE},
        ).success
        self.erased.append(person)

    def come_back(self) -> None:
        """A person who was erased consents again."""
        if self.erased:
            now = int(time.time() * 1000)
            record = {"email": self.erased[-1], "serialNumber": self.world.rng.choice(DEVICES), "lastUpdateDate": now}
            self.world.write("customer", self.world.next_name(), [record | {"shareWithResearchAsOfDate": now}])
            self.world.as_of = int(time.time() * 1000)

    def change_policy(self) -> None:
        """Only readings since the consent count from now on, or all again."""
        other = Readings.ALL if self.policy.readings is Readings.SINCE_CONSENT else Readings.SINCE_CONSENT
        self.policy = Policy(readings=other)

    def change_code(self) -> None:
        """Another version of the software is installed."""
        version = f"version {self.world.rng.random()}"
        self.monkeypatch.setattr(assets, "code_version", lambda _: version)

    def die(self) -> None:
        """An update dies at one of its commits."""
        left = self.world.rng.randint(1, 60)

        def failing(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                msg = "killed"
                raise RuntimeError(msg)
            return commit(*arguments)

        with self.monkeypatch.context() as patched:
            for module in (branches, retention, staging):
                patched.setattr(module, "commit", failing)
            self.update()


_FOR_ERASURE = {"lake", "spark"}
HAPPENINGS: list[tuple[Callable[[Life], None], int]] = [
    (Life.files_change, 8),
    (Life.late_readings, 2),
    (Life.replace_customers, 3),
    (Life.erase, 2),
    (Life.come_back, 2),
    (Life.change_policy, 1),
    (Life.change_code, 1),
    (Life.die, 3),
]


def test_who_is_left_on_a_day_that_is_not_computed_stops_the_table(
    spark_resource: SparkResource, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the removal of people and the set of days were both wrong."""
    world = World(root_of(lake), random.Random(5), as_of=FIRST + 4 * DAY)
    world.begin()
    assert update(lake, spark_resource, as_of=world.as_of).success
    people = current_dataset(lake, "customer_trusted").to_table().to_pylist()
    (leaver,) = (row for row in people if row["email"] == PEOPLE[1])
    left = {"email": PEOPLE[1], "serialNumber": leaver["serialNumber"], "lastUpdateDate": world.as_of}
    world.write("customer", "leaves.json", [left])
    with monkeypatch.context() as broken:
        broken.setattr(withdrawal._Removal, "_remove", lambda *_: None)
        broken.setattr(withdrawal, "versions_of_people", lambda _lake, before, _changed: before.days)
        done = update(lake, spark_resource, as_of=world.as_of)
        assert "accelerometer_trusted" in messages(done)
        assert "consent_is_current" in messages(done)
    assert not done.success
    assert update(lake, spark_resource, as_of=world.as_of, full=True).success


def test_where_nothing_is_new_no_table_is_counted_again(
    spark_resource: SparkResource, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(root_of(lake), random.Random(5), as_of=FIRST + 4 * DAY)
    world.begin()
    assert update(lake, spark_resource, as_of=world.as_of).success
    monkeypatch.setattr(findings, "recount", None)
    monkeypatch.setattr(rules, "_counted", None)
    for _ in range(2):
        done = update(lake, spark_resource, as_of=world.as_of)
        assert done.success, messages(done)
    counted = {name: current(lake, TABLES[name]).counts["consent_is_current"] for name in DERIVED}
    assert counted == dict.fromkeys(DERIVED, 0)


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 2), *(pytest.param(seed, 6, marks=pytest.mark.matrix) for seed in range(2, 12))]
)
def test_a_chain_of_updates_ends_as_a_rebuild_of_the_same_lake(
    seed: int, count: int, spark_resource: SparkResource, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(World(root_of(lake), random.Random(seed)), lake, spark_resource, monkeypatch)
    life.world.begin()
    assert life.update().success
    happened: list[str] = []
    for happens in life.world.rng.choices(*zip(*HAPPENINGS, strict=True), k=count):
        happens(life)
        happened.append(happens.__name__)
        done = life.update()
        # No customers, or none whose records can be read, is an error by itself.
        if not done.success:
            happened.append(f"failed: {failed_checks(done)}")
    updated = life.rows()
    rebuilt = life.update(full=True)
    assert rebuilt.success, f"{happened} {messages(rebuilt)}"
    again = life.rows()
    different = [name for name in updated if updated[name] != again[name]]
    assert not different, f"{happened} {different}"
