"""A lake's purpose, in `_purpose.json`: production, or a comparison with published counts."""

import json

from stedi_assets.contracts import Purpose
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import PURPOSE, Lake


def claim_purpose(lake: Lake, purpose: Purpose) -> None:
    """Record a lake's purpose at its first publication. Raises `LakeError` if it has another."""
    ours = json.dumps({"purpose": purpose.value}).encode()
    found = lake.storage.read(PURPOSE)
    if found is None and lake.storage.replace(PURPOSE, ours, None):
        return
    found = found or lake.storage.read(PURPOSE)
    remembered = json.loads(found.content)["purpose"] if found else None
    if remembered != purpose.value:
        msg = (
            f"The lake {lake.location} is for {remembered}, and STEDI_PURPOSE is {purpose.value}. "
            "Use another lake: tables for comparison may hold people who withdrew."
        )
        raise LakeError(msg)
