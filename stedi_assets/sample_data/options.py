"""What can be asked for: the size of a sample and its defects, each with its default."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Amount = int | float
"""How often something happens: an int is a count, a float from 0.0 to 1.0 is a share."""


class SampleRefused(ValueError):
    """The sample cannot be written as asked, and nothing has been written. The message is one line."""


@dataclass(frozen=True)
class SampleOptions:
    """What to write. All defects are off by default and independent of one another."""

    customers: int = 956
    seed: int = 7
    readings_per_phone: int = 85
    """On average: the instants of a phone differ by at most one in their number of readings."""
    readings_per_device: int = 30
    """One for each instant at which the owner's phone logs readings."""
    records_per_file: int = 10_000
    """The most that a file holds."""
    repeated_emails: Amount = 0
    """Customers with a second, older record, from before they shared anything, with the e-mail spelled differently."""
    withdrawals: Amount = 0
    """Consenting customers with a second, later record without consent."""
    serials_shared_by: int = 1
    """How many customers hold the same serial number; only their phones tell which of them a device reading is of."""
    respelled_keys: Amount = 0
    """Customers whose phone writes `timeStamp` instead of `timestamp`."""
    late_deliveries: Amount = 0
    """Customers whose records all come in files of a sub-folder, with an older modification time."""
    repeated_deliveries: Amount = 0
    """Files of each source that are delivered again under another name."""
    broken: Mapping[str, Amount] = field(default_factory=dict)
    """How often each kind of `BROKEN_KINDS`, or `all` of them, occurs in each source it can occur in.

    A share is a share of the source's records.
    """
    gzip: bool = False
