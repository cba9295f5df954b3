"""What a look of the sensor lists: the landing folders, the next portion of them, or nothing if no doorbell rang."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stedi_assets.ingest.arrivals import Listed, PortionedListing
from stedi_assets.orchestration.aws_client import AwsCallFailed
from stedi_assets.orchestration.doorbell import Doorbell
from stedi_assets.orchestration.notices import Notified
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot

# S3 lists so many keys in less than half a minute, a thousand per request. Dagster gives a look a minute.
_MOST_FILES_PER_LOOK = 100_000
# List anyway after this long: the setup of S3's notifications may have left a folder out.
_SECONDS_WITHOUT_A_LISTING = 3600
_LISTED, _DOORBELL = "listed", "doorbell"


@dataclass(frozen=True)
class _Begun:
    """A listing that goes on at the next look. It began when `published` were the tables, and `receipts` had rung."""

    listing: PortionedListing
    published: Mapping[str, Snapshot]
    receipts: Sequence[str]


# By the lake's location. A process that ends loses them, and the next one starts over.
_UNDER_WAY: dict[str, _Begun] = {}


@dataclass(frozen=True)
class Look:
    """What a look has listed, by source; None while there is more to list, or if nothing rang.

    `why_not` says which. `receipts` are of the messages that the listing answers.
    """

    listed: Listed | None
    why_not: str
    receipts: Sequence[str] = ()


def look(lake: Lake, published: Mapping[str, Snapshot], doorbell: Doorbell, notified: Notified) -> Look:
    """List what is to be listed at this look. `published` are the tables as they are published now."""
    begun = _UNDER_WAY.pop(lake.location, None)
    if begun is None and (receipts := _rung(doorbell, notified)) is None:
        return Look(None, "Nothing has arrived since everything landed.")
    # Compared with tables that were published meanwhile, files that came meanwhile would seem to be gone.
    if begun is None or begun.published != published:
        begun = _Begun(PortionedListing(lake), published, begun.receipts if begun else receipts or ())
    if begun.listing.list_further(_MOST_FILES_PER_LOOK):
        _UNDER_WAY[lake.location] = begun
        return Look(None, f"{begun.listing.count:,} landing files are listed so far. The next tick continues.")
    return Look(begun.listing.found, "", begun.receipts)


def answer(receipts: Sequence[str], doorbell: Doorbell, notified: Notified, *, all_landed: bool) -> None:
    """Silence the messages that a look has answered, if all has landed; otherwise have them ring again."""
    if doorbell.queue is None:
        return
    try:
        (doorbell.silence if all_landed else doorbell.ring_again)(receipts)
    except AwsCallFailed as error:
        _tell(notified, error)
    notified.now[_LISTED] = _hour()


def list_again(notified: Notified) -> None:
    """Have the next look list, whether something rings or not: this one has failed."""
    notified.now.pop(_LISTED, None)


def _rung(doorbell: Doorbell, notified: Notified) -> Sequence[str] | None:
    """Return the receipts of messages; None if nothing has rung and the folders have been listed lately."""
    if doorbell.queue is None:
        return ()
    try:
        receipts = doorbell.receive()
    except AwsCallFailed as error:
        _tell(notified, error)
        return ()
    return receipts if receipts or notified.before.get(_LISTED) != _hour() else None


def _hour() -> str:
    return str(int(time.time() // _SECONDS_WITHOUT_A_LISTING))


def _tell(notified: Notified, error: AwsCallFailed) -> None:
    notified.once(_DOORBELL, "", "The queue of arrivals cannot be used", str(error))
