"""What a file may be called where people read it: its name can hold somebody's data."""

import hashlib
import hmac
import re
from collections.abc import Callable

from stedi_assets.storage.errors import LakeError

_SHOWN = re.compile(r"[A-Za-z0-9._=:,\[\]{}()~#*-]*")
_SUFFIX = re.compile(r"(?i)\.(json|jsonl|ndjson)(\.gz)?\Z")


def no_key() -> bytes:
    """Stand for a key where none is expected to be needed."""
    msg = "A key was needed where none was given. This is a defect of the software: please report it."
    raise LakeError(msg)


def masked(name: str) -> str:
    """Return a file name as it may be shown: without those parts that could hold somebody's data.

    That is any part with another sign than those of names that programs give: an `@`, a blank, a quotation mark, a
    letter that is not of A to Z, a control. Of it the known suffixes stay.
    """
    return "/".join(part if _SHOWN.fullmatch(part) else _hidden(part) for part in name.split("/"))


def _hidden(part: str) -> str:
    suffix = _SUFFIX.search(part)
    return f"***{suffix.group().lower() if suffix else ''}"


def alias(path: str, key: Callable[[], bytes]) -> str:
    """Return what a file is called: its path; where that could hold somebody's data, what tells nothing of it.

    `key` gives the secret that hides a path. The same path has the same alias always.
    """
    shown = masked(path)
    if shown == path:
        return path
    mark = hmac.new(key(), path.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:12]
    folder, slash, last = shown.rpartition("/")
    return f"{folder}{slash}{last.replace('***', f'***{mark}') if '***' in last else f'***{mark}-{last}'}"
