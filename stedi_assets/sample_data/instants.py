"""When each customer's phone and device log readings: at the same instants, in walks of a regular step."""

import random
from collections import deque
from collections.abc import Iterable, Iterator

from stedi_assets.sample_data.course_data import AFTER_REGISTRATION, MEETING, MINUTE_LATER, SLOWEST_STEP
from stedi_assets.sample_data.customers import Customer
from stedi_assets.sample_data.plan import Plan


def with_instants(plan: Plan, customers: Iterable[Customer]) -> Iterator[tuple[Customer, list[int]]]:
    """Yield each customer with the instants of their readings.

    Customers who hold the same serial number have no instant in common.
    """
    rng = random.Random(f"{plan.options.seed} instants")
    count = plan.options.readings_per_device
    taken = _TakenInstants()
    previous = None
    for customer in customers:
        previous = walk = _walk(rng, customer, count, previous)
        if plan.options.serials_shared_by == 1:
            yield customer, list(walk)
        else:
            taken.forget_before(customer.registered - SLOWEST_STEP * (count + 1))
            yield customer, taken.take(customer.serial_number, walk)


def _walk(rng: random.Random, customer: Customer, count: int, previous: range | None) -> range:
    """Return instants at a regular step: some before the registration, or all of them before a late consent."""
    step = 2_000 + 100 * rng.randint(1, 60) // 3
    if customer.updated - customer.registered < MINUTE_LATER[0]:
        last = customer.registered + count * rng.randint(*AFTER_REGISTRATION)
    else:
        last = customer.updated - rng.randint(100, SLOWEST_STEP)
    meets, meeting = rng.random() < MEETING, rng.randrange(count)
    if previous and meets and previous.step != step:  # two people never walk in step
        instant = last - meeting * step
        nearest = previous[max(0, min(count - 1, round((instant - previous.start) / previous.step)))]
        if abs(nearest - instant) <= step:
            last += nearest - instant
    return range(last - (count - 1) * step, last + 1, step)


class _TakenInstants:
    """When the holders of each serial number were active, as far back as a later walk can still meet them."""

    def __init__(self) -> None:
        self._walks: deque[tuple[str, list[int]]] = deque()
        self._taken: set[tuple[str, int]] = set()

    def take(self, serial_number: str, walk: Iterable[int]) -> list[int]:
        """Return the instants of a walk, each delayed by as many milliseconds as needed to meet nobody."""
        instants = []
        for wished in walk:
            instant = wished
            while (serial_number, instant) in self._taken:
                instant += 1
            instants.append(instant)
        self._walks.append((serial_number, instants))
        self._taken.update((serial_number, instant) for instant in instants)
        return instants

    def forget_before(self, instant: int) -> None:
        """Forget the walks that ended before an instant."""
        while self._walks and self._walks[0][1][-1] < instant:
            serial_number, instants = self._walks.popleft()
            self._taken.difference_update((serial_number, taken) for taken in instants)
