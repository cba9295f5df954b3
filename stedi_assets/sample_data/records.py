"""The good lines that each source delivers about a customer."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from stedi_assets.sample_data.course_data import ORIENTATIONS
from stedi_assets.sample_data.customers import Customer

_DAY = 86_400_000
_OTHER_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str.upper,
    str.lower,
    "  {}".format,
    "{}\t".format,
    lambda email: f" {email.swapcase()}\u00a0",
)


def customer_lines(seed: int, customer: Customer) -> list[bytes]:
    """Return the customer's record, and the older and the later one if there are any."""
    records = [_customer_record(customer)]
    if customer.repeated_email:
        records.append(_older_record(random.Random(f"{seed} older record of {customer.person}"), customer))
    if customer.withdrawn:
        records.append(_withdrawal(random.Random(f"{seed} withdrawal of {customer.person}"), customer))
    return [json.dumps(record).encode() + b"\n" for record in records]


def phone_lines(rng: random.Random, customer: Customer, instants: Sequence[int], per_phone: int) -> list[bytes]:
    """Return the readings of the customer's phone, on average `per_phone`."""
    at_least, extra = divmod(per_phone, len(instants))
    one_more = extra / len(instants)
    key = "timeStamp" if customer.respelled_phone else "timestamp"
    beginning = f'{{"user":"{customer.email}","{key}":'
    lines = []
    for instant in reversed(instants):  # newest first, as the app sends them
        stem = f"{beginning}{instant},".encode()
        lines += [stem + end for end in rng.sample(ORIENTATIONS, at_least + (rng.random() < one_more))]
    return lines


def device_lines(customer: Customer, instants: Sequence[int], distances: Sequence[int]) -> list[bytes]:
    """Return the readings of the customer's device, newest first."""
    middle = f',"serialNumber":"{customer.serial_number}","distanceFromObject":'
    return [
        f'{{"sensorReadingTime":{instant}{middle}{distance}}}\n'.encode()
        for instant, distance in zip(reversed(instants), reversed(distances), strict=True)
    ]


def _customer_record(customer: Customer) -> dict[str, str | int]:
    shares = {
        "shareWithResearchAsOfDate": customer.research,
        "shareWithPublicAsOfDate": customer.public,
        "shareWithFriendsAsOfDate": customer.friends,
    }
    return {
        "customerName": customer.name,
        "email": customer.email,
        "phone": customer.phone,
        "birthDay": customer.birthday,
        "serialNumber": customer.serial_number,
        "registrationDate": customer.registered,
        "lastUpdateDate": customer.updated,
        **{key: customer.updated for key, shared in shares.items() if shared},
    }


def _older_record(rng: random.Random, customer: Customer) -> dict[str, str | int]:
    before = customer.registered - rng.randint(1, 30) * _DAY
    record = _customer_record(replace(customer, registered=before, updated=before))
    record["email"] = rng.choice(_OTHER_SPELLINGS)(customer.email)
    return {key: value for key, value in record.items() if not key.startswith("shareWith")}


def _withdrawal(rng: random.Random, customer: Customer) -> dict[str, str | int]:
    record = _customer_record(customer) | {"lastUpdateDate": customer.updated + rng.randint(1, 30) * _DAY}
    del record["shareWithResearchAsOfDate"]
    return record
