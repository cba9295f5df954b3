"""The settings: one class, whose fields are the environment variables. Each has a default that works on a laptop.

An unknown or unusable value raises `SettingsError` when the definitions load.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from enum import Enum
from itertools import combinations
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from stedi_assets.contracts import SOURCES, ConsentRecord, MatchOn, Policy, PublishedTime, Purpose, Readings
from stedi_assets.contracts.rules import Thresholds
from stedi_assets.spark.maven import MAVEN_CENTRAL, POSSIBLE_REPOSITORIES, is_possible_repository
from stedi_assets.storage.catalog_address import POSSIBLE_CATALOGS, CatalogAddress, CatalogKind, is_possible_catalog
from stedi_assets.storage.lake import NAMESPACE, POSSIBLE_LOCATIONS, Lake, default_catalog, is_on_s3, is_possible
from stedi_assets.storage.landing import is_landing, lies_in, overlap, split_locations
from stedi_assets.storage.secrets_manager import is_arn_of_secret

DEFAULT_LAKE = "./lake"
_DEFAULTS = Thresholds()
_PREFIX = "STEDI_"
_LOCAL_MASTER = "local[*]"


class SettingsError(Exception):
    """A setting has a value that cannot be used. The message names it and what is possible."""


class Answer(str, Enum):
    """The value of a yes-or-no setting."""

    NO = "no"
    YES = "yes"


class Compute(str, Enum):
    """Where tables are computed."""

    LOCAL = "local"
    GLUE = "glue"


class SparkLog(str, Enum):
    """How much of Spark's own log reaches the terminal."""

    OFF = "off"
    ERROR = "error"
    WARN = "warn"
    INFO = "info"


def _at_least(least: int) -> BeforeValidator:
    """Accept only digits: Python would also read `1_0` and digits of other scripts."""

    def whole_number(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
            raise ValueError(f"Use a whole number from {least} to 999999999.")
        return int(text)

    return BeforeValidator(whole_number)


def _share(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", text):
        raise ValueError("Use a share such as 0.05, which is 5 %.")
    return float(text)


def _only(accepts: Callable[[str], object], advice: str) -> BeforeValidator:
    """Accept a text that `accepts` does not refuse; `advice` says what is possible."""

    def checked(text: str) -> str:
        if not accepts(text):
            raise ValueError(advice)
        return text

    return BeforeValidator(checked)


def _like(pattern: str, advice: str) -> BeforeValidator:
    return _only(re.compile(pattern).fullmatch, advice)


def _landing(text: str) -> str:
    locations = split_locations(text)
    if not locations or not all(map(is_landing, locations)):
        raise ValueError("Use a folder or s3://bucket/prefix, or several of them, separated by commas.")
    if any(overlap(one, other) for one, other in combinations(locations, 2)):
        raise ValueError("Two of these locations are the same, or one is inside the other. Name each once.")
    return text


_Location = Annotated[str, _only(is_possible, POSSIBLE_LOCATIONS)]
_Landing = Annotated[str, BeforeValidator(_landing)]
_Repository = Annotated[str, _only(is_possible_repository, POSSIBLE_REPOSITORIES)]
_Catalog = Annotated[str, _only(is_possible_catalog, POSSIBLE_CATALOGS)]
_Name = Annotated[
    str, _like("[a-z0-9_]{1,255}", "Use the letters a to z, digits and _; STEDI_GLUE_DATABASE is the same setting.")
]
_Remote = Annotated[
    str,
    _like(
        r"sc://[A-Za-z0-9.:\[\]-]+(/;?[ -~]*)?",
        "Use the address of a Spark Connect server, such as sc://spark.internal:15002.",
    ),
]
_Memory = Annotated[
    str, _like("[1-9][0-9]{0,5}[mg]", "Use a whole number of megabytes or gigabytes, such as 2048m or 4g.")
]
_Url = Annotated[
    str,
    _like(
        r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?",
        "Use the address that a browser opens, such as https://dagster.internal.",
    ),
]
_Queue = Annotated[
    str,
    _like(
        r"https?://[A-Za-z0-9.:-]+/[0-9]{12}/[A-Za-z0-9_-]{1,80}",
        "Use the URL of a standard queue of Amazon SQS, such as "
        "https://sqs.eu-central-1.amazonaws.com/123456789012/lake-arrivals.",
    ),
]
_Topic = Annotated[
    str,
    _like(
        r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}",
        "Use the ARN of a standard topic of Amazon SNS, such as arn:aws:sns:eu-central-1:123456789012:lake-alerts.",
    ),
]
_Share = Annotated[float, BeforeValidator(_share)]
_FromNone = Annotated[int, _at_least(0)]
_FromOne = Annotated[int, _at_least(1)]


def _optional(without: str, description: str, *, secret: bool = False) -> Any:
    """Declare a setting that may be left out; `without` says what holds then. A secret is never shown."""
    return Field(default=None, description=description, repr=not secret, json_schema_extra={"without": without})


def _landing_of(source: str) -> Any:
    return _optional(
        f"`{source}/landing` below the lake",
        f"where the raw files of {source} lie: a folder or `s3://bucket/prefix`, or several, separated by commas",
    )


class Settings(BaseSettings):
    """Everything that the environment decides: the field `lake` is STEDI_LAKE. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        alias_generator=lambda name: _PREFIX + name.upper(),
        case_sensitive=True,
        env_ignore_empty=True,
        extra="ignore",
        validate_default=False,
        frozen=True,
        # pydantic's own error messages show no secret then.
        hide_input_in_errors=True,
    )

    lake: _Location = Field(
        default=DEFAULT_LAKE, description="a folder, or `s3://bucket/prefix`; any other scheme is refused"
    )
    customer_landing: _Landing | None = _landing_of("customer")
    accelerometer_landing: _Landing | None = _landing_of("accelerometer")
    step_trainer_landing: _Landing | None = _landing_of("step_trainer")
    lake_is_shared: Answer = Field(
        default=Answer.NO, description="`yes`: every machine of the cluster has the folder that `STEDI_LAKE` names"
    )
    s3_kms_key: str | None = _optional(
        "none: S3's own keys", "the id of the KMS key that encrypts what is written to S3"
    )
    catalog: _Catalog | None = Field(
        default=None,
        repr=False,
        description="the Iceberg catalog of the lake: `sqlite`, `glue`, `jdbc:postgresql://host:port/database`, or the "
        "`https://` address of an Iceberg REST catalog",
        json_schema_extra={"without": "`sqlite`, a file in the lake; on S3 `glue`"},
    )
    catalog_user: str | None = _optional("none", "the user for PostgreSQL; for a REST catalog, the client's id")
    catalog_password: str | None = _optional(
        "none",
        "the password for PostgreSQL; for a REST catalog, the client's secret, or a token if there is no user",
        secret=True,
    )
    catalog_warehouse: str | None = _optional("the server's own", "what a REST catalog calls the lake")
    namespace: _Name = Field(
        default=NAMESPACE,
        validation_alias=AliasChoices(f"{_PREFIX}NAMESPACE", f"{_PREFIX}GLUE_DATABASE"),
        description="the Iceberg namespace of the tables; with a lake on S3, the AWS Glue database "
        "(also set by `STEDI_GLUE_DATABASE`)",
    )
    consent_record: ConsentRecord = Field(
        default=ConsentRecord.LATEST, description="`latest`; `any`: the latest consenting record, whatever came after"
    )
    readings: Readings = Field(
        default=Readings.ALL, description="`all`; `since_consent`: only readings from the consent instant on"
    )
    match_on: MatchOn = Field(
        default=MatchOn.CUSTOMER_AND_TIMESTAMP,
        description="`customer_and_timestamp`; `timestamp`: by the instant alone, which mixes people",
    )
    published_time: PublishedTime = Field(
        default=PublishedTime.MILLISECOND,
        description="`millisecond`, `second`, `minute`, `hour`, `day`: how exact the ML table's instants are",
    )
    purpose: Purpose = Field(
        default=Purpose.PRODUCTION,
        description="`production`; `comparison`: needed for `any` and `timestamp`; a lake keeps the first that it gets",
    )
    pseudonym_key: str | None = _optional(
        "created once in `$XDG_CONFIG_HOME/stedi/pseudonym.key`", "a secret of at least 32 bytes", secret=True
    )
    suppression_key: str | None = _optional(
        "created once in `$XDG_CONFIG_HOME/stedi/suppression.key`",
        "a secret of at least 32 bytes that never changes",
        secret=True,
    )
    compute: Compute = Field(
        default=Compute.LOCAL,
        description="`local`: the process of the run itself, with the Spark of `STEDI_SPARK_MASTER`; `glue`: an AWS "
        "Glue job",
    )
    glue_job: str = Field(default="stedi-lakehouse", description="the name of that job")
    athena_workgroup: str | None = _optional(
        "none: Athena checks nothing",
        "the Amazon Athena workgroup in which every table is also recomputed and compared",
    )
    spark_master: str = Field(default=_LOCAL_MASTER, description="any Spark master")
    spark_remote: _Remote | None = _optional(
        "none: `STEDI_SPARK_MASTER`",
        "the address of a Spark Connect server, `sc://host:port`, which does the work; it may contain a token",
        secret=True,
    )
    spark_keep_warm: Answer = Field(
        default=Answer.YES,
        description="`yes`, `no`: whether runs launched from the UI or by a sensor share a Spark that stays up for the "
        "next one, if lake and Spark are on this machine",
    )
    spark_idle_minutes: _FromOne = Field(default=15, description="how long that Spark stays up without a run")
    spark_memory: _Memory = Field(
        default="1g", description="the most memory that Spark's Java takes on the machine of the run, such as `4g`"
    )
    spark_log: SparkLog = Field(
        default=SparkLog.OFF,
        description="`off`, `error`, `warn`, `info`: Spark's own log, which can show people's data",
    )
    maven: _Repository = Field(
        default=MAVEN_CENTRAL,
        repr=False,
        description="the Maven repository that Spark's jars are fetched from, such as a mirror; it may contain a "
        "user and a password",
    )
    most_gigabytes_per_run: _FromOne = Field(
        default=20,
        description="how much of a backlog of readings one run takes, by the files' size as stored; the sensor "
        "requests the next run for the rest",
    )
    keep_snapshots: _FromOne = Field(default=2, description="how many snapshots of a table are kept")
    keep_for_readers_minutes: _FromNone = Field(default=60, description="how long a replaced snapshot is kept at least")
    warn_quarantine_rate: _Share = Field(
        default=_DEFAULTS.quarantine_rate, description="the share of quarantined records above which a check warns"
    )
    warn_unattributed_share: _Share = Field(
        default=_DEFAULTS.unattributed_share,
        description="the share of device readings that belong to nobody above which a check warns",
    )
    warn_people_leaving_unread: _Share = Field(
        default=_DEFAULTS.people_leaving_unread,
        description="the share of people who may leave in one run because of records that cannot be read; above it, "
        "a check fails",
    )
    warn_row_count_change: _Share = Field(
        default=_DEFAULTS.row_count_change, description="by what share a row count may differ from the last one"
    )
    sensor_seconds: _FromOne = Field(
        default=30,
        description="how many seconds the sensor waits before it looks for files again; Dagster's minimum is 5",
    )
    settled_seconds: _FromNone = Field(
        default=10, description="how long a local file must be unchanged before it is read"
    )
    sensor_attempts: _FromOne = Field(default=5, description="how often the same files are tried, except customers'")
    sensor_pause_seconds: _FromNone = Field(
        default=60, description="the pause before the second attempt; doubled before each further one"
    )
    arrivals_queue: _Queue | None = _optional(
        "none: every tick lists the folders", "the URL of the Amazon SQS queue that S3 notifies of new objects"
    )
    alerts_sns_topic: _Topic | None = _optional("none: the log", "the ARN of the Amazon SNS topic that alerts go to")
    dagster_url: _Url = Field(
        default="http://localhost:3000", description="where people open Dagster in a browser; messages link to it"
    )
    fresh_warn_hours: _FromOne = Field(default=24, description="how old a curated table is when it warns")
    fresh_fail_hours: _FromOne = Field(default=48, description="how old it is when it is no longer fresh")

    @property
    def catalog_address(self) -> CatalogAddress:
        """The Iceberg catalog of the lake."""
        uri = self.catalog or default_catalog(self.lake).uri
        return CatalogAddress(uri, self.catalog_user, self.catalog_password, self.catalog_warehouse)

    @property
    def landing(self) -> dict[str, list[str]]:
        """The locations of raw files that do not lie in the lake, by the folder of the lake that they stand for."""
        set_here = {source.raw_path: getattr(self, f"{name}_landing") for name, source in SOURCES.items()}
        return {folder: split_locations(found) for folder, found in set_here.items() if found}

    def open_lake(self) -> Lake:
        """Return the lake. Raises `LakeError` if the location cannot be one."""
        return Lake.at(
            self.lake,
            kms_key=self.s3_kms_key,
            namespace=self.namespace,
            catalog=self.catalog_address,
            landing=self.landing,
        )

    @property
    def spark_settings(self) -> dict[str, str]:
        """Spark's own settings that ours decide."""
        return {"spark.driver.memory": self.spark_memory}

    @property
    def policy(self) -> Policy:
        """The policy that tables are made under."""
        return Policy(self.consent_record, self.readings, self.match_on, self.published_time)

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds at which a check warns or fails."""
        return Thresholds(**{name: getattr(self, f"warn_{name}") for name in asdict(_DEFAULTS)})

    @property
    def _other_machines(self) -> str | None:
        """What has other machines do Spark's work, if anything has."""
        if self.spark_remote:
            host = urlsplit(self.spark_remote).hostname or ""
            is_here = host in {"localhost", "::1"} or host.startswith("127.")
            return None if is_here else "The server of STEDI_SPARK_REMOTE"
        return None if self.spark_master.startswith("local") else f"STEDI_SPARK_MASTER={self.spark_master}"

    @property
    def _keys_are_secrets(self) -> bool:
        return all(key and is_arn_of_secret(key) for key in (self.pseudonym_key, self.suppression_key))

    @model_validator(mode="after")
    def _require_what_belongs_together(self) -> "Settings":
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        """Yield what is wrong with settings that are possible one by one, but not together."""
        if self.policy.needs_comparison and self.purpose is not Purpose.COMPARISON:
            yield (
                "STEDI_CONSENT_RECORD=any and STEDI_MATCH_ON=timestamp use people who withdrew or mix people, to "
                "reproduce published counts. They need STEDI_PURPOSE=comparison and a lake of their own."
            )
        if is_on_s3(self.lake) and not self.pseudonym_key:
            yield (
                f"STEDI_LAKE={self.lake} is used by several machines, which need the same key: set "
                "STEDI_PSEUDONYM_KEY to a secret of at least 32 bytes, for example from a secrets manager."
            )
        others = self._other_machines
        if others and not is_on_s3(self.lake) and self.lake_is_shared is Answer.NO:
            yield (
                f"{others} makes other machines write, and STEDI_LAKE={self.lake} is a "
                "folder on this one. Use a lake on S3; or, if every machine has that folder, set "
                "STEDI_LAKE_IS_SHARED=yes, and STEDI_CATALOG to one in PostgreSQL or behind a REST server."
            )
        if self.spark_remote and self.compute is Compute.GLUE:
            yield "STEDI_SPARK_REMOTE and STEDI_COMPUTE=glue both say where Spark is. Leave one of them out."
        if self.spark_remote and self.spark_master != _LOCAL_MASTER:
            yield "STEDI_SPARK_REMOTE and STEDI_SPARK_MASTER both say where Spark is. Leave one of them out."
        has_glue = is_on_s3(self.lake) and self.catalog_address.kind is CatalogKind.GLUE
        if self.compute is Compute.GLUE and not (has_glue and self._keys_are_secrets):
            yield (
                "STEDI_COMPUTE=glue needs a lake on S3 with the catalog of Glue, and STEDI_PSEUDONYM_KEY and "
                "STEDI_SUPPRESSION_KEY as ARNs of secrets in AWS Secrets Manager: a key itself would reach the job "
                "through its settings."
            )
        if self.athena_workgroup and not has_glue:
            yield "STEDI_ATHENA_WORKGROUP needs a lake on S3 with the catalog of Glue: Athena finds no other tables."
        if self.arrivals_queue and not is_on_s3(self.lake):
            yield f"STEDI_ARRIVALS_QUEUE is for a lake on S3, and STEDI_LAKE={self.lake} is a folder. Leave it out."
        yield from self._landing_problems()
        yield from self._catalog_problems()
        if self.fresh_warn_hours >= self.fresh_fail_hours:
            yield (
                f"STEDI_FRESH_WARN_HOURS={self.fresh_warn_hours} is not possible: it must be less than "
                f"STEDI_FRESH_FAIL_HOURS, which is {self.fresh_fail_hours}."
            )

    def _landing_problems(self) -> Iterator[str]:
        places = [(folder, place) for folder, found in self.landing.items() for place in found]
        own = [(source.raw_path, f"{self.lake}/{source.raw_path}") for source in SOURCES.values()]
        for folder, place in places:
            if overlap(place, self.lake) and not any(lies_in(place, landing) for _, landing in own):
                yield f"{place} cannot hold raw files: the lake, {self.lake}, is there. Name a folder of their own."
            all_places = [*places, *((name, landing) for name, landing in own if name not in self.landing)]
            if any(overlap(place, other) for name, other in all_places if name != folder):
                yield f"{place} cannot hold the raw files of two sources. Name a folder for each."
        here = [place for found in self.landing.values() for place in found if not is_on_s3(place)]
        others = "STEDI_COMPUTE=glue" if self.compute is Compute.GLUE else self._other_machines
        if here and others and self.lake_is_shared is Answer.NO:
            yield (
                f"{others} makes other machines read raw files, and {here[0]} is a folder on this one. Put the files "
                "on S3, or, if every machine has that folder, set STEDI_LAKE_IS_SHARED=yes."
            )

    def _catalog_problems(self) -> Iterator[str]:
        kind = self.catalog_address.kind
        others = "STEDI_CATALOG to jdbc:postgresql://host:port/database, or to the address of a REST catalog"
        if kind is CatalogKind.SQLITE and is_on_s3(self.lake):
            yield f"STEDI_CATALOG=sqlite is a file, and STEDI_LAKE={self.lake} is on S3. Leave it out, or set {others}."
        if kind is CatalogKind.SQLITE and self.lake_is_shared is Answer.YES:
            yield (
                "STEDI_LAKE_IS_SHARED=yes lets several machines write, and the catalog is a SQLite file, which does "
                f"not support that. Set {others}."
            )
        if kind is CatalogKind.GLUE and not is_on_s3(self.lake):
            yield (
                f"STEDI_CATALOG=glue is for a lake on S3, and STEDI_LAKE={self.lake} is a folder. Leave it out, or set "
                f"{others}."
            )
        if kind in {CatalogKind.SQLITE, CatalogKind.GLUE} and (self.catalog_user or self.catalog_password):
            yield (
                "STEDI_CATALOG_USER and STEDI_CATALOG_PASSWORD are for another catalog than this lake has "
                f"({kind.value}). Leave them out, or set {others}."
            )


def read_settings() -> Settings:
    """Read the settings. Raises `SettingsError` naming each variable that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "\n".join(_refusal(found["loc"], found["input"], found.get("ctx", {})) for found in error.errors())
    # Not raised from the error, because its text is pydantic's.
    raise SettingsError(problems)


def variables() -> dict[str, FieldInfo]:
    """Return the field of each environment variable."""
    return {str(field.alias): field for field in Settings.model_fields.values()}


def settings_of_a_job() -> dict[str, str]:
    """Return the variables that are set here, for a job that computes elsewhere, without keys and passwords.

    A setting that names a secret by its ARN is no secret.
    """
    values = {name: value for name in variables() if (value := os.environ.get(name))}
    shown = {name: value for name, value in values.items() if variables()[name].repr or is_arn_of_secret(value)}
    return {**shown, f"{_PREFIX}COMPUTE": Compute.LOCAL.value}


def _refusal(where: tuple[int | str, ...], value: object, context: dict[str, Any]) -> str:
    """Say in one sentence which variable cannot be used, and in another which values are possible."""
    if not where:
        return str(context["error"])
    name = str(where[0])
    kind = variables()[name].annotation
    shown = value if variables()[name].repr else "***"
    if isinstance(kind, type) and issubclass(kind, Enum):
        possible = f"Use one of: {', '.join(choice.value for choice in kind)}."
    else:
        possible = str(context["error"])
    return f"{name}={shown} is not possible. {possible}"
