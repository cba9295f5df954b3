"""The keys that a lake was made with, as a check value of each in `_keys.json`: another key is refused.

Under another pseudonym key every `subject_id` would change, and nobody would notice; under another suppression key
erased people would be let in again. A check value is a keyed hash of a fixed text, and tells nothing about the key.

The first use of a key is recorded: that of the pseudonym key when subjects are made or looked for, that of the
suppression key when a person is put on the list of erased people. Before that, another key does no harm.
"""

import hashlib
import hmac
import json
from collections.abc import Callable

import pyarrow.dataset as ds

from stedi_assets.contracts import TABLES
from stedi_assets.storage.errors import CorruptTableError, LakeError, WrongKey
from stedi_assets.storage.lake import KEYS, Lake
from stedi_assets.tables.catalog import forget
from stedi_assets.tables.retention import snapshot_rows
from stedi_assets.tables.snapshots import current_dataset, read_snapshot_of

_PSEUDONYM, _SUPPRESSION = "pseudonym", "suppression"
# Each key has its own text, so that nobody sees whether two keys are the same. The texts must never change.
_TEXTS = {_PSEUDONYM: b"the subjects of a STEDI lakehouse", _SUPPRESSION: b"the suppression list of a STEDI lakehouse"}
# Present during a rotation: the table of the old key may not be gone yet.
_ROTATING = "rotating"
_SUBJECTS = TABLES["machine_learning_curated"]
_PEOPLE = TABLES["customer_trusted"]


def require_pseudonym_key(lake: Lake, key: bytes) -> bytes:
    """Return the key, if it is the lake's. A lake without one takes it, unless it has a table made with another key.

    Raises `WrongKey` if it is another, or if a rotation was not finished.
    """

    def with_it(known: dict[str, str]) -> dict[str, str]:
        if _ROTATING in known:
            msg = (
                f"A rotation of the pseudonym key of {lake.location} has begun and is not finished. Run `stedi "
                "rotate-key` again, with the key that is to be the lake's from now on."
            )
            raise WrongKey(msg)
        if not _is_the_lakes(lake, known, key):
            msg = (
                f"The pseudonym key is not the one that the subjects of {lake.location} were made with: every "
                "subject_id would change. Set STEDI_PSEUDONYM_KEY to that one, or restore its file, "
                "$XDG_CONFIG_HOME/stedi/pseudonym.key. To rotate it on purpose, run `stedi rotate-key` with the new "
                "one set."
            )
            raise WrongKey(msg)
        return {**known, _PSEUDONYM: _check_value(_PSEUDONYM, key)}

    _change(lake, with_it)
    return key


def require_suppression_key(lake: Lake, key: bytes) -> bytes:
    """Return the key, if it is the lake's or the lake has none yet. Raises `WrongKey` if it is another."""
    known, _ = _read(lake)
    if _SUPPRESSION in known:
        require_suppression_check(lake, key, known[_SUPPRESSION])
    return key


def require_suppression_check(lake: Lake, key: bytes, check: str) -> None:
    """Raise `WrongKey` unless the check value, which is kept with a list of erased people, is the key's."""
    if not hmac.compare_digest(check, suppression_check(key)):
        msg = (
            f"The suppression key is not the one that the list of erased people of {lake.location} was made with. Set "
            "STEDI_SUPPRESSION_KEY to that one, or restore its file, $XDG_CONFIG_HOME/stedi/suppression.key. It can "
            "never be rotated: under another, people who were erased would be let in again."
        )
        raise WrongKey(msg)


def keep_suppression_key(lake: Lake, key: bytes) -> None:
    """Record the check value of the key with which a person is put on the list. Raises `WrongKey` if it is another."""

    def with_it(known: dict[str, str]) -> dict[str, str]:
        if _SUPPRESSION in known:
            require_suppression_check(lake, key, known[_SUPPRESSION])
        return {**known, _SUPPRESSION: suppression_check(key)}

    _change(lake, with_it)


def suppression_check(key: bytes) -> str:
    """Return the check value of a suppression key."""
    return _check_value(_SUPPRESSION, key)


def rotate_pseudonym_key(lake: Lake, key: bytes) -> int:
    """Make the key the lake's, and remove machine_learning_curated, so that old and new subjects never stand together.

    Returns how many of its snapshots were removed. If a rotation dies, running it again finishes it; until then every
    use of the pseudonym key is refused.

    Raises `LakeError` if the key is the lake's already.
    """

    def rotating(known: dict[str, str]) -> dict[str, str]:
        if _ROTATING not in known and _is_the_lakes(lake, known, key):
            msg = (
                f"The pseudonym key is already that of {lake.location}; nothing was changed. For a new one, set "
                "STEDI_PSEUDONYM_KEY to another secret of at least 32 bytes, or move the file "
                "$XDG_CONFIG_HOME/stedi/pseudonym.key aside, and a new one is made. Then run `stedi rotate-key` again."
            )
            raise LakeError(msg)
        return {**known, _PSEUDONYM: check, _ROTATING: "yes"}

    check = _check_value(_PSEUDONYM, key)
    _change(lake, rotating)
    removed = _snapshots(lake)
    # Remove it from the catalog first: a run that is publishing the table loses.
    forget(lake, _SUBJECTS)
    lake.storage.delete_permanently(_SUBJECTS.path)
    # If another rotation has begun meanwhile, that one must remove the mark.
    _change(lake, lambda known: _without_mark(known) if known.get(_PSEUDONYM) == check else known)
    return removed


def _snapshots(lake: Lake) -> int:
    try:
        return len(snapshot_rows(lake, _SUBJECTS))
    except CorruptTableError:
        return 0  # what is left of it is removed all the same


def _without_mark(known: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in known.items() if name != _ROTATING}


def _is_the_lakes(lake: Lake, known: dict[str, str], key: bytes) -> bool:
    if _PSEUDONYM in known:
        return hmac.compare_digest(known[_PSEUDONYM], _check_value(_PSEUDONYM, key))
    return _made_with(lake, key)


def _made_with(lake: Lake, key: bytes) -> bool:
    """Whether the subjects of a lake without a recorded key, made by an earlier version, were made with this one.

    It is also true if there are none, or if the table cannot be read: then it has to be made again.
    """
    try:
        if read_snapshot_of(lake, _SUBJECTS) is None:
            return True
        subjects = current_dataset(lake, _SUBJECTS.name)
    except CorruptTableError:
        return True
    people = current_dataset(lake, _PEOPLE.name).to_table(columns=["email"])["email"].to_pylist()
    theirs = [hmac.digest(key, person.encode(), hashlib.sha256).hex() for person in people]
    # One match is enough: under another key there would be none.
    is_theirs = ds.field("subject_id").isin(theirs)
    return not theirs or not subjects.head(1).num_rows or bool(subjects.count_rows(filter=is_theirs))


def _check_value(name: str, key: bytes) -> str:
    return hmac.new(key, _TEXTS[name], hashlib.sha256).hexdigest()


def _change(lake: Lake, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Change the lake's check values; if another process has changed them meanwhile, change those."""
    while True:
        known, version = _read(lake)
        after = change(known)
        if after == known or lake.storage.replace(KEYS, json.dumps(after, indent=1).encode(), version):
            return


def _read(lake: Lake) -> tuple[dict[str, str], str | None]:
    """Return the lake's check values, and the version of the file."""
    stored = lake.storage.read(KEYS)
    if stored is None:
        return {}, None
    try:
        known = json.loads(stored.content)
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(isinstance(value, str) and value.isascii() for value in known.values()):
        msg = (
            f"The check values of the lake's keys, {lake.storage.shown(KEYS)}, are damaged. Restore them from a "
            "backup; or remove the file, and the keys are checked against the tables again."
        )
        raise LakeError(msg)
    return known, stored.version
