"""The sensor among real processes: `dagster dev` with webserver, daemon and storage on disk, killed, and started anew.

    pytest -m daemon -s stedi_assets_tests/orchestration/test_daemon.py

Whatever arrives is landed exactly once: as records in the tables, as runs that succeeded, and within two looks of the
sensor after the file has settled. Looks are counted, not seconds.
"""

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorTick

from stedi_assets.contracts import SOURCES
from stedi_assets.privacy.keys import suppression_key
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import alias
from stedi_assets.tables.snapshots import current_dataset, read_snapshot_of
from stedi_assets_tests.support.dagster_dev import DagsterDev, dev_with_ada_and_ben
from stedi_assets_tests.support.lakes import CONSENTED, customer, lines, local_lake, phone_reading

pytestmark = pytest.mark.daemon

SETTLED_SECONDS = 3
KILLS = 20
Change = Callable[[Path], Path]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """A `dagster dev` whose sensor has built the tables of ada and ben."""
    with dev_with_ada_and_ben(tmp_path_factory.mktemp("dev")) as dev:
        yield dev


@pytest.fixture
def landing(dev: DagsterDev) -> Path:
    """The landing folder of the phone readings, where all that has arrived so far has been landed."""
    quiet(dev)
    return dev.lake / "accelerometer" / "landing"


def lake_of(dev: DagsterDev) -> Lake:
    return local_lake(dev.lake)


def quiet(dev: DagsterDev) -> None:
    """Wait until the sensor has nothing to do."""
    dev.wait("the sensor to be done", lambda: (dev.wait_for_ticks(1)[0].skip_reason or "").startswith("Every table"))


def readings(count: int, first: int) -> bytes:
    """Return readings of ada's phone at instants that no other test uses."""
    return lines(*(phone_reading("ada", CONSENTED + 1_000 * first + number) for number in range(count)))


def records_in(path: Path) -> int:
    content = path.read_bytes()
    return len((gzip.decompress(content) if path.suffix == ".gz" else content).splitlines())


def landed(dev: DagsterDev, source: str) -> Counter[str]:
    """Return how many records stand in a landing table and its quarantine, by file."""
    lake, found = lake_of(dev), Counter[str]()
    for table in (SOURCES[source].landing, SOURCES[source].quarantine):
        if read_snapshot_of(lake, table):
            rows = current_dataset(lake, table.name).to_table(columns=["_source_file"])
            found += Counter(rows.column(0).to_pylist())
    return found


def delivered(dev: DagsterDev, source: str) -> Counter[str]:
    """Return how many records are in the files of a source, by file, as the lake calls it."""
    folder = dev.lake / source / "landing"
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    names = {path: alias(str(path.relative_to(folder)), lambda: suppression_key(None, lake_of(dev))) for path in files}
    return Counter({names[path]: records for path in files if (records := records_in(path))})


def assert_every_record_stands_once(dev: DagsterDev) -> None:
    for source in SOURCES:
        assert landed(dev, source) == delivered(dev, source)


def assert_no_files_twice(dev: DagsterDev) -> None:
    """Assert that no content of a landing folder has started two runs that succeeded."""
    tags = [run.tags for run in dev.runs() if run.is_success]
    contents = Counter(
        (source, found[f"stedi/{source}"]) for found in tags for source in SOURCES if f"stedi/{source}" in found
    )
    assert set(contents.values()) <= {1}


def looks_in_vain(ticks: list[InstigatorTick], settled: float, run: dg.DagsterRun) -> list[InstigatorTick]:
    """Return the ticks that could have asked for a run, and did not: a file had settled, and nothing was under way."""
    asked = next(tick.timestamp for tick in ticks if run.run_id in tick.run_ids)
    between = [tick for tick in ticks if settled <= tick.timestamp < asked]
    return [tick for tick in between if "under way" not in (tick.skip_reason or "")]


def assert_one_run(dev: DagsterDev, before: int, last: Path) -> dg.DagsterRun:
    """Assert that one run, and no other, has taken what has arrived; `last` is the file that settled last."""
    dev.wait_for_runs(before)
    quiet(dev)
    dev.wait_for_ticks(2)
    new = dev.runs()[: len(dev.runs()) - before]
    assert [run.status for run in new] == [dg.DagsterRunStatus.SUCCESS]
    assert len(looks_in_vain(dev.ticks(), last.stat().st_ctime + SETTLED_SECONDS, new[0])) <= 1
    assert_every_record_stands_once(dev)
    assert_no_files_twice(dev)
    return new[0]


# --- What arrives -----------------------------------------------------------------------------------------------------


def new(landing: Path) -> Path:
    path = landing / "new.json"
    path.write_bytes(readings(3, 1))
    return path


def new_deep_packed_and_oddly_named(landing: Path) -> Path:
    path = landing / "a=1" / "b c" / "ünicode.JSONL.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(readings(3, 2)))
    return path


def late(landing: Path) -> Path:
    path = landing / "late.json"
    path.write_bytes(readings(3, 3))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def growing(landing: Path) -> Path:
    """Written for longer than a file needs to settle, with pauses that are shorter."""
    path = landing / "growing.json"
    content = readings(20, 4)
    with path.open("wb", buffering=0) as file:
        for place in range(0, len(content), 150):
            file.write(content[place : place + 150])
            time.sleep(SETTLED_SECONDS / 6)
    return path


def replaced_same_size(landing: Path) -> Path:
    path = landing / "new.json"
    path.write_bytes(path.read_bytes().replace(b'"x": 0.5', b'"x": 0.7'))
    return path


def replaced_same_size_and_time(landing: Path) -> Path:
    path = landing / "new.json"
    times = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"x": 0.7', b'"x": 0.9'))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path


def renamed(landing: Path) -> Path:
    return (landing / "late.json").rename(landing / "renamed.json")


def zero_bytes(landing: Path) -> Path:
    path = landing / "zero.json"
    path.touch()
    return path


def a_thousand_at_once(landing: Path) -> Path:
    for number in range(1_000):
        path = landing / "many" / f"{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(readings(2, 10 + number))
    return path


def partly_broken(landing: Path) -> Path:
    path = landing / "broken.json"
    path.write_bytes(readings(3, 5) + b'{"user": "ada@exam\n')
    return path


@pytest.mark.parametrize(
    "arrives",
    [
        new,
        new_deep_packed_and_oddly_named,
        late,
        growing,
        replaced_same_size,
        replaced_same_size_and_time,
        renamed,
        zero_bytes,
        a_thousand_at_once,
        partly_broken,
    ],
)
def test_what_arrives_is_landed_once_and_soon(arrives: Change, dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    run = assert_one_run(dev, before, arrives(landing))
    assert not {key.path[-1] for key in run.asset_selection or ()} & {"customer_landing", "customer_trusted"}


def test_a_hidden_file_is_for_nobody(dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    (landing / ".hidden.json").write_bytes(readings(3, 6))
    time.sleep(SETTLED_SECONDS)
    dev.wait_for_ticks(3)
    assert len(dev.runs()) == before
    (landing / ".hidden.json").unlink()


def test_a_deleted_file_is_told_of_and_landed_again_once_it_is_back(dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    content = (landing / "new.json").read_bytes()
    (landing / "new.json").unlink()
    dev.wait_for_ticks(3)
    assert len(dev.runs()) == before
    assert dev.printed.count("files that accelerometer_landing was made from are gone: new.json") == 1
    assert landed(dev, "accelerometer")["new.json"] == 3
    (landing / "new.json").write_bytes(content)
    assert_one_run(dev, before, landing / "new.json")


def test_what_arrives_during_a_run_waits_for_the_next(dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    (landing / "first.json").write_bytes(readings(3, 7))
    dev.wait("a run to begin", lambda: dev.runs()[0].status is dg.DagsterRunStatus.STARTED)
    during = landing / "during.json"
    during.write_bytes(readings(3, 8))
    dev.wait_for_runs(before + 1)
    quiet(dev)
    assert [run.status for run in dev.runs()[:-before]] == [dg.DagsterRunStatus.SUCCESS] * 2
    assert [run.tags["stedi/because"].split(": ")[1] for run in dev.runs()[:2]] == [
        "accelerometer/landing/during.json",
        "accelerometer/landing/first.json",
    ]
    assert_every_record_stands_once(dev)
    assert_no_files_twice(dev)


def test_a_withdrawal_is_through_with_the_next_run(dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    path = dev.lake / "customer" / "landing" / "later.json"
    path.write_bytes(lines(customer("ben", CONSENTED + 1, None)))
    assert_one_run(dev, before, path)
    for name, column in {"customer_trusted": "email", "accelerometer_trusted": "user"}.items():
        people = current_dataset(lake_of(dev), name).to_table(columns=[column]).column(0).to_pylist()
        assert {*people} == {"ada@example.com"}


def test_a_run_that_fails_is_asked_for_again_and_told_of(dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    purpose = dev.lake / "_purpose.json"
    kept = purpose.read_text()
    purpose.write_text('{"purpose": "comparison"}')
    (landing / "twice.json").write_bytes(readings(3, 9))
    dev.wait("a failure", lambda: dev.runs()[0].status is dg.DagsterRunStatus.FAILURE)
    purpose.write_text(kept)
    dev.wait("a success", lambda: dev.runs()[0].is_success)
    quiet(dev)
    new = dev.runs()[: len(dev.runs()) - before]
    assert Counter(run.status for run in new)[dg.DagsterRunStatus.SUCCESS] == 1
    assert [run.tags["stedi/attempt"] for run in reversed(new)] == [str(1 + place) for place in range(len(new))]
    assert_every_record_stands_once(dev)
    dev.wait("a message", lambda: "Run of update_lakehouse failed" in dev.printed)
    assert "is for comparison, and STEDI_PURPOSE is production" in dev.printed


def worker_of(dev: DagsterDev) -> int | None:
    """Return the process of the run that is under way, once Spark is at work in it."""
    with dev.instance() as instance:
        run = next(iter(instance.get_runs()))
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            event = entry.dagster_event
            if event and run.status is dg.DagsterRunStatus.STARTED and "pid" in event.engine_event_data.metadata:
                return int(str(event.engine_event_data.metadata["pid"].value))
    return None


def test_a_run_that_is_killed_is_asked_for_again(dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    (landing / "killed.json").write_bytes(readings(3, 2_000))
    os.kill(dev.wait("a run at work", lambda: worker_of(dev) if len(dev.runs()) > before else None), signal.SIGKILL)
    dev.wait("a success", lambda: len(dev.runs()) > before + 1 and dev.runs()[0].is_success)
    assert dev.runs()[1].status is dg.DagsterRunStatus.FAILURE
    quiet(dev)
    assert_every_record_stands_once(dev)
    assert_no_files_twice(dev)


def test_after_a_loss_of_power_in_a_run_it_is_asked_for_again(dev: DagsterDev, landing: Path) -> None:
    """Nobody is left to say that the run has failed: the monitoring finds that it has no process."""
    before = len(dev.runs())
    (landing / "power.json").write_bytes(readings(3, 2_001))
    dev.wait("a run at work", lambda: worker_of(dev) if len(dev.runs()) > before else None)
    dev.kill_everything()
    dev.start()
    dev.wait("a success", lambda: len(dev.runs()) > before + 1 and dev.runs()[0].is_success)
    assert dev.runs()[1].status is dg.DagsterRunStatus.FAILURE
    quiet(dev)
    assert_every_record_stands_once(dev)
    assert_no_files_twice(dev)


def test_what_arrives_while_everything_is_down_is_landed_afterwards(dev: DagsterDev, landing: Path) -> None:
    before = len(dev.runs())
    dev.stop()
    path = landing / "down.json"
    path.write_bytes(readings(3, 2_002))
    time.sleep(SETTLED_SECONDS)
    dev.start()
    assert_one_run(dev, before, path)


def test_without_what_dagster_remembered_nothing_is_doubled_or_lost(dev: DagsterDev, landing: Path) -> None:
    dev.stop()
    dev.forget()
    dev.start()
    quiet(dev)
    dev.wait_for_ticks(3)
    assert dev.runs() == []
    assert_every_record_stands_once(dev)
    path = landing / "anew.json"
    path.write_bytes(readings(3, 2_003))
    assert_one_run(dev, 0, path)


# --- The daemon killed, again and again -------------------------------------------------------------------------------


def taken_as_new(dev: DagsterDev) -> int:
    """Return how many files all landing tables have taken that they had not before, in whatever run."""
    key, found = "new landing files", 0
    with dev.instance() as instance:
        for source in SOURCES.values():
            events = instance.fetch_materializations(dg.AssetKey(source.landing.name), limit=1_000).records
            known = [event.asset_materialization.metadata for event in events if event.asset_materialization]
            found += sum(int(str(metadata[key].value)) for metadata in known)
    return found


@pytest.mark.parametrize("whole", [False, True], ids=["the daemon alone", "with its code server and runs"])
def test_a_daemon_that_is_killed_at_random_lands_everything_once(tmp_path: Path, *, whole: bool) -> None:
    """While the generator has files arrive, each kind of kill comes so many times, at any moment."""
    daemon = DagsterDev(
        tmp_path, tmp_path / "lake", command=["dagster._daemon", "run", "-m", "stedi_assets.definitions"]
    )
    chance = random.Random(f"kills of {whole}")
    every = ["--every", "4s", "--customers", "60", "--records-per-file", "40", "--readings-per-phone", "30"]
    generator = [sys.executable, "-m", "stedi_assets.sample_data", str(daemon.lake), *every]
    with subprocess.Popen(generator, stdout=subprocess.DEVNULL) as arriving:
        try:
            for _ in range(KILLS):
                daemon.start()
                time.sleep(chance.uniform(2, 30))
                (daemon.kill_everything if whole else daemon.kill_first_process)()
            killed = len(daemon.runs())
            daemon.start()
            arriving.terminate()
            arriving.wait()
            daemon.wait(
                "everything to be landed", lambda: all(landed(daemon, s) == delivered(daemon, s) for s in SOURCES)
            )
            daemon.wait("the last run", lambda: not any(not run.is_finished for run in daemon.runs()))
            quiet(daemon)
        finally:
            daemon.stop()
            arriving.kill()
    assert_every_record_stands_once(daemon)
    assert_no_files_twice(daemon)
    runs = Counter(run.status.value for run in daemon.runs())
    files = sum(len(delivered(daemon, source)) for source in SOURCES)
    # No file is ever replaced here: one that is new in two runs has been taken twice.
    assert taken_as_new(daemon) <= files
    if whole:
        assert runs["FAILURE"], "no kill has hit a run"
    else:
        assert taken_as_new(daemon) == files
    print(f"\n{KILLS} kills, {killed} runs before the last: {dict(runs)}; {files} files, each record once")  # noqa: T201  (what the torture came to)
