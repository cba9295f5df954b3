"""Deliberate faults in the transforms, one at a time: each stopped by a check that blocks or an unpublished table.

A mutant is a piece of a module's source and what stands there instead. It runs on random worlds, under the policy
whose meaning it changes. Those of erasure are found by what is left of the person in the bytes of the tables.
"""

import inspect
import json
import random
import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from stedi_assets.contracts import ALL_TABLES, ConsentRecord, MatchOn, Policy, PublishedTime, Readings
from stedi_assets.ingest import evidence, identity
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.suppression import person_hash
from stedi_assets.storage.lake import Lake
from stedi_assets.transforms import curated, holders, pseudonyms, suppression, trusted
from stedi_assets_tests.ingest import test_validation
from stedi_assets_tests.support.kept_lakes import KeptLake
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    DEFAULT,
    INSTANTS,
    TRACES_OF_ADA,
    customer,
    device_reading,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
    write_ada_and_ben,
)
from stedi_assets_tests.support.unpacked import unpacked
from stedi_assets_tests.support.worlds import AS_OF, write_worlds

PSEUDONYM_KEY = b"a pseudonym key for tests, 32 bytes and more"
SUPPRESSION_KEY = b"a suppression key for tests, 32 bytes and more"
SINCE_CONSENT = Policy(readings=Readings.SINCE_CONSENT)
BY_HOUR = Policy(published_time=PublishedTime.HOUR)
PUBLISHED = Policy(ConsentRecord.ANY, Readings.ALL, MatchOn.TIMESTAMP)

_LANDING = dg.AssetSelection.groups("landing")
_MADE_OF_IT = dg.AssetSelection.groups("trusted", "curated")

_killed: dict[str, str] = {}


@dataclass(frozen=True)
class Mutant:
    """A fault: in `module`, `new` stands in place of `old`."""

    what: str
    module: types.ModuleType
    old: str
    new: str
    policy: Policy = DEFAULT


MUTANTS = [
    # Who is in.
    Mutant("no filter on consent", trusted, '.where("rank = 1 AND consents")', '.where("rank = 1")'),
    Mutant("consent before the latest record", trusted, "if policy.consent_record is ConsentRecord.ANY:", "if True:"),
    Mutant("consent a millisecond late", trusted, "F.col(_CONSENT) <= as_of", "F.col(_CONSENT) < as_of"),
    Mutant("consent from the future", trusted, "F.col(_CONSENT) <= as_of", "F.col(_CONSENT).isNotNull()"),
    Mutant(
        "a record a millisecond late",
        trusted,
        '(F.col("lastUpdateDate") <= as_of)',
        '(F.col("lastUpdateDate") < as_of)',
    ),
    Mutant("a record from the future", trusted, " & known_by_then", ""),
    Mutant(
        "the oldest record",
        trusted,
        'F.coalesce("lastUpdateDate", undated).desc()',
        'F.coalesce("lastUpdateDate", undated).asc()',
    ),
    Mutant("ties for consent", trusted, 'F.col("consents").asc()', 'F.col("consents").desc()'),
    Mutant(
        "undated for consent", trusted, "F.lit(0)).otherwise(F.lit(2**63 - 1))", "F.lit(2**63 - 1)).otherwise(F.lit(0))"
    ),
    Mutant("the first registration", trusted, ".desc_nulls_last()", ".asc_nulls_last()"),
    Mutant("ties by the last value", trusted, "asc_nulls_first()", "desc_nulls_last()"),
    Mutant("quarantined records do not count", trusted, "    elif quarantined is not None:\n", "    elif False:\n"),
    Mutant(
        "quarantined records are never dated",
        trusted,
        'F.col("_updated").alias("lastUpdateDate")',
        'F.lit(None).cast("bigint").alias("lastUpdateDate")',
    ),
    Mutant(
        "of a quarantined record only the last e-mail",
        trusted,
        'F.explode("_people").alias("_person")',
        'F.try_element_at("_people", F.lit(-1)).alias("_person")',
    ),
    Mutant(
        "consent to anybody is consent to research",
        trusted,
        "F.coalesce(F.col(_CONSENT) <= as_of, F.lit(False))",
        "(F.coalesce(_CONSENT, 'shareWithPublicAsOfDate', 'shareWithFriendsAsOfDate', F.lit(2**62)) <= as_of)",
    ),
    # Spellings.
    Mutant("customers as they are spelled", trusted, "F.col(_KEYS.get(name, name)).alias(name)", "F.col(name)"),
    Mutant(
        "a person for each spelling", trusted, 'Window.partitionBy("_person")', 'Window.partitionBy("_person", "email")'
    ),
    Mutant(
        "holders as they are spelled", holders, 'F.col("_person").alias("person")', 'F.col("email").alias("person")'
    ),
    Mutant(
        "held devices as they are spelled",
        holders,
        'F.col("_device").alias("serial")',
        'F.col("serialNumber").alias("serial")',
    ),
    Mutant("phones as they are spelled", trusted, 'select(F.col("_person").alias("user")', 'select(F.col("user")'),
    Mutant("devices as they are spelled", trusted, 'F.col("_device").alias("serialNumber")', '"serialNumber"'),
    Mutant("evidence as it is spelled", trusted, 'F.col("_person").alias("person")', 'F.col("user").alias("person")'),
    # Whose a reading is.
    Mutant("the least of several persons", trusted, '.where("user = other")', ""),
    Mutant(
        "who holds the device, whenever",
        trusted,
        'readings.join(owners, on=["serialNumber", "sensorReadingTime"], how="inner")',
        'readings.join(owners.drop("sensorReadingTime"), on="serialNumber", how="inner")',
    ),
    Mutant(
        "evidence from those who consent alone",
        holders,
        "pairs = customers.select(",
        'pairs = customers.where("shareWithResearchAsOfDate IS NOT NULL").select(',
    ),
    Mutant(
        "of a quarantined record only the last device",
        holders,
        'F.explode("_devices").alias("serial")',
        'F.try_element_at("_devices", F.lit(-1)).alias("serial")',
    ),
    Mutant(
        "no evidence from quarantined records",
        trusted,
        "owners = _owners(customers, quarantined, phone_readings)",
        "owners = _owners(customers, None, phone_readings)",
    ),
    Mutant(
        "readings of anybody",
        trusted,
        'theirs = _of_people(owned, customers_curated, policy, instant="sensorReadingTime")',
        "theirs = owned",
    ),
    Mutant(
        "phone readings of anybody",
        trusted,
        '_of_people(readings, customer_trusted, policy, instant="timestamp")',
        "readings",
    ),
    Mutant(
        "devices of anybody",
        trusted,
        'readings.join(serials, on="serialNumber", how="left_semi")',
        "readings",
        PUBLISHED,
    ),
    # Since when.
    Mutant(
        "readings from after the consent",
        trusted,
        'F.col(instant) >= F.col("consent")',
        'F.col(instant) > F.col("consent")',
        SINCE_CONSENT,
    ),
    Mutant(
        "readings from before the consent",
        trusted,
        "if policy.readings is Readings.SINCE_CONSENT:",
        "if False:",
        SINCE_CONSENT,
    ),
    Mutant(
        "device readings from before the consent",
        trusted,
        '_of_people(owned, customers_curated, policy, instant="sensorReadingTime")',
        '_of_people(owned, customers_curated, Policy(), instant="sensorReadingTime")',
        SINCE_CONSENT,
    ),
    # How often.
    Mutant(
        "phone readings repeated", trusted, '.dropDuplicates(\n        ["user", "timestamp", "x", "y", "z"]\n    )', ""
    ),
    Mutant("one phone reading at an instant", trusted, '["user", "timestamp", "x", "y", "z"]', '["user", "timestamp"]'),
    Mutant("device readings repeated", trusted, ".dropDuplicates(readings.columns)", ""),
    Mutant(
        "people joined for each reading",
        curated,
        '.dropDuplicates(["email"])\n    return customer_trusted.join(readers, on="email", how="left_semi")',
        '\n    return customer_trusted.join(readers, on="email", how="inner")',
    ),
    Mutant("people without readings", curated, '.join(readers, on="email", how="left_semi")', ""),
    Mutant("readings joined with people", trusted, 'on=theirs, how="left_semi"', 'on=theirs, how="inner"'),
    Mutant(
        "pairs without repeats",
        curated,
        '"distanceFromObject", "x", "y", "z")',
        '"distanceFromObject", "x", "y", "z").distinct()',
    ),
    Mutant("device readings without a phone's", curated, 'on=on, how="inner"', 'on=on, how="left"', PUBLISHED),
    # Pairs and subjects.
    Mutant(
        "pairs by the instant, under the device's person",
        curated,
        'accelerometer_trusted, ["user", "timestamp"]',
        'accelerometer_trusted, ["timestamp"]',
    ),
    Mutant(
        "pairs by the instant, under the phone's person",
        curated,
        'with_subjects(steps, "user", hmac_pads), accelerometer_trusted, ["user", "timestamp"]',
        'steps, with_subjects(accelerometer_trusted, "user", hmac_pads), ["timestamp"]',
    ),
    Mutant(
        "instants closer than published",
        curated,
        'F.col("timestamp") - F.col("timestamp") % policy.published_time.milliseconds',
        'F.col("timestamp")',
        BY_HOUR,
    ),
    Mutant(
        "instants of another day",
        curated,
        "% policy.published_time.milliseconds",
        "% (24 * policy.published_time.milliseconds)",
        BY_HOUR,
    ),
    Mutant(
        "a hash without a key",
        pseudonyms,
        'return F.sha2(F.concat(F.col("outer_pad"), inner), 256)',
        "return F.sha2(text, 256)",
    ),
    Mutant(
        "a hash that is not HMAC",
        pseudonyms,
        'F.unhex(F.sha2(F.concat("inner_pad", text.cast("binary")), 256))',
        'F.sha2(F.concat("inner_pad", text.cast("binary")), 256)',
    ),
    Mutant("the e-mail as subject", pseudonyms, "keyed_hash(F.col(person))", "F.col(person)"),
]


@pytest.fixture(autouse=True, scope="module")
def _keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_PSEUDONYM_KEY", PSEUDONYM_KEY.decode())
        environment.setenv("STEDI_SUPPRESSION_KEY", SUPPRESSION_KEY.decode())
        yield


@pytest.fixture(autouse=True, scope="module")
def _kills_shown() -> Iterator[None]:
    """Show at the end what was killed by what; seen with `pytest -s`."""
    yield
    width = max(map(len, _killed), default=0)
    shown = "".join(f"{what:{width}}  {by}\n" for what, by in _killed.items())
    sys.stdout.write(f"\n{shown}{len(_killed)} mutants killed\n")


def mutated(mutant: Mutant) -> str:
    """Return the source of a mutant's module with the fault."""
    source = inspect.getsource(mutant.module)
    assert source.count(mutant.old) == 1, mutant.what
    return source.replace(mutant.old, mutant.new)


def mutate(mutant: Mutant, patch: pytest.MonkeyPatch) -> None:
    """Put the functions of a mutated module in place of its own, wherever they have been imported to."""
    namespace = {"__name__": mutant.module.__name__, "__package__": mutant.module.__package__}
    exec(compile(mutated(mutant), f"<{mutant.what}>", "exec"), namespace)
    importers = [module for name, module in sys.modules.items() if name.startswith("stedi_assets.")]
    for importer in importers:
        for name, found in list(vars(importer).items()):
            if isinstance(found, types.FunctionType) and found.__module__ == mutant.module.__name__:
                patch.setattr(importer, name, namespace[found.__name__])


def killer(result: dg.ExecuteInProcessResult) -> str | None:
    """Return the first rule that stopped a run: of a table that was not published, or of a check that blocks."""
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            if not found.passed and found.severity is dg.AssetCheckSeverity.ERROR:
                return f"check {found.check_name} of {found.asset_key.path[-1]}"
        if event.is_step_failure and event.step_failure_data.user_failure_data:
            said = event.step_failure_data.user_failure_data.description or ""
            if broken := re.match(r"(\w+) was not published: it breaks the rule (\w+)", said):
                return f"{broken[1]} not published: {broken[2]}"
    return None


def _write_rare_cases(lake: Lake) -> None:
    """Write what random worlds hold by chance only: a case for each mutant that would otherwise depend on the draw."""
    later, at = CONSENTED + 1, INSTANTS[0]
    customers = [
        # Of one instant, both consenting; and registered on two days.
        *(customer("tia", CONSENTED, CONSENTED) | {"customerName": name} for name in ("Tia A", "Tia B")),
        *(customer("reg", CONSENTED, CONSENTED) | {"registrationDate": day, "phone": f"{day}"} for day in INSTANTS),
        # With two devices.
        customer("duo", CONSENTED, CONSENTED, "device-1-of-duo"),
        customer("duo", later, CONSENTED, "device-2-of-duo"),
        # In quarantine with two e-mails; and with a date, from before the consent.
        customer("quin", CONSENTED, CONSENTED),
        customer("quin", later, CONSENTED) | {"EMAIL": "other@example.com"},
        customer("dan", CONSENTED, None) | {"serialNumber": 5},
        customer("dan", later, CONSENTED),
        # Two holders of a device whose phones are active at once: both consent; one does not; one is in quarantine.
        *(customer(person, CONSENTED, CONSENTED, "device-of-two") for person in ("eva", "fay")),
        customer("gus", CONSENTED, CONSENTED, "device-of-one"),
        customer("hal", CONSENTED, None, "device-of-one"),
        customer("ida", CONSENTED, CONSENTED, "device-in-doubt"),
        customer("jon", 12, None, "device-in-doubt") | {"more": {"serialNumber": "device-of-jon"}},
    ]
    active = ("duo", "eva", "fay", "gus", "hal", "ida", "jon")
    devices = ("device-1-of-duo", "device-2-of-duo", "device-of-two", "device-of-one", "device-in-doubt")
    readings = [device_reading(device, at) for device in devices]
    more = {
        "customer": customers,
        "accelerometer": [phone_reading(person, at) for person in active],
        # The last one is without anybody's phone.
        "step_trainer": [*readings, device_reading("device-2-of-duo", at + 1)],
    }
    for source, found in more.items():
        (root_of(lake) / source / "landing" / "rare.json").write_bytes(lines(*found))


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Callable[[Policy], Lake]:
    """Returns a lake for a policy's purpose, in which random worlds have landed and nothing else has happened."""
    kept: dict[bool, KeptLake] = {}

    def of(policy: Policy) -> Lake:
        if policy.needs_comparison not in kept:
            lake = local_lake(tmp_path_factory.mktemp("landed") / "lake")
            write_worlds(lake, random.Random("mutants"), count=300)
            _write_rare_cases(lake)
            assert materialise(lake, spark_resource, policy, tables=_LANDING).success
            kept[policy.needs_comparison] = KeptLake.of(lake)
        return kept[policy.needs_comparison].restored()

    return of


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.what) for mutant in MUTANTS])
def test_a_mutant_is_another_program(mutant: Mutant) -> None:
    changed = mutated(mutant)
    compile(changed, mutant.what, "exec")
    assert changed != inspect.getsource(mutant.module)


@pytest.mark.matrix
@pytest.mark.parametrize("policy", [DEFAULT, SINCE_CONSENT, BY_HOUR, PUBLISHED], ids=str)
def test_without_a_fault_nothing_is_stopped(
    policy: Policy, landed: Callable[[Policy], Lake], spark_resource: SparkResource
) -> None:
    result = materialise(landed(policy), spark_resource, policy, as_of=AS_OF, tables=_MADE_OF_IT)
    assert result.success
    assert killer(result) is None


@pytest.mark.matrix
@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.what) for mutant in MUTANTS])
def test_a_fault_is_stopped(
    mutant: Mutant, landed: Callable[[Policy], Lake], spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = landed(mutant.policy)
    mutate(mutant, monkeypatch)
    result = materialise(lake, spark_resource, mutant.policy, as_of=AS_OF, tables=_MADE_OF_IT)
    stopped_by = killer(result)
    assert not result.success
    assert stopped_by
    _killed[mutant.what] = stopped_by


# ---- Who is who, at the gate ---------------------------------------------------------------------------------------

GATE_MUTANTS = [
    Mutant("no lower case", identity, 'normalize("NFD", seen).casefold()', 'normalize("NFD", seen)'),
    Mutant("lower case is not case folding", identity, ".casefold()", ".lower()"),
    Mutant("letters and their accents apart", identity, 'return unicodedata.normalize("NFC", folded)', "return folded"),
    Mutant("nothing trimmed", identity, "plain_forms(text)).strip(BLANKS)", "plain_forms(text))"),
    Mutant("invisible characters stay", identity, '_INVISIBLE.sub("", plain_forms(text))', "plain_forms(text)"),
    Mutant("full-width forms stay", identity, "text.translate(_PLAIN)", "text"),
    Mutant("names stay around addresses", identity, 'if address.endswith(">")', 'if address.endswith("?")'),
    Mutant("mailto stays", identity, 'while address.startswith("mailto:")', 'while address.startswith("?")'),
    Mutant("an @ is an address", identity, "if not (local and at and domain)", "if not at"),
    Mutant("doubtful characters pass", identity, "or not is_within(text):", "or False:"),
    Mutant("escapes in quarantined records stay", evidence, "yield _unescaped(value[1])", "yield value[1]"),
    Mutant("numbers are no devices", evidence, "numbers=True", "numbers=False"),
    Mutant("names in small letters only", evidence, r""":\s*', re.IGNORECASE)""", r""":\s*')"""),
    Mutant("no escaped names", evidence, 'rf"(?:{c}|', 'rf"(?:{c}|no'),
]


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.what) for mutant in GATE_MUTANTS])
def test_a_fault_in_who_is_who_differs_from_the_oracle(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [doubt.raw for doubt in test_validation.DOUBTS]
    records += [line.encode() for line in ('{"serialNumber": 7', '{"email": "STRASSE@x"', '{"email": "stra\u00dfe@x"')]

    def found() -> list[test_validation.Judged]:
        return [test_validation.by_the_product("customer", record) for record in records]

    right = [test_validation.by_the_oracle("customer", record) for record in records]
    assert found() == right
    mutate(mutant, monkeypatch)
    assert found() != right
    _killed[mutant.what] = "the oracle"


# ---- Erasure ------------------------------------------------------------------------------------------------------

ADA = person_hash("ada@example.com", SUPPRESSION_KEY)

SUPPRESSION_MUTANTS = [
    Mutant("nobody suppressed", suppression, 'kept = _of_erased(kept, source, text, erased, how="left_anti")', "pass"),
    Mutant("nobody suppressed in quarantine", suppression, 'F.col("cardinality") > 0', "F.lit(False)"),
    Mutant("nobody suppressed before the way back", suppression, "F.lit(False))", "F.lit(True))"),
    Mutant(
        "a way back by an old consent",
        suppression,
        'F.least("consent", "recorded") > F.col("erased_at")',
        'F.col("consent").isNotNull()',
    ),
    Mutant(
        "records of other spellings stay",
        suppression,
        'return [F.col("_person")]',
        'return [F.col("email" if source.name == "customer" else "user")]',
    ),
    Mutant(
        "devices stay", suppression, 'people["hash"], how="left_semi")', 'people["hash"], how="left_semi").limit(0)'
    ),
    Mutant("e-mails without a name stay", suppression, 'F.concat("_people", "_mentions")', '(F.col("_people"))'),
    Mutant("what may concern anybody stays", suppression, "anybody | F.array_contains", "F.array_contains"),
]


@pytest.fixture(scope="module")
def with_ada(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> KeptLake:
    """A lake in which ada has landed in every way: accepted, spelled otherwise, and quarantined."""
    lake = local_lake(tmp_path_factory.mktemp("with_ada") / "lake")
    write_ada_and_ben(lake)
    # So many addresses that hers is not told apart any more.
    crowd = json.dumps({"contacts": [f"a{number}@example.com" for number in range(10_001)] + ["ada@example.com"]})
    for source, content in {
        "customer": b'{"name": "x" "contact" ada@example.com}\n{"email": "ada@example.com", "serialNumber": 5}\n'
        + crowd.encode()
        + b"\n"
        + lines(customer("ada", CONSENTED - 1, CONSENTED)),
        "accelerometer": lines(phone_reading("ada", INSTANTS[0]) | {"user": " ADA@example.com"}),
        "step_trainer": lines(device_reading("device-of-ada", INSTANTS[0] + 1)),
    }.items():
        (root_of(lake) / source / "landing" / "more.json").write_bytes(content)
    assert materialise(lake, spark_resource, tables=_LANDING).success
    assert left_of_ada(lake)
    return KeptLake.of(lake)


def left_of_ada(lake: Lake) -> list[str]:
    """Return the tables of whose files any holds a trace of ada, what is packed in them unpacked."""
    files = ((name, file) for name, table in ALL_TABLES.items() for file in (root_of(lake) / table.path).rglob("*"))
    return sorted({name for name, file in files if file.is_file() and TRACES_OF_ADA.search(unpacked(file))})


def _erased(lake: Lake, spark: SparkResource) -> None:
    erased = erase_person.execute_in_process(
        run_config={"ops": {"erase_from_lake": {"config": {"person": ADA, "expect_nobody": True}}}},
        resources={name: found for name, found in resources(lake, spark).items() if name in {"lake", "spark"}},
        raise_on_error=False,
    )
    assert erased.success
    # The sources still deliver her.
    assert materialise(lake, spark, tables=_LANDING).success


@pytest.mark.matrix
def test_an_erasure_without_a_fault_leaves_nothing(with_ada: KeptLake, spark_resource: SparkResource) -> None:
    lake = with_ada.restored()
    _erased(lake, spark_resource)
    assert left_of_ada(lake) == []


@pytest.mark.matrix
@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.what) for mutant in SUPPRESSION_MUTANTS])
def test_an_erasure_with_a_fault_leaves_traces(
    mutant: Mutant, with_ada: KeptLake, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = with_ada.restored()
    mutate(mutant, monkeypatch)
    _erased(lake, spark_resource)
    left = left_of_ada(lake)
    assert left
    _killed[mutant.what] = f"left in {', '.join(left)}"


def test_there_are_mutants_enough_and_each_finds_its_place() -> None:
    mutants = [*MUTANTS, *GATE_MUTANTS, *SUPPRESSION_MUTANTS]
    assert all(map(mutated, mutants))
    assert len({mutant.what for mutant in mutants}) == len(mutants)
    assert len(MUTANTS) >= 24
