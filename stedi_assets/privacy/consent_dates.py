"""Whether time alone changes who consents: a consent, or a record, counts from its date on."""

from functools import reduce
from operator import or_

import pyarrow.dataset as ds

from stedi_assets.contracts import SOURCES
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot, dataset

_CUSTOMERS = SOURCES["customer"]
_DATES = ("shareWithResearchAsOfDate", "lastUpdateDate")


def is_due(lake: Lake, landed: Snapshot, before: int | None, now: int) -> bool:
    """Whether customer_landing has a date between two instants, which are in epoch milliseconds.

    Then whoever consents at one of them need not at the other. A record in quarantine never consents, whatever its
    date. Also true if the first instant is not known.
    """
    if before is None:
        return True
    first, last = sorted((before, now))
    due = reduce(or_, ((ds.field(name) > first) & (ds.field(name) <= last) for name in _DATES))
    return bool(dataset(lake, _CUSTOMERS.landing, landed.id).count_rows(filter=due))
