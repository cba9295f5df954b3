"""One contract per table: the single source for its columns, types, keys, personal-data tags, place and inputs.

JSON parsing, the rules a table must pass before it is published, Dagster's column metadata and asset checks, and the
README's table list all follow from the objects at the end of this file.
"""

from dataclasses import dataclass, replace
from enum import Enum

from stedi_assets.contracts import rules
from stedi_assets.contracts.policy import MatchOn
from stedi_assets.contracts.rules import Rule

_IDENTIFYING = ("user.name", "user.contact", "user.birth", "user.device", "user.account")


class Zone(str, Enum):
    """A zone of the lake; also the Dagster group of its assets."""

    LANDING = "landing"
    TRUSTED = "trusted"
    CURATED = "curated"


class Type(str, Enum):
    """A column type, by its Spark SQL name."""

    STRING = "string"
    BIGINT = "bigint"
    DOUBLE = "double"
    BINARY = "binary"
    BOOLEAN = "boolean"
    STRINGS = "array<string>"


class Form(str, Enum):
    """How a value must be written in a landing file to be accepted."""

    SERIAL_NUMBER = "serial number"
    EMAIL = "email"
    TEXT_OR_NUMBER = "text or number"
    INSTANT = "instant"
    SHARE_INSTANT = "share instant"
    NUMBER = "number"


@dataclass(frozen=True)
class Column:
    """A column. `form` is how a landing file writes it; only landing columns have one.

    `personal_data` is its kind of data, in the words of the Fides taxonomy: `user…` is a person's, `system…` is not.
    `made_from` are the columns of the table's inputs that it is made from, as `table.column`; where none are named, it
    is that of the same name in the first input that has one. `unit` is what its numbers are in.
    """

    name: str
    type: Type
    description: str
    required: bool = False
    personal_data: str = "user"
    form: Form | None = None
    made_from: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the lake: what a row is, its columns, and the key that no two rows share (empty: rows may repeat).

    `path` is the table's folder below the lake. `inputs` are the tables it is computed from. `policy_applies` says
    whether the policy switches decide its rows, which they do everywhere but in the landing zone. One that leaves the
    house `has_data_card`. A table of readings is partitioned by the UTC day of the column `instant`.
    """

    name: str
    zone: Zone
    path: str
    row: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    description: str = ""
    own_rules: tuple[Rule, ...] = ()
    has_data_card: bool = False
    instant: str | None = None

    @property
    def policy_applies(self) -> bool:
        """Whether the policy switches decide this table's rows."""
        return self.zone is not Zone.LANDING

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names, in contract order."""
        return tuple(column.name for column in self.columns)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule of the table: those that follow from its columns and key, and its own."""
        required = tuple(column.name for column in self.columns if column.required)
        key = (rules.unique_key(self.key),) if self.key else ()
        return (rules.AS_PUBLISHED, rules.required_values(required), *key, *self.own_rules)

    @property
    def identifies_people(self) -> bool:
        """Whether a column names or describes a person, rather than what a sensor saw of somebody."""
        return any(column.personal_data.startswith(_IDENTIFYING) for column in self.columns)

    @property
    def ddl(self) -> str:
        """The schema as Spark reads it."""
        return ", ".join(f"`{column.name}` {column.type.value}" for column in self.columns)


@dataclass(frozen=True)
class Source:
    """A source of landing files: its raw folder, the table of accepted records, that of the others, that of files."""

    name: str
    landing: Table
    quarantine: Table
    files: Table

    @property
    def raw_path(self) -> str:
        """The folder of the raw files below the lake."""
        return f"{self.name}/landing"

    @property
    def record_columns(self) -> tuple[Column, ...]:
        """The columns that a record itself carries: the landing table's without `_source_file`."""
        return tuple(column for column in self.landing.columns if column.form is not None)


_EMAIL = "user.contact.email"
_DEVICE = "user.device.serial_number"
_SENSOR = "user.sensor"
_SERVICE = "user.consent"
_OPERATIONS = "system.operations"

_SOURCE_FILE = Column(
    "_source_file",
    Type.STRING,
    "Path of the raw file below the source's landing folder; an alias where it could hold somebody's data",
    True,
    _OPERATIONS,
)
_PERSON = Column("_person", Type.STRING, "Key of the person: the e-mail as e-mails are compared", True, _EMAIL)
_KEY_OF_DEVICE = Column(
    "_device", Type.STRING, "Key of the device: the serial number as serial numbers are compared", True, _DEVICE
)
_SUPERSEDED = Column(
    "_superseded",
    Type.BOOLEAN,
    "Whether the file that held the record has been replaced: what it says of consent still counts",
    True,
    _OPERATIONS,
)
# What a quarantined record says of whom it concerns, read once, at the landing gate.
_EVIDENCE = (
    Column("_offset", Type.BIGINT, "Where the record begins in the file, unpacked", True, _OPERATIONS, unit="bytes"),
    Column("_length", Type.BIGINT, "How long the record is", True, _OPERATIONS, unit="bytes"),
    Column("_digest", Type.STRING, "BLAKE2b hash of a record that is too large to be kept whole", personal_data="user"),
    Column("_people", Type.STRINGS, "Keys of the people it names under e-mail", True, _EMAIL),
    Column("_devices", Type.STRINGS, "Keys of the devices it names under serial number", True, _DEVICE),
    Column(
        "_updated",
        Type.BIGINT,
        "Its lastUpdateDate, in epoch milliseconds; null where that is in doubt",
        personal_data="user.account.date",
        unit="epoch milliseconds",
    ),
    Column(
        "_mentions",
        Type.STRINGS,
        "Keys of everybody it may name anywhere, for erasure; null where that may be anybody",
        personal_data=_EMAIL,
    ),
)


# What became of a raw file. Its records are in no column; its name is an alias where it could hold somebody's data.
_FILES = (
    Column("path", Type.STRING, "Path below the source's landing folder, or an alias", True, _OPERATIONS),
    Column("size", Type.BIGINT, "Size as the file lies", True, _OPERATIONS, unit="bytes"),
    Column("fingerprint", Type.STRING, "Changes whenever the file may have", True, _OPERATIONS),
    Column("bytes", Type.BIGINT, "Length of its content, unpacked", True, _OPERATIONS, unit="bytes"),
    Column("digest", Type.STRING, "Of the file as it lies: a renamed file is known again", True, _OPERATIONS),
    Column("records", Type.BIGINT, "Records found in it", True, _OPERATIONS),
    Column("accepted", Type.BIGINT, "Records in the landing table", True, _OPERATIONS),
    Column("accepted_bytes", Type.BIGINT, "Length of the accepted records", True, _OPERATIONS, unit="bytes"),
    Column("quarantined", Type.BIGINT, "Records in the quarantine", True, _OPERATIONS),
    Column("quarantined_bytes", Type.BIGINT, "Length of the quarantined records", True, _OPERATIONS, unit="bytes"),
    Column("suppressed", Type.BIGINT, "Records left out, for they are of people who were erased", True, _OPERATIONS),
    Column("separator_bytes", Type.BIGINT, "Length of what stands between records", True, _OPERATIONS, unit="bytes"),
    Column("gzip", Type.BOOLEAN, "Whether it is packed by gzip", True, _OPERATIONS),
    Column("cut_off", Type.BOOLEAN, "Whether its last record is broken off", True, _OPERATIONS),
    Column("error", Type.STRING, "Why it could not be read", personal_data=_OPERATIONS),
    Column("forgotten", Type.BOOLEAN, "Whether it may be missing or unreadable", True, _OPERATIONS),
)


def _instant(name: str, description: str, *, reading: bool = False, share: bool = False) -> Column:
    form = Form.SHARE_INSTANT if share else Form.INSTANT
    tag = _SERVICE if share else _SENSOR if reading else "user.account.date"
    return Column(
        name, Type.BIGINT, f"{description}, in epoch milliseconds", reading, tag, form, unit="epoch milliseconds"
    )


_CUSTOMER = (
    Column("customerName", Type.STRING, "Full name", personal_data="user.name", form=Form.TEXT_OR_NUMBER),
    Column("email", Type.STRING, "E-mail address; it names the person", True, _EMAIL, Form.EMAIL),
    Column("phone", Type.STRING, "Phone number", personal_data="user.contact.phone", form=Form.TEXT_OR_NUMBER),
    Column(
        "birthDay",
        Type.STRING,
        "Date of birth as the source wrote it, odd years and all",
        personal_data="user.birth_date",
        form=Form.TEXT_OR_NUMBER,
    ),
    Column("serialNumber", Type.STRING, "Serial number of the step trainer", True, _DEVICE, Form.SERIAL_NUMBER),
    _instant("registrationDate", "When the customer registered"),
    _instant("lastUpdateDate", "When this record was last changed"),
    _instant("shareWithResearchAsOfDate", "Since when research may use the data; null is no consent", share=True),
    _instant("shareWithPublicAsOfDate", "Since when the public may see the data; not used here", share=True),
    _instant("shareWithFriendsAsOfDate", "Since when friends may see the data; not used here", share=True),
)

_PHONE = (
    Column("user", Type.STRING, "E-mail address of the phone's owner", True, _EMAIL, Form.EMAIL),
    _instant("timestamp", "When the phone took the reading", reading=True),
    *(
        Column(
            axis,
            Type.DOUBLE,
            f"Acceleration along the phone's {axis} axis",
            True,
            _SENSOR,
            Form.NUMBER,
            unit="as the phone reports it",
        )
        for axis in ("x", "y", "z")
    ),
)

_DEVICE_READING = (
    _instant("sensorReadingTime", "When the device took the reading", reading=True),
    Column("serialNumber", Type.STRING, "Serial number of the device", True, _DEVICE, Form.SERIAL_NUMBER),
    Column(
        "distanceFromObject",
        Type.DOUBLE,
        "Distance from the object the device points at",
        True,
        _SENSOR,
        Form.NUMBER,
        unit="as the device reports it",
    ),
)


def _stored(columns: tuple[Column, ...], **made_from: tuple[str, ...]) -> tuple[Column, ...]:
    """Return the columns as a trusted or curated table holds them: without a landing form."""
    return tuple(replace(column, form=None, made_from=made_from.get(column.name, ())) for column in columns)


def _source(
    name: str,
    columns: tuple[Column, ...],
    keys: tuple[Column, ...],
    row: str,
    *own_rules: Rule,
    instant: str | None = None,
) -> Source:
    # Customers' records outlive the files that held them; readings do not.
    marks = (_SUPERSEDED,) if name == "customer" else ()
    landing = Table(
        name=f"{name}_landing",
        zone=Zone.LANDING,
        path=f"{name}/landing_table",
        row=row,
        columns=(*columns, *keys, *marks, _SOURCE_FILE),
        description="Every record the source delivered and we could read, with its types. Nothing is filtered, "
        "merged or deduplicated here; what could not be read is in the quarantine beside it.",
        own_rules=(
            rules.NOT_EMPTY,
            rules.FILES_READABLE,
            rules.ROWS_ACCOUNTED_FOR,
            rules.every_file_gives_records(rules.Severity.ERROR if name == "customer" else rules.Severity.WARN),
            rules.FILES_WHOLE,
            rules.QUARANTINE_RATE,
            rules.UNKNOWN_FIELDS,
            rules.IGNORED_FILES,
            rules.ROW_COUNT_CHANGE,
            *own_rules,
        ),
        instant=instant,
    )
    quarantine = Table(
        name=f"{name}_quarantine",
        zone=Zone.LANDING,
        path=f"{name}/quarantine",
        row="one record that the landing table could not accept",
        columns=(
            _SOURCE_FILE,
            Column("reasons", Type.STRINGS, "Every reason by name, sorted", True, _OPERATIONS),
            Column("raw", Type.BINARY, "The record's bytes as they came", required=True, personal_data="user"),
            *_EVIDENCE,
            *marks,
        ),
    )
    files = Table(
        name=f"{name}_files",
        zone=Zone.LANDING,
        path=f"{name}/files",
        row="one raw file, and what became of it",
        columns=_FILES,
    )
    return Source(name, landing, quarantine, files)


_CUSTOMER_SOURCE = _source(
    "customer",
    _CUSTOMER,
    (_PERSON, _KEY_OF_DEVICE),
    "one customer record as the source delivered it",
    rules.QUARANTINED_PEOPLE_KNOWN,
    rules.FEW_PEOPLE_LEAVE_UNREAD,
)
_PHONE_SOURCE = _source(
    "accelerometer", _PHONE, (_PERSON,), "one reading of a phone's accelerometer", instant="timestamp"
)
_DEVICE_SOURCE = _source(
    "step_trainer",
    _DEVICE_READING,
    (_KEY_OF_DEVICE,),
    "one reading of a step trainer's distance sensor",
    instant="sensorReadingTime",
)

SOURCES: dict[str, Source] = {s.name: s for s in (_CUSTOMER_SOURCE, _PHONE_SOURCE, _DEVICE_SOURCE)}

_customer_trusted = Table(
    name="customer_trusted",
    zone=Zone.TRUSTED,
    path="customer/trusted",
    row="one person who consents to research",
    columns=_stored(_CUSTOMER),
    key=("email",),
    inputs=("customer_landing",),
    description="The latest record of each person, if that record consents. People who never consented and people "
    "who withdrew are left out. E-mail and serial number are trimmed and lower-cased.",
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
    columns=_stored(_PHONE, user=("accelerometer_landing.user", "customer_trusted.email")),
    key=("user", "timestamp", "x", "y", "z"),
    instant="timestamp",
    inputs=("customer_trusted", "accelerometer_landing"),
    description="The phone readings of the people in customer_trusted. Exact repeats of a whole row stand once; "
    "different readings of one person at one instant are real and all stay.",
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
    columns=_stored(_CUSTOMER, email=("customer_trusted.email", "accelerometer_trusted.user")),
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
            _DEVICE_READING,
            sensorReadingTime=("step_trainer_landing.sensorReadingTime", "accelerometer_landing.timestamp"),
            serialNumber=("step_trainer_landing.serialNumber", "customer_landing.serialNumber"),
        ),
        Column(
            "user",
            Type.STRING,
            "E-mail address of the person the reading belongs to",
            personal_data=_EMAIL,
            made_from=("customer_landing.email", "accelerometer_landing.user", "customers_curated.email"),
        ),
    ),
    key=("sensorReadingTime", "serialNumber", "distanceFromObject"),
    instant="sensorReadingTime",
    inputs=("customers_curated", "step_trainer_landing", "customer_landing", "accelerometer_landing"),
    description="The device readings that belong to exactly one person of customers_curated: of all who hold the "
    "serial number, the one whose phone logged a reading at the same instant. Where none or several did, the "
    "reading is nobody's and is left out. Exact repeats stand once.",
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
            _SENSOR,
            made_from=("step_trainer_trusted.sensorReadingTime", "accelerometer_trusted.timestamp"),
            unit="epoch milliseconds",
        ),
        *(c for c in _stored(_DEVICE_READING) if c.name == "distanceFromObject"),
        *(c for c in _stored(_PHONE) if c.name in {"x", "y", "z"}),
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
    """Return what a column is made from: the table and name of each column."""
    if column.made_from:
        return tuple((name.split(".")[0], name.split(".")[1]) for name in column.made_from)
    having = (name for name in table.inputs if column.name in TABLES[name].column_names)
    return tuple((name, column.name) for name in list(having)[:1])


LANDING_TABLES: dict[str, Source] = {source.landing.name: source for source in SOURCES.values()}
QUARANTINE_TABLES: dict[str, Table] = {source.quarantine.name: source.quarantine for source in SOURCES.values()}
FILES_TABLES: dict[str, Table] = {source.files.name: source.files for source in SOURCES.values()}
ALL_TABLES: dict[str, Table] = {**QUARANTINE_TABLES, **FILES_TABLES, **TABLES}


def companions_of(table: Table) -> tuple[Table, ...]:
    """Return the tables that a landing table's snapshots name, and that are published with it: quarantine and files."""
    source = LANDING_TABLES.get(table.name)
    return (source.quarantine, source.files) if source else ()
