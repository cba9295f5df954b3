"""The landing gate: one raw record in, its typed columns or the reasons for its quarantine out.

Nearly every record is plain: its source's keys in their order, each with a value that leaves no question. Those are
told by one regular expression and parsed straight to their types. Any other is judged: parsed to a map of variants,
which keeps repeated keys and their letter case, and knows which kind of JSON value it holds, so that nothing Spark's
JSON reader would bend or drop passes unseen. A plain record, judged, would be accepted with the same values.

The rules are SQL expressions, not calls on columns: a source has hundreds of them, and a call each to the JVM would
take longer than judging a small delivery.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stedi_assets.contracts import Column, Form, Source
from stedi_assets.contracts.rules import END_OF_INSTANTS, FIRST_INSTANT

# What may stand between records: white space, commas, brackets around them, and byte-order marks.
SEPARATORS = " \t\n\x0b\f\r,[]\ufeff\u0085\u00a0\u2028\u2029"

# A variant holds at most 16 MiB (Spark 4.0); a larger record would stop the job instead of being quarantined.
LARGEST_RECORD_BYTES = 16_000_000

# As JSON text: a number that is not finite is written in quotes, bare or not in the record.
_NOT_FINITE = ", ".join(
    f"""'"{name}"'""" for name in ("NaN", "Infinity", "-Infinity", "+Infinity", "INF", "-INF", "+INF")
)

_LARGEST_PLAIN_RECORD_BYTES = 10_000
_BLANKS = r"[ \t\r\n]*+"
_PLAIN_TEXT = r'"([ !#-\[\]-~]++)"'
# The years 2001 to 2099 once more.
_PLAIN_INSTANT = r"([123]\d{12}|40\d{11})"
_PLAIN_VALUES = {
    Form.TEXT: _PLAIN_TEXT,
    Form.TEXT_OR_NUMBER: _PLAIN_TEXT,
    Form.EMAIL: r'"([!#-?A-\[\]-~]*+@[!#-?A-\[\]-~]*+)"',
    Form.INSTANT: _PLAIN_INSTANT,
    Form.SHARE_INSTANT: _PLAIN_INSTANT,
    # No negative zero, whose sign a variant drops.
    Form.NUMBER: r"((?:-(?=[\d.]*[1-9]))?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?)",
}

_EDGE = r"[\s\p{Z}\p{C}]*"
_WORD = r"[^@\s\p{Z}]*"
_EMAIL = f"^{_EDGE}{_WORD}@{_WORD}{_EDGE}$"
# What nearly every e-mail looks like. Classes of Unicode characters take Java many times as long.
_ASCII_EMAIL = "^[!-?A-~]*@[!-?A-~]*$"


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


def read_plain(records: DataFrame, source: Source) -> DataFrame:
    """Read the plain records, and leave the others to `judge`.

    Columns in: `text` STRING (one record; its bytes need not be UTF-8), `blank` BOOLEAN (it is none), and any others,
    kept with `blank`.
    Columns out: the others, the source's record columns with their types (instants in epoch milliseconds; all null
    where the record is not plain), `not_plain` BINARY (the record's bytes, if it is neither plain nor blank; else
    null), `record_bytes` BIGINT.
    """
    columns = source.record_columns
    kept = [f"`{name}`" for name in records.columns if name != "text"]
    pattern, values = _plain_record(source), r"\n".join(f"${n}" for n in range(1, len(columns) + 1))
    short = f"octet_length(text) <= {_LARGEST_PLAIN_RECORD_BYTES}"
    told = records.selectExpr(*kept, "text", f"{short} AND text RLIKE r'{pattern}' AS plain")
    values_of_plain = rf"IF(plain, split(regexp_replace(text, r'{pattern}', '{values}'), r'\n'), NULL)"
    split = told.selectExpr("*", f"{values_of_plain} AS plain_values")
    return split.selectExpr(
        *kept,
        *(
            f"CAST(nullif(get(plain_values, {place}), '') AS {column.type.value}) AS `{column.name}`"
            for place, column in enumerate(columns)
        ),
        "IF(plain OR blank, NULL, binary(text)) AS not_plain",
        "bigint(octet_length(text)) AS record_bytes",
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
    kept = [f"`{name}`" for name in records.columns if name not in {"text", "broken"}]

    # Each step uses the columns of the one before, so that Spark computes nothing twice. What needs a lambda is on
    # its own and only for records with unusual keys: Spark generates no code for a step that holds one.
    parsed = records.selectExpr(*kept, "text", f"IF(broken, NULL, {_fields('text', bare_nan=bare_nan)}) AS fields")
    known = " + ".join(f"int(try_element_at(fields, '{column.name}') IS NOT NULL)" for column in columns)
    plain_keys = parsed.selectExpr("*", f"size(fields) = {known} AS plain_keys")
    named = plain_keys.selectExpr(
        "*",
        "IF(plain_keys, NULL, transform(map_keys(fields), name -> lower(name))) AS names",
        f"IF(plain_keys, NULL, {_unknown_fields(source)}) AS unknown_fields",
    )
    values = named.selectExpr("*", *(f"{_value_under(column.name)} AS `{_value(column)}`" for column in columns))
    # As JSON text a value shows its kind by its first character. Not `variant_get`: that looks up and builds a cast
    # for every value, which takes longer than the parsing.
    written = values.selectExpr("*", *(f"to_json(`{_value(column)}`) AS `{_json(column)}`" for column in columns))
    typed = written.selectExpr("*", *(f"{_typed(column)} AS `{column.name}`" for column in columns))
    judged = typed.selectExpr("*", f"{_reasons(source)} AS reasons")
    return judged.selectExpr(
        *kept,
        *(f"IF(reasons IS NULL, `{column.name}`, NULL) AS `{column.name}`" for column in columns),
        "fields IS NOT NULL AS is_object",
        "reasons",
        "IF(reasons IS NULL, NULL, binary(text)) AS raw",
        "bigint(octet_length(text)) AS record_bytes",
        "IF(size(unknown_fields) > 0, unknown_fields, NULL) AS unknown_fields",
    )


def readable_instant(name: str) -> str:
    """Return the SQL of the instant under a key of the raw record `text`; null if it is not readable without doubt."""
    fields = _fields("text", bare_nan=True)
    names = f"transform(map_keys({fields}), name -> lower(name))"
    entries = f"filter(map_entries({fields}), entry -> lower(entry.key) = '{name.lower()}')"
    json = f"to_json(get({entries}, 0).value)"
    return f"IF(size(array_distinct({names})) = size({names}), {_valid_instant(json)}, NULL)"


def _plain_record(source: Source) -> str:
    """Return a regular expression for a record that needs no judging: in ASCII, the first key there, each key once."""
    first, *others = (_plain_member(column) for column in source.record_columns)
    rest = "".join(
        f"(?:,{_BLANKS}{member}){'' if column.required else '?'}"
        for member, column in zip(others, source.record_columns[1:], strict=True)
    )
    return rf"^\{{{_BLANKS}{first}{rest}\}}\z"


def _plain_member(column: Column) -> str:
    value = _PLAIN_VALUES[column.form] if column.form else ""
    return f'"{column.name}"{_BLANKS}:{_BLANKS}{value}{_BLANKS}'


def _fields(text: str, *, bare_nan: bool) -> str:
    options = f"map('mode', 'PERMISSIVE', 'allowSingleQuotes', 'false', 'allowNonNumericNumbers', '{bare_nan}')"
    readable = f"octet_length({text}) <= {LARGEST_RECORD_BYTES} AND is_valid_utf8({text})"
    return f"IF({readable}, from_json({text}, 'map<string,variant>', {options}), NULL)"


def _value(column: Column) -> str:
    return f"value of {column.name}"


def _json(column: Column) -> str:
    return f"json of {column.name}"


def _value_under(name: str) -> str:
    """The value under a key, whatever the key's letter case."""
    place = f"array_position(names, '{name.lower()}')"
    any_case = f"IF({place} > 0, try_element_at(map_values(fields), int({place})), NULL)"
    return f"IF(plain_keys, try_element_at(fields, '{name}'), {any_case})"


def _unknown_fields(source: Source) -> str:
    known = ", ".join(f"'{column.name.lower()}'" for column in source.record_columns)
    return f"array_distinct(filter(map_keys(fields), name -> lower(name) NOT IN ({known})))"


def _reasons(source: Source) -> str:
    """Every reason for quarantine, sorted; null for a good record."""
    by_column = f"array_compact(array({', '.join(_reason(column) for column in source.record_columns)}))"
    return f"""CASE
        WHEN NOT is_valid_utf8(text) THEN array('invalid_utf8')
        WHEN octet_length(text) > {LARGEST_RECORD_BYTES} THEN array('record_too_large')
        WHEN fields IS NULL THEN array('malformed_json')
        -- The values are ambiguous, so that they are not judged.
        WHEN NOT plain_keys AND size(array_distinct(names)) < size(names) THEN array('duplicate_key')
        WHEN size({by_column}) > 0 THEN array_sort(array_distinct({by_column}))
    END"""


def _typed(column: Column) -> str:
    """A value that can be accepted, with its type; null for any other."""
    json = f"`{_json(column)}`"
    text = f"IF({_is_text(column)}, {_unquoted(column)}, NULL)"
    if column.form is Form.EMAIL:
        return f"IF({text} RLIKE '{_ASCII_EMAIL}' OR {text} RLIKE r'{_EMAIL}', {text}, NULL)"
    if column.form is Form.TEXT:
        return text
    if column.form is Form.TEXT_OR_NUMBER:
        return f"IF({_is_number(json)}, {json}, {text})"
    if column.form is Form.NUMBER:
        return f"IF({_is_number(json)}, try_cast({json} AS DOUBLE), NULL)"
    return _valid_instant(json)


def _reason(column: Column) -> str:
    """The reason why this column's value cannot be accepted, or null."""
    json = f"`{_json(column)}`"
    says_no = f" OR {_says_no(json)}" if column.form is Form.SHARE_INSTANT else ""
    missing = f"'missing_{column.name}'" if column.required else "NULL"
    return f"""CASE
        WHEN `{column.name}` IS NOT NULL{says_no} THEN NULL
        WHEN `{_value(column)}` IS NULL OR {json} = 'null' THEN {missing}
        ELSE {_reason_of_bad_value(column)}
    END"""


def _reason_of_bad_value(column: Column) -> str:
    json = f"`{_json(column)}`"
    if column.form is Form.EMAIL:
        return f"IF({_is_text(column)}, 'invalid_email', 'wrong_type')"
    if column.form in {Form.TEXT, Form.TEXT_OR_NUMBER}:
        return "'wrong_type'"
    return f"""CASE
        WHEN {json} IN ({_NOT_FINITE}) THEN 'not_finite'
        WHEN NOT {_is_number(json)} THEN 'wrong_type'
        ELSE 'invalid_instant'
    END"""


def _is_number(json: str) -> str:
    """Whether a value is a finite number; any other number is written in quotes, like a text."""
    return f"(left({json}, 1) BETWEEN '-' AND '9')"


def _is_text(column: Column) -> str:
    json = f"`{_json(column)}`"
    bare = f"({json} IN ({_NOT_FINITE}) AND schema_of_variant(`{_value(column)}`) = 'DOUBLE')"
    return f"""(startswith({json}, '"') AND NOT {bare})"""


def _unquoted(column: Column) -> str:
    json = f"`{_json(column)}`"
    escaped = f"try_variant_get(`{_value(column)}`, '$', 'string')"
    return f"IF(contains({json}, r''), {escaped}, substring({json}, 2, length({json}) - 2))"


def _says_no(json: str) -> str:
    """Whether a share column says 'no' in one of the ways the sources have: 0, false, empty text."""
    return f"""({json} IN ('false', '""') OR ({_is_number(json)} AND try_cast({json} AS DOUBLE) = 0))"""


def _valid_instant(json: str) -> str:
    """The instant a number stands for: whole, however it is written, and in range; else null."""
    decimal = f"try_cast({json} AS DECIMAL(38, 20))"
    whole = f"IF({decimal} = floor({decimal}), try_cast({decimal} AS BIGINT), NULL)"
    instant = f"IF({_is_number(json)}, coalesce(try_cast({json} AS BIGINT), {whole}), NULL)"
    return f"IF({instant} BETWEEN {FIRST_INSTANT} AND {END_OF_INSTANTS - 1}, {instant}, NULL)"
