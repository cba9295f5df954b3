"""Who is who: the one key of an e-mail or a serial number, however it is written.

The landing gate computes it here, once, and stores it with the row; all later steps compare stored keys. `stedi
hash-person` uses the same functions. Characters outside `alphabet` give no key, so that the result does not depend on
the version of Python.
"""

import re
import unicodedata

from stedi_assets.ingest.alphabet import is_within

# Full-width and half-width forms, and the plain character of each. Unicode 13.0 has no others.
_FORMS = [0x3000, *range(0xFF01, 0xFFEF)]
_PLAIN = {
    form: chr(int(decomposed.split()[1], 16))
    for form in _FORMS
    if (decomposed := unicodedata.decomposition(chr(form))).startswith(("<wide>", "<narrow>"))
}
# An address has at most 254 characters (RFC 5321). The time to order stacked accents grows with their square.
LONGEST = 1_000
# Characters that are invisible anywhere: Unicode's Default_Ignorable_Code_Point, as of 13.0.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# Unicode's separators (general category Z) and controls (Cc), as of 13.0.
BLANKS = "".join(
    [
        *map(chr, range(0x21)),
        *map(chr, range(0x7F, 0xA1)),
        "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
    ]
)
_NOT_IN_AN_ADDRESS = re.compile(f"[<>{re.escape(BLANKS)}]")


def plain_forms(text: str) -> str:
    """Return a text with full-width and half-width forms replaced by their plain characters."""
    return text if text.isascii() else text.translate(_PLAIN)


def device_of(text: str) -> str | None:
    """Return the key of a serial number; None if it cannot be normalised without doubt, or is too long for one.

    The key has no blanks around it and no invisible characters, full-width forms are plain, case is folded as Unicode
    does, and it is in NFC.
    """
    if len(text) > LONGEST or not is_within(text):
        return None
    if text.isascii():
        return text.strip(BLANKS).lower()
    seen = _INVISIBLE.sub("", plain_forms(text)).strip(BLANKS)
    # Canonical caseless matching, as the Unicode Standard defines it (D145).
    folded = unicodedata.normalize("NFD", seen).casefold()
    return unicodedata.normalize("NFC", folded)


def person_of(text: str) -> str | None:
    """Return a person's key from an e-mail; None if the text is not one address.

    It is made like that of a serial number; `Name <a@b>` and `mailto:a@b` are `a@b`.
    """
    address = device_of(text)
    if address is None:
        return None
    if address.endswith(">") and address.count("<") == address.count(">") == 1:
        address = address[address.index("<") + 1 : -1].strip(BLANKS)
    while address.startswith("mailto:"):
        address = address.removeprefix("mailto:").split("?", 1)[0].strip(BLANKS)
    local, at, domain = address.partition("@")
    if not (local and at and domain) or "@" in domain or _NOT_IN_AN_ADDRESS.search(address):
        return None
    return address
