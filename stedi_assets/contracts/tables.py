"""The trusted and curated tables, and all tables by their names.

The rules a table must pass before it is published, Dagster's column metadata and asset checks, and the README's table
list follow from these objects.
"""

from dataclasses import replace

from stedi_assets.contracts import rules
from stedi_assets.contracts.model import Column, Source, Table, Type, Zone
from stedi_assets.contracts.policy import MatchOn
from stedi_assets.contracts.sources import CUSTOMER, DEVICE_READING, EMAIL, PHONE_READING, SENSOR, SOURCES


def _stored(columns: tuple[Column, ...], **made_from: tuple[str, ...]) -> tuple[Column, ...]:
    """Return the columns as a trusted or curated table holds them: without a landing form."""
    return tuple(replace(column, form=None, made_from=made_from.get(column.name, ())) for column in columns)


_customer_trusted = Table(
    name="customer_trusted",
    zone=Zone.TRUSTED,
    path="customer/trusted",
    row="one person who consents to research",
    columns=_stored(CUSTOMER),
    key=("email",),
    inputs=("customer_landing",),
    description="The latest record of each person, if that record consents. People who never consented and people "
    "who withdrew are left out. E-mail and serial number are in the form used for comparison.",
    own_rules=(
        rules.EVERY_ROW_CONSENTS,
        rules.NO_WITHDRAWN_PEOPLE,
        rules.AGREES_WITH_SECOND_ENGINE,
        rules.ROW_COUNT_CHANGE,
        rules.POLICY_IS_DEFAULT,
    ),
)

_accelerometer_trusted = Table(
    name="accelerometer_trusted",
    zone=Zone.TRUSTED,
    path="accelerometer/trusted",
    row="one phone reading of a person who consents",
    columns=_stored(PHONE_READING, user=("accelerometer_landing.user", "customer_trusted.email")),
    key=("user", "timestamp", "x", "y", "z"),
    instant="timestamp",
    inputs=("customer_trusted", "accelerometer_landing"),
    description="The phone readings of the people in customer_trusted. Exact repeats of a row are kept once; "
    "different readings of one person at one instant are real, and all are kept.",
    own_rules=(
        rules.consent_is_current("user"),
        rules.VALUES_ARE_FINITE,
        rules.AGREES_WITH_SECOND_ENGINE,
        rules.VALUES_IN_RANGE,
        rules.INSTANTS_PLAUSIBLE,
    ),
)

_customers_curated = Table(
    name="customers_curated",
    zone=Zone.CURATED,
    path="customer/curated",
    row="one person who consents and has phone readings",
    columns=_stored(CUSTOMER, email=("customer_trusted.email", "accelerometer_trusted.user")),
    key=("email",),
    inputs=("customer_trusted", "accelerometer_trusted"),
    description="The people in customer_trusted with at least one reading in accelerometer_trusted.",
    own_rules=(
        rules.EVERY_ROW_CONSENTS,
        rules.consent_is_current("email"),
        rules.ROWS_OF_CUSTOMER_TRUSTED,
        rules.PEOPLE_HAVE_READINGS,
        rules.AGREES_WITH_SECOND_ENGINE,
    ),
)

_step_trainer_trusted = Table(
    name="step_trainer_trusted",
    zone=Zone.TRUSTED,
    path="step_trainer/trusted",
    row="one device reading of a person in customers_curated",
    columns=(
        *_stored(
            DEVICE_READING,
            sensorReadingTime=("step_trainer_landing.sensorReadingTime", "accelerometer_landing.timestamp"),
            serialNumber=("step_trainer_landing.serialNumber", "customer_landing.serialNumber"),
        ),
        Column(
            "user",
            Type.STRING,
            "E-mail address of the person the reading belongs to",
            personal_data=EMAIL,
            made_from=("customer_landing.email", "accelerometer_landing.user", "customers_curated.email"),
        ),
    ),
    key=("sensorReadingTime", "serialNumber", "distanceFromObject"),
    instant="sensorReadingTime",
    inputs=("customers_curated", "step_trainer_landing", "customer_landing", "accelerometer_landing"),
    description="The device readings that belong to exactly one person of customers_curated: among all holders of "
    "the serial number, the one whose phone logged a reading at the same instant. If none or several did, the "
    "reading belongs to nobody and is left out. Exact repeats are kept once.",
    own_rules=(
        rules.consent_is_current("user", skipped_under=MatchOn.TIMESTAMP),
        rules.ATTRIBUTED_TO_ONE_PERSON,
        rules.NO_MORE_ROWS_THAN_LANDING,
        rules.AGREES_WITH_SECOND_ENGINE,
        rules.UNATTRIBUTED_SHARE,
        rules.DISTANCES_IN_RANGE,
    ),
)

_machine_learning_curated = Table(
    name="machine_learning_curated",
    zone=Zone.CURATED,
    path="step_trainer/curated",
    row="one device reading with one phone reading of the same person at the same instant",
    columns=(
        Column(
            "subject_id",
            Type.STRING,
            "Keyed pseudonym of the person, 64 hex digits, stable across rebuilds with the same key",
            True,
            "user.unique_id.pseudonymous",
            made_from=("step_trainer_trusted.user", "accelerometer_trusted.user"),
        ),
        Column(
            "timestamp",
            Type.BIGINT,
            "Instant of both readings, in epoch milliseconds",
            True,
            SENSOR,
            made_from=("step_trainer_trusted.sensorReadingTime", "accelerometer_trusted.timestamp"),
            unit="epoch milliseconds",
        ),
        *(c for c in _stored(DEVICE_READING) if c.name == "distanceFromObject"),
        *(c for c in _stored(PHONE_READING) if c.name in {"x", "y", "z"}),
    ),
    inputs=("step_trainer_trusted", "accelerometer_trusted"),
    description="What a model is trained on. A multiset, never deduplicated. No name, e-mail, phone number, birthday, "
    "serial number or consent date. Pseudonymised, not anonymous.",
    own_rules=(
        rules.SUBJECT_ID_IS_A_PSEUDONYM,
        rules.NO_IDENTIFIERS,
        rules.consent_is_current("subject_id", "subjects", "subject_id"),
        rules.PAIRS_ARE_OF_ONE_PERSON,
        rules.AGREES_WITH_SECOND_ENGINE,
        rules.ROW_COUNT_CHANGE,
        rules.POLICY_IS_DEFAULT,
    ),
    has_data_card=True,
    instant="timestamp",
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *(source.landing for source in SOURCES.values()),
        _customer_trusted,
        _accelerometer_trusted,
        _customers_curated,
        _step_trainer_trusted,
        _machine_learning_curated,
    )
}


def made_from(table: Table, column: Column) -> tuple[tuple[str, str], ...]:
    """Return the columns that a column is made from, each as its table and name."""
    if column.made_from:
        return tuple((name.split(".")[0], name.split(".")[1]) for name in column.made_from)
    having = (name for name in table.inputs if column.name in TABLES[name].column_names)
    return tuple((name, column.name) for name in list(having)[:1])


LANDING_TABLES: dict[str, Source] = {source.landing.name: source for source in SOURCES.values()}
QUARANTINE_TABLES: dict[str, Table] = {source.quarantine.name: source.quarantine for source in SOURCES.values()}
FILES_TABLES: dict[str, Table] = {source.files.name: source.files for source in SOURCES.values()}
ALL_TABLES: dict[str, Table] = {**QUARANTINE_TABLES, **FILES_TABLES, **TABLES}


def companions_of(table: Table) -> tuple[Table, ...]:
    """Return the tables that a landing table's snapshots name and that are published with it: quarantine and files."""
    source = LANDING_TABLES.get(table.name)
    return (source.quarantine, source.files) if source else ()
