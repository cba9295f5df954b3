"""The catalogue of broken deliveries: what each kind looks like, and what must become of it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from stedi_assets.sample_data.sources import CUSTOMER, PHONE, SOURCES, Source, Values, as_json, values_of
from stedi_assets.sample_data.whole_files import packed

_Change = Callable[[Source, Values], Values]
_Fate = Literal["read", "unreadable", "ignored"]


@dataclass(frozen=True)
class BrokenKind:
    """A kind of broken delivery, and what must become of it.

    It never changes who consents or whose a reading is. Records to be quarantined are about people and devices that
    occur nowhere else; records to be accepted are the sample's, spelled in an unusual way.
    """

    write: Callable[[Source, list[bytes], Values], bytes] = field(repr=False)
    """Made from a source, `takes` lines of the sample without their line breaks, and a record about nobody."""
    takes: int = 1
    """How many records of the sample are in it. They must be accepted, if the file is read."""
    quarantined: int = 0
    sources: tuple[str, ...] = tuple(source.name for source in SOURCES)
    file_name: str | None = None
    """The name of its own file, for a kind that comes in one."""
    fate: _Fate = "read"
    """What becomes of that file."""


def _layout(template: bytes, quarantined: int = 0) -> BrokenKind:
    """Return a kind: records of the sample, with something other than a line break between them."""
    return BrokenKind(lambda _source, lines, _nobody: template % tuple(lines), template.count(b"%b"), quarantined)


def _unusual(change: _Change, *sources: Source) -> BrokenKind:
    """Return a kind: a record of the sample, spelled in an unusual way."""
    return BrokenKind(
        lambda source, lines, _nobody: as_json(source, change(source, values_of(lines[0]))) + b"\n",
        sources=tuple(source.name for source in sources or SOURCES),
    )


def _text_kind(write: Callable[[bytes], bytes]) -> BrokenKind:
    """Return a kind: a text made from a record about nobody.

    A record of the sample follows it, so that what is cut off ends there.
    """
    return BrokenKind(
        lambda source, lines, nobody: write(as_json(source, nobody)) + b"\n" + lines[0] + b"\n", quarantined=1
    )


def _value_kind(change: _Change, *sources: Source) -> BrokenKind:
    """Return a kind: a record about nobody with something wrong in its keys or values."""
    return BrokenKind(
        lambda source, lines, nobody: as_json(source, change(source, nobody)) + b"\n" + lines[0] + b"\n",
        quarantined=1,
        sources=tuple(source.name for source in sources or SOURCES),
    )


def _sample_file(write: Callable[[bytes], bytes], file_name: str) -> BrokenKind:
    """Return a kind: a file of its own with a record of the sample."""
    return BrokenKind(lambda _source, lines, _nobody: write(lines[0]), file_name=file_name)


def _foreign_file(
    write: Callable[[bytes], bytes], quarantined: int = 0, file_name: str = "{}.json", fate: _Fate = "read"
) -> BrokenKind:
    """Return a kind: a file of its own that holds nothing of the sample."""
    return BrokenKind(
        lambda source, _lines, nobody: write(as_json(source, nobody)), 0, quarantined, file_name=file_name, fate=fate
    )


def _set(part: Literal["identity", "instant", "number"], value: str) -> _Change:
    return lambda source, values: values | {getattr(source, part): value}


def _within_identity(begin: str = "", end: str = "", at: str = "@") -> _Change:
    def change(source: Source, values: Values) -> Values:
        text = values[source.identity][1:-1]
        return values | {source.identity: f'"{begin}{text.replace("@", at)}{end}"'}

    return change


def _renamed(rename: Callable[[str], str]) -> _Change:
    return lambda source, values: {rename(k) if k == source.identity else k: v for k, v in values.items()}


def _respelled_instant(respell: Callable[[str], str]) -> _Change:
    # Some phones write the key in another letter case.
    return lambda source, values: {
        key: respell(value) if key.lower() == source.instant.lower() else value for key, value in values.items()
    }


def _not_shared(value: str) -> _Change:
    def change(_source: Source, values: Values) -> Values:
        consents = "shareWithResearchAsOfDate" in values
        return values | {"shareWithFriendsAsOfDate" if consents else "shareWithResearchAsOfDate": value}

    return change


def _pretty(line: bytes) -> bytes:
    return json.dumps(json.loads(line), indent=2).encode() + b"\n"


BROKEN_KINDS: dict[str, BrokenKind] = {
    # To be accepted: what stands between records
    "glued": _layout(b"%b%b\n"),
    "comma_between": _layout(b"%b,%b\n"),
    "comma_at_end": _layout(b"%b,\n"),
    "carriage_return_between": _layout(b"%b\r%b\n"),
    "line_separator_between": _layout(b"%b\xe2\x80\xa8%b\n"),
    "array_on_a_line": _layout(b"[%b,%b]\n"),
    "array_over_lines": _layout(b"[\n%b,\n%b\n]\n"),
    "windows_line_end": _layout(b"%b\r\n"),
    "blank_lines": _layout(b"%b\n\n \t\n"),
    "byte_order_mark": _layout(b"\xef\xbb\xbf%b\n"),
    "pretty_printed": BrokenKind(lambda _source, lines, _nobody: _pretty(lines[0])),
    # To be accepted: keys and values
    "unknown_key": _unusual(lambda _source, values: values | {"firmware": '"2.1"'}),
    "other_key_case": _unusual(_renamed(str.upper)),
    "blanks_around": _unusual(_within_identity("  ", "\\t")),
    "instant_with_point": _unusual(_respelled_instant("{}.0".format)),
    "instant_with_exponent": _unusual(_respelled_instant(lambda digits: f"{digits[0]}.{digits[1:]}E{len(digits) - 1}")),
    "phone_as_number": _unusual(lambda _source, values: values | {"phone": values["phone"].strip('"')}, CUSTOMER),
    "null_optional": _unusual(lambda _source, values: values | {"phone": "null"}, CUSTOMER),
    "share_zero": _unusual(_not_shared("0"), CUSTOMER),
    "share_false": _unusual(_not_shared("false"), CUSTOMER),
    "share_empty_text": _unusual(_not_shared('""'), CUSTOMER),
    # To be quarantined: no whole JSON object
    "cut_off": _text_kind(lambda record: record[: len(record) * 2 // 3]),
    "garbage_after": _layout(b"%b and so on\n", quarantined=1),
    "empty_array": _text_kind(lambda _record: b"[]"),
    "empty_object": _text_kind(lambda _record: b"{}"),
    "only_null": _text_kind(lambda _record: b"null"),
    "only_number": _text_kind(lambda _record: b"42"),
    "only_text": _text_kind(lambda _record: b'"abc"'),
    "single_quotes": _text_kind(lambda record: record.replace(b'"', b"'")),
    "unquoted_keys": _text_kind(lambda record: re.sub(rb'"(\w+)":', rb"\1:", record)),
    "comment": _text_kind(lambda record: record[:-1] + b" /* checked */}"),
    "leading_zero": _value_kind(_respelled_instant("0{}".format)),
    "control_character": _value_kind(_within_identity("\x01")),
    "nul_character": _value_kind(_within_identity("\0")),
    "tab_in_text": _value_kind(_within_identity("\t")),
    "invalid_utf8": _value_kind(_within_identity("\udcff")),
    "deep_nesting": _value_kind(lambda _source, values: values | {"more": "[" * 2_000 + "]" * 2_000}),
    "huge_text": _value_kind(lambda _source, values: values | {"more": f'"{"x" * (20 << 20)}"'}),
    # To be quarantined: keys
    "missing_key": _value_kind(lambda source, values: {k: v for k, v in values.items() if k != source.identity}),
    "key_twice": _text_kind(lambda record: record[:-1] + b"," + record[1:]),
    "key_twice_other_case": _value_kind(lambda source, values: values | {source.identity.upper(): '"twice"'}),
    "blank_in_key": _value_kind(_renamed(" {}".format)),
    # To be quarantined: values
    "null_required": _value_kind(_set("identity", "null")),
    "wrong_type": _value_kind(_set("number", '"soon"')),
    "number_as_text": _value_kind(_respelled_instant('"{}"'.format)),
    "true_in_number": _value_kind(_set("number", "true")),
    "empty_text_in_number": _value_kind(_set("number", '""')),
    "object_in_number": _value_kind(_set("number", '{"value":1}')),
    "number_in_text": _value_kind(_set("identity", "42")),
    "object_in_text": _value_kind(_set("identity", '{"value":"a@example.org"}')),
    "array_in_text": _value_kind(_set("identity", '["a@example.org"]')),
    "instant_zero": _value_kind(_set("instant", "0")),
    "instant_not_whole": _value_kind(_set("instant", "9.7")),
    "instant_negative": _value_kind(_respelled_instant("-{}".format)),
    "instant_in_seconds": _value_kind(_respelled_instant(lambda digits: digits[:-3])),
    "instant_in_microseconds": _value_kind(_respelled_instant("{}000".format)),
    "instant_of_23_digits": _value_kind(_set("instant", "1" * 23)),
    "nan": _value_kind(_set("number", "NaN")),
    "infinity": _value_kind(_set("number", "-Infinity")),
    "quoted_nan": _value_kind(_set("number", '"NaN"')),
    "quoted_infinity": _value_kind(_set("number", '"Infinity"')),
    "too_large": _value_kind(_set("number", "1e400")),
    "blank_in_email": _value_kind(_within_identity(at=" @"), CUSTOMER, PHONE),
    "no_at_in_email": _value_kind(_within_identity(at="."), CUSTOMER, PHONE),
    "two_ats_in_email": _value_kind(_within_identity(at="@@"), CUSTOMER, PHONE),
    # Files of their own
    "no_line_break_at_end": _sample_file(lambda line: line, "{}.json"),
    "upper_case_suffix": _sample_file(lambda line: line + b"\n", "{}.JSON"),
    "packed_named_json": _sample_file(lambda line: packed(line + b"\n"), "{}.json"),
    "text_named_gz": _sample_file(lambda line: line + b"\n", "{}.json.gz"),
    "empty_file": _foreign_file(lambda _record: b""),
    "blank_file": _foreign_file(lambda _record: b"\n \r\n\t\n"),
    "cut_off_at_end": _foreign_file(lambda record: record[: len(record) * 2 // 3], 1),
    "html_page": _foreign_file(lambda _record: b"<html>\n<h1>502 Bad Gateway</h1>\n</html>\n", 3),
    "csv_file": _foreign_file(lambda _record: b"id,instant,value\n1,1655500000000,1.0\n2,1655500000000,0.0\n", 3),
    "random_bytes": _foreign_file(lambda _record: b"\x8f\x00\xc3\n\x17plain\x02\n\xe2\x28\xa1\n", 3),
    "utf16_file": _foreign_file(lambda record: record.decode().encode("utf-16"), fate="unreadable"),
    "truncated_gzip": _foreign_file(lambda record: packed(record)[:-8], file_name="{}.json.gz", fate="unreadable"),
    "hidden_file": _foreign_file(lambda record: record + b"\n", file_name="_{}.json", fate="ignored"),
    "other_suffix": _foreign_file(lambda record: record + b"\n", file_name="{}.txt", fate="ignored"),
}
"""Every kind of broken delivery, by the name it is asked for with."""
