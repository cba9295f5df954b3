"""The settings: their defaults, every variable, what is refused and in which words.

Belongs here: what `read_settings` makes of an environment. What a setting then changes is tested where it does.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from stedi_assets.contracts import ConsentRecord, MatchOn, Policy, PublishedTime, Purpose, Readings
from stedi_assets.contracts.rules import Thresholds
from stedi_assets.settings import Settings, SettingsError, read_settings

_ROOT = Path(__file__).resolve().parent.parent

_COMPARISON = {"STEDI_PURPOSE": "comparison"}

# By variable: a value that is not the default, what it needs beside it, and how the settings then show it.
_ON_S3 = {"STEDI_LAKE": "s3://bucket", "STEDI_PSEUDONYM_KEY": "k" * 32}
_ON_A_CLUSTER = {"STEDI_SPARK_MASTER": "spark://master.internal:7077"}
_TOPIC = "arn:aws:sns:eu-central-1:123456789012:lake-alerts"
_VARIABLES: dict[str, tuple[str, Mapping[str, str], Callable[[Settings], bool]]] = {
    "STEDI_LAKE": ("/data/stedi", {}, lambda s: s.lake == "/data/stedi"),
    "STEDI_LAKE_IS_SHARED": ("yes", _ON_A_CLUSTER, lambda s: s.spark_master.startswith("spark:")),
    "STEDI_S3_KMS_KEY": ("alias/stedi", {}, lambda s: s.s3_kms_key == "alias/stedi"),
    "STEDI_GLUE_DATABASE": ("stedi", _ON_S3, lambda s: s.glue_database == "stedi"),
    "STEDI_CONSENT_RECORD": ("any", _COMPARISON, lambda s: s.policy.consent_record is ConsentRecord.ANY),
    "STEDI_READINGS": ("since_consent", {}, lambda s: s.policy.readings is Readings.SINCE_CONSENT),
    "STEDI_MATCH_ON": ("timestamp", _COMPARISON, lambda s: s.policy.match_on is MatchOn.TIMESTAMP),
    "STEDI_PUBLISHED_TIME": ("hour", {}, lambda s: s.policy.published_time is PublishedTime.HOUR),
    "STEDI_PURPOSE": ("comparison", {}, lambda s: s.purpose is Purpose.COMPARISON),
    "STEDI_PSEUDONYM_KEY": ("k" * 32, {}, lambda s: s.pseudonym_key == "k" * 32),
    "STEDI_SUPPRESSION_KEY": ("k" * 32, {}, lambda s: s.suppression_key == "k" * 32),
    "STEDI_SPARK_MASTER": ("local[2]", {}, lambda s: s.spark_master == "local[2]"),
    "STEDI_SPARK_LOG": ("warn", {}, lambda s: s.spark_log_level == "warn"),
    "STEDI_KEEP_SNAPSHOTS": ("5", {}, lambda s: s.kept_snapshots == 5),
    "STEDI_KEEP_FOR_READERS_MINUTES": ("0", {}, lambda s: s.kept_for_readers_minutes == 0),
    "STEDI_WARN_QUARANTINE_RATE": ("0.2", {}, lambda s: s.thresholds.quarantine_rate == 0.2),
    "STEDI_WARN_UNATTRIBUTED_SHARE": ("1", {}, lambda s: s.thresholds.unattributed_share == 1),
    "STEDI_WARN_ROW_COUNT_CHANGE": ("0", {}, lambda s: s.thresholds.row_count_change == 0),
    "STEDI_SECOND_ENGINE_ROWS": ("0", {}, lambda s: s.thresholds.second_engine_rows == 0),
    "STEDI_SENSOR_SECONDS": ("5", {}, lambda s: s.sensor_seconds == 5),
    "STEDI_SETTLED_SECONDS": ("0", {}, lambda s: s.settled_seconds == 0),
    "STEDI_SENSOR_ATTEMPTS": ("1", {}, lambda s: s.sensor_attempts == 1),
    "STEDI_SENSOR_PAUSE_SECONDS": ("0", {}, lambda s: s.sensor_pause_seconds == 0),
    "STEDI_ALERTS_SNS_TOPIC": (_TOPIC, {}, lambda s: s.alerts_sns_topic == _TOPIC),
    "STEDI_FRESH_WARN_HOURS": ("1", {}, lambda s: s.fresh_warn_hours == 1),
    "STEDI_FRESH_FAIL_HOURS": ("25", {}, lambda s: s.fresh_fail_hours == 25),
}

_CHOICES = {
    "STEDI_CONSENT_RECORD": ["latest", "any"],
    "STEDI_READINGS": ["all", "since_consent"],
    "STEDI_MATCH_ON": ["customer_and_timestamp", "timestamp"],
    "STEDI_PURPOSE": ["production", "comparison"],
    "STEDI_PUBLISHED_TIME": ["millisecond", "second", "minute", "hour", "day"],
    "STEDI_SPARK_LOG": ["off", "error", "warn", "info"],
}
_ANSWERS = {"STEDI_LAKE_IS_SHARED": ["no", "yes"]}


class _Environment(Mapping[str, str]):
    """An environment that keeps a list of what is asked of it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _variables_read() -> set[str]:
    environment = _Environment({})
    read_settings(environment)
    return environment.asked


def _example() -> dict[str, tuple[str, bool]]:
    """Return the value of each variable in `.env.example`, and whether it is commented out."""
    lines = (_ROOT / ".env.example").read_text("utf-8").splitlines()
    found = [re.fullmatch(r"(# )?([A-Z0-9_]+)=(.*)", line) for line in lines]
    return {match[2]: (match[3], match[1] is not None) for match in found if match}


def test_an_empty_environment_gives_settings_that_work_on_a_laptop() -> None:
    assert read_settings({}) == Settings(
        lake="./lake",
        s3_kms_key=None,
        glue_database=None,
        policy=Policy(ConsentRecord.LATEST, Readings.ALL, MatchOn.CUSTOMER_AND_TIMESTAMP),
        purpose=Purpose.PRODUCTION,
        pseudonym_key=None,
        suppression_key=None,
        spark_master="local[*]",
        spark_log_level="off",
        kept_snapshots=2,
        kept_for_readers_minutes=60,
        thresholds=Thresholds(0.01, 0.05, 0.5, 5_000_000),
        sensor_seconds=30,
        settled_seconds=10,
        sensor_attempts=5,
        sensor_pause_seconds=60,
        alerts_sns_topic=None,
        fresh_warn_hours=24,
        fresh_fail_hours=48,
    )


def test_a_variable_that_is_empty_is_as_if_it_were_not_there() -> None:
    assert read_settings(dict.fromkeys(_VARIABLES, "")) == read_settings({})


def test_without_an_argument_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEDI_LAKE", "/data/stedi")
    assert read_settings() == read_settings({"STEDI_LAKE": "/data/stedi"})


@pytest.mark.parametrize("variable", sorted(_VARIABLES))
def test_every_variable_changes_its_setting(variable: str) -> None:
    value, beside, shown = _VARIABLES[variable]
    assert not shown(read_settings({}))
    assert shown(read_settings({variable: value, **beside}))


def test_the_variables_tested_here_are_those_that_are_read() -> None:
    assert set(_VARIABLES) == _variables_read()


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, them in _CHOICES.items() for value in them])
def test_every_choice_is_possible(variable: str, value: str) -> None:
    settings = read_settings({**_COMPARISON, variable: value})
    chosen = {
        "STEDI_CONSENT_RECORD": settings.policy.consent_record.value,
        "STEDI_READINGS": settings.policy.readings.value,
        "STEDI_MATCH_ON": settings.policy.match_on.value,
        "STEDI_PURPOSE": settings.purpose.value,
        "STEDI_PUBLISHED_TIME": settings.policy.published_time.value,
        "STEDI_SPARK_LOG": settings.spark_log_level,
    }
    assert chosen[variable] == value


@pytest.mark.parametrize("variable", sorted(_CHOICES | _ANSWERS))
@pytest.mark.parametrize("value", ["Yes", "LATEST ", "0"])
def test_an_unknown_choice_is_refused_with_the_name_and_what_is_possible(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({variable: value})
    assert (
        str(refused.value)
        == f"{variable}={value} is not possible. Use one of: {', '.join((_CHOICES | _ANSWERS)[variable])}."
    )


@pytest.mark.parametrize("value", ["5%", "-0.1", "nan", "1e-2", "half"])
def test_a_share_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(
        SettingsError, match=r"STEDI_WARN_QUARANTINE_RATE=.* is not possible\. Use a share such as 0\.05"
    ):
        read_settings({"STEDI_WARN_QUARANTINE_RATE": value})


@pytest.mark.parametrize(("variable", "least"), [("STEDI_KEEP_SNAPSHOTS", 1), ("STEDI_KEEP_FOR_READERS_MINUTES", 0)])
@pytest.mark.parametrize("value", ["-1", "1.5", "many", " ", "1_0", "+1", "\u0663", "\u00b2"])
def test_what_is_no_whole_number_is_refused_with_the_name_and_the_least(variable: str, least: int, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({variable: value})
    assert str(refused.value) == f"{variable}={value} is not possible. Use a whole number from {least} to 999999999."


@pytest.mark.parametrize("value", ["lake-alerts", f"{_TOPIC}.fifo", _TOPIC.replace(":sns:", ":sqs:"), f"{_TOPIC} "])
def test_what_is_no_standard_topic_is_refused(value: str) -> None:
    with pytest.raises(
        SettingsError, match=r"STEDI_ALERTS_SNS_TOPIC=.* is not possible\. Use the ARN of a standard topic"
    ):
        read_settings({"STEDI_ALERTS_SNS_TOPIC": value})


@pytest.mark.parametrize("value", ["48", "100"])
def test_a_warning_that_comes_after_the_failure_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=f"STEDI_FRESH_WARN_HOURS={value} is not possible: it must be less than"):
        read_settings({"STEDI_FRESH_WARN_HOURS": value})


@pytest.mark.parametrize("master", ["spark://master.internal:7077", "yarn", "k8s://https://cluster.internal"])
def test_a_folder_of_this_machine_is_refused_on_a_cluster(master: str) -> None:
    with pytest.raises(SettingsError, match=r"STEDI_LAKE=/data is a folder of this one\. Use a lake on S3"):
        read_settings({"STEDI_SPARK_MASTER": master, "STEDI_LAKE": "/data"})
    shared = {"STEDI_SPARK_MASTER": master, "STEDI_LAKE": "/data", "STEDI_LAKE_IS_SHARED": "yes"}
    assert read_settings(shared).spark_master == master
    assert read_settings({"STEDI_SPARK_MASTER": master, **_ON_S3}).spark_master == master


def test_keeping_no_snapshot_is_refused() -> None:
    assert read_settings({"STEDI_KEEP_SNAPSHOTS": "1"}).kept_snapshots == 1
    with pytest.raises(SettingsError, match="STEDI_KEEP_SNAPSHOTS=0 is not possible"):
        read_settings({"STEDI_KEEP_SNAPSHOTS": "0"})


@pytest.mark.parametrize("policy", [{"STEDI_CONSENT_RECORD": "any"}, {"STEDI_MATCH_ON": "timestamp"}])
@pytest.mark.parametrize("purpose", [{}, {"STEDI_PURPOSE": "production"}])
def test_a_policy_that_uses_or_mixes_people_is_refused_but_for_a_comparison(
    policy: dict[str, str], purpose: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match="STEDI_PURPOSE=comparison"):
        read_settings({**policy, **purpose})
    assert read_settings({**policy, **_COMPARISON}).policy.needs_comparison


def test_readings_since_consent_are_fit_for_production() -> None:
    assert not read_settings({"STEDI_READINGS": "since_consent"}).policy.needs_comparison


def test_a_comparison_may_be_made_under_the_default_policy() -> None:
    assert read_settings(_COMPARISON).policy == Policy()


def test_the_example_names_exactly_the_variables_that_are_read() -> None:
    assert set(_example()) == _variables_read() | {"DAGSTER_HOME"}


def test_the_example_shows_the_defaults_and_sets_none_of_them() -> None:
    shown = {name: value for name, (value, _) in _example().items() if name != "DAGSTER_HOME"}
    assert read_settings(shown) == read_settings({})
    assert {name for name, (_, commented) in _example().items() if not commented} <= {"DAGSTER_HOME"}
    with_a_default = {name for name in shown if not name.endswith(("_KEY", "_TOPIC"))} - {"STEDI_GLUE_DATABASE"}
    assert all(shown[name] for name in with_a_default), "a default is shown, not left to be guessed"


def test_no_other_module_reads_the_variables() -> None:
    readers = set()
    for path in (_ROOT / "stedi_assets").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(r"STEDI_[A-Z_]+", str(node.value)):
                readers.add(path.name)
    assert readers == {"settings.py"}


def test_the_key_stays_out_of_what_the_settings_look_like() -> None:
    assert "k" * 32 not in repr(read_settings({"STEDI_PSEUDONYM_KEY": "k" * 32}))


def test_a_lake_on_s3_needs_a_pseudonym_key_and_a_catalog_a_lake_on_s3() -> None:
    with pytest.raises(SettingsError, match=r"s3://bucket is used by several machines.*STEDI_PSEUDONYM_KEY"):
        read_settings({"STEDI_LAKE": "s3://bucket"})
    assert read_settings(_ON_S3).lake == "s3://bucket"
    with pytest.raises(SettingsError, match=r"STEDI_GLUE_DATABASE=stedi needs a lake on S3\. STEDI_LAKE is \./lake"):
        read_settings({"STEDI_GLUE_DATABASE": "stedi"})
