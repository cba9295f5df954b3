"""The plan of a sample: its options checked, and every share turned into a number."""

import random
import sys
from dataclasses import dataclass

from stedi_assets.sample_data.broken_kinds import BROKEN_KINDS
from stedi_assets.sample_data.course_data import COURSE_CUSTOMERS, ORIENTATIONS, SHARING_RESEARCH
from stedi_assets.sample_data.options import Amount, SampleOptions, SampleRefused
from stedi_assets.sample_data.sources import SOURCES, Source


@dataclass(frozen=True)
class Plan:
    """How many of everything there will be."""

    options: SampleOptions
    research: int
    repeated_emails: int
    withdrawals: int
    serial_numbers: int
    respelled_phones: int
    late_customers: int
    broken: dict[str, dict[str, int]]
    """By source and kind. Kinds that do not occur are left out."""

    @classmethod
    def of(cls, options: SampleOptions) -> "Plan":
        """Make the plan. Raise `SampleRefused` when the options contradict one another."""
        _check_sizes(options)
        _counted("repeated_deliveries", options.repeated_deliveries, sys.maxsize)  # files can come again any time

        customers = options.customers
        research = round(customers * SHARING_RESEARCH / COURSE_CUSTOMERS)
        plan = cls(
            options=options,
            research=research,
            repeated_emails=_counted("repeated_emails", options.repeated_emails, customers),
            withdrawals=_counted("withdrawals", options.withdrawals, research),
            serial_numbers=-(-customers // options.serials_shared_by),
            respelled_phones=_counted("respelled_keys", options.respelled_keys, customers),
            late_customers=_counted("late_deliveries", options.late_deliveries, customers),
            broken=_broken_counts(options),
        )
        _check_broken(plan)
        return plan

    def on_time_at_least(self, source: Source) -> int:
        """Return how many records the source certainly delivers on time."""
        per_device = self.options.readings_per_device
        per_customer = {
            "customer": 1,
            "accelerometer": self.options.readings_per_phone // per_device * per_device,
            "step_trainer": per_device,
        }
        return (self.options.customers - self.late_customers) * per_customer[source.name]


def times(amount: Amount, population: int) -> int:
    """Return how often something happens in a population."""
    return amount if isinstance(amount, int) else round(amount * population)


class Drawing:
    """Decides for one item after another whether it is drawn: exactly `count` of `total`, without listing them."""

    def __init__(self, plan: Plan, purpose: str, count: int, total: int) -> None:
        self._random = random.Random(f"{plan.options.seed} {purpose}")
        self._wanted, self._left = count, total

    def __call__(self) -> bool:
        """Decide for the next item."""
        drawn = self._random.randrange(self._left) < self._wanted
        self._left -= 1
        self._wanted -= drawn
        return drawn


def _check_sizes(options: SampleOptions) -> None:
    for name in ("customers", "readings_per_device", "readings_per_phone", "records_per_file", "serials_shared_by"):
        if getattr(options, name) < 1:
            raise SampleRefused(f"{name} must be at least 1")
    most = len(ORIENTATIONS) * options.readings_per_device
    if not options.readings_per_device <= options.readings_per_phone <= most:
        raise SampleRefused(f"readings_per_phone must be from readings_per_device to {len(ORIENTATIONS)} times as many")


def _check_broken(plan: Plan) -> None:
    for source in SOURCES:
        needed = sum(BROKEN_KINDS[kind].takes * count for kind, count in plan.broken[source.name].items())
        if needed > plan.on_time_at_least(source):
            raise SampleRefused(
                f"broken: {needed} records of {source.name} are needed that are not late, "
                f"only {plan.on_time_at_least(source)} are certain"
            )


def _counted(name: str, amount: Amount, population: int) -> int:
    most: Amount = population if isinstance(amount, int) else 1.0
    if not 0 <= amount <= most:
        raise SampleRefused(f"{name}={amount} must be from 0 to {most}")
    return times(amount, population)


def _broken_counts(options: SampleOptions) -> dict[str, dict[str, int]]:
    amounts = dict(options.broken)
    everything = amounts.pop("all", 0)
    if unknown := sorted(amounts.keys() - BROKEN_KINDS):
        raise SampleRefused(f"broken: there is no kind {', '.join(unknown)}; the kinds are {', '.join(BROKEN_KINDS)}")
    records = {
        "customer": options.customers,
        "accelerometer": options.customers * options.readings_per_phone,
        "step_trainer": options.customers * options.readings_per_device,
    }
    counts = {
        source.name: {
            name: _counted(f"broken {name}", amounts.get(name, everything), records[source.name])
            for name, kind in BROKEN_KINDS.items()
            if source.name in kind.sources
        }
        for source in SOURCES
    }
    return {source: {kind: count for kind, count in kinds.items() if count} for source, kinds in counts.items()}
