"""The promises hold on what breaks them: each case of `promise_cases` lands in a lake, and is held to the right value.

As a user meets it: files are delivered, Dagster runs, and what lies in the lake and what was said is looked at. Most
cases lie in one lake together, which is run three times; only what would stop the others, or is about the whole lake,
has one of its own. Of the cases in the one lake only those whose tests run are delivered.
"""

import hashlib
import hmac
import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import pyarrow.parquet as pq
import pytest

from stedi_assets.contracts import QUARANTINE_TABLES, TABLES, Zone
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.suppression import person_hash
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import current_dataset, read_snapshot_of
from stedi_assets_tests.support import promise_cases as cases
from stedi_assets_tests.support.lakes import (
    CONSENTED,
    INSTANTS,
    check,
    lines,
    local_lake,
    materialise,
    phone_reading,
    resources,
    root_of,
)
from stedi_assets_tests.support.unpacked import unpacked

PSEUDONYM_KEY = b"a pseudonym key for tests, 32 bytes and more"
SUPPRESSION_KEY = b"a suppression key for tests, 32 bytes and more"
HEAD = 64 << 10
SPLITTING_TAKES = 256 << 20
"""How much memory the splitter may take beyond what Python does, whatever it is given."""

Row: TypeAlias = Mapping[str, Any]
Result: TypeAlias = dg.ExecuteInProcessResult
_MADE_OF_PEOPLE = [table for table in TABLES.values() if table.zone is not Zone.LANDING]
_CUSTOMERS_ONLY = dg.AssetSelection.assets("customer_landing")
_CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_tested: set[str] = set()


def promise(*names: str) -> pytest.MarkDecorator:
    """Mark a test as that of cases, which its id then names."""
    _tested.update(names)
    return pytest.mark.parametrize("case", names)


@pytest.fixture(autouse=True, scope="module")
def _keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEDI_SUPPRESSION_KEY", SUPPRESSION_KEY.decode())
        environment.setenv("STEDI_PSEUDONYM_KEY", PSEUDONYM_KEY.decode())
        yield


# --- What is looked at ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a run left behind. `trusted` is every byte of the tables made of people, old snapshots and all."""

    result: Result = field(repr=False)
    trusted: str = field(repr=False)
    rows: Mapping[str, list[dict[str, Any]]] = field(repr=False)
    said: list[str] = field(repr=False)

    def from_files(self, table: str, case: str, name: str = "") -> list[dict[str, Any]]:
        """Return the rows of a landing table or quarantine that came from a case's files."""
        return [row for row in self.rows[table] if row["_source_file"].startswith(f"{case}/{name}")]

    @cached_property
    def people(self) -> list[str]:
        """Everybody in customer_trusted."""
        return [row["email"] for row in self.rows["customer_trusted"]]


def look(lake: Lake, result: Result, instance: dg.DagsterInstance) -> Seen:
    """Look at what a run has left."""
    published = [t for t in (*TABLES.values(), *QUARANTINE_TABLES.values()) if read_snapshot_of(lake, t)]
    rows = {table.name: current_dataset(lake, table.name).to_table().to_pylist() for table in published}
    return Seen(result, trusted_text(lake), rows, said_in(instance, result.run_id))


def trusted_text(lake: Lake) -> str:
    """Return all that stands in the trusted and curated tables, old snapshots and what is beside them included."""
    folders = [root_of(lake) / table.path for table in _MADE_OF_PEOPLE]
    return "".join(text_of(file) for folder in folders for file in files_below(folder))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def text_of(file: Path) -> str:
    """Return all that stands in a file, Parquet pages unpacked, as if every letter had but one form."""
    return unicodedata.normalize("NFKC", _as_it_stands(file)).lower()


def _as_it_stands(file: Path) -> str:
    content = unpacked(file).decode(errors="replace")
    if file.suffix == ".parquet":
        content += " ".join(_texts(pq.ParquetFile(file).read().to_pylist()))
    return content


def words_in(text: str, *words: str) -> list[str]:
    """Return which of these stand in a text that is too long to be shown."""
    return [word for word in words if word.lower() in text]


def said_in(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return every text in the events of a run: messages, errors, metadata."""
    return [text for entry in instance.all_logs(run_id) for text in _texts(json.loads(dg.serialize_value(entry)))]


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, bytes):
        yield found.decode(errors="replace")
    elif isinstance(found, Mapping):
        for name, value in found.items():
            yield from (name, *_texts(value))
    elif isinstance(found, list):
        for value in found:
            yield from _texts(value)


def found_of(result: Result, table: str, rule: str) -> dg.AssetCheckEvaluation:
    """Return what a run found of a rule."""
    found = (c for c in result.get_asset_check_evaluations() if (c.asset_key.path[-1], c.check_name) == (table, rule))
    evaluation = next(found, None)
    assert evaluation, f"the run has not come to {rule} of {table}"
    return evaluation


def named_in(result: Result, table: str, rule: str) -> str:
    """Return what the metadata of a rule say, a line each."""
    return "\n".join(str(value.value) for value in found_of(result, table, rule).metadata.values())


def failures(result: Result) -> str:
    """Return the messages that a run ended with."""
    data = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    return " ".join(d.user_failure_data.description or "" for d in data if d.user_failure_data)


def email_of(person: str) -> str:
    return f"{person}@example.com"


def subject_of(person: str) -> str:
    """Return what stands for a person in machine_learning_curated."""
    return hmac.new(PSEUDONYM_KEY, email_of(person).encode(), hashlib.sha256).hexdigest()


def assert_out(person: str, before: Seen, after: Seen) -> None:
    """Hold a person to be nowhere in what is made of people, who was there before."""
    assert words_in(before.trusted, person)
    assert words_in(after.trusted, person, subject_of(person)) == []


# --- The one lake -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Runs:
    """The one lake, and what was seen after each of its three runs: the last one ends in errors, as it must."""

    lake: Lake
    home: Path
    first: Seen
    second: Seen
    third: Seen


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource
) -> Runs:
    """Deliver the cases together, run, erase somebody, deliver what comes then, run, and once more."""
    parameters = [
        test.callspec.params
        for test in request.session.items
        if isinstance(test, pytest.Function) and "runs" in test.fixturenames and hasattr(test, "callspec")
    ]
    delivered = list(dict.fromkeys(str(found["case"]) for found in parameters if "case" in found))
    folder = tmp_path_factory.mktemp("runs")
    lake, home = local_lake(folder / "lake"), folder / "dagster"
    home.mkdir()
    (folder / cases.OUTSIDE).write_bytes(lines(phone_reading("outside-of-the-lake", INSTANTS[0])))
    cases.deliver(lake, "crowd", cases.crowd())
    seen = []
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        for number, deliveries in enumerate(zip_longest(*map(cases.deliveries_of, delivered), [{}] * 3, fillvalue={})):
            for case, delivery in zip(delivered, deliveries, strict=False):
                cases.deliver(lake, case, delivery)
            seen.append(look(lake, materialise(lake, spark_resource, instance=instance), instance))
            if number == 0:
                assert erase(lake, spark_resource, cases.ERASED_BEFORE, instance).success
    return Runs(lake, home, *seen)


def erase(lake: Lake, spark: SparkResource, person: str, instance: dg.DagsterInstance) -> Result:
    """Erase a person, by the hash that `stedi hash-person` prints."""
    hashed = person_hash(email_of(person), SUPPRESSION_KEY)
    return erase_person.execute_in_process(
        run_config={"ops": {"erase_from_lake": {"config": {"person": hashed}}}},
        resources={name: found for name, found in resources(lake, spark).items() if name in {"lake", "spark"}},
        instance=instance,
        raise_on_error=False,
    )


def test_each_case_has_a_test() -> None:
    assert _tested == {*cases.CASES, *cases.NEIGHBOURS}


def test_nothing_in_the_first_two_deliveries_stops_a_run(runs: Runs) -> None:
    assert runs.first.result.success, failures(runs.first.result)
    assert runs.second.result.success, failures(runs.second.result)


def test_somebody_is_a_subject_once_and_the_engines_agree(runs: Runs) -> None:
    for seen in (runs.first, runs.second):
        subjects = {row["subject_id"] for row in seen.rows["machine_learning_curated"]}
        people = {row["user"] for row in seen.rows["step_trainer_trusted"]}
        assert len(subjects) == len(people)
        for table in _MADE_OF_PEOPLE:
            assert found_of(seen.result, table.name, "agrees_with_second_engine").passed


# --- A withdrawal is held up by nothing -------------------------------------------------------------------------------


@promise(
    "one-long-line-of-another-source",
    "blanks-inside-an-email",
    "zeros-in-a-gzip",
    "nul-in-a-plain-file",
    "a-gzip-with-a-name-in-capitals",
    "envelope-of-withdrawals",
    *cases.SPELLINGS,
    *cases.BROKEN,
)
def test_who_withdraws_is_out_after_one_run(case: str, runs: Runs) -> None:
    assert_out(cases.victim_of(case), runs.first, runs.second)


@promise(*cases.HOSTILE)
def test_a_hostile_record_holds_up_no_record_beside_it(case: str, runs: Runs) -> None:
    for when in ("before", "after"):
        assert_out(f"{when}.{cases.victim_of(case)}", runs.first, runs.second)
    assert len(runs.second.from_files("customer_landing", case, "withdrawals")) == 2
    quarantined = runs.second.from_files("customer_quarantine", case, "withdrawals")
    assert bool(quarantined) == (case not in cases.ONLY_SEPARATORS)
    assert all(row["raw"] in cases.HOSTILE[case] for row in quarantined)


@pytest.mark.parametrize(
    ("case", "table", "file"),
    [
        ("one-long-line-of-another-source", "accelerometer", "base64.json"),
        ("blanks-inside-an-email", "customer", "blanks.json"),
        ("zeros-in-a-gzip", "accelerometer", "z.json.gz"),
        ("nul-in-a-plain-file", "step_trainer", "nul.json"),
        ("a-gzip-with-a-name-in-capitals", "step_trainer", "Z.JSON.GZ"),
    ],
)
def test_what_holds_nothing_up_is_quarantined_with_its_file(case: str, table: str, file: str, runs: Runs) -> None:
    (quarantined,) = runs.second.from_files(f"{table}_quarantine", case)
    assert quarantined["_source_file"] == f"{case}/{file}"
    assert len(quarantined["raw"]) <= cases.RUN + 1_000


@promise("a-line-of-200-megabytes")
def test_of_a_record_too_large_a_head_is_kept_and_where_it_lies(case: str, runs: Runs) -> None:
    assert_out(cases.victim_of(case), runs.second, runs.third)
    ((_, content), *_) = list(cases.deliveries_of(case))[-1].items()
    assert isinstance(content, bytes)
    _assert_too_large(runs.third, case, content.rstrip(), 0, ["large@example.com"])
    named = found_of(runs.third.result, "customer_landing", "every_file_gives_records")
    assert (named.passed, named.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "huge.json" in named_in(runs.third.result, "customer_landing", "every_file_gives_records")


@promise("a-large-line-with-its-person-at-the-end")
def test_a_record_too_large_counts_against_its_person_wherever_that_stands(case: str, runs: Runs) -> None:
    victim, before = cases.victim_of(case), cases.BEFORE_THE_LARGE_ONE
    assert_out(victim, runs.first, runs.second)
    (content,) = list(cases.deliveries_of(case))[-1].values()
    assert isinstance(content, bytes)
    _assert_too_large(runs.second, case, content[len(before) :].rstrip(), len(before), [email_of(victim)])


def _assert_too_large(seen: Seen, case: str, record: bytes, offset: int, people: list[str]) -> None:
    (row,) = seen.from_files("customer_quarantine", case)
    assert row["reasons"] == ["record_too_large"]
    assert 0 < len(row["raw"]) <= HEAD
    assert record.startswith(row["raw"])
    assert (row["_offset"], row["_length"]) == (offset, len(record))
    assert row["_digest"] == hashlib.blake2b(record, digest_size=16).hexdigest()
    assert row["_people"] == people


@promise("replaced-file-that-held-a-withdrawal", "replaced-by-less-and-less")
def test_a_file_that_is_replaced_takes_no_withdrawal_back(case: str, runs: Runs) -> None:
    victim = cases.victim_of(case)
    for seen in (runs.first, runs.second, runs.third):
        assert email_of(victim) not in seen.people
    assert email_of(f"new.{victim}") in runs.second.people
    kept = {row["email"]: row["_superseded"] for row in runs.second.from_files("customer_landing", case, "daily")}
    assert kept == {email_of(victim): True, email_of(f"new.{victim}"): False}


@promise(*cases.ACCEPTED_SPELLINGS)
def test_an_address_in_another_spelling_is_accepted(case: str, runs: Runs) -> None:
    (row,) = runs.second.from_files("customer_landing", case, "withdrawals")
    ending, _ = cases.SPELLINGS[case]
    assert row["_person"] == email_of(f"{cases.victim_of(case)}.{ending}")
    assert runs.second.from_files("customer_quarantine", case) == []


@promise("withdrawal-nobody-can-read")
def test_who_leaves_unread_is_told_of(case: str, tmp_path: Path, spark_resource: SparkResource) -> None:
    lake, victim = local_lake(tmp_path / "lake"), cases.victim_of(case)
    tables = dg.AssetSelection.assets("customer_landing", "customer_trusted")
    results = []
    for delivery in cases.deliveries_of(case):
        cases.deliver(lake, case, delivery)
        results.append(materialise(lake, spark_resource, tables=tables))
    first, second, third = results
    assert first.success
    assert second.success
    assert found_of(first, "customer_landing", "quarantined_people_known").passed
    unknown = found_of(second, "customer_landing", "quarantined_people_known")
    assert (unknown.passed, unknown.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert unknown.metadata["failing"].value == len(cases.UNREAD)
    assert found_of(second, "customer_landing", "few_people_leave_unread").passed

    assert not third.success
    many = found_of(third, "customer_landing", "few_people_leave_unread")
    assert (many.passed, many.severity) == (False, dg.AssetCheckSeverity.ERROR)
    people = current_dataset(lake, "customer_trusted").to_table(["email"])["email"].to_pylist()
    assert sorted(people) == sorted(email_of(f"{number}.{victim}") for number in range(3, 20))


@promise("consent-of-the-far-future")
def test_a_consent_of_the_far_future_is_none_yet(case: str, runs: Runs) -> None:
    assert email_of(cases.victim_of(case)) in runs.second.people
    assert email_of(f"later.{cases.victim_of(case)}") not in runs.second.people


@pytest.mark.parametrize("as_of", [4_099_000_000_000, CONSENTED * 1_000, CONSENTED // 1_000])
def test_consent_as_of_the_future_or_of_no_milliseconds_is_refused(
    as_of: int, runs: Runs, spark_resource: SparkResource
) -> None:
    before = [read_snapshot_of(runs.lake, table) for table in TABLES.values()]
    refused = materialise(runs.lake, spark_resource, as_of=as_of, tables=dg.AssetSelection.assets("customer_trusted"))
    assert not refused.success
    assert "as_of" in failures(refused)
    assert [read_snapshot_of(runs.lake, table) for table in TABLES.values()][3:] == before[3:]


def test_customers_come_first_where_a_sensor_alone_is_asked_for(runs: Runs, spark_resource: SparkResource) -> None:
    leaving = "one-of-the-crowd-0"
    assert words_in(trusted_text(runs.lake), email_of(leaving))
    cases.deliver(runs.lake, "last", {"customer/last.json": lines(cases.withdrawal(leaving))})
    materialise(runs.lake, spark_resource, tables=dg.AssetSelection.assets("step_trainer_landing"))
    assert words_in(trusted_text(runs.lake), email_of(leaving)) == []


# --- Who is who -------------------------------------------------------------------------------------------------------


@promise("final-sigma")
def test_a_final_sigma_is_a_letter_like_any_other(case: str, runs: Runs) -> None:
    for person in (cases.victim_of(case), cases.SIGMA):
        (email,) = {found for found in runs.first.people if found.casefold() == email_of(person).casefold()}
        steps = [row for row in runs.first.rows["step_trainer_trusted"] if row["user"] == email]
        assert len(steps) == len(INSTANTS)


@promise("holder-whose-serial-is-a-number")
def test_who_holds_a_device_by_a_number_holds_it(case: str, runs: Runs) -> None:
    assert _attributed(case, runs) == [(INSTANTS[1], email_of(cases.victim_of(case)))]


@promise("holder-whose-serial-is-another-number")
def test_a_number_is_the_text_it_is_written_as(case: str, runs: Runs) -> None:
    assert _attributed(case, runs) == [(instant, email_of(cases.victim_of(case))) for instant in INSTANTS]


def _attributed(case: str, runs: Runs) -> list[tuple[int, str]]:
    steps = [row for row in runs.first.rows["step_trainer_trusted"] if cases.victim_of(case) in row["user"]]
    return sorted((row["sensorReadingTime"], row["user"]) for row in steps)


@promise("odd-values-that-are-one-device")
def test_odd_spellings_meet(case: str, runs: Runs) -> None:
    subject = subject_of(cases.victim_of(case))
    rows = [row for row in runs.first.rows["machine_learning_curated"] if row["subject_id"] == subject]
    assert len(rows) == len(INSTANTS) + 1


# --- Files ------------------------------------------------------------------------------------------------------------


@promise("envelope-of-customers")
def test_an_envelope_is_opened(case: str, runs: Runs) -> None:
    people = {email_of(f"{number}.{cases.victim_of(case)}") for number in range(cases.ENVELOPED)}
    assert people <= set(runs.second.people)
    assert {row["email"] for row in runs.second.from_files("customer_landing", case, "export")} == people
    assert runs.second.from_files("customer_quarantine", case) == []


@promise("envelope-of-readings")
def test_an_envelope_of_readings_is_opened(case: str, runs: Runs) -> None:
    assert len(runs.second.from_files("accelerometer_landing", case, "export")) == 3
    assert runs.second.from_files("accelerometer_quarantine", case) == []


@promise("no-envelope-but-a-list-in-a-record")
def test_a_list_in_a_record_is_no_envelope(case: str, runs: Runs) -> None:
    (row,) = runs.second.from_files("customer_landing", case, "one")
    assert row["email"] == email_of(cases.victim_of(case))
    assert runs.second.from_files("customer_quarantine", case) == []


@promise("packed-file")
def test_a_packed_file_is_an_error(case: str, runs: Runs) -> None:
    _assert_file_errors(runs, "accelerometer", f"{case}/more.json")
    assert_out(cases.victim_of(case), runs.second, runs.third)


@promise(*cases.PACKED)
def test_a_packed_file_of_customers_is_an_error(case: str, runs: Runs) -> None:
    _assert_file_errors(runs, "customer", f"{case}/more.json")
    assert_out(cases.victim_of(case), runs.second, runs.third)


def _assert_file_errors(runs: Runs, source: str, *files: str) -> None:
    """Hold files to be named as errors, which fail the run, and to give nothing."""
    assert not runs.third.result.success
    found = found_of(runs.third.result, f"{source}_landing", "files_readable")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    named = named_in(runs.third.result, f"{source}_landing", "files_readable")
    for file in files:
        assert file in named
        for table in (f"{source}_landing", f"{source}_quarantine"):
            assert runs.third.from_files(table, *file.split("/", maxsplit=1)) == []


@promise("truncated-file", "truncated-before-it-was-packed")
def test_a_file_that_is_cut_off_is_named_with_what_it_gave(case: str, runs: Runs) -> None:
    whole = cases.whole_readings(cases.victim_of(case))
    assert len(runs.first.from_files("accelerometer_landing", case, "cut")) == whole
    found = found_of(runs.first.result, "accelerometer_landing", "files_whole")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    named = named_in(runs.first.result, "accelerometer_landing", "files_whole")
    assert re.search(rf"{case}/cut\S*.*\b{whole}\b", named)
    assert "whole.json" not in named


@promise("names-that-hadoop-reads-otherwise")
def test_names_of_hadoops_own_are_read_or_named(case: str, runs: Runs) -> None:
    device = f"device-of-{cases.victim_of(case)}"
    landed = [row for row in runs.third.rows["step_trainer_landing"] if row["serialNumber"] == device]
    errors = found_of(runs.third.result, "step_trainer_landing", "files_readable").metadata["failing"].value
    read = len(landed) - len(INSTANTS) == len(cases.NAMES_OF_HADOOP)
    assert read or errors == len(cases.NAMES_OF_HADOOP)


@promise("names-with-stars-and-percents")
def test_names_are_taken_to_the_letter(case: str, runs: Runs) -> None:
    device = email_of(cases.victim_of(case))
    readings = [row for row in runs.second.rows["accelerometer_landing"] if row["user"] == device]
    assert len(readings) == len(INSTANTS) + 7


@promise("names-that-forge-a-log-line")
def test_a_name_begins_no_line_of_its_own(case: str, runs: Runs) -> None:
    read = [row for row in runs.first.rows["accelerometer_landing"] if row["user"] == email_of(cases.victim_of(case))]
    assert len(read) == len(INSTANTS) + len(cases.FORGED) - 1
    for text in (*runs.first.said, *(row["_source_file"] for row in runs.first.rows["accelerometer_landing"])):
        assert not _CONTROL.search(text)
        assert "FORGED" not in text
    logs = "".join(text_of(file) for file in files_below(runs.home / "storage") if file.suffix in {".out", ".err"})
    assert "forged" not in logs


@promise("links")
def test_a_link_is_followed_below_the_lake_alone(case: str, runs: Runs) -> None:
    _assert_file_errors(runs, "accelerometer", f"{case}/outside.json", f"{case}/dangling.json")
    _assert_file_errors(runs, "step_trainer", f"{case}/round.json")
    readings = [row for row in runs.third.rows["accelerometer_landing"] if row["timestamp"] == INSTANTS[-1] + 1]
    assert [row["user"] for row in readings].count(email_of(cases.victim_of(case))) == 1
    lying = "".join(map(_as_it_stands, (*_of(runs.lake, "accelerometer"), *_of(runs.lake, "step_trainer"))))
    assert words_in(lying, "outside-of-the-lake") == []


def _of(lake: Lake, source: str) -> Iterator[Path]:
    return (file for file in files_below(root_of(lake) / source) if "/landing/" not in str(file))


def test_a_field_is_named_where_it_can_be_nobodys_value(runs: Runs) -> None:
    named = named_in(runs.first.result, "customer_landing", "unknown_fields")
    assert "loyaltyPoints" in named
    for name in ("rareField", "Vera Unknown"):
        assert name not in named
        assert not [text for text in runs.first.said if name in text]
        assert not [file for file in _of(runs.lake, "customer") if name in _as_it_stands(file)]


@promise("only-names-without-a-suffix")
def test_files_that_are_passed_over_are_counted(case: str, tmp_path: Path, spark_resource: SparkResource) -> None:
    lake = local_lake(tmp_path / "lake")
    (delivery,) = cases.deliveries_of(case)
    cases.deliver(lake, case, delivery)
    (root_of(lake) / "customer" / "landing").mkdir(parents=True)
    refused = materialise(lake, spark_resource, tables=dg.AssetSelection.assets("accelerometer_landing"))
    assert not refused.success
    assert re.search(rf"\b{cases.WITHOUT_SUFFIX} (\w+ )?files?\b", failures(refused))
    assert "suffix" in failures(refused)


# --- Erasure ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Erased:
    """A lake out of which two people were erased, and what stood in names before."""

    lake: Lake
    home: Path
    before: str = field(repr=False)
    before_beside_tables: str = field(repr=False)
    after: str = field(repr=False)


NAMES_CASE, TEXT_CASE, KEY_CASE = "erase-what-stands-in-names", "erase-from-quarantined-text", "another-pseudonym-key"


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory, spark_resource: SparkResource) -> Erased:
    """Deliver people in names and in broken text, run, and erase three of them."""
    folder = tmp_path_factory.mktemp("erased")
    lake, home = local_lake(folder / "lake"), folder / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        for case in (NAMES_CASE, TEXT_CASE, KEY_CASE):
            for delivery in cases.deliveries_of(case):
                cases.deliver(lake, case, delivery)
        assert materialise(lake, spark_resource, instance=instance).success
        before, beside = all_but_raw(lake, home), all_but_raw(lake, home, tables=False)
        for person in (cases.victim_of(NAMES_CASE), cases.victim_of(TEXT_CASE), cases.APOSTROPHE):
            assert erase(lake, spark_resource, person, instance).success
        after = all_but_raw(lake, home)
    return Erased(lake, home, before, beside, after)


def all_but_raw(lake: Lake, *folders: Path, tables: bool = True) -> str:
    """Return the names and content of all files below the lake but the raw ones, and below other folders."""
    found = (file for folder in (root_of(lake), *folders) for file in files_below(folder))
    files = (file for file in found if "/landing/" not in str(file) and (tables or file.suffix != ".parquet"))
    return "\n".join(f"{file}\n{text_of(file)}" for file in files).lower()


@promise(TEXT_CASE)
def test_an_address_is_found_in_whatever_text_it_stands(case: str, erased: Erased) -> None:
    people = [cases.victim_of(case), cases.APOSTROPHE]
    assert words_in(erased.before, *people) == people
    assert words_in(erased.after, *people, "brannigan") == []


@promise(NAMES_CASE)
def test_who_stands_in_names_is_kept_nowhere(case: str, erased: Erased) -> None:
    victim = cases.victim_of(case)
    assert words_in(erased.before, *cases.NAMED, f"{email_of(victim)}.json") == []
    assert words_in(erased.before_beside_tables, victim) == []
    assert words_in(erased.after, victim) == []


@promise(KEY_CASE)
def test_another_pseudonym_key_is_refused(
    case: str, erased: Erased, spark_resource: SparkResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [read_snapshot_of(erased.lake, table) for table in TABLES.values()]
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", "another key " * 4)
    refusals: list[Callable[[], Result]] = [
        lambda: materialise(erased.lake, spark_resource),
        lambda: check(erased.lake, spark_resource),
    ]
    for refuse in refusals:
        refused = refuse()
        assert not refused.success
        assert "STEDI_PSEUDONYM_KEY" in failures(refused)
    assert [read_snapshot_of(erased.lake, table) for table in TABLES.values()] == before


@promise("erase-when-the-quarantine-is-empty-again")
def test_no_old_quarantine_keeps_who_is_erased(case: str, tmp_path: Path, spark_resource: SparkResource) -> None:
    lake, home = local_lake(tmp_path / "lake"), tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        for delivery in cases.deliveries_of(case):
            cases.deliver(lake, case, delivery)
            assert materialise(lake, spark_resource, tables=_CUSTOMERS_ONLY, instance=instance).success
        assert current_dataset(lake, "customer_quarantine").count_rows() == 0
        assert words_in(all_but_raw(lake), cases.victim_of(case))
        assert erase(lake, spark_resource, cases.victim_of(case), instance).success
    assert words_in(all_but_raw(lake, home), cases.victim_of(case)) == []


@promise("erase-nobody")
def test_erasing_nobody_fails_and_says_so(case: str, tmp_path: Path, spark_resource: SparkResource) -> None:
    lake, home = local_lake(tmp_path / "lake"), tmp_path / "dagster"
    home.mkdir()
    cases.deliver(lake, case, next(cases.deliveries_of(case)))
    assert materialise(lake, spark_resource, tables=_CUSTOMERS_ONLY).success
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        nobody = erase(lake, spark_resource, cases.victim_of(case), instance)
    assert not nobody.success
    assert re.search("(?i)nobody|no person|matche[sd] no", failures(nobody))


@promise("lost-list-of-the-erased")
def test_without_the_list_of_the_erased_nothing_lands(case: str, tmp_path: Path, spark_resource: SparkResource) -> None:
    lake, home = local_lake(tmp_path / "lake"), tmp_path / "dagster"
    home.mkdir()
    (delivery,) = cases.deliveries_of(case)
    cases.deliver(lake, case, delivery)
    assert materialise(lake, spark_resource, tables=_CUSTOMERS_ONLY).success
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        assert erase(lake, spark_resource, cases.victim_of(case), instance).success
    (root_of(lake) / "_suppressed.json").unlink()
    refused = materialise(lake, spark_resource, tables=_CUSTOMERS_ONLY)
    assert not refused.success
    assert "_suppressed.json" in failures(refused)
    assert words_in(all_but_raw(lake), cases.victim_of(case)) == []


# --- Memory -----------------------------------------------------------------------------------------------------------

# Not of `getrusage`, which begins with what the process had that started this one.
_PEAK_OF_SPLITTING = """
import re, sys
from pathlib import Path
from stedi_assets_tests.support.records import split_records

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

before = peak()
for _ in split_records(sys.stdin.buffer):
    pass
print(peak() - before)
"""
_BLOCK = 1 << 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a peak of memory is read as Linux tells it")
@pytest.mark.parametrize(
    ("head", "repeated", "size"),
    [
        pytest.param(b'{"pad":"', b"x", cases.LARGE, id="a line of 200 megabytes"),
        pytest.param(b"", b"\0", cases.ZEROS, id="zeros"),
        pytest.param(b"", b" ", cases.ZEROS, id="blanks"),
        pytest.param(b"", b"[", cases.RATHER_LARGE, id="brackets"),
        pytest.param(b"", b'{"a":', cases.RATHER_LARGE, id="opened objects"),
        pytest.param(b"{", b'"a":0,', cases.RATHER_LARGE, id="keys", marks=pytest.mark.matrix),
        pytest.param(b'{"a":"', b"\\", cases.RATHER_LARGE, id="backslashes"),
        pytest.param(b"", b"{}", cases.SMALL_RECORDS, id="small objects on one line"),
        pytest.param(b"", b"a\n", cases.SMALL_RECORDS, id="small lines", marks=pytest.mark.matrix),
        pytest.param(b'{"a":[', "[\u00e9],".encode(), cases.RATHER_LARGE, id="small arrays"),
    ],
)
def test_splitting_takes_bounded_memory(head: bytes, repeated: bytes, size: int, tmp_path: Path) -> None:
    file, block = tmp_path / "records.json", repeated * (_BLOCK // len(repeated))
    with file.open("wb") as content:
        content.write(head)
        content.writelines(block for _ in range(size // len(block) + 1))
    with file.open("rb") as content:
        command = [sys.executable, "-c", _PEAK_OF_SPLITTING]
        split = subprocess.run(command, stdin=content, capture_output=True, text=True, check=False)
    assert split.returncode == 0, split.stderr
    assert int(split.stdout) <= SPLITTING_TAKES
