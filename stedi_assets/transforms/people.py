"""Who a record is about: normalised e-mails and serial numbers, consent, and who holds which device."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, ConsentRecord, Policy
from stedi_assets.transforms.records import readable_instant

_CONSENT = "shareWithResearchAsOfDate"
_EDGES = r"^[\s\p{Z}\p{C}]+|[\s\p{Z}\p{C}]+\z"
# Nothing to trim, as nearly always. Classes of Unicode characters take Java many times as long.
_PLAIN = r"^[!-~]*\z"
# Possessive and bounded, so that hostile text can neither make it backtrack nor exhaust the stack.
_JSON_TEXT = r'"([^"\\]*+(?:\\.[^"\\]*+){0,1000}+)"'


def normalised(name: str) -> Column:
    """Return an e-mail or serial number as it is compared: without blanks around it, in lower case."""
    return normalised_text(F.col(name))


def chosen_records(customers: DataFrame, quarantined: DataFrame | None, policy: Policy, as_of: int) -> DataFrame:
    """Return the record that decides for each person, for those whom it lets in.

    `customers`: customer_landing. `quarantined`: its quarantine, None where that is empty; a record there whose
    e-mail can be read counts as one without consent, the newest of all if its date cannot be read. `as_of`: epoch
    milliseconds; a consent, or a record, from after it is none yet.
    Columns out: the customer record's, e-mail and serial number normalised; one row per person.
    """
    columns = [column.name for column in SOURCES["customer"].record_columns]
    known_by_then = F.col("lastUpdateDate").isNull() | (F.col("lastUpdateDate") <= as_of)
    consents = F.coalesce(F.col(_CONSENT) <= as_of, F.lit(False)) & known_by_then
    records = customers.select(*columns, normalised("email").alias("person"), consents.alias("consents"))
    if policy.consent_record is ConsentRecord.ANY:
        records = records.where("consents")
    elif quarantined is not None:
        withheld = _people_of(quarantined).select("person", "lastUpdateDate", F.lit(False).alias("consents"))
        records = records.unionByName(withheld, allowMissingColumns=True)

    # Without a date, doubt goes against use: a consent is taken for the oldest record, anything else for the newest.
    undated = F.when(F.col("consents"), F.lit(0)).otherwise(F.lit(2**63 - 1))
    newest_first = Window.partitionBy("person").orderBy(
        F.coalesce("lastUpdateDate", undated).desc(),
        F.col("consents").asc(),
        F.col("registrationDate").desc_nulls_last(),
        *(F.col(name).asc_nulls_first() for name in columns),
    )
    latest = records.withColumn("rank", F.row_number().over(newest_first)).where("rank = 1 AND consents")
    return latest.select(*(_stored_form(name).alias(name) for name in columns))


def holders(customers: DataFrame, quarantined: DataFrame | None) -> DataFrame:
    """Return every person with at least one record carrying a serial number, accepted or quarantined.

    Columns out: `person`, `serial`, each pair once.
    """
    pairs = customers.select(normalised("email").alias("person"), normalised("serialNumber").alias("serial"))
    if quarantined is not None:
        pairs = pairs.unionByName(_people_of(quarantined).select("person", F.explode("serials").alias("serial")))
    return pairs.dropDuplicates(["person", "serial"])


def _stored_form(name: str) -> Column:
    return normalised(name) if name in {"email", "serialNumber"} else F.col(name)


def _people_of(quarantined: DataFrame) -> DataFrame:
    """Return the people that quarantined customer records name: `person`, `lastUpdateDate`, `serials`."""
    texts = quarantined.select(F.col("raw").cast("string").alias("text"))
    records = texts.select(
        F.make_valid_utf8("text").alias("text"), F.expr(readable_instant("lastUpdateDate")).alias("lastUpdateDate")
    )
    named = records.select(
        "lastUpdateDate",
        texts_under("email").alias("emails"),
        texts_under("serialNumber").alias("serials"),
    )
    return named.select(
        "lastUpdateDate",
        F.explode(F.transform("emails", normalised_text)).alias("person"),
        F.transform("serials", normalised_text).alias("serials"),
    )


def normalised_text(text: Column) -> Column:
    """Return a text as e-mails and serial numbers are compared."""
    return F.lower(F.when(text.rlike(_PLAIN), text).otherwise(F.regexp_replace(text, _EDGES, "")))


def texts_under(key: str) -> Column:
    """Return every text that stands under a key in the raw text of the column `text`, its escapes resolved."""
    # The text itself is looked at and not passed over: in broken records it can hold the next key.
    quoted = F.regexp_extract_all("text", F.lit(rf'(?i)"{_escapable(key)}"\s*:\s*(?={_JSON_TEXT})'), F.lit(1))
    resolved = F.transform(quoted, lambda text: F.coalesce(_unescaped(text), text))
    return F.array_compact(resolved)


def _unescaped(text: Column) -> Column:
    """Resolve the escapes of a JSON text. It has no control characters; in a broken one they are blanks."""
    quoted = F.concat(F.lit('["'), F.regexp_replace(text, r"[\x00-\x1f]", " "), F.lit('"]'))
    return F.get(F.from_json(quoted, "array<string>"), 0)


def _escapable(key: str) -> str:
    r"""Return a pattern for a key any of whose letters may be written as a `\u` escape."""
    return "".join(rf"(?:{letter}|\\u00(?:{ord(letter.lower()):02x}|{ord(letter.upper()):02x}))" for letter in key)
