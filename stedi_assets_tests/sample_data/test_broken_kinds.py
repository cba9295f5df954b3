"""Each kind of broken delivery is in the files as its name says, and is judged as the catalogue says."""

import json
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from stedi_assets.sample_data import BROKEN_KINDS, write_sample
from stedi_assets_tests.support.oracle import SOURCES
from stedi_assets_tests.support.samples import SMALL, assert_true, files_of, lines_of

# What the bytes of a source's files must hold for a kind to be what its name says.
EVIDENCE = {
    "glued": rb"\}\{",
    "comma_between": rb"\},\{",
    "comma_at_end": rb"\},\n",
    "carriage_return_between": rb"\}\r\{",
    "line_separator_between": rb"\}\xe2\x80\xa8\{",
    "array_on_a_line": rb"\[\{.*\},\{.*\}\]\n",
    "array_over_lines": rb"\[\n\{.*\},\n\{.*\}\n\]\n",
    "windows_line_end": rb"\}\r\n",
    "blank_lines": rb"\n\n[ \t]*\n",
    "byte_order_mark": rb"\xef\xbb\xbf\{",
    "pretty_printed": rb"\{\n  \"",
    "unknown_key": rb"firmware",
    "other_key_case": rb'"(EMAIL|USER|SERIALNUMBER)"',
    "blanks_around": rb'"  [^"]+\\t"',
    "instant_with_point": rb"\d{13}\.0[,}]",
    "instant_with_exponent": rb":\s?1\.\d{12}E12[,}]",
    "phone_as_number": rb'"phone": 801\d{7},',
    "null_optional": rb'"phone": null',
    "share_zero": rb'AsOfDate": 0\}',
    "share_false": rb'AsOfDate": false\}',
    "share_empty_text": rb'AsOfDate": ""\}',
    "garbage_after": rb"\} and so on\n",
    "no_line_break_at_end": rb"[^\n]\Z",
    "packed_named_json": rb"\A\x1f\x8b",
}
# Why a kind must be quarantined; kinds that are not listed are malformed JSON. "*" is the column.
REASONS = {
    "empty_object": "missing_*",
    "missing_key": "missing_*",
    "null_required": "missing_*",
    "blank_in_key": "missing_*",
    "invalid_utf8": "invalid_utf8",
    "key_twice": "duplicate_key",
    "key_twice_other_case": "duplicate_key",
    **dict.fromkeys(("nan", "infinity", "quoted_nan", "quoted_infinity", "too_large"), "not_finite"),
    **dict.fromkeys(("wrong_type", "number_as_text", "true_in_number", "empty_text_in_number"), "wrong_type"),
    **dict.fromkeys(("object_in_number", "number_in_text", "object_in_text", "array_in_text"), "wrong_type"),
    **dict.fromkeys(("instant_zero", "instant_not_whole", "instant_negative"), "invalid_instant"),
    **dict.fromkeys(("instant_in_seconds", "instant_in_microseconds", "instant_of_23_digits"), "invalid_instant"),
    **dict.fromkeys(("blank_in_email", "no_at_in_email", "two_ats_in_email"), "invalid_email"),
    "random_bytes": "invalid_utf8",
}


# The reference implementation is slow with 20 MB: test_a_huge_text does without it.
@pytest.mark.parametrize("kind", [kind for kind in BROKEN_KINDS if kind != "huge_text"])
def test_broken_kind(tmp_path: Path, kind: str) -> None:
    times = 3
    options = replace(SMALL, customers=10, broken={kind: times})
    summary = write_sample(tmp_path / "lake", options, tmp_path / "truth")

    broken = BROKEN_KINDS[kind]
    for source, landing in assert_true(tmp_path / "lake", tmp_path / "truth", summary).items():
        concerned = times if source in broken.sources else 0
        numbers = summary.sources[source]
        assert numbers.broken == ({kind: concerned} if concerned else {})
        assert numbers.quarantined == concerned * broken.quarantined
        assert numbers.unreadable_files == (concerned if broken.fate == "unreadable" else 0)
        assert numbers.ignored_files == (concerned if broken.fate == "ignored" else 0)
        assert numbers.files == 1 + (concerned if broken.file_name else 0)
        reasons = {re.sub("^missing_.*", "missing_*", r) for record in landing.quarantined for r in record.reasons}
        assert reasons - {"malformed_json"} == ({REASONS[kind]} if concerned and kind in REASONS else set())
        files = files_of(tmp_path / "lake", source)
        if concerned and broken.file_name:
            name = broken.file_name.format(f"{source}-*")
            assert sum(fnmatchcase(path.name, name) for path in files) == times + fnmatchcase(f"{source}-0.json", name)
        if concerned and kind in EVIDENCE:
            assert sum(len(re.findall(EVIDENCE[kind], path.read_bytes())) for path in files) == times


@pytest.mark.parametrize("kind", ["instant_with_point", "instant_with_exponent"])
def test_an_instant_under_a_respelled_key_can_be_unusual(tmp_path: Path, kind: str) -> None:
    options = replace(SMALL, respelled_keys=1.0, broken={kind: 3})
    summary = write_sample(tmp_path / "lake", options, tmp_path / "truth")

    assert_true(tmp_path / "lake", tmp_path / "truth", summary)
    phone_lines = b"".join(lines_of(tmp_path / "lake", "accelerometer"))
    assert len(re.findall(rb'"timeStamp":1[.\d]+(?:\.0|E12),', phone_lines)) == 3


def test_a_huge_text(tmp_path: Path) -> None:
    summary = write_sample(tmp_path, replace(SMALL, broken={"huge_text": 1}))

    for source in SOURCES:
        lines = lines_of(tmp_path, source)
        assert [len(line) > 20_000_000 for line in lines].count(True) == summary.sources[source].quarantined == 1
        assert all(json.loads(line) for line in lines)


def test_broken_amounts(tmp_path: Path) -> None:
    write_sample(tmp_path / "without", SMALL)
    summary = write_sample(
        tmp_path / "with", replace(SMALL, broken={"all": 0, "cut_off": 0.05, "two_ats_in_email": 4, "glued": 0})
    )

    assert {source: numbers.broken for source, numbers in summary.sources.items()} == {
        "customer": {"cut_off": 2, "two_ats_in_email": 4},
        "accelerometer": {"cut_off": 24, "two_ats_in_email": 4},
        "step_trainer": {"cut_off": 10},
    }
    for source in SOURCES:
        assert set(lines_of(tmp_path / "without", source)) <= set(lines_of(tmp_path / "with", source))


def test_files_of_their_own_come_on_time_when_all_records_are_late(tmp_path: Path) -> None:
    write_sample(tmp_path, replace(SMALL, late_deliveries=1.0, broken={"empty_file": 2}))

    for source in SOURCES:
        files = [(path.parent.name, path.stat().st_size > 0) for path in files_of(tmp_path, source)]
        assert sorted(files) == [("landing", False), ("landing", False), ("late", True)]


def test_a_whole_delivery_can_be_glued(tmp_path: Path) -> None:
    options = replace(SMALL, readings_per_phone=10, broken={"glued": 0.5})
    summary = write_sample(tmp_path / "lake", options, tmp_path / "truth")

    assert_true(tmp_path / "lake", tmp_path / "truth", summary)
    assert [len(lines_of(tmp_path / "lake", source)) for source in SOURCES] == [20, 200, 100]
