"""File names and numbers as people see them: a name can hold personal data."""

import hashlib
import hmac
import re
from collections.abc import Callable

from stedi_assets.storage.errors import LakeError

_SHOWN = re.compile(r"[A-Za-z0-9._=:,\[\]{}()~#*-]*")
_SUFFIX = re.compile(r"(?i)\.(json|jsonl|ndjson)(\.gz)?\Z")


def no_key() -> bytes:
    """Stand in for a key where none should be needed."""
    msg = "A key was needed where none was given. This is a bug in the software: please report it."
    raise LakeError(msg)


def masked(name: str) -> str:
    """Return a file name that may be shown: without the parts that could hold personal data.

    Such a part has a character that names given by programs do not have: an `@`, a blank, a quotation mark, a letter
    outside A to Z, a control character. Its suffix stays if it is a known one.
    """
    return "/".join(part if _SHOWN.fullmatch(part) else _hidden(part) for part in name.split("/"))


def counted(number: int, noun: str) -> str:
    """Return a number and a noun, which gets an s unless the number is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _hidden(part: str) -> str:
    suffix = _SUFFIX.search(part)
    return f"***{suffix.group().lower() if suffix else ''}"


def alias(path: str, key: Callable[[], bytes]) -> str:
    """Return a file's name in reports: its path, or an alias that reveals nothing if the path could hold personal data.

    `key` returns the secret that hides a path. The same path always has the same alias.
    """
    shown = masked(path)
    if shown == path:
        return path
    mark = hmac.new(key(), path.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:12]
    folder, slash, last = shown.rpartition("/")
    return f"{folder}{slash}{last.replace('***', f'***{mark}') if '***' in last else f'***{mark}-{last}'}"
