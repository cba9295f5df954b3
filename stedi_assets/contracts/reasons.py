"""Why a record is quarantined, and what to tell the owner of the file."""

_MISSING = "missing_"
_ADVICE = {
    "malformed_json": "It is not JSON. Write records with a JSON library, and upload a file only once it is complete.",
    "invalid_utf8": "It is not UTF-8. Export the file as UTF-8.",
    "duplicate_key": "It has the same key twice, perhaps in different letter case. Write each key once.",
    "too_many_fields": "It has more fields than any record of this source. Check what was exported.",
    "record_too_large": "It is larger than 16 MB. Check what was exported: a closing brace may be missing.",
    "wrong_type": "A value has the wrong JSON type, such as a text for a number.",
    "not_finite": "A number is NaN, infinite, or too large for a double.",
    "invalid_instant": "A time is not in epoch milliseconds, which have 13 digits. Seconds are not accepted.",
    "invalid_email": "An e-mail address is not valid: it needs exactly one @, and no blanks inside.",
    "ambiguous_text": "A text that names a person or device has characters that read differently in different systems.",
}
REASONS = (*_ADVICE, f"{_MISSING}…")


def advice(reason: str) -> str:
    """Return in a sentence or two what is wrong with a record, and what to tell the owner of its file."""
    if reason.startswith(_MISSING):
        return f"{reason.removeprefix(_MISSING)} is missing or null. Every record needs it."
    return _ADVICE[reason]
