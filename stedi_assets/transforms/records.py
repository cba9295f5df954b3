"""The landing gate: one raw record in, its typed columns or the reasons for its quarantine out.

A record is parsed once, to a map of variants. The map keeps repeated keys and their letter case, and a variant knows
which kind of JSON value it holds, so that nothing Spark's JSON reader would bend or drop passes unseen.
"""

from functools import reduce
from operator import add, and_

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
    # Let through here, so that the reason can be `not_finite` and not just `malformed_json`.
    "allowNonNumericNumbers": "true",
}
_QUOTED_NON_FINITE = ("NaN", "Infinity", "-Infinity", "+Infinity", "INF", "-INF", "+INF")

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


def judge(records: DataFrame, source: Source) -> DataFrame:
    """Judge each record by its source's contract.

    Columns in: `text` STRING (one record; its bytes need not be UTF-8), `broken` BOOLEAN (it is known not to be one
    whole object), and any others, kept.
    Columns out: the others, the source's record columns with their types (instants in epoch milliseconds; all null
    where the record is quarantined), `is_object` BOOLEAN (the text is one JSON object), `reasons` ARRAY<STRING>
    (sorted; null where the record is accepted), `raw` BINARY (the bytes; null where accepted), `record_bytes` BIGINT,
    `unknown_fields` ARRAY<STRING> (names that are not in the contract; null where there are none).
    """
    columns = source.record_columns
    others = [name for name in records.columns if name not in {"text", "broken"}]

    parsed = records.select(*others, "text", F.when(~F.col("broken"), _fields(F.col("text"))).alias("fields"))
    known = reduce(add, (_exact(column.name).isNotNull().cast("int") for column in columns))
    keyed = parsed.select("*", (F.size("fields") == known).alias("plain_keys"))
    found = keyed.select(
        *others,
        "text",
        "fields",
        "plain_keys",
        *(_value_of(column.name).alias(f"v_{column.name}") for column in columns),
    )
    kinds = found.select(
        "*", *(F.schema_of_variant(f"v_{column.name}").alias(f"k_{column.name}") for column in columns)
    )
    typed = kinds.select(
        *others,
        "text",
        F.col("fields").isNotNull().alias("is_object"),
        F.when(~F.col("plain_keys"), _unknown_fields(source)).alias("unknown_fields"),
        _reasons(source).alias("reasons"),
        *(_typed(column).alias(column.name) for column in columns),
    )
    accepted = F.col("reasons").isNull()
    return typed.select(
        *others,
        *(F.when(accepted, F.col(column.name)).alias(column.name) for column in columns),
        "is_object",
        "reasons",
        F.when(~accepted, F.col("text").cast("binary")).alias("raw"),
        F.octet_length("text").cast("bigint").alias("record_bytes"),
        "unknown_fields",
    )


def readable_instant(text: Column, name: str) -> Column:
    """Return the instant under the key `name` of a raw record, null if it cannot be read without doubt."""
    fields = _fields(text)
    lowered = F.transform(F.map_keys(fields), F.lower)
    value = F.try_element_at(F.map_values(fields), F.array_position(lowered, name.lower()).cast("int"))
    unambiguous = F.size(F.array_distinct(lowered)) == F.size(lowered)
    return F.when(unambiguous, _valid_instant(value, F.schema_of_variant(value)))


def _fields(text: Column) -> Column:
    small = F.octet_length(text) <= LARGEST_RECORD_BYTES
    return F.when(small, F.from_json(text, "map<string,variant>", _JSON_OPTIONS))


def _exact(name: str) -> Column:
    return F.try_element_at("fields", F.lit(name))


def _lowered_keys() -> Column:
    return F.transform(F.map_keys("fields"), F.lower)


def _value_of(name: str) -> Column:
    """Return the value under a key, whatever the key's letter case."""
    position = F.array_position(_lowered_keys(), name.lower()).cast("int")
    any_case = F.when(position > 0, F.try_element_at(F.map_values("fields"), position))
    return F.when(F.col("plain_keys"), _exact(name)).otherwise(F.coalesce(_exact(name), any_case))


def _unknown_fields(source: Source) -> Column:
    known = [column.name.lower() for column in source.record_columns]
    names = F.filter(F.map_keys("fields"), lambda key: ~F.lower(key).isin(known))
    return F.when(F.size(names) > 0, F.array_distinct(names))


def _reasons(source: Source) -> Column:
    """Every reason for quarantine, sorted; null for a good record."""
    repeated = F.size(F.array_distinct(_lowered_keys())) < F.size("fields")
    by_column = F.array_compact(F.array(*(_reason(column) for column in source.record_columns)))
    return (
        F.when(~F.is_valid_utf8("text"), F.array(F.lit("invalid_utf8")))
        .when(F.octet_length("text") > LARGEST_RECORD_BYTES, F.array(F.lit("record_too_large")))
        .when(F.col("fields").isNull(), F.array(F.lit("malformed_json")))
        # The values are ambiguous, so that they are not judged.
        .when(~F.col("plain_keys") & repeated, F.array(F.lit("duplicate_key")))
        .when(F.size(by_column) > 0, F.array_sort(F.array_distinct(by_column)))
    )


def _reason(column: contract.Column) -> Column:
    """Return the reason why this column's value cannot be accepted, or null."""
    value, kind = F.col(f"v_{column.name}"), F.col(f"k_{column.name}")
    absent = value.isNull() | (kind == "VOID")
    missing = F.lit(f"missing_{column.name}" if column.required else None)
    return F.when(absent, missing).otherwise(_reason_of_value(column.form, value, kind))


def _reason_of_value(form: contract.Form | None, value: Column, kind: Column) -> Column:
    text = kind == "STRING"
    wrong_type = F.lit("wrong_type")
    not_finite = _not_finite(value, kind)
    if form is contract.Form.TEXT:
        return F.when(~text, wrong_type)
    if form is contract.Form.EMAIL:
        return F.when(~text, wrong_type).when(~_string(value).rlike(_EMAIL), F.lit("invalid_email"))
    if form is contract.Form.TEXT_OR_NUMBER:
        return F.when(~(text | (_is_number(kind) & ~F.isnan(_double(value)))), wrong_type)
    if form is contract.Form.NUMBER:
        return F.when(not_finite, F.lit("not_finite")).when(~_is_number(kind), wrong_type)
    bad_instant = (
        F.when(not_finite, F.lit("not_finite"))
        .when(~_is_number(kind), wrong_type)
        .when(_valid_instant(value, kind).isNull(), F.lit("invalid_instant"))
    )
    if form is contract.Form.SHARE_INSTANT:
        return F.when(~_says_no(value, kind), bad_instant)
    return bad_instant


def _typed(column: contract.Column) -> Column:
    value, kind = F.col(f"v_{column.name}"), F.col(f"k_{column.name}")
    if column.form is contract.Form.NUMBER:
        return F.when(_is_number(kind), _double(value))
    if column.type is contract.Type.BIGINT:
        return _valid_instant(value, kind)
    return F.when(kind != "VOID", _string(value))


def _is_number(kind: Column) -> Column:
    return (kind == "BIGINT") | (kind == "DOUBLE") | kind.startswith("DECIMAL")


def _not_finite(value: Column, kind: Column) -> Column:
    number = (kind == "DOUBLE") & (F.isnan(_double(value)) | (F.abs(_double(value)) == float("inf")))
    return number | ((kind == "STRING") & _string(value).isin(*_QUOTED_NON_FINITE))


def _says_no(value: Column, kind: Column) -> Column:
    """Whether a share column says 'no' in one of the ways the sources have: 0, false, empty text."""
    zero = _is_number(kind) & (_double(value) == 0)
    no = (kind == "BOOLEAN") & ~F.try_variant_get(value, "$", "boolean")
    return zero | no | ((kind == "STRING") & (_string(value) == ""))


def _valid_instant(value: Column, kind: Column) -> Column:
    """Return the instant a number stands for: whole, however it is written, and in range; else null."""
    decimal = F.try_variant_get(value, "$", "decimal(38,20)")
    whole_decimal = F.when(decimal == F.floor(decimal), decimal.cast("bigint"))
    double = _double(value)
    in_double = (double == F.floor(double)) & (double < END_OF_INSTANTS)
    instant = (
        F.when(kind == "BIGINT", F.try_variant_get(value, "$", "bigint"))
        .when(kind.startswith("DECIMAL"), whole_decimal)
        .when((kind == "DOUBLE") & in_double, double.try_cast("bigint"))
    )
    return F.when(reduce(and_, (instant >= FIRST_INSTANT, instant < END_OF_INSTANTS)), instant)


def _double(value: Column) -> Column:
    return F.try_variant_get(value, "$", "double")


def _string(value: Column) -> Column:
    return F.try_variant_get(value, "$", "string")
