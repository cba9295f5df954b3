"""Who the customers are: their names, devices and consents, and which defects are about them."""

import hashlib
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from stedi_assets.sample_data.course_data import (
    COURSE_CUSTOMERS,
    FIRST_REGISTRATION,
    MINUTE_LATER,
    REGISTRATION_GAP,
    SHARING_FRIENDS,
    SHARING_PUBLIC,
    SHARING_RESEARCH,
    UPDATED_AT_ONCE,
    UPDATED_LATER,
)
from stedi_assets.sample_data.names import NAME_STRIDE, NAMES
from stedi_assets.sample_data.plan import Drawing, Plan


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer. Their records are made in `records`."""

    name: str
    email: str
    phone: str
    birthday: str
    serial_number: str
    registered: int
    updated: int
    research: bool
    public: bool
    friends: bool
    repeated_email: bool
    withdrawn: bool
    respelled_phone: bool
    late: bool

    @property
    def person(self) -> str:
        """The form that all spellings of the e-mail have in common."""
        return self.email.lower()


def customers(plan: Plan) -> Iterator[Customer]:
    """Yield the customers in the order in which they register."""
    seed, total = plan.options.seed, plan.options.customers
    rng = random.Random(f"{seed} customers")

    def as_in_the_course(purpose: str, of_course_customers: int) -> Drawing:
        return Drawing(plan, purpose, round(total * of_course_customers / COURSE_CUSTOMERS), total)

    research = as_in_the_course("research", SHARING_RESEARCH)
    public = as_in_the_course("public", SHARING_PUBLIC)
    friends = as_in_the_course("friends", SHARING_FRIENDS)
    updated_later = as_in_the_course("updates", UPDATED_LATER)
    repeated_email = Drawing(plan, "repeated e-mails", plan.repeated_emails, total)
    withdrawn = Drawing(plan, "withdrawals", plan.withdrawals, plan.research)
    respelled_phone = Drawing(plan, "respelled keys", plan.respelled_phones, total)
    late = Drawing(plan, "late deliveries", plan.late_customers, total)

    first_name = rng.randrange(len(NAMES))
    registered = FIRST_REGISTRATION
    for index in range(total):
        registered += rng.randint(*REGISTRATION_GAP)
        first, last = NAMES[(first_name + index * NAME_STRIDE) % len(NAMES)]
        namesakes = index // len(NAMES)
        shares_research = research()
        yield Customer(
            name=f"{first} {last}",
            email=f"{first}.{last}{namesakes or ''}@example.com",
            phone=f"801555{rng.randint(100, 199):04}",  # numbers that are reserved for fiction
            birthday=_birthday(rng),
            # Customers who hold the same serial number did not register one after the other.
            serial_number=serial_number(seed, f"device {index % plan.serial_numbers}"),
            registered=registered,
            updated=registered + (_until_update(rng) if updated_later() else 0),
            research=shares_research,
            public=public(),
            friends=friends(),
            repeated_email=repeated_email(),
            withdrawn=shares_research and withdrawn(),
            respelled_phone=respelled_phone(),
            late=late(),
        )


def serial_number(seed: int, what: str) -> str:
    """Return the serial number of a device, the same each time."""
    # From a digest, so that devices with several holders need no table of numbers.
    return str(uuid.UUID(bytes=hashlib.sha256(f"{seed} {what}".encode()).digest()[:16], version=4))


def _birthday(rng: random.Random) -> str:
    # Early years are more frequent; years of three digits come with and without a leading zero.
    year = 967 + int(1033 * rng.random() ** 1.2)
    return f"{year:0{rng.choice((3, 4))}}-01-01"


def _until_update(rng: random.Random) -> int:
    at_once, minute_later = rng.random() < UPDATED_AT_ONCE, rng.randint(*MINUTE_LATER)
    return 1 if at_once else minute_later
