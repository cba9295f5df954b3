# Deliveries broken in every way we know of, each with what must become of its records.
# Data only: every program that reads landing files is held to this one list.
"""One landing file per case: what stands in it, how many records are accepted, why the others are quarantined.

The one kind of broken delivery that is not here is a file that is replaced or cut between listing and reading: that
is a matter of timing, not of content.
"""

import bz2
import gzip
import io
import lzma
import zipfile
from dataclasses import dataclass, field
from typing import Literal

Source = Literal["customer", "accelerometer", "step_trainer"]


@dataclass(frozen=True)
class MalformedCase:
    """A landing file and its verdict."""

    name: str
    source: Source
    content: bytes = field(repr=False)  # may be large
    accepted: int
    reasons: list[tuple[str, ...]] = field(default_factory=list)
    """Of each quarantined record, in the order of the file."""
    file_error: bool = False
    file_name: str = "records.json"
    """Path below the source's landing folder."""


# Keys and values as JSON spells them, so that a case can spell any of them in its own way.
_GOOD: dict[Source, dict[str, str]] = {
    "customer": {
        "customerName": '"Ada Example"',
        "email": '"ada@example.com"',
        "phone": '"8015550100"',
        "birthDay": '"1990-01-01"',
        "serialNumber": '"serial-1"',
        "registrationDate": "1655564376361",
        "lastUpdateDate": "1655564376361",
        "shareWithResearchAsOfDate": "1655564376361",
        "shareWithPublicAsOfDate": "1655564376361",
        "shareWithFriendsAsOfDate": "1655564376361",
    },
    "accelerometer": {"user": '"ada@example.com"', "timestamp": "1655564444103", "x": "1.0", "y": "-1.0", "z": "0.5"},
    "step_trainer": {"sensorReadingTime": "1655564444103", "serialNumber": '"serial-1"', "distanceFromObject": "218"},
}
_REQUIRED: dict[Source, tuple[str, ...]] = {
    "customer": ("email", "serialNumber"),
    "accelerometer": tuple(_GOOD["accelerometer"]),
    "step_trainer": tuple(_GOOD["step_trainer"]),
}


def _object(fields: dict[str, str]) -> bytes:
    return ("{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}").encode()


def _with(source: Source, **changes: str) -> bytes:
    """A good record with other or further values."""
    return _object({**_GOOD[source], **changes})


def _without(source: Source, column: str) -> bytes:
    return _object({key: value for key, value in _GOOD[source].items() if key != column})


def _value(source: Source, column: str, value: str, *reasons: str) -> MalformedCase:
    """One good record but for one value: accepted when no reason is given."""
    shown = value if len(value) < 50 else f"{value[:10]}… ({len(value)} characters)"
    content = _with(source, **{column: value})
    return MalformedCase(f"{source} {column}: {shown}", source, content, 0 if reasons else 1, [reasons] * bool(reasons))


def _file_error(name: str, source: Source, content: bytes, file_name: str = "records.json") -> MalformedCase:
    return MalformedCase(name, source, content, 0, file_error=True, file_name=file_name)


def _named(file_name: str, content: bytes, accepted: int) -> MalformedCase:
    return MalformedCase(f"named {file_name}", "step_trainer", content, accepted, file_name=file_name)


def _zipped(*files: str | bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in zip(files[::2], files[1::2], strict=True):
            archive.writestr(zipfile.ZipInfo(str(name)), content)
    return packed.getvalue()


_CUSTOMER = _with("customer")
_READING = _with("accelerometer")
_STEP = _with("step_trainer")
_PRETTY = b"""{
    "user": "ada@example.com",
    "timestamp": 1655564444103,
    "x": 1.0,
    "y": -1.0,
    "z": 0.5
}"""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_SEPARATOR = "\u2028".encode()
_PACKED_STEPS = gzip.compress(b"\n".join(_with("step_trainer", distanceFromObject=f"{n}") for n in range(300)), mtime=0)

_MALFORMED = ("malformed_json",)
_NOT_UTF8 = ("invalid_utf8",)
_DUPLICATE_KEY = ("duplicate_key",)
_ALL_MISSING = ("missing_timestamp", "missing_user", "missing_x", "missing_y", "missing_z")
_NO_PERSON = ("missing_email", "missing_serialNumber")


_BETWEEN_RECORDS = [
    # Several objects on one line, and what stands between them
    MalformedCase("glued objects", "customer", _CUSTOMER * 3, 3),
    MalformedCase("blanks between objects", "step_trainer", b" \t ".join([_STEP] * 3), 3),
    MalformedCase("commas between objects", "accelerometer", b",".join([_READING] * 3), 3),
    MalformedCase("commas at line ends", "accelerometer", (_READING + b",\n") * 3, 3),
    MalformedCase("commas at line starts", "accelerometer", b"\n,".join([_READING] * 3), 3),
    MalformedCase("CR between objects", "accelerometer", b"\r".join([_READING] * 3), 3),
    MalformedCase("U+2028 between objects", "accelerometer", _LINE_SEPARATOR.join([_READING] * 3), 3),
    MalformedCase("U+2029 between objects", "step_trainer", "\u2029".encode().join([_STEP] * 3), 3),
    MalformedCase("U+0085 between objects", "step_trainer", "\u0085".encode().join([_STEP] * 3), 3),
    MalformedCase("no-break spaces between objects", "customer", "\u00a0".encode().join([_CUSTOMER] * 3), 3),
    MalformedCase("form feed, vertical tab between objects", "customer", b"\f\v".join([_CUSTOMER] * 3), 3),
    # An object that is cut off, with others after it
    MalformedCase("cut in a key, then LF", "accelerometer", b'{"us\n' + _READING, 1, [_MALFORMED]),
    MalformedCase("cut in a text, then LF", "accelerometer", b'{"user":"ada@ex\n' + _READING, 1, [_MALFORMED]),
    MalformedCase("cut after a colon, then CRLF", "accelerometer", b'{"user":\r\n' + _READING, 1, [_MALFORMED]),
    MalformedCase("cut after a comma, then CR", "step_trainer", _STEP[:-1] + b",\r" + _STEP, 1, [_MALFORMED]),
    MalformedCase("cut, then U+2028", "step_trainer", _STEP[:-1] + _LINE_SEPARATOR + _STEP, 1, [_MALFORMED]),
    MalformedCase("cut, then indented", "accelerometer", _READING[:20] + b"\n \t " + _READING, 1, [_MALFORMED]),
    MalformedCase(
        "cut twice", "customer", b"\n".join([_CUSTOMER[:30], _CUSTOMER[:90], _CUSTOMER]), 1, [_MALFORMED] * 2
    ),
    MalformedCase("cut, the next one glued to it", "accelerometer", _READING[:20] + _READING, 0, [_MALFORMED]),
    MalformedCase("cut, two more glued to it", "accelerometer", _READING[:20] + _READING * 2, 1, [_MALFORMED]),
    MalformedCase("whole but broken, the next one glued to it", "step_trainer", b'{"a":1,}' + _STEP, 1, [_MALFORMED]),
    # The last object is cut off
    MalformedCase("the last one cut", "accelerometer", _READING + b"\n" + _READING[:-9], 1, [_MALFORMED]),
    MalformedCase("only the brace is missing", "customer", _CUSTOMER[:-1] + b"\n", 0, [_MALFORMED]),
    MalformedCase("nothing but a brace", "step_trainer", b"{", 0, [_MALFORMED]),
    # An object with garbage after it
    MalformedCase("garbage after an object", "accelerometer", _READING + b" and x\n" + _READING, 2, [_MALFORMED]),
    MalformedCase("a brace too many", "step_trainer", _STEP + b"}\n" + _STEP, 2, [_MALFORMED]),
    MalformedCase("a brace too many, the next one glued", "step_trainer", _STEP + b"}" + _STEP, 2, [_MALFORMED]),
    MalformedCase("a text after an object", "customer", _CUSTOMER + b'"rest"', 1, [_MALFORMED]),
    MalformedCase("NUL after an object", "customer", _CUSTOMER + b"\0\0\n", 1, [_MALFORMED]),
    # Arrays around the records; objects over several lines
    MalformedCase("an array on one line", "accelerometer", b"[" + b",".join([_READING] * 3) + b"]", 3),
    MalformedCase("an array over the file", "customer", b"[\n  " + b",\n  ".join([_CUSTOMER] * 3) + b"\n]\n", 3),
    MalformedCase("an array a line", "step_trainer", (b"[" + _STEP + b"]\n") * 2, 2),
    MalformedCase("arrays in an array", "step_trainer", b"[[" + _STEP + b"],\n[" + _STEP + b"]]", 2),
    MalformedCase("an array that is never closed", "step_trainer", b"[" + _STEP + b",\n" + _STEP + b",", 2),
    MalformedCase("pretty-printed objects", "accelerometer", _PRETTY + b"\n" + _PRETTY + b"\n", 2),
    MalformedCase("an array, pretty-printed", "accelerometer", b"[\n" + _PRETTY + b",\n" + _PRETTY + b"\n]", 2),
    MalformedCase("pretty-printed and cut", "accelerometer", _PRETTY[:60] + b"\n" + _PRETTY, 1, [_MALFORMED]),
    # An array with nothing in it
    MalformedCase("an empty array", "customer", b"[]", 0, [_MALFORMED]),
    MalformedCase("an empty array over lines", "customer", b"\n[ \n\t ]\n", 0, [_MALFORMED]),
    MalformedCase("an empty array between objects", "step_trainer", _STEP + b"[]" + _STEP, 2, [_MALFORMED]),
    # JSON, but no record
    MalformedCase("an empty object", "accelerometer", b"{}", 0, [_ALL_MISSING]),
    MalformedCase("null", "accelerometer", b"null\n" + _READING, 1, [_MALFORMED]),
    MalformedCase("a number", "step_trainer", b"42\n" + _STEP, 1, [_MALFORMED]),
    MalformedCase("a text", "customer", b'"abc"\n' + _CUSTOMER, 1, [_MALFORMED]),
    MalformedCase("a text with braces", "customer", b'"}{"\n' + _CUSTOMER, 1, [_MALFORMED]),
    MalformedCase("true and false", "customer", b"true\nfalse", 0, [_MALFORMED] * 2),
    MalformedCase("a number a line, with commas", "step_trainer", b"1,\n2,\n", 0, [_MALFORMED] * 2),
    MalformedCase("numbers on one line", "step_trainer", b"1, 2, 3\n", 0, [_MALFORMED]),
    MalformedCase("null glued to an object", "accelerometer", b"null" + _READING, 1, [_MALFORMED]),
]

# What stands around all records of a file.
_ENVELOPES = [
    MalformedCase(
        "an envelope of records",
        "customer",
        b'{"exportedAt": 1, "customers": [' + _CUSTOMER + b"," + _CUSTOMER + b"]}",
        2,
    ),
    MalformedCase(
        "an envelope, pretty-printed",
        "accelerometer",
        b'{\n  "readings": [\n' + _PRETTY + b",\n" + _PRETTY + b'\n  ],\n  "next": null\n}\n',
        2,
    ),
    MalformedCase("an envelope a line", "step_trainer", (b'{"page":1,"items":[' + _STEP + b"]}\n") * 2, 2),
    MalformedCase("envelopes in an array", "step_trainer", b"[" + b",".join([b'{"a":[' + _STEP + b"]}"] * 2) + b"]", 2),
    MalformedCase(
        "an envelope with other things in it",
        "accelerometer",
        b'{"readings":[' + _READING + b',7,[],{"b":2}]}' + _READING,
        2,
        [_MALFORMED, _MALFORMED, _ALL_MISSING],
    ),
    MalformedCase(
        "an envelope of what the source does not send", "accelerometer", b'{"items":[{"a":1}]}', 0, [_ALL_MISSING]
    ),
    MalformedCase("an envelope of nothing", "accelerometer", b'{"readings":[]}', 0, [_ALL_MISSING]),
    MalformedCase("an envelope with two arrays", "accelerometer", b'{"readings":[' + _READING + b'],"more":[]}', 1),
    MalformedCase("an envelope with an object", "accelerometer", b'{"meta":{},"readings":[' + _READING + b"]}", 1),
    _file_error("an envelope of two parts", "accelerometer", b'{"a":[' + _READING + b'],"b":[' + _READING + b"]}"),
    *(
        _file_error(
            f"an envelope with {what} beside its records", "customer", b'{"customers":[' + _CUSTOMER + b"]," + beside
        )
        for what, beside in {
            "records in objects": b'"more":[{"record":' + _CUSTOMER + b"}]}",
            "records by name": b'"more":{"1":' + _CUSTOMER + b',"2":' + _CUSTOMER + b"}}",
            "an envelope": b'"more":{"page":{"items":[' + _CUSTOMER + b"]}}}",
            "an array of arrays": b'"more":[[' + _CUSTOMER + b"]]}",
            "records that repeat its name": b'"meta":{"a":[' + _CUSTOMER + b'],"a":1}}',
            "withdrawals of other names": b'"optedOut":[{"mail":"ann@example.com"}]}',
            "a list of people": b'"optedOut":["ann@example.com"]}',
            "a person": b'"optedOut":"ann@example.com"}',
            "a person in other characters": '"optedOut":["ann＠example.com"]}'.encode(),
            "a person in escaped characters": b'"optedOut":"ann\\uff20example.com"}',
            "people by name": b'"optedOut":{"ann\\u0040example.com":true}}',
            "the same name twice": b'"customers":[{"mail":"ann@example.com"}]}',
        }.items()
    ),
    _file_error("records by name", "customer", b'{"customers":{"1":' + _CUSTOMER + b',"2":' + _CUSTOMER + b"}}"),
    _file_error("records in objects", "customer", b'{"customers":[{"record":' + _CUSTOMER + b"}]}"),
    _file_error(
        "envelopes beside readings",
        "accelerometer",
        b'{"now":[' + _READING + b'],"late":[{"readings":[' + _READING + b"]}]}",
    ),
    _file_error(
        "readings by person",
        "accelerometer",
        b'{"data":{"user":"a@b","readings":['
        + b",".join([b'{"timestamp":1655564376361,"x":1,"y":2,"z":3}'] * 2)
        + b"]}}",
    ),
    _file_error(
        "readings of a person", "accelerometer", b'{"user":"a@b","readings":[{"timestamp":1,"x":1,"y":2,"z":3}]}'
    ),
    _file_error(
        "readings of a device",
        "step_trainer",
        b'{"serialNumber":"s","readings":[{"sensorReadingTime":1655564444103,"distanceFromObject":218}]}',
    ),
    MalformedCase(
        "customers of somebody",
        "customer",
        b'{"customerName":"Acme","customers":[' + _CUSTOMER + b"]}",
        0,
        [_NO_PERSON],
    ),
    MalformedCase(
        "a broken reading with a whole one in it",
        "accelerometer",
        b'{"user":"a@b","more":' + _READING + b"}",
        0,
        [("missing_timestamp", "missing_x", "missing_y", "missing_z")],
    ),
    MalformedCase(
        "records of another kind with people in them",
        "customer",
        _CUSTOMER
        + b'\n{"type":"contact","home":{"phone":"1"},"work":{"phone":"2"}}\n'
        + b'{"event":"merge","old":{"email":"ann@example.com"},"new":{"email":"ben@example.com"}}\n'
        + b'{"email":"ann@example.com","devices":[{"serialNumber":"s"},{"serialNumber":"t"}]}\n'
        + b'{"type":"order","phones":[{"phone":"1"}],"lines":[{"item":1}],"to":"ann@example.com"}\n',
        1,
        [_NO_PERSON, _NO_PERSON, ("missing_serialNumber",), _NO_PERSON],
    ),
    _file_error(
        "customers without a device in an envelope in an object",
        "customer",
        b'{"data":{"customers":[{"email":"ann@example.com"},{"email":"ben@example.com"}]}}',
    ),
    MalformedCase(
        "records of another kind with two lists",
        "accelerometer",
        _READING
        + b'\n{"event":"touch","touches":[{"x":1,"y":2}],"changedTouches":[{"x":1,"y":2}]}\n'
        + b'{"event":"swipe","path":[{"x":1,"y":2}],"origin":{"x":0,"y":0}}\n'
        + _READING,
        2,
        [_ALL_MISSING, _ALL_MISSING],
    ),
    MalformedCase("an envelope with a list", "customer", b'{"columns":["a"],"customers":[' + _CUSTOMER + b"]}", 1),
    MalformedCase(
        "a record with other objects",
        "accelerometer",
        _READING + b'\n{"event":"a","b":{"offset":{"x":0.1,"y":1,"z":2}}}\n' + _READING,
        2,
        [_ALL_MISSING],
    ),
    MalformedCase(
        "a record with a device in it",
        "step_trainer",
        _STEP + b'\n{"event":"boot","info":{"hw":{"serialNumber":"s"}}}\n' + _STEP,
        2,
        [("missing_distanceFromObject", "missing_sensorReadingTime", "missing_serialNumber")],
    ),
    MalformedCase("an envelope with a sender", "accelerometer", b'{"by":"a@b","readings":[' + _READING + b"]}", 1),
    MalformedCase(
        "an envelope in an envelope", "accelerometer", b'{"a":[' + _READING + b',{"b":[' + _READING + b"]}]}", 2
    ),
    MalformedCase(
        "a record with records in it", "customer", _with("customer", children="[" + _CUSTOMER.decode() + "]"), 1
    ),
    MalformedCase(
        "an envelope, cut off",
        "step_trainer",
        b'{"items":[' + _STEP + b",\n" + _STEP + b",\n" + _STEP[:-1],
        1,
        [_MALFORMED] * 2,
    ),
]

_KEYS = [
    # A required key that is absent or null
    *(
        MalformedCase(f"{source} without {column}", source, _without(source, column), 0, [(f"missing_{column}",)])
        for source, required in _REQUIRED.items()
        for column in required
    ),
    _value("customer", "email", "null", "missing_email"),
    _value("accelerometer", "user", "null", "missing_user"),
    _value("accelerometer", "x", "null", "missing_x"),
    _value("step_trainer", "sensorReadingTime", "null", "missing_sensorReadingTime"),
    # An optional one
    MalformedCase("only what is required", "customer", b'{"email":"ada@example.com","serialNumber":"serial-1"}', 1),
    *(_value("customer", column, "null") for column in _GOOD["customer"] if column not in _REQUIRED["customer"]),
    # Very many
    MalformedCase(
        "1,000 keys", "step_trainer", _with("step_trainer", **{f"k{number}": "1" for number in range(997)}), 1
    ),
    MalformedCase(
        "1,001 keys",
        "step_trainer",
        _with("step_trainer", **{f"k{number}": "1" for number in range(998)}),
        0,
        [("too_many_fields",)],
    ),
    # Keys in other letter case
    MalformedCase("timeStamp", "accelerometer", _READING.replace(b"timestamp", b"timeStamp"), 1),
    MalformedCase("small letters", "customer", _object({k.lower(): v for k, v in _GOOD["customer"].items()}), 1),
    MalformedCase("capitals", "step_trainer", _object({k.upper(): v for k, v in _GOOD["step_trainer"].items()}), 1),
    MalformedCase("a key with an escape", "accelerometer", _READING.replace(b"user", rb"\u0075ser"), 1),
    # A key twice
    MalformedCase(
        "user and User", "accelerometer", _with("accelerometer", User='"bob@example.com"'), 0, [_DUPLICATE_KEY]
    ),
    MalformedCase("the same key twice", "step_trainer", b'{"a":1,"a":1,' + _STEP[1:], 0, [_DUPLICATE_KEY]),
    MalformedCase("a key twice, once escaped", "accelerometer", b'{"\\u0078":1,' + _READING[1:], 0, [_DUPLICATE_KEY]),
    MalformedCase("a key twice, a wrong type", "accelerometer", b'{"X":true,' + _READING[1:], 0, [_DUPLICATE_KEY]),
    _value("accelerometer", "more", '{"a":1,"a":2}'),
    # Unknown keys
    _value("customer", "nickname", '"A"'),
    _value("customer", "nickname", r'"}{ ],[ \"}"'),
    _value("step_trainer", "battery", "NaN"),
    _value("step_trainer", "battery", '"NaN"'),
    _value("accelerometer", "more", '{"a":[{},{"user":[]}]}'),
    # A blank in a key
    MalformedCase(
        "a blank before a key", "accelerometer", _READING.replace(b'"user', b'" user'), 0, [("missing_user",)]
    ),
]

_VALUES = [
    # Wrong types
    _value("accelerometer", "x", '"left"', "wrong_type"),
    _value("accelerometer", "y", '"1.0"', "wrong_type"),
    _value("accelerometer", "z", "true", "wrong_type"),
    _value("accelerometer", "timestamp", '"1655564444103"', "wrong_type"),
    _value("accelerometer", "timestamp", "false", "wrong_type"),
    _value("step_trainer", "distanceFromObject", '""', "wrong_type"),
    _value("step_trainer", "distanceFromObject", "{}", "wrong_type"),
    _value("step_trainer", "distanceFromObject", "[218]", "wrong_type"),
    _value("step_trainer", "sensorReadingTime", '{"ms":1655564444103}', "wrong_type"),
    _value("customer", "registrationDate", '"2022-06-18"', "wrong_type"),
    _value("customer", "registrationDate", "false", "wrong_type"),
    _value("customer", "lastUpdateDate", '""', "wrong_type"),
    _value("customer", "shareWithResearchAsOfDate", "true", "wrong_type"),
    _value("customer", "shareWithResearchAsOfDate", '" "', "wrong_type"),
    _value("customer", "shareWithFriendsAsOfDate", "[]", "wrong_type"),
    _value("customer", "customerName", "true", "wrong_type"),
    _value("customer", "phone", '{"home":"1"}', "wrong_type"),
    _value("customer", "birthDay", "[1990,1,1]", "wrong_type"),
    _value("customer", "birthDay", "NaN", "wrong_type"),
    # Whole numbers in other spellings
    _value("accelerometer", "timestamp", "1655564376361.0"),
    _value("accelerometer", "timestamp", "1.655564376361E12"),
    _value("step_trainer", "sensorReadingTime", "1.6e+12"),
    _value("customer", "shareWithResearchAsOfDate", "16555643763610e-1"),
    # Numbers that are no instant: 0, a fraction, negative, seconds, microseconds, 23 digits
    *(_value("accelerometer", "timestamp", text, "invalid_instant") for text in ("0", "9.7", "1655564444103.5")),
    *(_value("customer", "lastUpdateDate", text, "invalid_instant") for text in ("0", "-1655564376361", "1655564376")),
    *(_value("step_trainer", "sensorReadingTime", text, "invalid_instant") for text in ("1655564444103000", "1" * 23)),
    _value("customer", "shareWithResearchAsOfDate", "1655564376", "invalid_instant"),
    _value("step_trainer", "sensorReadingTime", "999999999999", "invalid_instant"),
    _value("step_trainer", "sensorReadingTime", "1000000000000"),
    _value("step_trainer", "sensorReadingTime", "4099999999999"),
    _value("step_trainer", "sensorReadingTime", "4100000000000", "invalid_instant"),
    # How the sources say "not shared"
    *(_value("customer", "shareWithResearchAsOfDate", text) for text in ("0", "0.0", "-0", "0E0", "false", '""')),
    *(_value("customer", "shareWithPublicAsOfDate", text) for text in ("0", "false", '""')),
    *(_value("customer", "shareWithFriendsAsOfDate", text) for text in ("0", "false", '""')),
    # A number that is kept as text
    _value("customer", "phone", "8015550100"),
    _value("customer", "customerName", "-1.5e3"),
    # No text where an e-mail or a serial number belongs
    *(_value("customer", "email", text, "wrong_type") for text in ("42", "true", "{}", '["ada@example.com"]')),
    *(_value("customer", "serialNumber", text, "wrong_type") for text in ("42", '{"a":"serial-1"}', "[]")),
    *(_value("accelerometer", "user", text, "wrong_type") for text in ("42", '{"a":"ada@example.com"}', "[]", "NaN")),
    *(_value("step_trainer", "serialNumber", text, "wrong_type") for text in ("42", "false", "{}", '["serial-1"]')),
    # Not finite
    *(
        case
        for text in ("NaN", "Infinity", "-Infinity", '"NaN"', '"Infinity"', '"-Infinity"', "1e400", "-1e400")
        for case in (
            _value("accelerometer", "x", text, "not_finite"),
            _value("step_trainer", "sensorReadingTime", text, "not_finite"),
            _value("customer", "shareWithResearchAsOfDate", text, "not_finite"),
        )
    ),
    *(_value("accelerometer", "y", text, "not_finite") for text in ('"+Infinity"', '"INF"', '"-INF"', '"+INF"')),
    *(_value("accelerometer", "z", text) for text in ("1e308", "1e-400", "-0.0", "7")),
    _value("accelerometer", "x", "+Infinity", "malformed_json"),
    # E-mails
    _value("customer", "email", '"  ada@example.com "'),
    _value("accelerometer", "user", r'"\t\u00a0ada@example.com\u200b\n"'),
    _value("accelerometer", "user", '"ADA@Example.COM"'),
    _value("customer", "email", '"ada example@example.com"', "invalid_email"),
    _value("customer", "email", r'"ada\texample@example.com"', "invalid_email"),
    _value("customer", "email", '"ada.example.com"', "invalid_email"),
    _value("accelerometer", "user", r'"ada\u00a0example@example.com"', "invalid_email"),
    _value("accelerometer", "user", '"ada@example@example.com"', "invalid_email"),
    _value("accelerometer", "user", '""', "invalid_email"),
    _value("accelerometer", "user", '"  "', "invalid_email"),
    *(
        _value("customer", "email", text)
        for text in (
            '"Ada Example <ADA@example.com>"',
            '"<ada@example.com>"',
            '"mailto:ada@example.com"',
            '"MailTo:Ada@example.com?subject=STEDI"',
            r'"jose\u0301@example.com"',
            r'"\uff21da\uff20example.com"',
            r'"a\u200bda@exam\u00adple.com"',
            r'"\ud83d\ude00@example.com"',
            '"\u039d\u0399\u039a\u039f\u03a3@example.com"',
        )
    ),
    *(
        _value("accelerometer", "user", text, "invalid_email")
        for text in (
            '"@example.com"',
            '"ada@"',
            '"@"',
            '"mailto:"',
            '"Ada <ada@example.com> Example"',
            '"Ada <ada@example.com> <bob@example.com>"',
            '"<ada@example.com"',
            '"ada@example.com, bob@example.com"',
            '"Ada ada@example.com"',
            r'"ada\u200b@\u200b"',
        )
    ),
    # Half of a character, a character that is none yet, and one that never will be.
    *(
        case
        for text in (r'"\ud800ada@example.com"', r'"ada\u0378@example.com"', r'"ada@example.com\ufdd0"', r'"\udc00"')
        for case in (
            _value("customer", "email", text, "ambiguous_text"),
            _value("accelerometer", "user", text, "ambiguous_text"),
        )
    ),
    *(_value("customer", "serialNumber", text, "ambiguous_text") for text in (r'"s\udc00"', r'"\ude00\ud83d"')),
    _value("step_trainer", "serialNumber", r'"serial\u0378"', "ambiguous_text"),
    *(
        _value("step_trainer", "serialNumber", text)
        for text in ('" "', '""', '"a b@c"', r'"\uff11"', r'"\ud83d\ude00"')
    ),
    _value("customer", "customerName", r'"\ud800"'),
    # Birthdays as they are
    *(_value("customer", "birthDay", text) for text in ('"0967-01-01"', '"993-01-01"', "993", '"unknown"', '""')),
    # Several reasons at once; each once
    MalformedCase(
        "everything wrong",
        "accelerometer",
        b'{"user":"ada","timestamp":7,"x":"NaN","y":true,"more":1}',
        0,
        [("invalid_email", "invalid_instant", "missing_z", "not_finite", "wrong_type")],
    ),
    MalformedCase("wrong twice", "accelerometer", _with("accelerometer", x="true", y='"1"'), 0, [("wrong_type",)]),
]

_NOT_JSON = [
    # JavaScript, but not JSON
    MalformedCase("single quotes", "step_trainer", _STEP.replace(b'"', b"'"), 0, [_MALFORMED]),
    MalformedCase("a key without quotes", "accelerometer", _READING.replace(b'"x"', b"x"), 0, [_MALFORMED]),
    MalformedCase("comments", "accelerometer", b"// readings\n" + _READING + b" # last\n", 1, [_MALFORMED] * 2),
    MalformedCase("a comma before the brace", "accelerometer", _READING[:-1] + b",}\n", 0, [_MALFORMED]),
    _value("step_trainer", "serialNumber", "'serial-1'", "malformed_json"),
    _value("accelerometer", "x", "/* left */ 1.0", "malformed_json"),
    _value("accelerometer", "x", "01.0", "malformed_json"),
    _value("accelerometer", "x", "+1.0", "malformed_json"),
    _value("accelerometer", "x", "1.", "malformed_json"),
    _value("customer", "birthDay", "0967", "malformed_json"),
    # What a text must not hold; NUL anywhere
    _value("customer", "customerName", '"A\x01B"', "malformed_json"),
    _value("customer", "customerName", '"A\0B"', "malformed_json"),
    _value("customer", "customerName", '"A\tB"', "malformed_json"),
    _value("customer", "customerName", '"A\nB"', "malformed_json"),
    _value("customer", "customerName", r'"A\xB"', "malformed_json"),
    _value("customer", "customerName", r'"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"'),
    _value("step_trainer", "distanceFromObject", "\x00218", "malformed_json"),
    # Bytes that are not UTF-8
    MalformedCase("Latin-1", "customer", _CUSTOMER.replace(b"Ada", b"Ren\xe9"), 0, [_NOT_UTF8]),
    MalformedCase("an encoded surrogate", "customer", _CUSTOMER.replace(b"Ada", b"\xed\xa0\x80"), 0, [_NOT_UTF8]),
    MalformedCase("an overlong character", "customer", _CUSTOMER.replace(b"Ada", b"\xc0\xaf"), 0, [_NOT_UTF8]),
    MalformedCase("Latin-1, cut", "customer", b'{"customerName":"Ren\xe9\n' + _CUSTOMER, 1, [_NOT_UTF8]),
    MalformedCase("bytes after an object", "step_trainer", _STEP + b"\xff\xfe\n" + _STEP, 2, [_NOT_UTF8]),
    _value("customer", "customerName", '"a\u00e9\u20ac\u2028\U0001f600"'),
    # Too deep, too long
    MalformedCase(
        "2,000 objects deep",
        "accelerometer",
        _with("accelerometer", more='{"a":' * 2000 + "1" + "}" * 2000) + b"\n" + _READING,
        1,
        [_MALFORMED],
    ),
    _value("accelerometer", "more", "[" * 2000 + "]" * 2000, "malformed_json"),
    _value("accelerometer", "more", "[" * 100 + "]" * 100),
    MalformedCase(
        "a text of 20 MB",
        "customer",
        _with("customer", customerName=f'"{"x" * (20 << 20)}"') + b"\n" + _CUSTOMER,
        1,
        [("record_too_large",)],
    ),
]

_FILES = [
    # What text files come with
    MalformedCase("a byte-order mark", "customer", _BYTE_ORDER_MARK + _CUSTOMER + b"\n", 1),
    MalformedCase("byte-order marks of joined files", "customer", (_BYTE_ORDER_MARK + _CUSTOMER + b"\n") * 2, 2),
    MalformedCase("CRLF", "accelerometer", (_READING + b"\r\n") * 2, 2),
    MalformedCase("no line break at the end", "step_trainer", _STEP + b"\n" + _STEP, 2),
    MalformedCase("blank lines", "step_trainer", b"\n \n" + _STEP + b"\n\n\t\r\n" + _STEP + b"\n\n", 2),
    # Packed in another way than with gzip, whatever the name
    _file_error("zip", "customer", _zipped("customers.json", _CUSTOMER)),
    _file_error("an empty zip", "customer", _zipped()),
    _file_error("bzip2", "step_trainer", bz2.compress(_STEP), "records.json.gz"),
    _file_error("nothing in bzip2", "step_trainer", bz2.compress(b"")),
    _file_error("xz", "accelerometer", lzma.compress(_READING)),
    _file_error("Zstandard", "step_trainer", b"\x28\xb5\x2f\xfd\x04\x00" + _STEP),
    _file_error("xz, packed", "accelerometer", gzip.compress(lzma.compress(_READING), mtime=0)),
    MalformedCase("what begins like a packed file", "step_trainer", b"PK\nBZh9\n" + _STEP, 1, [_MALFORMED] * 2),
    # UTF-16, UTF-32
    _file_error("UTF-16, little end first", "customer", b"\xff\xfe" + _CUSTOMER.decode().encode("utf-16-le")),
    _file_error("UTF-16, big end first", "customer", b"\xfe\xff" + _CUSTOMER.decode().encode("utf-16-be")),
    _file_error("UTF-16 without a mark, little end", "step_trainer", _STEP.decode().encode("utf-16-le")),
    _file_error("UTF-16 without a mark, big end", "step_trainer", _STEP.decode().encode("utf-16-be")),
    _file_error("an array in UTF-16", "step_trainer", f"[{_STEP.decode()}]".encode("utf-16-le")),
    _file_error("UTF-32, little end first", "customer", b"\xff\xfe\0\0" + _CUSTOMER.decode().encode("utf-32-le")),
    _file_error("UTF-32, big end first", "customer", b"\0\0\xfe\xff" + _CUSTOMER.decode().encode("utf-32-be")),
    # Nothing
    MalformedCase("an empty file", "customer", b"", 0),
    MalformedCase("blank lines only", "accelerometer", b"\n \r\n\t\n", 0),
    MalformedCase("a byte-order mark only", "accelerometer", _BYTE_ORDER_MARK, 0),
    MalformedCase("nothing, packed", "customer", gzip.compress(b"", mtime=0), 0, file_name="records.json.gz"),
    # Packed or not: the content decides
    _named("steps.json.gz", _PACKED_STEPS, 300),
    _named("steps-of-two-members.json.gz", _PACKED_STEPS * 2, 600),
    _named("packed.json", _PACKED_STEPS, 300),
    _named("not-packed.json.gz", _STEP + b"\n", 1),
    _named("empty.json.gz", b"", 0),
    MalformedCase("broken, packed", "step_trainer", gzip.compress(b"{\n" + _STEP, mtime=0), 1, [_MALFORMED]),
    _file_error("half a gzip file", "step_trainer", _PACKED_STEPS[: len(_PACKED_STEPS) // 2], "records.json.gz"),
    _file_error("gzip without its checksum", "step_trainer", _PACKED_STEPS[:-8], "records.json.gz"),
    _file_error("gzip with a wrong checksum", "step_trainer", _PACKED_STEPS[:-8] + bytes(8), "records.json.gz"),
    _file_error("the first bytes of gzip", "customer", b"\x1f\x8b"),
    _file_error("UTF-16, packed", "step_trainer", gzip.compress(_STEP.decode().encode("utf-16"), mtime=0)),
    # Something else that is named .json
    MalformedCase(
        "an HTML error page",
        "customer",
        b"<html>\n<body>\n\n  <p>502 Bad Gateway</p>\n</body>\n</html>\n",
        0,
        [_MALFORMED] * 5,
    ),
    MalformedCase(
        "CSV",
        "accelerometer",
        b'user,timestamp,x,y,z\nada@example.com,1655564444103,1.0,-1.0,0.5\n"a","b"\n1,2,3\n',
        0,
        [_MALFORMED] * 4,
    ),
    MalformedCase(
        "random bytes",
        "step_trainer",
        b"\x8f\x00\xc3\n\x17plain\x02\n\xe2\x28\xa1\n",
        0,
        [_NOT_UTF8, _MALFORMED, _NOT_UTF8],
    ),
    # Names and folders
    _named("_hidden.json", _STEP, 0),
    _named(".hidden.json", _STEP, 0),
    _named("_temporary/0/steps.json", _STEP, 0),
    _named("2022/.old/steps.json", _STEP, 0),
    _named("steps.json.bak", _STEP, 0),
    _named("steps.csv", _STEP, 0),
    _named("steps", _STEP, 0),
    _named("2022/06/steps.json", _STEP, 1),
    _named("STEPS.JSON", _STEP, 1),
    _named("steps.jsonl", _STEP, 1),
    _named("steps.NDJson.GZ", _PACKED_STEPS, 300),
]

CASES: list[MalformedCase] = [*_BETWEEN_RECORDS, *_ENVELOPES, *_KEYS, *_VALUES, *_NOT_JSON, *_FILES]
"""Every case; names are unique."""
