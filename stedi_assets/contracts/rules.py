"""What every table must keep: the rules that its asset checks report on, each with what to do if it is violated.

A rule is an ERROR or a warning. An ERROR blocks: a table that violates it is not published if that shows beforehand,
and nothing is made from the table. A rule is evaluated in one of three ways:

- `row_predicate`, an SQL predicate that is true for every good row: Spark counts it while the table is written;
- `violations_sql`, a query for the rows that violate it, over `stored` (the table itself), the other published tables,
  and the views of `stedi_assets.verification`: DuckDB counts those in what was written, before it is published;
- neither: it is about files and snapshots, and `stedi_assets.verification.findings` evaluates it.

Athena runs all of this SQL too, except for the backticks around names in `row_predicate`. `{as_of}` is the instant the
table was made for, in epoch milliseconds.
"""

from dataclasses import dataclass, field
from enum import Enum

from stedi_assets.contracts.policy import ConsentRecord, MatchOn


class Severity(str, Enum):
    """What a violated rule does: an ERROR blocks, a warning is only shown."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class Rule:
    """A rule of a table.

    `description` says what holds when it is kept; `skipped_under` is the policy under which it does not apply.
    """

    name: str
    description: str
    what_to_do: str
    severity: Severity = Severity.ERROR
    row_predicate: str | None = field(default=None, kw_only=True)
    violations_sql: str | None = field(default=None, kw_only=True)
    skipped_under: ConsentRecord | MatchOn | None = field(default=None, kw_only=True)


# The years 2001 to 2099. Seconds and microseconds of the same years lie outside, so they cannot pass for milliseconds.
FIRST_INSTANT = 1_000_000_000_000
END_OF_INSTANTS = 4_100_000_000_000


@dataclass(frozen=True)
class Thresholds:
    """The shares at which a check warns or fails."""

    quarantine_rate: float = 0.01
    unattributed_share: float = 0.05
    people_leaving_unread: float = 0.05
    row_count_change: float = 0.5


REBUILD = "Run rebuild_lakehouse; if it still fails, look for the change to the transform that lets such rows through."
_TAMPERED = "Somebody has changed the stored files: materialise the table again, and find out who."
_WITHDRAWN = "Run rebuild_lakehouse at once: until then, data of people who no longer consent are stored here."

# The sensors' range. Phones' accelerometers measure up to 16 g (Bosch BMI160, among others). The HC-SR04 reaches 400
# cm, which is 4,000 in millimetres: the sources name no unit.
_MOST_ACCELERATION = 16
_MOST_DISTANCE = 4_000

AS_PUBLISHED = Rule(
    "as_published", "The stored files hold the contract's columns, and as many rows as were published.", _TAMPERED
)
ROW_COUNT_CHANGE = Rule(
    "row_count_change",
    "The number of rows is close to that of the previous snapshot.",
    "Check whether the source delivered what it should; if so, the next snapshot is compared with this one.",
    Severity.WARN,
)
POLICY_IS_DEFAULT = Rule(
    "policy_is_default",
    "The table was made under the default policy, which uses no data without consent and mixes no people.",
    "Use this lake for comparisons only, or unset STEDI_CONSENT_RECORD, STEDI_READINGS and STEDI_MATCH_ON.",
    Severity.WARN,
)
AGREES_WITH_SECOND_ENGINE = Rule(
    "agrees_with_second_engine",
    "DuckDB, which recomputes the table from the landing tables with SQL of its own, finds the same rows.",
    "If as_published fails too, do what it says first. If not, the table's transform and the .sql file of its name "
    "differ: compare them.",
)

FILES_READABLE = Rule(
    "files_readable",
    "Every landing file could be read.",
    "Have the named files delivered again, or name them in the run config forget_files.",
)
ROWS_ACCOUNTED_FOR = Rule(
    "rows_accounted_for",
    "In every file, each record was accepted or quarantined, and each byte belongs to a record or stands between two; "
    "the stored tables hold those records.",
    _TAMPERED,
)
FILES_WHOLE = Rule(
    "files_whole",
    "No file ends within a record.",
    "The named files were cut off, so records are missing at the end: have them delivered again.",
    Severity.WARN,
)
FILES_MATCH_MANIFESTS = Rule(
    "files_match_manifests",
    "Every file that a delivery manifest lists has landed, with the bytes, the records and the SHA-256 that it gives.",
    "Ask the source to send the named files again, or to correct its manifest.",
    Severity.WARN,
)
FEW_PEOPLE_LEAVE_UNREAD = Rule(
    "few_people_leave_unread",
    "The share of people who left in this run because of records that could not be read is at most "
    "STEDI_WARN_PEOPLE_LEAVING_UNREAD.",
    "These people are out until a later record of theirs consents: have the quarantined records delivered again.",
)
NOT_EMPTY = Rule(
    "not_empty", "The source delivered at least one record that could be accepted.", "Ask the source for its records."
)
QUARANTINE_RATE = Rule(
    "quarantine_rate",
    "The share of records in quarantine is at most STEDI_WARN_QUARANTINE_RATE.",
    "`stedi quarantine` says which records, in which files, where, and why: tell the files' owners.",
    Severity.WARN,
)
UNKNOWN_FIELDS = Rule(
    "unknown_fields",
    "No record has fields that the contract does not know.",
    "Ask the source what the named fields are; they were left out.",
    Severity.WARN,
)
IGNORED_FILES = Rule(
    "ignored_files",
    "Every file in the landing folder that is not hidden has one of the known suffixes.",
    "Rename the named files to .json, .jsonl or .ndjson (each also .gz), or move them away.",
    Severity.WARN,
)
QUARANTINED_PEOPLE_KNOWN = Rule(
    "quarantined_people_known",
    "The e-mail of every quarantined customer record can be read, so the record counts against its person.",
    "Any of these records may be a withdrawal: have them delivered again.",
    Severity.WARN,
    violations_sql='SELECT 1 FROM customer_quarantine WHERE cardinality("_people") = 0',
)
UNATTRIBUTED_SHARE = Rule(
    "unattributed_share",
    "The share of device readings that belong to nobody is at most STEDI_WARN_UNATTRIBUTED_SHARE.",
    "Check whether customers, phone and device readings of the same days have all been delivered.",
    Severity.WARN,
    violations_sql="""SELECT readings."sensorReadingTime" AS instant FROM step_trainer_landing AS readings
        WHERE NOT EXISTS (
        SELECT 1 FROM owners
        WHERE owners.serial = readings."_device" AND owners."timestamp" = readings."sensorReadingTime")""",
    skipped_under=MatchOn.TIMESTAMP,
)
NO_MORE_ROWS_THAN_LANDING = Rule(
    "no_more_rows_than_landing", "The table has no more rows than step_trainer_landing.", REBUILD
)

EVERY_ROW_CONSENTS = Rule(
    "every_row_consents",
    "Every person's consent to research was in force when the table was made.",
    _WITHDRAWN,
    row_predicate="`shareWithResearchAsOfDate` <= {as_of} AND coalesce(`lastUpdateDate` <= {as_of}, TRUE)",
)
NO_WITHDRAWN_PEOPLE = Rule(
    "no_withdrawn_people",
    "No person has a record without consent that is at least as new as the one here, or that has no date.",
    _WITHDRAWN,
    violations_sql="""SELECT 1 FROM stored WHERE EXISTS (
        SELECT 1 FROM customer_records
        WHERE customer_records.person = stored.email AND NOT customer_records.consents
        AND coalesce(customer_records."lastUpdateDate" >= stored."lastUpdateDate", TRUE))""",
    skipped_under=ConsentRecord.ANY,
)
PEOPLE_HAVE_READINGS = Rule(
    "people_have_readings",
    "Every person has a reading in accelerometer_trusted.",
    REBUILD,
    # DISTINCT first: otherwise DuckDB keeps a row in memory for each reading.
    violations_sql='SELECT 1 FROM stored WHERE email NOT IN (SELECT DISTINCT "user" FROM accelerometer_trusted)',
)
ROWS_OF_CUSTOMER_TRUSTED = Rule(
    "rows_of_customer_trusted",
    "Every row is in customer_trusted, the same in all columns.",
    REBUILD,
    violations_sql="SELECT * FROM stored EXCEPT ALL SELECT * FROM customer_trusted",
)
ATTRIBUTED_TO_ONE_PERSON = Rule(
    "attributed_to_one_person",
    "Every reading belongs to a person in customers_curated whose phone took a reading at the same instant.",
    REBUILD,
    violations_sql="""SELECT 1 FROM stored WHERE "user" IS NULL OR "user" NOT IN (SELECT email FROM customers_curated)
        OR NOT EXISTS (
            SELECT 1 FROM accelerometer_trusted AS phone
            WHERE phone."user" = stored."user" AND phone."timestamp" = stored."sensorReadingTime")""",
    skipped_under=MatchOn.TIMESTAMP,
)
VALUES_ARE_FINITE = Rule(
    "values_are_finite",
    "No value is NaN or infinite.",
    REBUILD,
    row_predicate=" AND ".join(f"abs({axis}) < CAST('Infinity' AS DOUBLE)" for axis in "xyz"),
)
VALUES_IN_RANGE = Rule(
    "values_in_range",
    f"Every acceleration is between -{_MOST_ACCELERATION} and {_MOST_ACCELERATION}, the sensors' range in g.",
    "Ask the source which unit its readings have, or which phones are broken.",
    Severity.WARN,
    row_predicate=f"greatest(abs(x), abs(y), abs(z)) <= {_MOST_ACCELERATION}",
)
DISTANCES_IN_RANGE = Rule(
    "distances_in_range",
    f"Every distance is more than 0 and at most {_MOST_DISTANCE:,}, the sensors' reach in millimetres.",
    "Ask the source which unit its readings have, or which devices are broken.",
    Severity.WARN,
    row_predicate=f"`distanceFromObject` > 0 AND `distanceFromObject` <= {_MOST_DISTANCE}",
)
INSTANTS_PLAUSIBLE = Rule(
    "instants_plausible",
    "Every reading is from this century, and no later than when the table was made.",
    "Have the phones' clocks checked.",
    Severity.WARN,
    row_predicate=f"`timestamp` >= {FIRST_INSTANT} AND `timestamp` <= {{as_of}}",
)
SUBJECT_ID_IS_A_PSEUDONYM = Rule(
    "subject_id_is_a_pseudonym",
    "subject_id is 64 hex digits.",
    REBUILD,
    row_predicate="length(subject_id) = 64 AND regexp_like(subject_id, '^[0-9a-f]*$')",
)
NO_IDENTIFIERS = Rule(
    "no_identifiers",
    "No text equals an e-mail or serial number of the landing tables.",
    _WITHDRAWN,
    violations_sql="""SELECT 1 FROM stored WHERE subject_id IN (
        SELECT email FROM customer_landing UNION ALL SELECT "serialNumber" FROM customer_landing UNION ALL
        SELECT "_person" FROM customer_landing UNION ALL SELECT "_device" FROM customer_landing UNION ALL
        SELECT "user" FROM accelerometer_landing UNION ALL SELECT "serialNumber" FROM step_trainer_landing)""",
)
PAIRS_ARE_OF_ONE_PERSON = Rule(
    "pairs_are_of_one_person",
    "Both readings of every row are stored, for the same person and the same instant.",
    REBUILD,
    violations_sql="""WITH phones AS (
            SELECT subject_id, "timestamp" - "timestamp" % run.instant AS instant, x, y, z
            FROM accelerometer_trusted INNER JOIN subjects ON person = "user" CROSS JOIN run
        ), steps AS (
            SELECT subject_id, "sensorReadingTime" - "sensorReadingTime" % run.instant AS instant, "distanceFromObject"
            FROM step_trainer_trusted INNER JOIN subjects ON person = "user" CROSS JOIN run
        )
        SELECT 1 FROM stored
        WHERE NOT EXISTS (
            SELECT 1 FROM phones
            WHERE phones.subject_id = stored.subject_id AND phones.instant = stored."timestamp"
            AND phones.x = stored.x AND phones.y = stored.y AND phones.z = stored.z
        ) OR NOT EXISTS (
            SELECT 1 FROM steps
            WHERE steps.subject_id = stored.subject_id AND steps.instant = stored."timestamp"
            AND steps."distanceFromObject" = stored."distanceFromObject")""",
    skipped_under=MatchOn.TIMESTAMP,
)


def every_file_gives_records(severity: Severity) -> Rule:
    """Return the rule that at least one record was accepted from every file that holds any."""
    return Rule(
        "every_file_gives_records",
        "At least one record was accepted from every file that holds any.",
        "`stedi quarantine` says why, and where the records are: tell the named files' owners.",
        severity,
    )


def required_values(names: tuple[str, ...]) -> Rule:
    """Return the rule that columns are never null."""
    row_predicate = " AND ".join(f"`{name}` IS NOT NULL" for name in names)
    return Rule("required_values", f"Never null: {', '.join(names)}.", REBUILD, row_predicate=row_predicate)


def unique_key(names: tuple[str, ...]) -> Rule:
    """Return the rule that no two rows share a key."""
    key = ", ".join(f'"{name}"' for name in names)
    violations_sql = f"SELECT 1 FROM stored GROUP BY {key} HAVING count(*) > 1"
    return Rule("unique_key", f"No two rows share {', '.join(names)}.", REBUILD, violations_sql=violations_sql)


def consent_is_current(
    column: str, people: str = "customer_trusted", person: str = "email", *, skipped_under: MatchOn | None = None
) -> Rule:
    """Return the rule that a table holds only people who are in customer_trusted now; `column` names the person."""
    violations_sql = f"""SELECT 1 FROM stored
        WHERE "{column}" IS NULL OR "{column}" NOT IN (SELECT {person} FROM {people})"""
    description = "Everybody here is in customer_trusted now."
    return Rule(
        "consent_is_current", description, _WITHDRAWN, violations_sql=violations_sql, skipped_under=skipped_under
    )
