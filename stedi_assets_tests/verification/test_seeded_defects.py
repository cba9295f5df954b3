"""Every kind of defect, seeded one at a time, is caught by a check of a known name, and good data raise no alarm.

Three tables of cases: what somebody could do to the stored files (`STORED`), what a source could deliver (`RAW`), and
what could be set (`POLICIES`). Each case says what is done, which table shows it, and the name of the check, or what
the refusal says.
"""

import gzip
import hashlib
import hmac
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stedi_assets.contracts import (
    ALL_TABLES,
    LANDING_TABLES,
    TABLES,
    ConsentRecord,
    MatchOn,
    Policy,
    PublishedTime,
    Readings,
)
from stedi_assets.orchestration.checks import CHECKS
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.repair import Keys, repair
from stedi_assets.privacy.suppression import Erased, change_suppressed
from stedi_assets.sample_data import SampleOptions, write_sample
from stedi_assets.settings import SettingsError
from stedi_assets.storage.errors import CorruptTableError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.arrow_types import arrow_schema
from stedi_assets.tables.catalog import load
from stedi_assets.tables.snapshots import current, dataset
from stedi_assets_tests.support.environments import settings_of
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    DEFAULT,
    as_a_new_process,
    check,
    customer,
    device_reading,
    failed_checks,
    lines,
    local_lake,
    materialise,
    messages,
    phone_reading,
    resources,
    root_of,
    stored_files,
    write_ada_and_ben,
)

KEY = b"a pseudonym key for tests, 32 bytes and more"
FAR_AWAY = 4_000_000_000_000
START = 1_655_564_000_000

# Of the people of the stored lake, these consent and have readings; each two of them at the same instants.
CONSENTING = ("ada", "ben", "cleo", "dora", "emil", "fred", "gina", "hugo", "ines", "jack", "kate", "lars")
NORA, WALT, VERA, KIM = OTHERS = ("nora", "walt", "vera", "kim")
READINGS = 8
# Held by nora before it was gina's.
RE_USED = "device-of-gina"
# No pseudonym, but it looks like one.
LIKE_A_PSEUDONYM = "e" * 64
QUARANTINE = "customer_quarantine"
NO_SNAPSHOT = 1
QUARANTINED_READING = b'{"user": "ada@example.com", "timestamp": "yesterday"}\n'

_caught: dict[str, str] = {}


@pytest.fixture(autouse=True, scope="module")
def _keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_PSEUDONYM_KEY", KEY.decode())
        yield


@pytest.fixture(autouse=True, scope="module")
def _matrix_shown() -> Iterator[None]:
    """Show at the end what was caught by what; seen with `pytest -s`."""
    yield
    width = max(map(len, _caught), default=0)
    shown = "".join(f"{what:{width}}  {by}\n" for what, by in _caught.items())
    sys.stdout.write(f"\n{shown}{len(_caught)} defects caught\n")


def subject(person: str) -> str:
    """Return the pseudonym of a person."""
    return hmac.new(KEY, f"{person}@example.com".encode(), hashlib.sha256).hexdigest()


def checks_of(name: str, lake: Lake, spark: SparkResource, **options: Any) -> dg.ExecuteInProcessResult:
    """Hold one stored table against its checks."""
    return (
        dg.Definitions(
            asset_checks=[dict(zip(TABLES, CHECKS, strict=True))[name]],
            jobs=[dg.define_asset_job("one", selection=dg.AssetSelection.all_asset_checks())],
            resources=resources(lake, spark, **options),
            executor=dg.in_process_executor,
        )
        .resolve_job_def("one")
        .execute_in_process(raise_on_error=False)
    )


def has_error(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a check failed that is more than a warning."""
    return any(
        not found.passed and found.severity is dg.AssetCheckSeverity.ERROR
        for found in result.get_asset_check_evaluations()
    )


# ---- Good data ----------------------------------------------------------------------------------------------------

CLEAN = {
    "three customers": SampleOptions(customers=3, seed=1),
    "forty customers": SampleOptions(customers=40, seed=2),
    "forty with other seeds": SampleOptions(customers=40, seed=11, gzip=True),
    "two hundred customers": SampleOptions(customers=200, seed=3),
    "everything that is good": SampleOptions(
        customers=60,
        seed=5,
        repeated_emails=20,
        withdrawals=3,
        serials_shared_by=5,
        respelled_keys=5,
        late_deliveries=5,
        repeated_deliveries=1,
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("name", CLEAN)
def test_good_data_raise_no_alarm(name: str, lake: Lake, spark_resource: SparkResource) -> None:
    write_sample(root_of(lake), CLEAN[name])
    for _ in range(2):
        published = materialise(lake, spark_resource)
        assert published.success
        assert failed_checks(published) == set()
    checked = check(lake, spark_resource)
    assert checked.success
    assert failed_checks(checked) == set()


# ---- Stored tables ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A good lake with everything that a defect needs.

    Besides those who consent: nora never did, walt withdrew, vera's latest record is quarantined, kim consents from a
    day in the future on, and otto consents and has no phone.
    """
    lake = local_lake(tmp_path_factory.mktemp("built") / "lake")
    for source, content in _landing_files().items():
        folder = root_of(lake) / source / "landing"
        folder.mkdir(parents=True)
        (folder / "one.json").write_bytes(content)
    assert materialise(lake, spark_resource, quarantine_rate=0.1).success
    return KeptLake.of(lake)


def _landing_files() -> dict[str, bytes]:
    customers = [customer(person, CONSENTED, CONSENTED) for person in (*CONSENTING, WALT, VERA, "otto")]
    customers[CONSENTING.index("emil")]["serialNumber"] = LIKE_A_PSEUDONYM
    customers += [
        # Her device is jack's now.
        customer("kate", CONSENTED - 1, None, "device-of-jack"),
        customer(NORA, CONSENTED, None, RE_USED)
        | {"shareWithPublicAsOfDate": CONSENTED, "shareWithFriendsAsOfDate": CONSENTED},
        customer(WALT, CONSENTED + 1, None),
        customer(KIM, CONSENTED, FAR_AWAY),
    ]
    quarantined = {**customer(VERA, CONSENTED + 1, CONSENTED), "serialNumber": 5}
    phones, devices = [], []
    for place, person in enumerate((*CONSENTING, *OTHERS)):
        device = {"emil": LIKE_A_PSEUDONYM, NORA: RE_USED}.get(person, f"device-of-{person}")
        for number in range(READINGS):
            instant = START + 1_000 * (place // 2) + 100 * number
            phones.append(phone_reading(person, instant) | {"x": place, "y": number})
            devices.append(device_reading(device, instant) | {"distanceFromObject": 200 + 10 * place + number})
    # Several readings at one instant are real, and exact repeats stand once.
    phones += [phone_reading("ada", START) | {"x": -1}, *phones[:2]]
    # Once the phones of both who held that device were active.
    phones.append(phone_reading(NORA, START + 3_000))
    return {
        "customer": lines(*customers, quarantined),
        "accelerometer": lines(*phones) + QUARANTINED_READING,
        "step_trainer": lines(*devices),
    }


@dataclass(frozen=True)
class Stored:
    """The tables of a lake, to somebody who can write to its files, and corrects the count of rows that is told."""

    lake: Lake

    def files(self, name: str) -> list[Path]:
        """Return the data files of a table."""
        return stored_files(self.lake, ALL_TABLES[name])

    def file(self, name: str) -> Path:
        """Return a data file of a table that holds rows."""
        return next(file for file in self.files(name) if pq.ParquetFile(file).metadata.num_rows)

    def metadata(self, name: str) -> Path:
        """Return the file of a table's metadata that the catalog names."""
        iceberg = load(self.lake, ALL_TABLES[name])
        assert iceberg
        return Path(iceberg.metadata_location)

    def manifests(self, name: str) -> list[Path]:
        """Return what a table's current snapshot names: the list of its manifests, and these."""
        iceberg = load(self.lake, ALL_TABLES[name])
        snapshot = iceberg.current_snapshot() if iceberg else None
        assert iceberg
        assert snapshot
        named = [snapshot.manifest_list, *(manifest.manifest_path for manifest in snapshot.manifests(iceberg.io))]
        return [Path(location.removeprefix("file:")) for location in named]

    def say(self, name: str, **changes: Any) -> None:
        """Change what a table's current snapshot says of itself."""
        path, snapshot = self.metadata(name), current(self.lake, ALL_TABLES[name]).id
        told = json.loads(path.read_text())
        (summary,) = (found["summary"] for found in told["snapshots"] if found["snapshot-id"] == snapshot)
        summary |= {f"stedi.{named}": json.dumps(value) for named, value in changes.items()}
        path.write_text(json.dumps(told))

    def rows(self, name: str) -> pa.Table:
        """Return the rows of a table."""
        table = ALL_TABLES[name]
        return dataset(self.lake, table, current(self.lake, table).id).to_table()

    def query(self, sql: str, name: str) -> pa.Table:
        """Answer a query about the tables, in which `stored` is the one of that name."""
        with duckdb.connect() as engine:
            for other in (*TABLES, QUARANTINE, "accelerometer_quarantine"):
                engine.register(other, self.rows(other))
            engine.register("stored", self.rows(name))
            return engine.sql(sql).to_arrow_table()

    def replace(self, name: str, rows: pa.Table) -> None:
        """Put other rows into a table, under the names of its files."""
        for place, file in enumerate(self.files(name)):
            pq.write_table(rows.slice(0, None if place == 0 else 0), file)
        self.say(name, rows=rows.num_rows)


Tampering = Callable[[Stored], None]


def rows(name: str, sql: str) -> Tampering:
    """Replace a table's rows by those of a query, in the contract's columns."""
    schema = arrow_schema(ALL_TABLES[name])
    names = ", ".join(f'"{column}"' for column in ALL_TABLES[name].column_names)
    return lambda stored: stored.replace(name, stored.query(f"SELECT {names} FROM ({sql})", name).cast(schema))


def more(name: str, sql: str) -> Tampering:
    """Add the rows of a query; columns that it leaves out are null."""
    return rows(name, f"SELECT * FROM stored UNION ALL BY NAME ({sql})")


def altered(name: str, which: str, **values: str) -> Tampering:
    """Give columns other values in some rows."""
    changes = ", ".join(
        f'CASE WHEN {which} THEN {value} ELSE "{column}" END AS "{column}"' for column, value in values.items()
    )
    return rows(name, f"SELECT * REPLACE ({changes}) FROM stored")


def lost(name: str, which: str) -> Tampering:
    """Take rows away."""
    return rows(name, f"SELECT * FROM stored WHERE NOT coalesce({which}, FALSE)")


def doubled(name: str, which: str) -> Tampering:
    """Put rows there once more."""
    return more(name, f"SELECT * FROM stored WHERE {which}")


def other_columns(name: str, selected: str) -> Tampering:
    """Change the columns of a table."""
    return lambda stored: stored.replace(name, stored.query(f"SELECT {selected} FROM stored", name))


def said(name: str, **changes: Any) -> Tampering:
    """Change what a table's current snapshot says of itself."""
    return lambda stored: stored.say(name, **changes)


def reported(name: str, **changes: Any) -> Tampering:
    """Change what is reported of a landing table's first file."""

    def tampering(stored: Stored) -> None:
        files = LANDING_TABLES[name].files.name
        reports = stored.rows(files)
        first, *others = reports.to_pylist()
        stored.replace(files, pa.Table.from_pylist([first | changes, *others], reports.schema))

    return tampering


def delivered(name: str, **changes: Any) -> Tampering:
    """Change what is reported of a landing table's delivery as a whole."""
    return lambda stored: stored.say(name, delivery={**current(stored.lake, ALL_TABLES[name]).delivery, **changes})


def file_doubled(name: str) -> Tampering:
    """Have a data file hold its rows twice."""

    def tampering(stored: Stored) -> None:
        file = stored.file(name)
        rows = pq.read_table(file)
        pq.write_table(pa.concat_tables([rows, rows]), file)

    return tampering


def file_deleted(name: str) -> Tampering:
    return lambda stored: stored.file(name).unlink()


def half_deleted(name: str) -> Tampering:
    """Delete one of two data files."""

    def tampering(stored: Stored) -> None:
        whole = stored.rows(name)
        stored.replace(name, whole.slice(0, len(whole) // 2))
        stored.say(name, rows=len(whole))

    return tampering


def deleted_by_another_engine(name: str, which: str) -> Tampering:
    """Delete rows as anybody who may write to the catalog can, Athena or Trino."""

    def tampering(stored: Stored) -> None:
        iceberg = load(stored.lake, ALL_TABLES[name])
        assert iceberg
        iceberg.delete(which)

    return tampering


def footer_damaged(name: str) -> Tampering:
    def tampering(stored: Stored) -> None:
        file = stored.file(name)
        file.write_bytes(file.read_bytes()[:-6])

    return tampering


def pages_damaged(name: str) -> Tampering:
    """Overwrite what lies between the first bytes and the footer."""

    def tampering(stored: Stored) -> None:
        content = stored.file(name).read_bytes()
        footer = 8 + int.from_bytes(content[-8:-4], "little")
        stored.file(name).write_bytes(content[:4] + b"\xff" * (len(content) - 4 - footer) + content[-footer:])

    return tampering


def folder_deleted(name: str, folder: str) -> Tampering:
    return lambda stored: shutil.rmtree(root_of(stored.lake) / ALL_TABLES[name].path / folder)


def metadata_damaged(name: str) -> Tampering:
    def tampering(stored: Stored) -> None:
        stored.metadata(name).write_text("{")

    return tampering


def manifests_cut(name: str, which: slice) -> Tampering:
    """Cut files off that say which data files a snapshot holds."""

    def tampering(stored: Stored) -> None:
        for file in stored.manifests(name)[which]:
            file.write_bytes(file.read_bytes()[:-40])

    return tampering


def manifests_deleted(name: str, which: slice) -> Tampering:
    def tampering(stored: Stored) -> None:
        for file in stored.manifests(name)[which]:
            file.unlink()

    return tampering


def another_snapshot_named(name: str) -> Tampering:
    """Have a table's metadata say that a snapshot is current that is not there."""

    def tampering(stored: Stored) -> None:
        told = json.loads(stored.metadata(name).read_text())
        told["current-snapshot-id"] = told["refs"]["main"]["snapshot-id"] = NO_SNAPSHOT
        stored.metadata(name).write_text(json.dumps(told))

    return tampering


def another_quarantine_named(name: str) -> Tampering:
    """Have a landing table name a snapshot of its quarantine that is not there."""

    def tampering(stored: Stored) -> None:
        named = current(stored.lake, ALL_TABLES[name]).inputs
        stored.say(name, inputs={**named, LANDING_TABLES[name].quarantine.name: NO_SNAPSHOT})

    return tampering


def both(*tamperings: Tampering) -> Tampering:
    def tampering(stored: Stored) -> None:
        for each in tamperings:
            each(stored)

    return tampering


def record_of(person: str, table: str = "customer_landing", *, consent: str = '"shareWithResearchAsOfDate"') -> str:
    """Return the query for a person's oldest customer record, as of a consent."""
    return (
        f'SELECT * EXCLUDE ("_source_file") REPLACE ({consent} AS "shareWithResearchAsOfDate") FROM {table} '
        f"WHERE email = '{person}@example.com' ORDER BY \"lastUpdateDate\" LIMIT 1"
    )


def phone_of(person: str) -> str:
    """Return the query for a person's phone readings as they landed."""
    return f'SELECT * EXCLUDE ("_source_file") FROM accelerometer_landing WHERE "user" = \'{person}@example.com\''


def steps_of(device: str, person: str) -> str:
    """Return the query for a device's readings, given to a person."""
    return (
        'SELECT * EXCLUDE ("_source_file"), ' + f"'{person}@example.com' AS \"user\" "
        f"FROM step_trainer_landing WHERE \"serialNumber\" = '{device}'"
    )


def pairs(subject_id: str, steps: str, phone: str) -> str:
    """Return the query for pairs of one person's device readings and another's phone readings, under a subject."""
    return (
        f'SELECT \'{subject_id}\' AS subject_id, phone."timestamp", "distanceFromObject", x, y, z '
        "FROM step_trainer_landing AS steps JOIN accelerometer_landing AS phone "
        'ON steps."sensorReadingTime" = phone."timestamp" '
        f"WHERE steps.\"serialNumber\" = '{steps}' AND phone.\"user\" = '{phone}@example.com'"
    )


# What is said where a table is so damaged that its rules cannot be counted.
CANNOT_BE_READ = "cannot be read"

ADA, BEN = "email = 'ada@example.com'", "email = 'ben@example.com'"
ADAS, BENS = "\"user\" = 'ada@example.com'", "\"user\" = 'ben@example.com'"
ADAS_PAIRS = f"subject_id = '{subject('ada')}'"
ONE_OF_ADAS = f'{ADAS} AND "timestamp" = {START + 100}'
ONE_STEP = f'{ADAS} AND "sensorReadingTime" = {START + 100}'
ONE_PAIR = f'{ADAS_PAIRS} AND "timestamp" = {START + 100}'
HASHED = hashlib.sha256(b"ada@example.com").hexdigest()


@dataclass(frozen=True)
class Defect:
    """A defect of stored tables: what is done, and which check of which table finds it."""

    what: str
    table: str
    caught_by: str
    do: Tampering
    quick: bool = False


CT, AT, CC = "customer_trusted", "accelerometer_trusted", "customers_curated"
ST, ML = "step_trainer_trusted", "machine_learning_curated"
CL, AL, SL = "customer_landing", "accelerometer_landing", "step_trainer_landing"
FUTURE = str(FAR_AWAY)

STORED = [
    # People who never consented, who withdrew, and whom nobody knows.
    Defect("never consented: in customer_trusted", CT, "every_row_consents", more(CT, record_of(NORA)), quick=True),
    Defect(
        "never consented, a date forged: in customer_trusted",
        CT,
        "no_withdrawn_people",
        more(CT, record_of(NORA, consent=str(CONSENTED))),
    ),
    Defect("never consented: phone readings", AT, "consent_is_current", more(AT, phone_of(NORA)), quick=True),
    Defect("never consented: in customers_curated", CC, "consent_is_current", more(CC, record_of(NORA))),
    Defect("never consented: device readings", ST, "consent_is_current", more(ST, steps_of(RE_USED, NORA)), quick=True),
    Defect(
        "never consented: pairs", ML, "consent_is_current", more(ML, pairs(subject(NORA), RE_USED, NORA)), quick=True
    ),
    Defect("withdrew: in customer_trusted", CT, "no_withdrawn_people", more(CT, record_of(WALT)), quick=True),
    Defect("withdrew: phone readings", AT, "consent_is_current", more(AT, phone_of(WALT))),
    Defect("withdrew: in customers_curated", CC, "rows_of_customer_trusted", more(CC, record_of(WALT))),
    Defect("withdrew: device readings", ST, "consent_is_current", more(ST, steps_of("device-of-walt", WALT))),
    Defect("withdrew: pairs", ML, "consent_is_current", more(ML, pairs(subject(WALT), "device-of-walt", WALT))),
    Defect("latest record in quarantine: in customer_trusted", CT, "no_withdrawn_people", more(CT, record_of(VERA))),
    Defect("latest record in quarantine: phone readings", AT, "consent_is_current", more(AT, phone_of(VERA))),
    Defect(
        "withdrew: in customer_trusted, and everywhere",
        CT,
        "no_withdrawn_people",
        both(
            more(CT, record_of(WALT)),
            more(AT, phone_of(WALT)),
            more(CC, record_of(WALT)),
            more(ST, steps_of("device-of-walt", WALT)),
            more(ML, pairs(subject(WALT), "device-of-walt", WALT)),
        ),
    ),
    Defect("consent in the future: in customer_trusted", CT, "every_row_consents", more(CT, record_of(KIM))),
    Defect(
        "a consent is put into the future", CT, "every_row_consents", altered(CT, ADA, shareWithResearchAsOfDate=FUTURE)
    ),
    Defect("a consent is taken away", CT, "every_row_consents", altered(CT, ADA, shareWithResearchAsOfDate="NULL")),
    Defect("a record is put into the future", CT, "every_row_consents", altered(CT, ADA, lastUpdateDate=FUTURE)),
    Defect(
        "consent to others than research",
        CC,
        "every_row_consents",
        altered(CC, ADA, shareWithResearchAsOfDate="NULL", shareWithFriendsAsOfDate=str(CONSENTED)),
    ),
    Defect(
        "somebody whom no source knows",
        CT,
        "agrees_with_second_engine",
        more(CT, f"SELECT * REPLACE ('zoe@example.com' AS email) FROM stored WHERE {ADA}"),
    ),
    Defect(
        "a withdrawal is taken out of the landing table",
        CL,
        "rows_accounted_for",
        lost(CL, f"email = 'walt@example.com' AND \"lastUpdateDate\" = {CONSENTED + 1}"),
    ),
    Defect(
        "a consent is forged in the landing table",
        CT,
        "agrees_with_second_engine",
        altered(CL, "email = 'nora@example.com'", shareWithResearchAsOfDate=str(CONSENTED)),
    ),
    Defect(
        "a withdrawal in quarantine is given to another",
        CT,
        "agrees_with_second_engine",
        altered(QUARANTINE, "TRUE", _people="['zoe@example.com']"),
    ),
    Defect(
        "a quarantined record is made unreadable",
        CL,
        "quarantined_people_known",
        altered(QUARANTINE, "TRUE", _people="[]::VARCHAR[]"),
    ),
    # What names a person in the table that has none.
    Defect(
        "an e-mail as subject",
        ML,
        "no_identifiers",
        altered(ML, ADAS_PAIRS, subject_id="'ada@example.com'"),
        quick=True,
    ),
    Defect(
        "an e-mail as a pseudonym",
        ML,
        "subject_id_is_a_pseudonym",
        altered(ML, ONE_PAIR, subject_id="'ada@example.com'"),
    ),
    Defect(
        "a plain hash of the e-mail as subject",
        ML,
        "consent_is_current",
        altered(ML, ADAS_PAIRS, subject_id=f"'{HASHED}'"),
        quick=True,
    ),
    Defect(
        "a hash under another key as subject",
        ML,
        "consent_is_current",
        altered(ML, ADAS_PAIRS, subject_id=f"'{'0' * 64}'"),
    ),
    Defect("a serial number as subject", ML, "no_identifiers", altered(ML, ONE_PAIR, subject_id="'device-of-ada'")),
    Defect(
        "a serial number of 64 hex digits as subject",
        ML,
        "no_identifiers",
        altered(ML, ONE_PAIR, subject_id=f"'{LIKE_A_PSEUDONYM}'"),
    ),
    Defect(
        "a pseudonym in capitals",
        ML,
        "subject_id_is_a_pseudonym",
        altered(ML, ONE_PAIR, subject_id="upper(subject_id)"),
    ),
    Defect(
        "a pseudonym cut off", ML, "subject_id_is_a_pseudonym", altered(ML, ONE_PAIR, subject_id="left(subject_id, 63)")
    ),
    Defect("e-mails beside the pseudonyms", ML, "as_published", other_columns(ML, "*, 'ada@example.com' AS email")),
    # Readings of another person, of another instant, of nobody.
    Defect(
        "a device's readings given to who held it before",
        ST,
        "attributed_to_one_person",
        altered(ST, "\"serialNumber\" = 'device-of-jack'", user="'kate@example.com'"),
    ),
    Defect(
        "a device's reading given to a person active just then",
        ST,
        "agrees_with_second_engine",
        altered(ST, ADAS, user="'ben@example.com'"),
    ),
    Defect(
        "a reading that two could have taken, given to one",
        ST,
        "agrees_with_second_engine",
        more(ST, f'{steps_of(RE_USED, "gina")} AND "sensorReadingTime" = {START + 3_000}'),
    ),
    Defect("a device reading of nobody", ST, "attributed_to_one_person", altered(ST, ONE_STEP, user="NULL")),
    Defect(
        "a device reading 1 ms off",
        ST,
        "attributed_to_one_person",
        altered(ST, ONE_STEP, sensorReadingTime='"sensorReadingTime" + 1'),
        quick=True,
    ),
    Defect(
        "a phone reading given to another person",
        AT,
        "agrees_with_second_engine",
        altered(AT, ONE_OF_ADAS, user="'hugo@example.com'"),
    ),
    Defect(
        "a phone reading 1 ms off",
        AT,
        "agrees_with_second_engine",
        altered(AT, ONE_OF_ADAS, timestamp='"timestamp" + 1'),
    ),
    Defect(
        "pairs of two persons, under the phone's",
        ML,
        "pairs_are_of_one_person",
        more(ML, pairs(subject("ben"), "device-of-ada", "ben")),
        quick=True,
    ),
    Defect(
        "pairs of two persons, under the device's",
        ML,
        "pairs_are_of_one_person",
        more(ML, pairs(subject("ada"), "device-of-ada", "ben")),
    ),
    Defect(
        "the subjects of two persons swapped",
        ML,
        "pairs_are_of_one_person",
        altered(
            ML,
            "TRUE",
            subject_id=f"CASE WHEN {ADAS_PAIRS} THEN '{subject('ben')}' "
            f"WHEN subject_id = '{subject('ben')}' THEN '{subject('ada')}' ELSE subject_id END",
        ),
    ),
    Defect("a pair 1 ms off", ML, "pairs_are_of_one_person", altered(ML, ONE_PAIR, timestamp='"timestamp" + 1')),
    Defect(
        "a distance changed",
        ML,
        "pairs_are_of_one_person",
        altered(ML, ONE_PAIR, distanceFromObject='"distanceFromObject" + 0.5'),
    ),
    Defect("an acceleration of NaN in a pair", ML, "pairs_are_of_one_person", altered(ML, ONE_PAIR, x="'NaN'::DOUBLE")),
    # Rows that are too many or too few.
    Defect("a person twice", CT, "unique_key", doubled(CT, ADA)),
    Defect("a person twice among those with readings", CC, "unique_key", doubled(CC, ADA)),
    Defect("a phone reading twice", AT, "unique_key", doubled(AT, ONE_OF_ADAS)),
    Defect("a device reading twice", ST, "unique_key", doubled(ST, ONE_STEP)),
    Defect("a pair twice", ML, "agrees_with_second_engine", doubled(ML, ONE_PAIR)),
    Defect("more device readings than landed", ST, "no_more_rows_than_landing", doubled(ST, "TRUE")),
    Defect("a person lost", CT, "agrees_with_second_engine", lost(CT, ADA)),
    Defect("a person with readings lost", CC, "agrees_with_second_engine", lost(CC, ADA)),
    Defect("a person without readings among those with", CC, "people_have_readings", more(CC, record_of("otto"))),
    Defect("a phone reading lost", AT, "agrees_with_second_engine", lost(AT, ONE_OF_ADAS)),
    Defect("a device reading lost", ST, "agrees_with_second_engine", lost(ST, ONE_STEP)),
    Defect("a pair lost", ML, "agrees_with_second_engine", lost(ML, ONE_PAIR)),
    Defect("every pair lost", ML, "agrees_with_second_engine", lost(ML, "TRUE")),
    Defect(
        "the phones of nearly all devices lost", ST, "unattributed_share", lost(AL, "\"user\" < 'gina@example.com'")
    ),
    Defect("a landed record lost", CL, "rows_accounted_for", lost(CL, ADA)),
    Defect("a landed reading twice", AL, "rows_accounted_for", doubled(AL, ONE_OF_ADAS)),
    Defect(
        "a landed reading given to another file",
        SL,
        "rows_accounted_for",
        altered(SL, f'"sensorReadingTime" = {START}', _source_file="'two.json'"),
    ),
    Defect("every landed reading lost", SL, "not_empty", lost(SL, "TRUE")),
    Defect("a quarantined record lost", CL, "rows_accounted_for", lost(QUARANTINE, "TRUE")),
    Defect("a quarantined reading lost", AL, "rows_accounted_for", lost("accelerometer_quarantine", "TRUE")),
    # Values.
    Defect("an e-mail missing", CT, "required_values", altered(CT, ADA, email="NULL")),
    Defect("a serial number missing", CC, "required_values", altered(CC, ADA, serialNumber="NULL")),
    Defect("a phone's person missing", AT, "required_values", altered(AT, ONE_OF_ADAS, user="NULL")),
    Defect("a distance missing", ST, "required_values", altered(ST, ONE_STEP, distanceFromObject="NULL")),
    Defect("a subject missing", ML, "required_values", altered(ML, ONE_PAIR, subject_id="NULL")),
    Defect("a landed e-mail missing", CL, "required_values", altered(CL, ADA, email="NULL")),
    Defect("a landed key missing", SL, "required_values", altered(SL, "TRUE", _device="NULL")),
    Defect("the key of another person", CT, "agrees_with_second_engine", altered(CL, ADA, _person="'zoe@example.com'")),
    Defect("an e-mail in capitals", CT, "agrees_with_second_engine", altered(CT, ADA, email="upper(email)")),
    Defect(
        "the names of two persons swapped",
        CT,
        "agrees_with_second_engine",
        altered(CT, f"{ADA} OR {BEN}", customerName=f"CASE WHEN {ADA} THEN 'ben lovelace' ELSE 'ada lovelace' END"),
    ),
    Defect("a phone number changed", CC, "rows_of_customer_trusted", altered(CC, ADA, phone="'0'")),
    Defect("an acceleration of NaN", AT, "values_are_finite", altered(AT, ONE_OF_ADAS, x="'NaN'::DOUBLE")),
    Defect("an infinite acceleration", AT, "values_are_finite", altered(AT, ONE_OF_ADAS, z="'-Infinity'::DOUBLE")),
    Defect("an acceleration of 17 g", AT, "values_in_range", altered(AT, ONE_OF_ADAS, y="17")),
    Defect("a reading in seconds", AT, "instants_plausible", altered(AT, ONE_OF_ADAS, timestamp='"timestamp" // 1000')),
    Defect("a reading from the future", AT, "instants_plausible", altered(AT, ONE_OF_ADAS, timestamp=FUTURE)),
    Defect("a distance of nothing", ST, "distances_in_range", altered(ST, ONE_STEP, distanceFromObject="0")),
    # Files, columns, and what is said of them.
    Defect("a data file holds its rows twice", CC, "as_published", file_doubled(CC), quick=True),
    Defect("a data file deleted", AT, "as_published", half_deleted(AT)),
    Defect("another table's count of rows", AT, "as_published", said(AT, rows=12)),
    Defect("a column too many", CT, "as_published", other_columns(CT, "*, 1 AS further")),
    Defect("columns in another order", CC, "as_published", other_columns(CC, "email, * EXCLUDE (email)")),
    Defect("a column of another type", AT, "as_published", other_columns(AT, "* REPLACE (x::FLOAT AS x)")),
    Defect("a column missing", AT, CANNOT_BE_READ, other_columns(AT, "* EXCLUDE (z)")),
    Defect("a footer damaged", ML, CANNOT_BE_READ, footer_damaged(ML)),
    Defect("pages damaged", ST, CANNOT_BE_READ, pages_damaged(ST)),
    Defect("the quarantine's footer damaged", QUARANTINE, CANNOT_BE_READ, footer_damaged(QUARANTINE)),
    Defect("every data file deleted", CC, CANNOT_BE_READ, file_deleted(CC)),
    Defect("the folder of data files deleted", AT, CANNOT_BE_READ, folder_deleted(AT, "data")),
    Defect("the folder of metadata deleted", ST, CANNOT_BE_READ, folder_deleted(ST, "metadata")),
    Defect("the metadata damaged", CT, CANNOT_BE_READ, metadata_damaged(CT)),
    Defect("the list of manifests cut off", CC, CANNOT_BE_READ, manifests_cut(CC, slice(1))),
    Defect("the manifests cut off", ML, CANNOT_BE_READ, manifests_cut(ML, slice(1, None))),
    Defect("the list of manifests deleted", AT, CANNOT_BE_READ, manifests_deleted(AT, slice(1))),
    Defect("the manifests deleted", CT, CANNOT_BE_READ, manifests_deleted(CT, slice(1, None))),
    Defect("another snapshot is said to be current", CT, CANNOT_BE_READ, another_snapshot_named(CT)),
    Defect("rows deleted by another engine", CT, CANNOT_BE_READ, deleted_by_another_engine(CT, ADA)),
    Defect(
        "the quarantine emptied by another engine",
        QUARANTINE,
        CANNOT_BE_READ,
        deleted_by_another_engine(QUARANTINE, "_superseded = false"),
    ),
    Defect("the files' reports deleted", "accelerometer_files", CANNOT_BE_READ, file_deleted("accelerometer_files")),
    Defect("a file's report says more records", CL, "rows_accounted_for", reported(CL, accepted=1_000)),
    Defect("a file's report says more bytes", SL, "rows_accounted_for", reported(SL, bytes=1)),
    Defect("a file's report says that it is unreadable", AL, "files_readable", reported(AL, error="it is UTF-16")),
    Defect("a file's report says that it is cut off", SL, "files_whole", reported(SL, cut_off=True)),
    Defect(
        "a file's report says that nothing was accepted",
        AL,
        "every_file_gives_records",
        reported(AL, accepted=0, quarantined=5),
    ),
    Defect(
        "a report says that many left for records that cannot be read",
        CL,
        "few_people_leave_unread",
        delivered(CL, withdrawn={"people": 10, "left": 2, "unread": 1}),
    ),
    Defect("a report names an unknown field", SL, "unknown_fields", reported(SL, unknown_fields=("more",))),
    Defect("a file is reported as ignored", CL, "ignored_files", delivered(CL, ignored=["more.txt"])),
    Defect(
        "a file that a manifest lists is reported as missing",
        AL,
        "files_match_manifests",
        delivered(AL, manifests={"listed": 1, "differing": 1, "named": [{"file": "more.json", "trouble": "missing"}]}),
    ),
    Defect("another quarantine is named", QUARANTINE, CANNOT_BE_READ, another_quarantine_named(CL)),
    Defect("ten times as many rows before", CT, "row_count_change", said(CT, previous_rows=130)),
    Defect(
        "made of another table than is there now",
        AT,
        "agrees_with_second_engine",
        said(AT, input_contents={AL: "other rows"}),
    ),
    Defect(
        "made under a policy for comparisons",
        CT,
        "policy_is_default",
        said(CT, policy={**Policy().as_dict(), "consent_record": "any"}),
    ),
]


@pytest.mark.parametrize(
    "defect",
    [pytest.param(defect, id=defect.what, marks=[] if defect.quick else pytest.mark.matrix) for defect in STORED],
)
def test_a_change_to_what_is_stored_is_found(defect: Defect, built: KeptLake, spark_resource: SparkResource) -> None:
    lake = built.restored()
    defect.do(Stored(lake))
    as_a_new_process()
    if defect.quick:
        checked = check(lake, spark_resource, quarantine_rate=0.1)
    else:
        checks_are_of = re.sub("_(quarantine|files)$", "_landing", defect.table)
        checked = checks_of(checks_are_of, lake, spark_resource, quarantine_rate=0.1)
    failed = failed_checks(checked)
    if defect.caught_by == CANNOT_BE_READ:
        assert not checked.success
        assert any(named in messages(checked) for named in (defect.table, f"/{ALL_TABLES[defect.table].path}/"))
        assert "example.com" not in messages(checked)
    else:
        assert (defect.table, defect.caught_by) in failed, failed or messages(checked)
        assert checked.success == (not has_error(checked) and not messages(checked))
    _caught[f"stored: {defect.what}"] = f"{defect.table}, {defect.caught_by}"


def test_the_lake_without_a_defect_raises_no_alarm(built: KeptLake, spark_resource: SparkResource) -> None:
    """Whatever the counts say that were taken while its tables were written: they are not believed.

    Nor is a file one of a table's rows for lying among its data files.
    """
    lake = built.restored()
    for name, table in TABLES.items():
        Stored(lake).say(name, counts=dict.fromkeys(current(lake, table).counts, 9))
        file = Stored(lake).file(name)
        shutil.copy(file, file.with_name("copy.parquet"))
    checked = check(lake, spark_resource, quarantine_rate=0.1)
    assert checked.success
    assert failed_checks(checked) == set()


@pytest.mark.parametrize(("name", "which"), [(CT, ADA), (QUARANTINE, "_superseded = false")])
def test_what_another_engine_has_done_is_undone_by_repair(
    name: str, which: str, built: KeptLake, spark_resource: SparkResource
) -> None:
    lake = built.restored()
    before = current(lake, ALL_TABLES[name])
    deleted_by_another_engine(name, which)(Stored(lake))
    with pytest.raises(CorruptTableError, match=f"{name} in .*another program has made it"):
        current(lake, ALL_TABLES[name])
    (repaired,) = repair(lake, Keys(lambda: KEY, lambda: KEY))
    assert repaired.table.name == name.replace("_quarantine", "_landing")
    assert current(lake, ALL_TABLES[name]) == before
    assert failed_checks(check(lake, spark_resource, quarantine_rate=0.1)) == set()


# ---- Raw files ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    """A defect of a delivery: the file that is delivered, and which check of which table finds it.

    `content` is None where a file is there no longer. A `refused` table is not published; `caught_by` are words of
    the reason.
    """

    what: str
    file: str
    content: bytes | None
    table: str
    caught_by: str
    refused: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Delivery:
    """What is delivered at once on top of two good people's files: defects that do not hide one another.

    `after` is what stands in the tables already; None where they have not been made yet.
    """

    what: str
    tables: dg.AssetSelection
    defects: list[Broken]
    after: dict[str, bytes] | None = None


def _many(**values: float) -> bytes:
    """Return twenty readings of ada's phone, with some values."""
    return lines(*(phone_reading("ada", START + number) | values for number in range(20)))


def _steps(device: str = "device-of-ada", count: int = 20, **values: float) -> bytes:
    """Return readings of a device, with some values."""
    return lines(*(device_reading(device, START + number) | values for number in range(count)))


_LANDING = dg.AssetSelection.assets(CL, AL, SL)
_ADA_MORE = lines(customer("ada", CONSENTED, CONSENTED))
_PAGE = b"<html>\n<h1>502 Bad Gateway</h1>\n</html>\n"
_GONE = "are gone or unreadable"

RAW = [
    Delivery(
        "broken files",
        _LANDING,
        [
            Broken("gzip cut off", "customer/landing/cut.json.gz", gzip.compress(_ADA_MORE)[:-8], CL, "files_readable"),
            Broken(
                "an unknown field",
                "customer/landing/more.json",
                lines(customer("cleo", CONSENTED, None) | {"firmware": "2"}),
                CL,
                "unknown_fields",
            ),
            Broken("an unknown suffix", "customer/landing/more.txt", _ADA_MORE, CL, "ignored_files"),
            Broken("records named manifest", "customer/landing/manifest.json", _ADA_MORE, CL, "files_match_manifests"),
            Broken(
                "a quarantined customer without an e-mail",
                "customer/landing/half.json",
                b'{"customerName": "ada',
                CL,
                "quarantined_people_known",
            ),
            Broken(
                "UTF-16", "accelerometer/landing/wide.json", _many().decode().encode("utf-16"), AL, "files_readable"
            ),
            Broken("an HTML page", "accelerometer/landing/page.json", _PAGE, AL, "quarantine_rate"),
            Broken(
                "an e-mail as the name of a field",
                "accelerometer/landing/more.json",
                lines(phone_reading("ada", START) | {"ada@example.com": 1}),
                AL,
                "unknown_fields",
            ),
            Broken(
                "gzip damaged",
                "step_trainer/landing/bad.json",
                gzip.compress(_steps(count=500))[:40] + bytes(400),
                SL,
                "files_readable",
            ),
            Broken(
                "seconds instead of milliseconds",
                "step_trainer/landing/more.json",
                _steps(sensorReadingTime=START // 1000),
                SL,
                "quarantine_rate",
            ),
            Broken("a copy with an unknown suffix", "step_trainer/landing/one.json.bak", _steps(), SL, "ignored_files"),
        ],
    ),
    Delivery(
        "broken records",
        _LANDING,
        [
            Broken(
                "a key twice",
                "customer/landing/more.json",
                _ADA_MORE.replace(b"{", b'{"email": "ben@example.com", '),
                CL,
                "quarantine_rate",
            ),
            Broken("NaN", "accelerometer/landing/more.json", _many(x=float("nan")), AL, "quarantine_rate"),
            Broken("CSV", "step_trainer/landing/more.json", b"instant,serial\n1,ada\n2,ben\n", SL, "quarantine_rate"),
            Broken(
                "a file in place of an unreadable one",
                "step_trainer/landing/wide.json",
                _steps().decode().encode("utf-16-be"),
                SL,
                "files_readable",
            ),
        ],
    ),
    Delivery(
        "nothing",
        _LANDING,
        [
            Broken("an empty file", "customer/landing/one.json", b"", CL, "not_empty"),
            Broken("every record quarantined", "accelerometer/landing/one.json", _PAGE, AL, "not_empty"),
            Broken("a file of blank lines", "step_trainer/landing/one.json", b"\n \r\n\t\n", SL, "not_empty"),
        ],
    ),
    Delivery(
        "later files",
        _LANDING,
        [
            Broken("a file that vanished", "customer/landing/one.json", None, CL, _GONE, refused=True),
            Broken(
                "a file that is cut off now",
                "accelerometer/landing/one.json",
                gzip.compress(_many())[:-8],
                AL,
                _GONE,
                refused=True,
            ),
            Broken(
                "a delivery ten times smaller", "step_trainer/landing/one.json", _steps(count=4), SL, "row_count_change"
            ),
        ],
        after={"step_trainer/landing/one.json": _steps(count=40)},
    ),
    Delivery(
        "odd values",
        dg.AssetSelection.assets(CL, AL, SL, CT, AT, CC, ST),
        [
            Broken("accelerations in millig", "accelerometer/landing/more.json", _many(x=980.0), AT, "values_in_range"),
            Broken(
                "a clock that is ahead",
                "accelerometer/landing/ahead.json",
                _many(timestamp=FAR_AWAY),
                AT,
                "instants_plausible",
            ),
            Broken(
                "distances below zero",
                "step_trainer/landing/more.json",
                _steps(distanceFromObject=-1),
                ST,
                "distances_in_range",
            ),
            Broken(
                "devices that nobody holds",
                "step_trainer/landing/whose.json",
                _steps("device-of-nobody"),
                ST,
                "unattributed_share",
            ),
        ],
    ),
    Delivery(
        "no files",
        dg.AssetSelection.assets(AL),
        [Broken("no file at all", "accelerometer/landing/one.json", None, AL, "No landing files", refused=True)],
    ),
]


def _deliver(lake: Lake, files: dict[str, bytes | None]) -> None:
    for path, content in files.items():
        if content is None:
            (root_of(lake) / path).unlink()
        else:
            (root_of(lake) / path).write_bytes(content)


@pytest.mark.matrix
@pytest.mark.parametrize("delivery", [pytest.param(delivery, id=delivery.what) for delivery in RAW])
def test_a_broken_delivery_is_found(delivery: Delivery, lake: Lake, spark_resource: SparkResource) -> None:
    write_ada_and_ben(lake)
    if delivery.after is not None:
        _deliver(lake, {**delivery.after})
        assert materialise(lake, spark_resource, tables=delivery.tables).success
    _deliver(lake, {defect.file: defect.content for defect in delivery.defects})
    result = materialise(lake, spark_resource, tables=delivery.tables)
    failed, said = failed_checks(result), messages(result)
    for defect in delivery.defects:
        if defect.refused:
            assert re.search(f"{defect.caught_by}", said), said
            assert defect.table not in {table for table, _ in failed}
        else:
            assert (defect.table, defect.caught_by) in failed, (defect, failed, said)
        _caught[f"raw: {defect.what}"] = f"{defect.table}, {defect.caught_by}"
    assert result.success == (not has_error(result) and not said)
    assert "example.com" not in said


# ---- Policies and keys --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    """What a defect of the settings has to work with: the good lake, an empty one, and the environment."""

    built: Lake
    empty: Lake
    spark: SparkResource
    environment: pytest.MonkeyPatch


def made_under(policy: Policy) -> Callable[[Set], str]:
    """Make the people's table of a new lake under a policy."""

    def making(given: Set) -> str:
        write_ada_and_ben(given.empty)
        made = materialise(given.empty, given.spark, policy, tables=dg.AssetSelection.assets(CL, CT))
        assert made.success
        return _found(made)

    return making


def read_under(policy: Policy, *tables: str) -> Callable[[Set], str]:
    """Make tables of the good lake again, under another policy."""

    def making(given: Set) -> str:
        return _found(materialise(given.built, given.spark, policy, tables=dg.AssetSelection.assets(*tables)))

    return making


def configured(**variables: str) -> Callable[[Set], str]:
    """Read settings."""

    def reading(_: Set) -> str:
        with pytest.raises(SettingsError) as refused:
            settings_of(variables)
        return str(refused.value)

    return reading


def _found(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join([messages(result), *(f"{table}, {rule}" for table, rule in sorted(failed_checks(result)))])


def _of_a_comparison(given: Set) -> str:
    (root_of(given.built) / "_purpose.json").write_text('{"purpose": "comparison"}')
    return read_under(DEFAULT, CT)(given)


def _another_pseudonym_key(given: Set) -> str:
    given.environment.setenv("STEDI_PSEUDONYM_KEY", "x" * 40)
    return _found(check(given.built, given.spark))


def _short_key(given: Set) -> str:
    given.environment.setenv("STEDI_PSEUDONYM_KEY", "short")
    return read_under(DEFAULT, ML)(given)


def _key_in_the_lake(given: Set) -> str:
    given.environment.delenv("STEDI_PSEUDONYM_KEY")
    given.environment.setenv("XDG_CONFIG_HOME", str(root_of(given.built) / "config"))
    return read_under(DEFAULT, ML)(given)


def _another_suppression_key(given: Set) -> str:
    nobody = {"0" * 64: Erased(CONSENTED)}
    change_suppressed(given.built, lambda: b"k" * 40, lambda found: replace(found, people=nobody))
    given.environment.setenv("STEDI_SUPPRESSION_KEY", "x" * 40)
    return read_under(DEFAULT, CL)(given)


def _damaged_list(given: Set) -> str:
    (root_of(given.built) / "_suppressed.json").write_text("{")
    return read_under(DEFAULT, CL)(given)


def _lost_list(given: Set) -> str:
    (root_of(given.built) / "_erasures").mkdir()
    (root_of(given.built) / "_erasures" / "20260101T000000Z-0.json").write_text("{}")
    return read_under(DEFAULT, CL)(given)


SINCE_CONSENT = Policy(readings=Readings.SINCE_CONSENT)
ANY, BY_TIME = Policy(ConsentRecord.ANY), Policy(match_on=MatchOn.TIMESTAMP)
FOR_PRODUCTION = "STEDI_PURPOSE=comparison"

# What is set, what it is found by or refused with, and how it comes about.
POLICIES: list[tuple[str, str, Callable[[Set], str]]] = [
    ("made of any consent", "customer_trusted, policy_is_default", made_under(ANY)),
    ("made on the timestamp alone", "customer_trusted, policy_is_default", made_under(BY_TIME)),
    ("made of readings since consent", "customer_trusted, policy_is_default", made_under(SINCE_CONSENT)),
    ("any consent, for production", FOR_PRODUCTION, configured(STEDI_CONSENT_RECORD="any")),
    ("the timestamp alone, for production", FOR_PRODUCTION, configured(STEDI_MATCH_ON="timestamp")),
    ("a comparison in a lake for production", "is for production", read_under(ANY, CL)),
    ("production in a lake for comparisons", "is for comparison", _of_a_comparison),
    ("tables of another policy", "customer_trusted was made under another policy", read_under(SINCE_CONSENT, AT)),
    (
        "tables of other instants",
        "was made under another policy",
        read_under(Policy(published_time=PublishedTime.DAY), ML),
    ),
    ("another pseudonym key", "stedi rotate-key", _another_pseudonym_key),
    ("a short pseudonym key", "STEDI_PSEUDONYM_KEY has 5 bytes", _short_key),
    ("a pseudonym key in the lake", "would lie below the lake", _key_in_the_lake),
    ("another suppression key", "suppression key is not the one", _another_suppression_key),
    ("a damaged list of erased people", "list of erased people", _damaged_list),
    ("a lost list of erased people", "_suppressed.json, is missing", _lost_list),
]


@pytest.mark.matrix
@pytest.mark.parametrize(("what", "caught_by", "act"), [pytest.param(*case, id=case[0]) for case in POLICIES])
def test_a_wrong_setting_is_found(
    what: str,
    caught_by: str,
    act: Callable[[Set], str],
    built: KeptLake,
    lake: Lake,
    spark_resource: SparkResource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = act(Set(built.restored(), lake, spark_resource, monkeypatch))
    assert caught_by in found, found
    _caught[f"settings: {what}"] = caught_by


# ---- The matrix itself --------------------------------------------------------------------------------------------


def test_every_rule_catches_a_defect_of_its_own() -> None:
    expected = {(defect.table, defect.caught_by) for defect in STORED}
    expected |= {(defect.table, defect.caught_by) for delivery in RAW for defect in delivery.defects}
    rules = {rule.name for table in TABLES.values() for rule in table.rules}
    assert rules - {name for _, name in expected} == set()
    named = [defect for defect in STORED if defect.caught_by in rules]
    assert len({defect.what for defect in named}) == len(named) >= 60


def test_no_defect_of_a_delivery_stands_in_for_another() -> None:
    for delivery in RAW:
        found_by = [(defect.table, defect.caught_by) for defect in delivery.defects]
        assert len(set(found_by)) == len(found_by), delivery.what
