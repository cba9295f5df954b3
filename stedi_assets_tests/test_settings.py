"""The settings: their defaults, every variable, what is refused and in which words.

Belongs here: what `read_settings` makes of an environment. What a setting then changes is tested where it does.
"""

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from dotenv import dotenv_values

from stedi_assets.contracts import ConsentRecord, MatchOn, Policy, PublishedTime, Purpose, Readings
from stedi_assets.contracts.rules import Thresholds
from stedi_assets.settings import Compute, Settings, SettingsError, read_settings, settings_of_a_job, variables
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets_tests.support.environments import settings_of
from stedi_assets_tests.support.settings_page import example, settings_page

_ROOT = Path(__file__).resolve().parent.parent

_COMPARISON = {"STEDI_PURPOSE": "comparison"}

# By variable: a value that is not the default, what it needs beside it, and how the settings then show it.
_ON_S3 = {"STEDI_LAKE": "s3://bucket", "STEDI_PSEUDONYM_KEY": "k" * 32}
_POSTGRESQL = "jdbc:postgresql://db.internal/lakes"
_IN_POSTGRESQL = {"STEDI_CATALOG": _POSTGRESQL}
_ON_A_CLUSTER = {"STEDI_SPARK_MASTER": "spark://master.internal:7077", **_IN_POSTGRESQL}
_TOPIC = "arn:aws:sns:eu-central-1:123456789012:lake-alerts"
_QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/lake-arrivals"
_SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:stedi/{}-AbCdEf".format
_ON_GLUE = {
    "STEDI_LAKE": "s3://bucket",
    "STEDI_PSEUDONYM_KEY": _SECRET("pseudonym"),
    "STEDI_SUPPRESSION_KEY": _SECRET("suppression"),
}
_VARIABLES: dict[str, tuple[str, Mapping[str, str], Callable[[Settings], bool]]] = {
    "STEDI_LAKE": ("/data/stedi", {}, lambda s: s.lake == "/data/stedi"),
    "STEDI_LAKE_IS_SHARED": ("yes", _ON_A_CLUSTER, lambda s: s.spark_master.startswith("spark:")),
    "STEDI_S3_KMS_KEY": ("alias/stedi", {}, lambda s: s.s3_kms_key == "alias/stedi"),
    "STEDI_CATALOG": (_POSTGRESQL, {}, lambda s: s.catalog_address.uri == _POSTGRESQL),
    "STEDI_CATALOG_USER": ("stedi", _IN_POSTGRESQL, lambda s: s.catalog_address.user == "stedi"),
    "STEDI_CATALOG_PASSWORD": ("secret", _IN_POSTGRESQL, lambda s: s.catalog_address.password == "secret"),
    "STEDI_CATALOG_WAREHOUSE": ("stedi", {}, lambda s: s.catalog_address.warehouse == "stedi"),
    "STEDI_NAMESPACE": ("lake_2", {}, lambda s: s.namespace == "lake_2"),
    "STEDI_CONSENT_RECORD": ("any", _COMPARISON, lambda s: s.policy.consent_record is ConsentRecord.ANY),
    "STEDI_READINGS": ("since_consent", {}, lambda s: s.policy.readings is Readings.SINCE_CONSENT),
    "STEDI_MATCH_ON": ("timestamp", _COMPARISON, lambda s: s.policy.match_on is MatchOn.TIMESTAMP),
    "STEDI_PUBLISHED_TIME": ("hour", {}, lambda s: s.policy.published_time is PublishedTime.HOUR),
    "STEDI_PURPOSE": ("comparison", {}, lambda s: s.purpose is Purpose.COMPARISON),
    "STEDI_PSEUDONYM_KEY": ("k" * 32, {}, lambda s: s.pseudonym_key == "k" * 32),
    "STEDI_SUPPRESSION_KEY": ("k" * 32, {}, lambda s: s.suppression_key == "k" * 32),
    "STEDI_COMPUTE": ("glue", _ON_GLUE, lambda s: s.compute is Compute.GLUE),
    "STEDI_GLUE_JOB": ("another", {}, lambda s: s.glue_job == "another"),
    "STEDI_ATHENA_WORKGROUP": ("checks", _ON_S3, lambda s: s.athena_workgroup == "checks"),
    "STEDI_SPARK_MASTER": ("local[2]", {}, lambda s: s.spark_master == "local[2]"),
    "STEDI_SPARK_REMOTE": ("sc://127.0.0.1", {}, lambda s: s.spark_remote == "sc://127.0.0.1"),
    "STEDI_CUSTOMER_LANDING": (
        "/srv/in, s3://other/customers",
        {},
        lambda s: s.landing == {"customer/landing": ["/srv/in", "s3://other/customers"]},
    ),
    "STEDI_ACCELEROMETER_LANDING": ("in", {}, lambda s: s.landing == {"accelerometer/landing": ["in"]}),
    "STEDI_STEP_TRAINER_LANDING": ("s3://b/p/", {}, lambda s: s.landing == {"step_trainer/landing": ["s3://b/p/"]}),
    "STEDI_SPARK_KEEP_WARM": ("no", {}, lambda s: s.spark_keep_warm.value == "no"),
    "STEDI_SPARK_IDLE_MINUTES": ("60", {}, lambda s: s.spark_idle_minutes == 60),
    "STEDI_SPARK_MEMORY": ("4g", {}, lambda s: s.spark_memory == "4g"),
    "STEDI_MAVEN": ("https://maven.internal/maven2", {}, lambda s: s.maven == "https://maven.internal/maven2"),
    "STEDI_SPARK_LOG": ("warn", {}, lambda s: s.spark_log.value == "warn"),
    "STEDI_MOST_GIGABYTES_PER_RUN": ("5", {}, lambda s: s.most_gigabytes_per_run == 5),
    "STEDI_KEEP_SNAPSHOTS": ("5", {}, lambda s: s.keep_snapshots == 5),
    "STEDI_KEEP_FOR_READERS_MINUTES": ("0", {}, lambda s: s.keep_for_readers_minutes == 0),
    "STEDI_WARN_QUARANTINE_RATE": ("0.2", {}, lambda s: s.thresholds.quarantine_rate == 0.2),
    "STEDI_WARN_UNATTRIBUTED_SHARE": ("1", {}, lambda s: s.thresholds.unattributed_share == 1),
    "STEDI_WARN_PEOPLE_LEAVING_UNREAD": ("0.1", {}, lambda s: s.thresholds.people_leaving_unread == 0.1),
    "STEDI_WARN_ROW_COUNT_CHANGE": ("0", {}, lambda s: s.thresholds.row_count_change == 0),
    "STEDI_SENSOR_SECONDS": ("5", {}, lambda s: s.sensor_seconds == 5),
    "STEDI_SETTLED_SECONDS": ("0", {}, lambda s: s.settled_seconds == 0),
    "STEDI_SENSOR_ATTEMPTS": ("1", {}, lambda s: s.sensor_attempts == 1),
    "STEDI_SENSOR_PAUSE_SECONDS": ("0", {}, lambda s: s.sensor_pause_seconds == 0),
    "STEDI_ARRIVALS_QUEUE": (_QUEUE, _ON_S3, lambda s: s.arrivals_queue == _QUEUE),
    "STEDI_ALERTS_SNS_TOPIC": (_TOPIC, {}, lambda s: s.alerts_sns_topic == _TOPIC),
    "STEDI_DAGSTER_URL": ("https://dagster.internal/a", {}, lambda s: s.dagster_url == "https://dagster.internal/a"),
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
_ANSWERS = {
    "STEDI_LAKE_IS_SHARED": ["no", "yes"],
    "STEDI_COMPUTE": ["local", "glue"],
    "STEDI_SPARK_KEEP_WARM": ["no", "yes"],
}


def test_an_empty_environment_gives_settings_that_work_on_a_laptop() -> None:
    settings = settings_of({})
    assert settings.model_dump() == {
        "lake": "./lake",
        "customer_landing": None,
        "accelerometer_landing": None,
        "step_trainer_landing": None,
        "lake_is_shared": "no",
        "s3_kms_key": None,
        "catalog": None,
        "catalog_user": None,
        "catalog_password": None,
        "catalog_warehouse": None,
        "namespace": "stedi",
        "consent_record": "latest",
        "readings": "all",
        "match_on": "customer_and_timestamp",
        "published_time": "millisecond",
        "purpose": "production",
        "pseudonym_key": None,
        "suppression_key": None,
        "compute": "local",
        "glue_job": "stedi-lakehouse",
        "athena_workgroup": None,
        "spark_remote": None,
        "spark_master": "local[*]",
        "spark_keep_warm": "yes",
        "spark_idle_minutes": 15,
        "spark_memory": "1g",
        "spark_log": "off",
        "maven": "https://repo1.maven.org/maven2",
        "most_gigabytes_per_run": 20,
        "keep_snapshots": 2,
        "keep_for_readers_minutes": 60,
        "warn_quarantine_rate": 0.01,
        "warn_unattributed_share": 0.05,
        "warn_people_leaving_unread": 0.05,
        "warn_row_count_change": 0.5,
        "sensor_seconds": 30,
        "settled_seconds": 10,
        "sensor_attempts": 5,
        "sensor_pause_seconds": 60,
        "arrivals_queue": None,
        "alerts_sns_topic": None,
        "dagster_url": "http://localhost:3000",
        "fresh_warn_hours": 24,
        "fresh_fail_hours": 48,
    }
    assert settings.policy == Policy(ConsentRecord.LATEST, Readings.ALL, MatchOn.CUSTOMER_AND_TIMESTAMP)
    assert settings.thresholds == Thresholds(0.01, 0.05, 0.05, 0.5)


def test_a_variable_that_is_empty_is_as_if_it_were_not_there() -> None:
    assert settings_of(dict.fromkeys(_VARIABLES, "")) == settings_of({})


def test_without_an_argument_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEDI_LAKE", "/data/stedi")
    assert read_settings() == settings_of({"STEDI_LAKE": "/data/stedi"})


@pytest.mark.parametrize("variable", sorted(_VARIABLES))
def test_every_variable_changes_its_setting(variable: str) -> None:
    value, beside, shown = _VARIABLES[variable]
    assert not shown(settings_of({}))
    assert shown(settings_of({variable: value, **beside}))


def test_the_variables_tested_here_are_those_that_are_read() -> None:
    assert set(_VARIABLES) == set(variables())


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, them in _CHOICES.items() for value in them])
def test_every_choice_is_possible(variable: str, value: str) -> None:
    settings = settings_of({**_COMPARISON, variable: value})
    chosen = {
        "STEDI_CONSENT_RECORD": settings.policy.consent_record.value,
        "STEDI_READINGS": settings.policy.readings.value,
        "STEDI_MATCH_ON": settings.policy.match_on.value,
        "STEDI_PURPOSE": settings.purpose.value,
        "STEDI_PUBLISHED_TIME": settings.policy.published_time.value,
        "STEDI_SPARK_LOG": settings.spark_log.value,
    }
    assert chosen[variable] == value


@pytest.mark.parametrize("variable", sorted(_CHOICES | _ANSWERS))
@pytest.mark.parametrize("value", ["Yes", "LATEST ", "0"])
def test_an_unknown_choice_is_refused_with_the_name_and_what_is_possible(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of({variable: value})
    assert (
        str(refused.value)
        == f"{variable}={value} is not possible. Use one of: {', '.join((_CHOICES | _ANSWERS)[variable])}."
    )


@pytest.mark.parametrize("value", ["5%", "-0.1", "nan", "1e-2", "half"])
def test_a_share_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(
        SettingsError, match=r"STEDI_WARN_QUARANTINE_RATE=.* is not possible\. Use a share such as 0\.05"
    ):
        settings_of({"STEDI_WARN_QUARANTINE_RATE": value})


@pytest.mark.parametrize(("variable", "least"), [("STEDI_KEEP_SNAPSHOTS", 1), ("STEDI_KEEP_FOR_READERS_MINUTES", 0)])
@pytest.mark.parametrize("value", ["-1", "1.5", "many", " ", "1_0", "+1", "\u0663", "\u00b2"])
def test_what_is_no_whole_number_is_refused_with_the_name_and_the_least(variable: str, least: int, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of({variable: value})
    assert str(refused.value) == f"{variable}={value} is not possible. Use a whole number from {least} to 999999999."


@pytest.mark.parametrize("value", ["lake-alerts", f"{_TOPIC}.fifo", _TOPIC.replace(":sns:", ":sqs:"), f"{_TOPIC} "])
def test_what_is_no_standard_topic_is_refused(value: str) -> None:
    with pytest.raises(
        SettingsError, match=r"STEDI_ALERTS_SNS_TOPIC=.* is not possible\. Use the ARN of a standard topic"
    ):
        settings_of({"STEDI_ALERTS_SNS_TOPIC": value})


@pytest.mark.parametrize("variable", ["STEDI_NAMESPACE", "STEDI_GLUE_DATABASE"])
def test_the_namespace_has_two_names_and_what_no_catalog_takes_is_refused(variable: str) -> None:
    assert settings_of({variable: "lake_2"}).namespace == "lake_2"
    for value in ("Lake", "lake-2", "lake.tables", "a b", "\u00fc"):
        with pytest.raises(SettingsError) as refused:
            settings_of({variable: value})
        said = f"STEDI_NAMESPACE={value} is not possible. Use the letters a to z, digits and _; STEDI_GLUE_DATABASE"
        assert str(refused.value).startswith(said)


@pytest.mark.parametrize("value", ["48", "100"])
def test_a_warning_that_comes_after_the_failure_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=f"STEDI_FRESH_WARN_HOURS={value} is not possible: it must be less than"):
        settings_of({"STEDI_FRESH_WARN_HOURS": value})


@pytest.mark.parametrize("master", ["spark://master.internal:7077", "yarn", "k8s://https://cluster.internal"])
def test_a_folder_of_this_machine_is_refused_on_a_cluster(master: str) -> None:
    with pytest.raises(SettingsError, match=r"STEDI_LAKE=/data is a folder on this one\. Use a lake on S3"):
        settings_of({"STEDI_SPARK_MASTER": master, "STEDI_LAKE": "/data"})
    shared = {"STEDI_SPARK_MASTER": master, "STEDI_LAKE": "/data", "STEDI_LAKE_IS_SHARED": "yes"}
    with pytest.raises(SettingsError, match=r"a SQLite file, which does not support that\. Set STEDI_CATALOG to"):
        settings_of(shared)
    assert settings_of({**shared, **_IN_POSTGRESQL}).spark_master == master
    assert settings_of({"STEDI_SPARK_MASTER": master, **_ON_S3}).spark_master == master


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({**_ON_S3, "STEDI_CATALOG": "sqlite"}, r"STEDI_CATALOG=sqlite is a file, and STEDI_LAKE=s3://bucket is on S3"),
        ({"STEDI_CATALOG": "glue"}, r"STEDI_CATALOG=glue is for a lake on S3, and STEDI_LAKE=\./lake is a folder"),
        ({"STEDI_CATALOG_USER": "stedi"}, r"are for another catalog than this lake has \(sqlite\)\. Leave them out"),
        ({**_ON_S3, "STEDI_CATALOG_PASSWORD": "secret"}, r"are for another catalog than this lake has \(glue\)"),
    ],
)
def test_a_catalog_that_the_lake_cannot_have_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        settings_of(variables)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("value", ["spark://host:7077", "host:15002", "sc://", "sc://user:word@host", "sc://a b"])
def test_what_is_no_spark_connect_server_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of({"STEDI_SPARK_REMOTE": value})
    said = "STEDI_SPARK_REMOTE=*** is not possible. Use the address of a Spark Connect server, such as sc://"
    assert str(refused.value).startswith(said)


def test_a_spark_connect_server_elsewhere_does_not_write_to_a_folder_here() -> None:
    elsewhere = {"STEDI_SPARK_REMOTE": "sc://spark.internal:15002/;token=secret"}
    with pytest.raises(SettingsError, match="STEDI_SPARK_REMOTE makes other machines write, and STEDI_LAKE") as refused:
        settings_of(elsewhere)
    assert "secret" not in str(refused.value)
    assert settings_of({**elsewhere, **_ON_S3}).spark_remote
    for host in ("localhost", "127.0.0.1:15002", "[::1]:15002"):
        assert settings_of({"STEDI_SPARK_REMOTE": f"sc://{host}"}).spark_remote
    assert "secret" not in str(settings_of({**elsewhere, **_ON_S3}))


@pytest.mark.parametrize(
    ("beside", "named"), [({"STEDI_SPARK_MASTER": "local[2]"}, "STEDI_SPARK_MASTER"), (_ON_GLUE, "STEDI_COMPUTE=glue")]
)
def test_spark_is_in_one_place(beside: dict[str, str], named: str) -> None:
    compute = {"STEDI_COMPUTE": "glue"} if named == "STEDI_COMPUTE=glue" else {}
    with pytest.raises(SettingsError, match=f"STEDI_SPARK_REMOTE and {named} both say where Spark is"):
        settings_of({"STEDI_SPARK_REMOTE": "sc://127.0.0.1", **beside, **compute})


@pytest.mark.parametrize("variables", [{}, {**_ON_S3, **_IN_POSTGRESQL}])
def test_athena_is_refused_where_it_finds_no_tables(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="STEDI_ATHENA_WORKGROUP needs a lake on S3 with the catalog of Glue"):
        settings_of({"STEDI_ATHENA_WORKGROUP": "checks", **variables})


def test_a_catalog_in_postgresql_does_for_a_lake_on_s3() -> None:
    assert settings_of({**_ON_S3, **_IN_POSTGRESQL}).catalog_address.uri == _POSTGRESQL
    assert settings_of(_ON_S3).catalog_address.uri == "glue"
    assert settings_of({}).catalog_address.uri == "sqlite"


def test_keeping_no_snapshot_is_refused() -> None:
    assert settings_of({"STEDI_KEEP_SNAPSHOTS": "1"}).keep_snapshots == 1
    with pytest.raises(SettingsError, match="STEDI_KEEP_SNAPSHOTS=0 is not possible"):
        settings_of({"STEDI_KEEP_SNAPSHOTS": "0"})


@pytest.mark.parametrize("policy", [{"STEDI_CONSENT_RECORD": "any"}, {"STEDI_MATCH_ON": "timestamp"}])
@pytest.mark.parametrize("purpose", [{}, {"STEDI_PURPOSE": "production"}])
def test_a_policy_that_uses_or_mixes_people_is_refused_but_for_a_comparison(
    policy: dict[str, str], purpose: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match="STEDI_PURPOSE=comparison"):
        settings_of({**policy, **purpose})
    assert settings_of({**policy, **_COMPARISON}).policy.needs_comparison


def test_readings_since_consent_are_fit_for_production() -> None:
    assert not settings_of({"STEDI_READINGS": "since_consent"}).policy.needs_comparison


def test_a_comparison_may_be_made_under_the_default_policy() -> None:
    assert settings_of(_COMPARISON).policy == Policy()


@pytest.mark.parametrize(("name", "page"), [("docs/settings.md", settings_page()), (".env.example", example())])
def test_the_pages_are_what_the_class_gives(name: str, page: str) -> None:
    assert (_ROOT / name).read_text("utf-8") == page, "run `python -m stedi_assets_tests.support.settings_page`"


def test_the_page_says_of_every_variable_what_is_possible() -> None:
    rows = dict(re.findall(r"^\| `(STEDI_\w+)` \| (.*) \|$", settings_page(), re.MULTILINE))
    assert set(rows) == set(_VARIABLES)
    assert rows["STEDI_SPARK_LOG"] == (
        "`off` | `off`, `error`, `warn`, `info`: Spark's own log, which can show people's data"
    )
    assert rows["STEDI_S3_KMS_KEY"].startswith("none: S3's own keys | the id of the KMS key")
    assert all(f"`{value}`" in rows[variable] for variable, them in _CHOICES.items() for value in them)


def test_the_example_sets_nothing_and_shows_the_defaults() -> None:
    assert dotenv_values(stream=io.StringIO(example())) == {}
    shown = dict(re.findall(r"^# ([A-Z0-9_]+)=(.*)$", example(), re.MULTILINE))
    assert set(shown) == {*_VARIABLES, "DAGSTER_HOME"}
    set_all = "".join(f"{name}={value}\n" for name, value in shown.items())
    assert settings_of(
        {name: value or "" for name, value in dotenv_values(stream=io.StringIO(set_all)).items()}
    ) == settings_of({})
    assert shown["STEDI_WARN_PEOPLE_LEAVING_UNREAD"] == "0.05"
    assert shown["STEDI_SPARK_LOG"] == "off"


def test_the_command_writes_both_pages(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    command = [sys.executable, "-m", "stedi_assets_tests.support.settings_page"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(_ROOT)}, check=True)
    assert (tmp_path / "docs" / "settings.md").read_text("utf-8") == settings_page()
    assert (tmp_path / ".env.example").read_text("utf-8") == example()


def test_no_module_reads_the_variables_by_itself() -> None:
    named = set()
    for path in (_ROOT / "stedi_assets").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(r"STEDI_[A-Z_]+", str(node.value)):
                named.add(path.name)
    assert named == set()


def test_every_variable_that_cannot_be_used_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        settings_of({"STEDI_READINGS": "some", "STEDI_KEEP_SNAPSHOTS": "0"})
    assert str(refused.value).splitlines() == [
        "STEDI_READINGS=some is not possible. Use one of: all, since_consent.",
        "STEDI_KEEP_SNAPSHOTS=0 is not possible. Use a whole number from 1 to 999999999.",
    ]
    # Python would show the one an error came from above it: pydantic's text, of many lines.
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_a_name_in_other_letters_is_another_variable() -> None:
    assert settings_of({"stedi_lake": "/data", "LAKE": "/data", "lake": "/data"}) == settings_of({})


@pytest.mark.parametrize(
    "location",
    [
        *("gs://bucket/lake", "hdfs://host:8020/lake", "S3://bucket", "s3n://bucket", "s3:/bucket", " s3://bucket"),
        *("file:///data/lake", "file:/data", "abfs://container@account/lake", "dbfs:/lake", "https://host/lake"),
    ],
)
def test_a_location_of_another_scheme_is_refused_and_no_folder_is_made(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = f"STEDI_LAKE={location} is not possible. Use a folder, or s3://bucket/prefix."
    with pytest.raises(SettingsError) as refused:
        settings_of({"STEDI_LAKE": location})
    assert str(refused.value) == said
    # A resource's location may come from a run's config.
    with pytest.raises(LakeError) as refused_by_the_lake:
        Lake.at(location)
    assert str(refused_by_the_lake.value) == said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["lake", "/data/la:ke", "a:b", "2024-01-01T00:00", "with blank", "l[prod]", "~/x"])
def test_a_folder_may_have_any_name_else(folder: str) -> None:
    assert settings_of({"STEDI_LAKE": folder}).lake == folder
    assert Lake.at(folder).location == str(Path(folder).expanduser().absolute())


def test_the_key_stays_out_of_what_the_settings_look_like() -> None:
    for variable in ("STEDI_PSEUDONYM_KEY", "STEDI_SUPPRESSION_KEY"):
        assert "k" * 32 not in repr(settings_of({variable: "k" * 32}))
        with pytest.raises(SettingsError) as refused:
            settings_of({variable: "k" * 32, "STEDI_READINGS": "some", "STEDI_PURPOSE": "none"})
        assert "k" * 32 not in str(refused.value)


def test_a_lake_on_s3_needs_a_pseudonym_key() -> None:
    with pytest.raises(SettingsError, match=r"s3://bucket is used by several machines.*STEDI_PSEUDONYM_KEY"):
        settings_of({"STEDI_LAKE": "s3://bucket"})
    assert settings_of(_ON_S3).lake == "s3://bucket"


def test_a_job_elsewhere_gets_every_setting_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"STEDI_CATALOG_PASSWORD": "a password", "STEDI_SUPPRESSION_KEY": "k" * 32}
    for name, value in {**_ON_GLUE, "STEDI_COMPUTE": "glue", **secrets}.items():
        monkeypatch.setenv(name, value)
    passed_on = settings_of_a_job()
    assert passed_on == {
        "STEDI_LAKE": "s3://bucket",
        "STEDI_PSEUDONYM_KEY": _SECRET("pseudonym"),
        "STEDI_COMPUTE": "local",
    }


@pytest.mark.parametrize("missing", _ON_GLUE)
def test_glue_needs_a_lake_on_s3_and_keys_that_are_named(missing: str) -> None:
    beside = {name: value for name, value in _ON_GLUE.items() if name != missing}
    with pytest.raises(SettingsError):
        settings_of({"STEDI_COMPUTE": "glue", **beside})
    with pytest.raises(SettingsError, match="STEDI_COMPUTE=glue needs"):
        settings_of({"STEDI_COMPUTE": "glue", **_ON_GLUE, "STEDI_PSEUDONYM_KEY": "k" * 32})
    with pytest.raises(SettingsError, match="with the catalog of Glue"):
        settings_of({"STEDI_COMPUTE": "glue", **_ON_GLUE, **_IN_POSTGRESQL})


@pytest.mark.parametrize("value", [",", "s3://bucket", "s3://bucket/", "ftp://host/in", "in,gs://bucket/in"])
def test_raw_files_lie_in_folders_or_prefixes(value: str) -> None:
    with pytest.raises(SettingsError, match="Use a folder or s3://bucket/prefix, or several of them"):
        settings_of({"STEDI_CUSTOMER_LANDING": value})


@pytest.mark.parametrize("value", ["in,in", "/srv/in,/srv/in/more", "s3://bucket/_in,s3://bucket/in", "in,./in"])
def test_no_raw_file_lies_in_two_places(value: str) -> None:
    with pytest.raises(SettingsError, match="Two of these locations are the same, or one is inside the other"):
        settings_of({"STEDI_CUSTOMER_LANDING": value})


@pytest.mark.parametrize("place", [".", "lake", "lake/customer", "lake/customer/landing_table", "/"])
def test_no_raw_file_lies_among_the_tables(place: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot hold raw files: the lake, \./lake, is there"):
        settings_of({"STEDI_CUSTOMER_LANDING": place})
    assert settings_of({"STEDI_CUSTOMER_LANDING": "lake/customer/landing"}).landing
    assert settings_of({"STEDI_CUSTOMER_LANDING": "lakes"}).landing


def test_no_raw_file_is_of_two_sources() -> None:
    beside = {"STEDI_CUSTOMER_LANDING": "/srv/in", "STEDI_STEP_TRAINER_LANDING": "/srv/in/devices"}
    for both in (beside, {"STEDI_CUSTOMER_LANDING": "lake/accelerometer/landing"}):
        with pytest.raises(SettingsError, match="cannot hold the raw files of two sources"):
            settings_of(both)


def test_other_machines_cannot_read_raw_files_of_this_one() -> None:
    beside = {**_ON_S3, "STEDI_SPARK_MASTER": "spark://master:7077"}
    with pytest.raises(SettingsError, match="makes other machines read raw files, and /srv/in is a folder on this one"):
        settings_of({**beside, "STEDI_CUSTOMER_LANDING": "/srv/in"})
    assert settings_of({**beside, "STEDI_CUSTOMER_LANDING": "s3://other/in"}).landing
    assert settings_of({**beside, "STEDI_CUSTOMER_LANDING": "/srv/in", "STEDI_LAKE_IS_SHARED": "yes"}).landing
