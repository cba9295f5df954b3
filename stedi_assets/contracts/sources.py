"""The three sources: what a record of each holds, its landing table, its quarantine and its table of files.

JSON parsing, Dagster's column metadata and asset checks follow from these objects.
"""

from stedi_assets.contracts import rules
from stedi_assets.contracts.model import Column, Form, Source, Table, Type, Zone
from stedi_assets.contracts.rules import Rule

EMAIL = "user.contact.email"
_DEVICE = "user.device.serial_number"
SENSOR = "user.sensor"
SERVICE = "user.consent"
_OPERATIONS = "system.operations"

_SOURCE_FILE = Column(
    "_source_file",
    Type.STRING,
    "Path of the raw file below the source's landing folder; an alias if that could hold personal data",
    True,
    _OPERATIONS,
)
_PERSON = Column("_person", Type.STRING, "Key of the person: the e-mail in the form used for comparison", True, EMAIL)
_KEY_OF_DEVICE = Column(
    "_device", Type.STRING, "Key of the device: the serial number in the form used for comparison", True, _DEVICE
)
_SUPERSEDED = Column(
    "_superseded",
    Type.BOOLEAN,
    "Whether the file that held the record has been replaced: what it says about consent still counts",
    True,
    _OPERATIONS,
)
# Whom a quarantined record concerns. The landing gate reads this once.
_EVIDENCE = (
    Column("_offset", Type.BIGINT, "Where the record begins in the file, unpacked", True, _OPERATIONS, unit="bytes"),
    Column("_length", Type.BIGINT, "How long the record is", True, _OPERATIONS, unit="bytes"),
    Column("_digest", Type.STRING, "BLAKE2b hash of a record that is too large to be kept whole", personal_data="user"),
    Column("_people", Type.STRINGS, "Keys of the people it names under e-mail", True, EMAIL),
    Column("_devices", Type.STRINGS, "Keys of the devices it names under serial number", True, _DEVICE),
    Column(
        "_updated",
        Type.BIGINT,
        "Its lastUpdateDate, in epoch milliseconds; null if that is in doubt",
        personal_data="user.account.date",
        unit="epoch milliseconds",
    ),
    Column(
        "_mentions",
        Type.STRINGS,
        "Keys of everybody it may name anywhere, for erasure; null if that may be anybody",
        personal_data=EMAIL,
    ),
)


# What became of a raw file. No column holds its records; its name is an alias if it could hold personal data.
_FILES = (
    Column("path", Type.STRING, "Path below the source's landing folder, or an alias", True, _OPERATIONS),
    Column("size", Type.BIGINT, "Size of the file as stored", True, _OPERATIONS, unit="bytes"),
    Column("fingerprint", Type.STRING, "Changes whenever the file may have changed", True, _OPERATIONS),
    Column("bytes", Type.BIGINT, "Length of its content, unpacked", True, _OPERATIONS, unit="bytes"),
    Column(
        "digest", Type.STRING, "SHA-256 hash of the file as stored, or of each part of a large one", True, _OPERATIONS
    ),
    Column("records", Type.BIGINT, "Records found in it", True, _OPERATIONS),
    Column("accepted", Type.BIGINT, "Records in the landing table", True, _OPERATIONS),
    Column("accepted_bytes", Type.BIGINT, "Length of the accepted records", True, _OPERATIONS, unit="bytes"),
    Column("quarantined", Type.BIGINT, "Records in the quarantine", True, _OPERATIONS),
    Column("quarantined_bytes", Type.BIGINT, "Length of the quarantined records", True, _OPERATIONS, unit="bytes"),
    Column("suppressed", Type.BIGINT, "Records left out because their people were erased", True, _OPERATIONS),
    Column("separator_bytes", Type.BIGINT, "Length of what stands between records", True, _OPERATIONS, unit="bytes"),
    Column("gzip", Type.BOOLEAN, "Whether it is packed by gzip", True, _OPERATIONS),
    Column("cut_off", Type.BOOLEAN, "Whether its last record is broken off", True, _OPERATIONS),
    Column("error", Type.STRING, "Why it could not be read", personal_data=_OPERATIONS),
    Column("forgotten", Type.BOOLEAN, "Whether it may be missing or unreadable", True, _OPERATIONS),
    Column("days", Type.STRINGS, "The UTC days of its accepted readings", True, _OPERATIONS),
    Column("unknown_fields", Type.STRINGS, "Names of fields that the contract does not know", True, _OPERATIONS),
    Column("other_names", Type.BIGINT, "How many such names are not shown", True, _OPERATIONS),
    Column("sha256", Type.STRING, "SHA-256 hash of a large file, if a manifest gives one", personal_data=_OPERATIONS),
)


def _instant(name: str, description: str, *, reading: bool = False, share: bool = False) -> Column:
    form = Form.SHARE_INSTANT if share else Form.INSTANT
    tag = SERVICE if share else SENSOR if reading else "user.account.date"
    return Column(
        name, Type.BIGINT, f"{description}, in epoch milliseconds", reading, tag, form, unit="epoch milliseconds"
    )


CUSTOMER = (
    Column("customerName", Type.STRING, "Full name", personal_data="user.name", form=Form.TEXT_OR_NUMBER),
    Column("email", Type.STRING, "E-mail address; it identifies the person", True, EMAIL, Form.EMAIL),
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
    _instant("shareWithResearchAsOfDate", "Since when research may use the data (null: no consent)", share=True),
    _instant("shareWithPublicAsOfDate", "Since when the public may see the data; not used here", share=True),
    _instant("shareWithFriendsAsOfDate", "Since when friends may see the data; not used here", share=True),
)

PHONE_READING = (
    Column("user", Type.STRING, "E-mail address of the phone's owner", True, EMAIL, Form.EMAIL),
    _instant("timestamp", "When the phone took the reading", reading=True),
    *(
        Column(
            axis,
            Type.DOUBLE,
            f"Acceleration along the phone's {axis} axis",
            True,
            SENSOR,
            Form.NUMBER,
            unit="as the phone reports it",
        )
        for axis in ("x", "y", "z")
    ),
)

DEVICE_READING = (
    _instant("sensorReadingTime", "When the device took the reading", reading=True),
    Column("serialNumber", Type.STRING, "Serial number of the device", True, _DEVICE, Form.SERIAL_NUMBER),
    Column(
        "distanceFromObject",
        Type.DOUBLE,
        "Distance from the object the device points at",
        True,
        SENSOR,
        Form.NUMBER,
        unit="as the device reports it",
    ),
)


def _source(
    name: str,
    columns: tuple[Column, ...],
    keys: tuple[Column, ...],
    row: str,
    *own_rules: Rule,
    instant: str | None = None,
) -> Source:
    # Customers' records outlive their files; readings do not.
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
            rules.FILES_MATCH_MANIFESTS,
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
            Column(
                "raw",
                Type.BINARY,
                "The record's bytes as they came; none if it also named somebody who was erased",
                required=True,
                personal_data="user",
            ),
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
    CUSTOMER,
    (_PERSON, _KEY_OF_DEVICE),
    "one customer record as the source delivered it",
    rules.QUARANTINED_PEOPLE_KNOWN,
    rules.FEW_PEOPLE_LEAVE_UNREAD,
)
_PHONE_SOURCE = _source(
    "accelerometer", PHONE_READING, (_PERSON,), "one reading of a phone's accelerometer", instant="timestamp"
)
_DEVICE_SOURCE = _source(
    "step_trainer",
    DEVICE_READING,
    (_KEY_OF_DEVICE,),
    "one reading of a step trainer's distance sensor",
    instant="sensorReadingTime",
)

SOURCES: dict[str, Source] = {s.name: s for s in (_CUSTOMER_SOURCE, _PHONE_SOURCE, _DEVICE_SOURCE)}
