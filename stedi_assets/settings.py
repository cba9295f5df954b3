"""The settings, read from the environment in one place. Each has a default that works on a laptop.

An unknown or unusable value is a `SettingsError` when the definitions load.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from stedi_assets.contracts import ConsentRecord, MatchOn, Policy, PublishedTime, Purpose, Readings
from stedi_assets.contracts.rules import Thresholds

_Choice = TypeVar("_Choice", bound=Enum)


DEFAULT_LAKE = "./lake"
_DEFAULTS = Thresholds()


class SettingsError(Exception):
    """A setting has a value that cannot be used; the message names it and what is possible."""


@dataclass(frozen=True)
class Settings:
    """Everything that the environment decides. The field comments name the variables."""

    lake: str  # STEDI_LAKE: a folder, or s3://bucket/prefix; STEDI_LAKE_IS_SHARED allows a folder on a cluster
    s3_kms_key: str | None  # STEDI_S3_KMS_KEY
    glue_database: str | None  # STEDI_GLUE_DATABASE
    policy: Policy  # STEDI_CONSENT_RECORD, STEDI_READINGS, STEDI_MATCH_ON, STEDI_PUBLISHED_TIME
    purpose: Purpose  # STEDI_PURPOSE
    pseudonym_key: str | None = field(repr=False)  # STEDI_PSEUDONYM_KEY
    suppression_key: str | None = field(repr=False)  # STEDI_SUPPRESSION_KEY
    spark_master: str  # STEDI_SPARK_MASTER
    spark_log_level: str  # STEDI_SPARK_LOG
    kept_snapshots: int  # STEDI_KEEP_SNAPSHOTS
    kept_for_readers_minutes: int  # STEDI_KEEP_FOR_READERS_MINUTES
    thresholds: Thresholds  # STEDI_WARN_…, STEDI_SECOND_ENGINE_ROWS
    sensor_seconds: int  # STEDI_SENSOR_SECONDS
    settled_seconds: int  # STEDI_SETTLED_SECONDS
    sensor_attempts: int  # STEDI_SENSOR_ATTEMPTS
    sensor_pause_seconds: int  # STEDI_SENSOR_PAUSE_SECONDS
    alerts_sns_topic: str | None  # STEDI_ALERTS_SNS_TOPIC
    fresh_warn_hours: int  # STEDI_FRESH_WARN_HOURS
    fresh_fail_hours: int  # STEDI_FRESH_FAIL_HOURS


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises `SettingsError` naming the variable that cannot be used."""
    found = os.environ if environment is None else environment
    policy = Policy(
        consent_record=_choice(found, "STEDI_CONSENT_RECORD", ConsentRecord.LATEST),
        readings=_choice(found, "STEDI_READINGS", Readings.ALL),
        match_on=_choice(found, "STEDI_MATCH_ON", MatchOn.CUSTOMER_AND_TIMESTAMP),
        published_time=_choice(found, "STEDI_PUBLISHED_TIME", PublishedTime.MILLISECOND),
    )
    purpose = _choice(found, "STEDI_PURPOSE", Purpose.PRODUCTION)
    if policy.needs_comparison and purpose is not Purpose.COMPARISON:
        msg = (
            "STEDI_CONSENT_RECORD=any and STEDI_MATCH_ON=timestamp use people who withdrew or mix people, to "
            "reproduce published counts. They need STEDI_PURPOSE=comparison and a lake of their own."
        )
        raise SettingsError(msg)
    lake, glue_database = found.get("STEDI_LAKE") or DEFAULT_LAKE, found.get("STEDI_GLUE_DATABASE") or None
    is_on_s3 = lake.startswith(("s3://", "s3a://"))
    if glue_database and not is_on_s3:
        msg = f"STEDI_GLUE_DATABASE={glue_database} needs a lake on S3. STEDI_LAKE is {lake}: set it to s3://bucket/prefix."
        raise SettingsError(msg)
    pseudonym_key = found.get("STEDI_PSEUDONYM_KEY") or None
    if is_on_s3 and not pseudonym_key:
        msg = (
            f"STEDI_LAKE={lake} is used by several machines, which need the same key: set STEDI_PSEUDONYM_KEY to a "
            "secret of at least 32 bytes, for example from a secrets manager."
        )
        raise SettingsError(msg)
    spark_master = found.get("STEDI_SPARK_MASTER") or "local[*]"
    is_shared = _choice(found, "STEDI_LAKE_IS_SHARED", Answer.NO) is Answer.YES
    if not (is_on_s3 or is_shared or spark_master.startswith("local")):
        msg = (
            f"STEDI_SPARK_MASTER={spark_master} has other machines write, and STEDI_LAKE={lake} is a folder of this "
            "one. Use a lake on S3; or, where every machine has that folder, set STEDI_LAKE_IS_SHARED=yes."
        )
        raise SettingsError(msg)
    fresh_warn_hours = _whole_number(found, "STEDI_FRESH_WARN_HOURS", default=24, least=1)
    fresh_fail_hours = _whole_number(found, "STEDI_FRESH_FAIL_HOURS", default=48, least=1)
    if fresh_warn_hours >= fresh_fail_hours:
        msg = (
            f"STEDI_FRESH_WARN_HOURS={fresh_warn_hours} is not possible: it must be less than STEDI_FRESH_FAIL_HOURS, "
            f"which is {fresh_fail_hours}."
        )
        raise SettingsError(msg)
    return Settings(
        lake=lake,
        s3_kms_key=found.get("STEDI_S3_KMS_KEY") or None,
        glue_database=glue_database,
        policy=policy,
        purpose=purpose,
        pseudonym_key=pseudonym_key,
        suppression_key=found.get("STEDI_SUPPRESSION_KEY") or None,
        spark_master=spark_master,
        spark_log_level=_choice(found, "STEDI_SPARK_LOG", SparkLog.OFF).value,
        kept_snapshots=_whole_number(found, "STEDI_KEEP_SNAPSHOTS", default=2, least=1),
        kept_for_readers_minutes=_whole_number(found, "STEDI_KEEP_FOR_READERS_MINUTES", default=60, least=0),
        thresholds=Thresholds(
            quarantine_rate=_share(found, "STEDI_WARN_QUARANTINE_RATE", _DEFAULTS.quarantine_rate),
            unattributed_share=_share(found, "STEDI_WARN_UNATTRIBUTED_SHARE", _DEFAULTS.unattributed_share),
            row_count_change=_share(found, "STEDI_WARN_ROW_COUNT_CHANGE", _DEFAULTS.row_count_change),
            second_engine_rows=_whole_number(
                found, "STEDI_SECOND_ENGINE_ROWS", default=_DEFAULTS.second_engine_rows, least=0
            ),
        ),
        sensor_seconds=_whole_number(found, "STEDI_SENSOR_SECONDS", default=30, least=1),
        settled_seconds=_whole_number(found, "STEDI_SETTLED_SECONDS", default=10, least=0),
        sensor_attempts=_whole_number(found, "STEDI_SENSOR_ATTEMPTS", default=5, least=1),
        sensor_pause_seconds=_whole_number(found, "STEDI_SENSOR_PAUSE_SECONDS", default=60, least=0),
        alerts_sns_topic=_topic(found),
        fresh_warn_hours=fresh_warn_hours,
        fresh_fail_hours=fresh_fail_hours,
    )


class Answer(str, Enum):
    """What a setting may say that is either so or not."""

    NO = "no"
    YES = "yes"


class SparkLog(str, Enum):
    """How much of Spark's own log reaches the terminal."""

    OFF = "off"
    ERROR = "error"
    WARN = "warn"
    INFO = "info"


def _choice(found: Mapping[str, str], name: str, default: _Choice) -> _Choice:
    value = found.get(name) or default.value
    try:
        return type(default)(value)
    except ValueError:
        possible = ", ".join(choice.value for choice in type(default))
        msg = f"{name}={value} is not possible. Use one of: {possible}."
        raise SettingsError(msg) from None


def _whole_number(found: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    value = found.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", value) or int(value) < least:
        msg = f"{name}={value} is not possible. Use a whole number from {least} to 999999999."
        raise SettingsError(msg)
    return int(value)


def _topic(found: Mapping[str, str]) -> str | None:
    topic = found.get("STEDI_ALERTS_SNS_TOPIC") or None
    if topic and not re.fullmatch(r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}", topic):
        msg = (
            f"STEDI_ALERTS_SNS_TOPIC={topic} is not possible. Use the ARN of a standard topic of Amazon SNS, such as "
            "arn:aws:sns:eu-central-1:123456789012:lake-alerts."
        )
        raise SettingsError(msg)
    return topic


def _share(found: Mapping[str, str], name: str, default: float) -> float:
    value = found.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", value):
        msg = f"{name}={value} is not possible. Use a share such as 0.05, which is 5 %."
        raise SettingsError(msg)
    return float(value)
