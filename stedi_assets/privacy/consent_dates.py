"""Whether time alone changes who consents: a consent, or a record, counts from its date on."""

from functools import lru_cache

import pyarrow.compute as pc
import pyarrow.dataset as ds

from stedi_assets.contracts import SOURCES
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot, dataset

_CUSTOMERS = SOURCES["customer"]
_DATES = ("shareWithResearchAsOfDate", "lastUpdateDate")


@lru_cache(maxsize=8)
def next_date(lake: Lake, landed: int, after: int) -> int | None:
    """Return the first date in a snapshot of customer_landing after an instant, in epoch milliseconds, if there is one.

    From then on, customer_trusted as of that instant is out of date.
    """
    rows = dataset(lake, _CUSTOMERS.landing, landed)
    first = (pc.min(rows.to_table(columns=[name], filter=ds.field(name) > after)[name]).as_py() for name in _DATES)
    return min((date for date in first if date is not None), default=None)


def is_due(lake: Lake, landed: Snapshot, before: int | None, now: int) -> bool:
    """Whether customer_landing has a date between two instants, which are in epoch milliseconds.

    Then whoever consents at one of them need not at the other. A record in quarantine never consents, whatever its
    date. Also true if the first instant is not known.
    """
    if before is None:
        return True
    first, last = sorted((before, now))
    date = next_date(lake, landed.id, first)
    return date is not None and date <= last
