"""The landing gate: one raw record in, its typed columns or the reasons for its quarantine out.

A record is parsed once, to a map of variants. The map keeps repeated keys and their letter case, and a variant knows
which kind of JSON value it holds, so that nothing Spark's JSON reader would bend or drop passes unseen.
"""

from functools import reduce
from operator import add

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import Source
from stedi_assets.contracts import tables as contract

# What may stand between records: white space, commas, brackets around them, and byte-order marks.
SEPARATORS = " \t\n\x0b\f\r,[]\ufeff\u0085\u00a0\u2028\u2029"

# A variant holds at most 16 MiB (Spark 4.0); a larger record would stop the job instead of being quarantined.
LARGEST_RECORD_BYTES = 16_000_000

# The years 2001 to 2099. Seconds and microseconds of the same years lie outside, so they cannot pass for milliseconds.
FIRST_INSTANT = 1_000_000_000_000
END_OF_INSTANTS = 4_100_000_000_000

_JSON_OPTIONS = {
    "mode": "PERMISSIVE",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
}
# With `NaN` and its like let through, so that the reason can be `not_finite` and not just `malformed_json`.
_LENIENT_OPTIONS = {**_JSON_OPTIONS, "allowNonNumericNumbers": "true"}
# As JSON text: bare or in quotes, a number that is none is written in quotes.
_NOT_FINITE = tuple(f'"{name}"' for name in ("NaN", "Infinity", "-Infinity", "+Infinity", "INF", "-INF", "+INF"))

_EDGE = r"[\s\p{Z}\p{C}]*"
_WORD = r"[^@\s\p{Z}]*"
_EMAIL = f"^{_EDGE}{_WORD}@{_WORD}{_EDGE}$"


def split_at_braces(chunks: DataFrame) -> DataFrame:
    """Turn text that was read with `}` as its line separator into records, the braces put back.

    Columns in: `value` STRING (what stood before a `}`), and any others, kept.
    Columns out: the others, `text` STRING (the record), `separator_bytes` BIGINT (what stood before it), `blank`
    BOOLEAN (only separators: what follows the last record of a file), `bracketed` BOOLEAN (an empty array stood
    before the record, which is a record of its own).

    A chunk is a whole record only if it parses as an object: a text or a nested object that holds a `}` is cut in
    two here. `judge` says so, and such files are split again by `stedi_assets.lake.splitter`.
    """
    others = [column for column in chunks.columns if column != "value"]
    body = F.ltrim("value", F.lit(SEPARATORS))
    trimmed = chunks.select(
        *others, "value", body.alias("body"), (F.octet_length("value") - F.octet_length(body)).alias("separator_bytes")
    )
    # Two separators at least: so that the regular expression is left alone on almost every record.
    bracketed = (F.col("separator_bytes") > 1) & F.col("value").rlike(r"^[^{]*\[[^{\]]*\]")
    return trimmed.select(
        *others,
        F.concat("body", F.lit("}")).alias("text"),
        F.col("separator_bytes").cast("bigint"),
        (F.col("body") == "").alias("blank"),
        bracketed.alias("bracketed"),
    )


def judge(records: DataFrame, source: Source, *, bare_nan: bool) -> DataFrame:
    """Judge each record by its source's contract.

    Columns in: `text` STRING (one record; its bytes need not be UTF-8), `broken` BOOLEAN (it is known not to be one
    whole object), and any others, kept.
    Columns out: the others, the source's record columns with their types (instants in epoch milliseconds; all null
    where the record is quarantined), `is_object` BOOLEAN (the text is one JSON object), `reasons` ARRAY<STRING>
    (sorted; null where the record is accepted), `raw` BINARY (the bytes; null where accepted), `record_bytes` BIGINT,
    `unknown_fields` ARRAY<STRING> (names that are not in the contract; null where there are none).

    A bare `NaN` or `Infinity` is no JSON. With `bare_nan` a record that holds one is an object all the same, and the
    reason is `not_finite`.
    """
    columns = source.record_columns
    options = _LENIENT_OPTIONS if bare_nan else _JSON_OPTIONS
    kept = [name for name in records.columns if name not in {"text", "broken"}]

    # Each step uses the columns of the one before, so that Spark computes nothing twice. What needs a lambda is on
    # its own and only for records with unusual keys: Spark generates no code for a step that holds one.
    parsed = records.select(*kept, "text", F.when(~F.col("broken"), _fields(F.col("text"), options)).alias("fields"))
    known = reduce(add, (_exact(column.name).isNotNull().cast("int") for column in columns))
    plain_keys = parsed.select("*", (F.size("fields") == known).alias("plain_keys"))
    named = plain_keys.select(
        "*",
        F.when(~F.col("plain_keys"), _lowered(F.map_keys("fields"))).alias("names"),
        F.when(~F.col("plain_keys"), _unknown(F.map_keys("fields"), source)).alias("unknown_fields"),
    )
    values = named.select("*", *(_value_under(column.name).alias(_value(column)) for column in columns))
    written = values.select("*", *(F.to_json(_value(column)).alias(_json(column)) for column in columns))
    typed = written.select("*", *(_typed(column).alias(column.name) for column in columns))
    judged = typed.select("*", _reasons(source).alias("reasons"))

    accepted = F.col("reasons").isNull()
    return judged.select(
        *kept,
        *(F.when(accepted, F.col(column.name)).alias(column.name) for column in columns),
        F.col("fields").isNotNull().alias("is_object"),
        "reasons",
        F.when(~accepted, F.col("text").cast("binary")).alias("raw"),
        F.octet_length("text").cast("bigint").alias("record_bytes"),
        F.when(F.size("unknown_fields") > 0, F.col("unknown_fields")).alias("unknown_fields"),
    )


def readable_instant(text: Column, name: str) -> Column:
    """Return the instant under the key `name` of a raw record, null if it cannot be read without doubt."""
    fields = _fields(text, _LENIENT_OPTIONS)
    names = _lowered(F.map_keys(fields))
    value = F.try_element_at(F.map_values(fields), F.array_position(names, name.lower()).cast("int"))
    unambiguous = F.size(F.array_distinct(names)) == F.size(names)
    # An element at 0, where there is no such key, is none.
    there = F.array_contains(names, name.lower())
    return F.when(unambiguous & there, _valid_instant(F.to_json(value)))


def _fields(text: Column, options: dict[str, str]) -> Column:
    small = F.octet_length(text) <= LARGEST_RECORD_BYTES
    return F.when(small & F.is_valid_utf8(text), F.from_json(text, "map<string,variant>", options))


def _exact(name: str) -> Column:
    return F.try_element_at("fields", F.lit(name))


def _lowered(names: Column) -> Column:
    return F.transform(names, F.lower)


def _unknown(names: Column, source: Source) -> Column:
    known = [column.name.lower() for column in source.record_columns]
    return F.array_distinct(F.filter(names, lambda name: ~F.lower(name).isin(known)))


def _value(column: contract.Column) -> str:
    return f"value of {column.name}"


def _json(column: contract.Column) -> str:
    """Name the column that holds a value as JSON text: its first character tells text from number from the rest.

    Not `variant_get`: that builds and looks up a cast for every value, which costs more than the parsing.
    """
    return f"json of {column.name}"


def _value_under(name: str) -> Column:
    """Return the value under a key, whatever the key's letter case."""
    place = F.array_position("names", name.lower()).cast("int")
    any_case = F.when(place > 0, F.try_element_at(F.map_values("fields"), place))
    return F.when(F.col("plain_keys"), _exact(name)).otherwise(any_case)


def _reasons(source: Source) -> Column:
    """Every reason for quarantine, sorted; null for a good record."""
    repeated = F.size(F.array_distinct("names")) < F.size("names")
    by_column = F.array_compact(F.array(*(_reason(column) for column in source.record_columns)))
    return (
        F.when(~F.is_valid_utf8("text"), F.array(F.lit("invalid_utf8")))
        .when(F.octet_length("text") > LARGEST_RECORD_BYTES, F.array(F.lit("record_too_large")))
        .when(F.col("fields").isNull(), F.array(F.lit("malformed_json")))
        # The values are ambiguous, so that they are not judged.
        .when(~F.col("plain_keys") & repeated, F.array(F.lit("duplicate_key")))
        .when(F.size(by_column) > 0, F.array_sort(F.array_distinct(by_column)))
    )


def _typed(column: contract.Column) -> Column:
    """Return a value that can be accepted, with its type; null for any other."""
    value, json = F.col(_value(column)), F.col(_json(column))
    text = F.when(_is_text(value, json), _unquoted(value, json))
    if column.form is contract.Form.EMAIL:
        return F.when(text.rlike(_EMAIL), text)
    if column.form is contract.Form.TEXT:
        return text
    if column.form is contract.Form.TEXT_OR_NUMBER:
        return F.when(_is_number(json), json).otherwise(text)
    if column.form is contract.Form.NUMBER:
        return F.when(_is_number(json), json.try_cast("double"))
    return _valid_instant(json)


def _reason(column: contract.Column) -> Column:
    """Return the reason why this column's value cannot be accepted, or null."""
    value, json = F.col(_value(column)), F.col(_json(column))
    missing = F.lit(f"missing_{column.name}" if column.required else None)
    accepted = F.col(column.name).isNotNull()
    if column.form is contract.Form.SHARE_INSTANT:
        accepted = accepted | _says_no(json)
    return (
        F.when(accepted, F.lit(None))
        .when(value.isNull() | (json == "null"), missing)
        .otherwise(_reason_of_bad_value(column.form, value, json))
    )


def _reason_of_bad_value(form: contract.Form | None, value: Column, json: Column) -> Column:
    wrong_type = F.lit("wrong_type")
    if form is contract.Form.EMAIL:
        return F.when(_is_text(value, json), F.lit("invalid_email")).otherwise(wrong_type)
    if form in {contract.Form.TEXT, contract.Form.TEXT_OR_NUMBER}:
        return wrong_type
    return (
        F.when(json.isin(*_NOT_FINITE), F.lit("not_finite"))
        .when(~_is_number(json), wrong_type)
        .otherwise(F.lit("invalid_instant"))
    )


def _is_number(json: Column) -> Column:
    """Whether a value is a finite number; any other number is written in quotes, like a text."""
    return F.substring(json, 1, 1).between("-", "9")


def _is_text(value: Column, json: Column) -> Column:
    bare = json.isin(*_NOT_FINITE) & (F.schema_of_variant(value) == "DOUBLE")
    return json.startswith('"') & ~bare


def _unquoted(value: Column, json: Column) -> Column:
    plain = F.substring(json, F.lit(2), F.length(json) - 2)
    return F.when(json.contains("\\"), F.try_variant_get(value, "$", "string")).otherwise(plain)


def _says_no(json: Column) -> Column:
    """Whether a share column says 'no' in one of the ways the sources have: 0, false, empty text."""
    return json.isin("false", '""') | (_is_number(json) & (json.try_cast("double") == 0))


def _valid_instant(json: Column) -> Column:
    """Return the instant a number stands for: whole, however it is written, and in range; else null."""
    decimal = json.try_cast("decimal(38,20)")
    whole = F.when(decimal == F.floor(decimal), decimal.try_cast("bigint"))
    instant = F.when(_is_number(json), F.coalesce(json.try_cast("bigint"), whole))
    return F.when(instant.between(FIRST_INSTANT, END_OF_INSTANTS - 1), instant)
