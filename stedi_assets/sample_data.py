# Invented deliveries of the three sources, for trying out and testing the lakehouse: the landing files themselves and
# the truth about them. Everything that is known about the form and the defects of deliveries, as a writer sees it.
# How deliveries are read and judged does not belong here; nothing but the standard library is used.
"""Write landing files like those of the sources, any number of them, with the known defects on request.

    python -m stedi_assets.sample_data LAKE [--customers 956] [--seed 7] [--broken cut_off=3] [--truth FOLDER] …
    python -m stedi_assets.sample_data LAKE --every 5s --records-per-file 500

Without options a sample has the size and shape of the public course data and no defect. A seed gives the same records
on every machine and Python version, and a defect leaves everything alone that it is not about. Memory stays bounded
whatever the size. With `--every` the files come in one after the other, as devices deliver them.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import random
import re
import sys
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle, islice, product, zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

Amount = int | float
"""How often something happens: an int counts, a float from 0.0 to 1.0 is a share."""


class SampleRefused(ValueError):
    """The sample cannot be written as asked; nothing has been written. The message is one line."""


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
    """The most that a file of a source holds."""
    repeated_emails: Amount = 0
    """Customers with an older record too, from before they shared anything, the e-mail spelled in another way."""
    withdrawals: Amount = 0
    """Consenting customers with a later record that does not consent."""
    serials_shared_by: int = 1
    """So many customers hold the same serial number; only their phones tell whose a device reading is."""
    respelled_keys: Amount = 0
    """Customers whose phone writes `timeStamp` for `timestamp`."""
    late_deliveries: Amount = 0
    """Customers whose records all come in files of a sub-folder, with an older modification time."""
    repeated_deliveries: Amount = 0
    """Files of each source whose content is delivered again under another name."""
    broken: Mapping[str, Amount] = field(default_factory=dict)
    """By name of `BROKEN_KINDS` or `all`: how often in each source it can occur in; a share is one of its records."""
    gzip: bool = False


@dataclass(frozen=True)
class SourceSummary:
    """What was written for one source. Records of repeated deliveries count as often as they were delivered."""

    files: int
    """All of them, whatever is to become of them."""
    accepted: int
    """Records that a landing table must accept."""
    quarantined: int
    """Records that it must quarantine."""
    unreadable_files: int
    ignored_files: int
    late_files: int
    repeated_files: int
    broken: dict[str, int]
    """How often each kind of `BROKEN_KINDS` was written."""


@dataclass(frozen=True)
class SampleSummary:
    """The truth about a sample, in numbers. Nothing is counted twice except in `sources`."""

    customers: int
    consenting: int
    """By their latest record."""
    repeated_emails: int
    withdrawals: int
    serial_numbers: int
    respelled_phones: int
    late_customers: int
    phone_readings: int
    device_readings: int
    sources: dict[str, SourceSummary]


def write_sample(
    lake: str | os.PathLike[str],
    options: SampleOptions = SampleOptions(),
    truth: str | os.PathLike[str] | None = None,
) -> SampleSummary:
    """Write landing files into a lake folder, and the truth about them into a folder outside of it.

    The truth is `device_readings.jsonl` (whose each one is), `people.jsonl` (who consents by their latest record) and
    `summary.json` (what is returned). Raises `SampleRefused` when the options contradict one another, when a landing
    folder or the truth folder already holds a file, or when a place is no local folder.
    """
    plan = _Plan.of(options)
    root = _local_folder(lake)
    folders = {source.name: root / source.name / "landing" for source in _SOURCES}
    for folder in folders.values():
        _refuse_used(folder)
    truth_folder = None if truth is None else _truth_folder(truth, root)

    landings = {source.name: _Landing(source, folders[source.name], plan) for source in _SOURCES}
    phone_readings = 0
    with ExitStack() as stack:
        tell_people = _truth_file(stack, truth_folder, "people.jsonl")
        tell_readings = _truth_file(stack, truth_folder, "device_readings.jsonl")
        phones, devices = random.Random(f"{options.seed} phones"), random.Random(f"{options.seed} devices")
        for customer, instants in _with_instants(plan, _customers(plan)):
            phone_lines = _phone_lines(phones, customer, instants, options.readings_per_phone)
            distances = [201 + int(devices.random() * 100) for _ in instants]
            landings["customer"].deliver(_customer_lines(options.seed, customer), late=customer.late)
            landings["accelerometer"].deliver(phone_lines, late=customer.late)
            landings["step_trainer"].deliver(_device_lines(customer, instants, distances), late=customer.late)
            phone_readings += len(phone_lines)
            tell_people(_person_truth(customer))
            tell_readings(_device_truth(customer, instants, distances))

    summary = SampleSummary(
        customers=options.customers,
        consenting=plan.research - plan.withdrawals,
        repeated_emails=plan.repeated_emails,
        withdrawals=plan.withdrawals,
        serial_numbers=plan.serial_numbers,
        respelled_phones=plan.respelled_phones,
        late_customers=plan.late_customers,
        phone_readings=phone_readings,
        device_readings=options.customers * options.readings_per_device,
        sources={name: landing.finish() for name, landing in landings.items()},
    )
    if truth_folder:
        (truth_folder / "summary.json").write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")
    return summary


def deliver_sample(
    lake: str | os.PathLike[str],
    every: float,
    options: SampleOptions = SampleOptions(),
    truth: str | os.PathLike[str] | None = None,
) -> Generator[str, None, None]:
    """Have the files of a sample arrive one after the other, `every` so many seconds; yield the path of each.

    The sources take turns, customers first. Each file appears whole. Raises `SampleRefused` as `write_sample` does.
    """
    root = _local_folder(lake)
    for source in _SOURCES:
        _refuse_used(root / source.name / "landing")
    if truth is not None:
        _truth_folder(truth, root)
    root.mkdir(parents=True, exist_ok=True)
    # On the same disk, so that a file appears in one step.
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=root) as folder:
        write_sample(folder, options, truth)
        waiting = [
            sorted(path for path in (Path(folder) / source.name).rglob("*") if path.is_file()) for source in _SOURCES
        ]
        for place, path in enumerate(path for turn in zip_longest(*waiting) for path in turn if path):
            if place:
                time.sleep(every)
            arrived = root / path.relative_to(folder)
            arrived.parent.mkdir(parents=True, exist_ok=True)
            path.replace(arrived)
            yield str(arrived)


# --- Where to write -------------------------------------------------------------------------------------------------


def _local_folder(place: str | os.PathLike[str]) -> Path:
    # One slash is enough: pathlib has made "s3:/" of "s3://" in a Path.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(place)):
        msg = f"{os.fspath(place)}: only local folders can be written to"
        raise SampleRefused(msg)
    return Path(place).expanduser().resolve()


def _refuse_used(folder: Path) -> None:
    for existing in (folder, *folder.parents):
        if existing.exists() and not existing.is_dir():
            msg = f"{existing} is a file where a folder is needed"
            raise SampleRefused(msg)
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(not name.startswith(".") for name in files):
            msg = f"{folder} already holds files: choose another place or empty it first"
            raise SampleRefused(msg)


def _truth_folder(place: str | os.PathLike[str], lake: Path) -> Path:
    folder = _local_folder(place)
    if folder.is_relative_to(lake):
        msg = f"{folder} is inside the lake: whoever reads the lake must not find the truth there"
        raise SampleRefused(msg)
    _refuse_used(folder)
    return folder


def _truth_file(stack: ExitStack, folder: Path | None, name: str) -> Callable[[Iterable[str]], None]:
    """Open a file of the truth, if it is asked for, and return what writes lines to it."""
    if folder is None:
        return lambda _lines: None
    folder.mkdir(parents=True, exist_ok=True)
    return stack.enter_context((folder / name).open("w", encoding="utf-8", newline="\n")).writelines


# --- What the course data looks like --------------------------------------------------------------------------------

# Measured on its 956 customers.
_COURSE_CUSTOMERS = 956
_SHARING_RESEARCH, _SHARING_PUBLIC, _SHARING_FRIENDS = 482, 491, 508
_UPDATED_LATER = 44
_REGISTRATION_GAP = (20, 1_100)
_UPDATED_AT_ONCE = 0.12  # the others about a minute later
_MINUTE_LATER = (58_000, 68_300)
_SLOWEST_STEP = 4_000
# From registration to the last reading, per reading of a device. The slower somebody steps, the more of the readings
# precede the registration: 19 % of all.
_AFTER_REGISTRATION = (2_330, 2_480)
# The share of walks that are moved to meet the one before. Others meet by chance: people register that close together.
# So 6 % of the pairs of a device reading and a phone reading at the same instant are about two people.
_MEETING = 0.95

_FIRST_REGISTRATION = 1_655_500_000_000
_FIRST_DELIVERY = 1_700_000_000_000
_LATE_MODIFIED = 1_655_600_000  # seconds: before any file can have been written
_DAY = 86_400_000

_FIRST_NAMES = [
    "Ada",
    "Alma",
    "Anton",
    "Bela",
    "Bruno",
    "Carla",
    "Cleo",
    "Dario",
    "Dora",
    "Edda",
    "Elio",
    "Enno",
    "Fenja",
    "Fiona",
    "Gero",
    "Greta",
    "Hanno",
    "Hedda",
    "Ida",
    "Ivo",
    "Jella",
    "Jonte",
    "Kalle",
    "Kira",
    "Lasse",
    "Leni",
    "Malo",
    "Mila",
    "Nils",
    "Nora",
    "Oda",
    "Ove",
    "Pelle",
    "Romy",
    "Runa",
    "Silas",
    "Svea",
    "Thilo",
    "Una",
    "Wanda",
]
_LAST_NAMES = [
    "Alderbrook",
    "Ashmeadow",
    "Beechhill",
    "Birchwater",
    "Brackenfell",
    "Briarfield",
    "Cedarholm",
    "Cloverly",
    "Cobblestead",
    "Dunegrass",
    "Elmshade",
    "Fernbank",
    "Finchley",
    "Foxglen",
    "Gorsemoor",
    "Hazelton",
    "Heathercote",
    "Hollyoak",
    "Ivybridge",
    "Juniperdale",
    "Kestrelby",
    "Larkmere",
    "Lindenway",
    "Maplethorpe",
    "Marshwick",
    "Mossgrove",
    "Oakhollow",
    "Otterburn",
    "Pebblebay",
    "Pinecrest",
    "Quincewood",
    "Reedham",
    "Rowanlea",
    "Sedgewater",
    "Sorrelby",
    "Thistledown",
    "Tidewell",
    "Willowgate",
    "Wrenfield",
    "Yarrowby",
]
_NAMES = list(product(_FIRST_NAMES, _LAST_NAMES))
_NAME_STRIDE = 769  # prime to the number of names: each comes up once before one comes up again

_ORIENTATIONS = [
    f'"x":{x},"y":{y},"z":{z}}}\n'.encode() for x, y, z in product((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (-1.0, 0.0))
]
_OTHER_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str.upper,
    str.lower,
    "  {}".format,
    "{}\t".format,
    lambda email: f" {email.swapcase()}\u00a0",
)


# --- The plan: how many of everything -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """Options made out in numbers."""

    options: SampleOptions
    research: int
    repeated_emails: int
    withdrawals: int
    serial_numbers: int
    respelled_phones: int
    late_customers: int
    broken: dict[str, dict[str, int]]

    @classmethod
    def of(cls, options: SampleOptions) -> "_Plan":
        for name in (
            *("customers", "readings_per_device", "readings_per_phone"),
            *("records_per_file", "serials_shared_by"),
        ):
            if getattr(options, name) < 1:
                msg = f"{name} must be at least 1"
                raise SampleRefused(msg)
        most = len(_ORIENTATIONS) * options.readings_per_device
        if not options.readings_per_device <= options.readings_per_phone <= most:
            msg = f"readings_per_phone must be from readings_per_device to {len(_ORIENTATIONS)} times as many"
            raise SampleRefused(msg)
        _counted("repeated_deliveries", options.repeated_deliveries, sys.maxsize)  # any number: files can come again

        customers = options.customers
        research = round(customers * _SHARING_RESEARCH / _COURSE_CUSTOMERS)
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
        for source in _SOURCES:
            needed = sum(BROKEN_KINDS[kind].takes * count for kind, count in plan.broken[source.name].items())
            if needed > plan.on_time_at_least(source):
                msg = (
                    f"broken: {needed} records of {source.name} are needed that are not late, "
                    f"only {plan.on_time_at_least(source)} are certain"
                )
                raise SampleRefused(msg)
        return plan

    def on_time_at_least(self, source: "_Source") -> int:
        """Return a number of records that the source delivers on time in any case."""
        per_device = self.options.readings_per_device
        per_customer = {
            "customer": 1,
            "accelerometer": self.options.readings_per_phone // per_device * per_device,
            "step_trainer": per_device,
        }
        return (self.options.customers - self.late_customers) * per_customer[source.name]


def _counted(name: str, amount: Amount, population: int) -> int:
    most: Amount = population if isinstance(amount, int) else 1.0
    if not 0 <= amount <= most:
        msg = f"{name}={amount} must be from 0 to {most}"
        raise SampleRefused(msg)
    return _times(amount, population)


def _times(amount: Amount, population: int) -> int:
    return amount if isinstance(amount, int) else round(amount * population)


def _broken_counts(options: SampleOptions) -> dict[str, dict[str, int]]:
    amounts = dict(options.broken)
    everything = amounts.pop("all", 0)
    if unknown := sorted(amounts.keys() - BROKEN_KINDS):
        msg = f"broken: there is no kind {', '.join(unknown)}; there are {', '.join(BROKEN_KINDS)}"
        raise SampleRefused(msg)
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
        for source in _SOURCES
    }
    return {source: {kind: count for kind, count in kinds.items() if count} for source, kinds in counts.items()}


class _Drawing:
    """Tells of one after another whether it is drawn, exactly `count` of `total`, without a list of all of them."""

    def __init__(self, plan: _Plan, purpose: str, count: int, total: int) -> None:
        self._random = random.Random(f"{plan.options.seed} {purpose}")
        self._wanted, self._left = count, total

    def __call__(self) -> bool:
        drawn = self._random.randrange(self._left) < self._wanted
        self._left -= 1
        self._wanted -= drawn
        return drawn


# --- Customers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Customer:
    name: str
    email: str
    phone: str
    birthday: str
    serial_index: int
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
        return self.email.lower()


def _customers(plan: _Plan) -> Iterator[_Customer]:
    seed, total = plan.options.seed, plan.options.customers
    rng = random.Random(f"{seed} customers")

    def as_in_the_course(purpose: str, of_course_customers: int) -> _Drawing:
        return _Drawing(plan, purpose, round(total * of_course_customers / _COURSE_CUSTOMERS), total)

    research, public, friends, updated_later = (
        as_in_the_course("research", _SHARING_RESEARCH),
        as_in_the_course("public", _SHARING_PUBLIC),
        as_in_the_course("friends", _SHARING_FRIENDS),
        as_in_the_course("updates", _UPDATED_LATER),
    )
    repeated_email = _Drawing(plan, "repeated e-mails", plan.repeated_emails, total)
    withdrawn = _Drawing(plan, "withdrawals", plan.withdrawals, plan.research)
    respelled_phone = _Drawing(plan, "respelled keys", plan.respelled_phones, total)
    late = _Drawing(plan, "late deliveries", plan.late_customers, total)

    first_name = rng.randrange(len(_NAMES))
    registered = _FIRST_REGISTRATION
    for index in range(total):
        registered += rng.randint(*_REGISTRATION_GAP)
        first, last = _NAMES[(first_name + index * _NAME_STRIDE) % len(_NAMES)]
        namesakes = index // len(_NAMES)
        shares_research = research()
        # Strided, as fulfilment gave them out: the holders of a serial number are not neighbours in time.
        serial_index = index % plan.serial_numbers
        yield _Customer(
            name=f"{first} {last}",
            email=f"{first}.{last}{namesakes or ''}@example.com",
            phone=f"801555{rng.randint(100, 199):04}",  # numbers that are reserved for fiction
            birthday=_birthday(rng),
            serial_index=serial_index,
            serial_number=_serial_number(seed, f"device {serial_index}"),
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


def _birthday(rng: random.Random) -> str:
    # Early years are more frequent; those of three digits come with and without a leading zero.
    year = 967 + int(1033 * rng.random() ** 1.2)
    return f"{year:0{rng.choice((3, 4))}}-01-01"


def _serial_number(seed: int, what: str) -> str:
    # From a digest, so that a shared one needs no table of those given out.
    return str(uuid.UUID(bytes=hashlib.sha256(f"{seed} {what}".encode()).digest()[:16], version=4))


def _until_update(rng: random.Random) -> int:
    at_once, minute_later = rng.random() < _UPDATED_AT_ONCE, rng.randint(*_MINUTE_LATER)
    return 1 if at_once else minute_later


def _customer_lines(seed: int, customer: _Customer) -> list[bytes]:
    records = [_customer_record(customer)]
    if customer.repeated_email:
        records.append(_older_record(random.Random(f"{seed} older record of {customer.person}"), customer))
    if customer.withdrawn:
        records.append(_withdrawal(random.Random(f"{seed} withdrawal of {customer.person}"), customer))
    return [json.dumps(record).encode() + b"\n" for record in records]


def _customer_record(customer: _Customer) -> dict[str, str | int]:
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


def _older_record(rng: random.Random, customer: _Customer) -> dict[str, str | int]:
    before = customer.registered - rng.randint(1, 30) * _DAY
    record = _customer_record(replace(customer, registered=before, updated=before))
    record["email"] = rng.choice(_OTHER_SPELLINGS)(customer.email)
    return {key: value for key, value in record.items() if not key.startswith("shareWith")}


def _withdrawal(rng: random.Random, customer: _Customer) -> dict[str, str | int]:
    record = _customer_record(customer) | {"lastUpdateDate": customer.updated + rng.randint(1, 30) * _DAY}
    del record["shareWithResearchAsOfDate"]
    return record


def _person_truth(customer: _Customer) -> Iterator[str]:
    yield json.dumps({"person": customer.person, "consents": customer.research and not customer.withdrawn}) + "\n"


# --- Readings -------------------------------------------------------------------------------------------------------


def _with_instants(plan: _Plan, customers: Iterable[_Customer]) -> Iterator[tuple[_Customer, list[int]]]:
    """Return each customer with the instants of their readings, which never meet those of a co-holder."""
    rng = random.Random(f"{plan.options.seed} instants")
    count = plan.options.readings_per_device
    taken = _TakenInstants()
    previous = None
    for customer in customers:
        previous = walk = _walk(rng, customer, count, previous)
        if plan.options.serials_shared_by == 1:
            yield customer, list(walk)
        else:
            taken.forget_before(customer.registered - _SLOWEST_STEP * (count + 1))
            yield customer, taken.take(customer.serial_index, walk)


def _walk(rng: random.Random, customer: _Customer, count: int, previous: range | None) -> range:
    """Return instants at a regular step: some before the registration, or all of them before a late consent."""
    step = 2_000 + 100 * rng.randint(1, 60) // 3
    if customer.updated - customer.registered < _MINUTE_LATER[0]:
        last = customer.registered + count * rng.randint(*_AFTER_REGISTRATION)
    else:
        last = customer.updated - rng.randint(100, _SLOWEST_STEP)
    meets, meeting = rng.random() < _MEETING, rng.randrange(count)
    if previous and meets and previous.step != step:  # two people never walk in step
        instant = last - meeting * step
        nearest = previous[max(0, min(count - 1, round((instant - previous.start) / previous.step)))]
        if abs(nearest - instant) <= step:
            last += nearest - instant
    return range(last - (count - 1) * step, last + 1, step)


class _TakenInstants:
    """When the phones of the holders of each serial number were active, as far back as others may still meet them."""

    def __init__(self) -> None:
        self._walks: deque[tuple[int, list[int]]] = deque()
        self._taken: set[tuple[int, int]] = set()

    def take(self, serial_index: int, walk: Iterable[int]) -> list[int]:
        """Return the instants of a walk, each put off by the milliseconds it takes to meet nobody."""
        instants = []
        for wished in walk:
            instant = wished
            while (serial_index, instant) in self._taken:
                instant += 1
            instants.append(instant)
        self._walks.append((serial_index, instants))
        self._taken.update((serial_index, instant) for instant in instants)
        return instants

    def forget_before(self, instant: int) -> None:
        """Forget walks that ended before."""
        while self._walks and self._walks[0][1][-1] < instant:
            serial_index, instants = self._walks.popleft()
            self._taken.difference_update((serial_index, taken) for taken in instants)


def _phone_lines(rng: random.Random, customer: _Customer, instants: Sequence[int], per_phone: int) -> list[bytes]:
    at_least, extra = divmod(per_phone, len(instants))
    one_more = extra / len(instants)
    key = "timeStamp" if customer.respelled_phone else "timestamp"
    beginning = f'{{"user":"{customer.email}","{key}":'
    lines = []
    for instant in reversed(instants):  # newest first, as the app sends them
        stem = f"{beginning}{instant},".encode()
        lines += [stem + end for end in rng.sample(_ORIENTATIONS, at_least + (rng.random() < one_more))]
    return lines


def _device_lines(customer: _Customer, instants: Sequence[int], distances: Sequence[int]) -> list[bytes]:
    middle = f',"serialNumber":"{customer.serial_number}","distanceFromObject":'
    return [
        f'{{"sensorReadingTime":{instant}{middle}{distance}}}\n'.encode()
        for instant, distance in zip(reversed(instants), reversed(distances), strict=True)
    ]


def _device_truth(customer: _Customer, instants: Sequence[int], distances: Sequence[int]) -> Iterator[str]:
    beginning = f'{{"person": "{customer.person}", "serialNumber": "{customer.serial_number}", "sensorReadingTime": '
    for instant, distance in zip(instants, distances, strict=True):
        yield f'{beginning}{instant}, "distanceFromObject": {distance}}}\n'


# --- Broken deliveries ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A source, and by what part its columns play the ones that a broken record is about."""

    name: str
    identity: str
    instant: str
    number: str
    separators: tuple[str, str]


_CUSTOMER = _Source("customer", "email", "registrationDate", "lastUpdateDate", (", ", ": "))
_PHONE = _Source("accelerometer", "user", "timestamp", "x", (",", ":"))
_DEVICE = _Source("step_trainer", "serialNumber", "sensorReadingTime", "distanceFromObject", (",", ":"))
_SOURCES = (_CUSTOMER, _PHONE, _DEVICE)

_Values = dict[str, str]
"""A record: keys, and values as JSON spells them. Lone surrogates stand for bytes that are not UTF-8."""
_Change = Callable[[_Source, _Values], _Values]


@dataclass(frozen=True)
class BrokenKind:
    """A kind of broken delivery, and what must become of it.

    Nothing of it changes who consents or whose a reading is. What must be quarantined is about people and devices that
    occur nowhere else; what must be accepted are records of the sample, spelled in an unusual way.
    """

    write: Callable[[_Source, list[bytes], _Values], bytes] = field(repr=False)
    """From a source, `takes` lines of the sample without their line breaks, and a record about nobody."""
    takes: int = 1
    """How many records of the sample are in it: they must be accepted, if the file is to be read."""
    quarantined: int = 0
    sources: tuple[str, ...] = tuple(source.name for source in _SOURCES)
    file_name: str | None = None
    """How a further file of its own is named, for kinds that are one."""
    fate: Literal["read", "unreadable", "ignored"] = "read"
    """Of that file."""


def _json(source: _Source, values: _Values) -> bytes:
    between, after_key = source.separators
    return ("{" + between.join(f'"{k}"{after_key}{v}' for k, v in values.items()) + "}").encode(
        errors="surrogateescape"
    )


def _values(line: bytes) -> _Values:
    return {key: json.dumps(value) for key, value in json.loads(line).items()}


def _nobody(source: _Source, seed: int, number: int) -> _Values:
    """Return a good record about a person or device that occurs nowhere else."""
    email = f'"Nobody.{source.name}.{number}@example.org"'
    serial_number = f'"{_serial_number(seed, f"nobody {source.name} {number}")}"'
    instant = str(_FIRST_REGISTRATION + number)
    if source is _PHONE:
        return {"user": email, "timestamp": instant, "x": "1.0", "y": "0.0", "z": "-1.0"}
    if source is _DEVICE:
        return {"sensorReadingTime": instant, "serialNumber": serial_number, "distanceFromObject": "250"}
    return {
        "customerName": '"Nobody Atall"',
        "email": email,
        "phone": '"8015550100"',
        "birthDay": '"1970-01-01"',
        "serialNumber": serial_number,
        "registrationDate": instant,
        "lastUpdateDate": instant,
        "shareWithResearchAsOfDate": instant,
    }


def _layout(template: bytes, quarantined: int = 0) -> BrokenKind:
    """Return a kind: records of the sample with something else between them than a line break."""
    return BrokenKind(lambda _source, lines, _nobody: template % tuple(lines), template.count(b"%b"), quarantined)


def _unusual(change: _Change, *sources: _Source) -> BrokenKind:
    """Return a kind: a record of the sample, spelled in an unusual way."""
    return BrokenKind(
        lambda source, lines, _nobody: _json(source, change(source, _values(lines[0]))) + b"\n",
        sources=tuple(source.name for source in sources or _SOURCES),
    )


def _text_kind(write: Callable[[bytes], bytes]) -> BrokenKind:
    """Return a kind: a text made from a record about nobody.

    A record of the sample follows it, so that what is cut off ends there.
    """
    return BrokenKind(
        lambda source, lines, nobody: write(_json(source, nobody)) + b"\n" + lines[0] + b"\n", quarantined=1
    )


def _value_kind(change: _Change, *sources: _Source) -> BrokenKind:
    """Return a kind: a record about nobody with something wrong in its keys or values."""
    return BrokenKind(
        lambda source, lines, nobody: _json(source, change(source, nobody)) + b"\n" + lines[0] + b"\n",
        quarantined=1,
        sources=tuple(source.name for source in sources or _SOURCES),
    )


def _sample_file(write: Callable[[bytes], bytes], file_name: str) -> BrokenKind:
    """Return a kind: a file of its own with a record of the sample."""
    return BrokenKind(lambda _source, lines, _nobody: write(lines[0]), file_name=file_name)


def _foreign_file(
    write: Callable[[bytes], bytes],
    quarantined: int = 0,
    file_name: str = "{}.json",
    fate: Literal["read", "unreadable", "ignored"] = "read",
) -> BrokenKind:
    """Return a kind: a file of its own that holds nothing of the sample."""
    return BrokenKind(
        lambda source, _lines, nobody: write(_json(source, nobody)), 0, quarantined, file_name=file_name, fate=fate
    )


def _set(part: Literal["identity", "instant", "number"], value: str) -> _Change:
    return lambda source, values: values | {getattr(source, part): value}


def _within_identity(begin: str = "", end: str = "", at: str = "@") -> _Change:
    def change(source: _Source, values: _Values) -> _Values:
        text = values[source.identity][1:-1]
        return values | {source.identity: f'"{begin}{text.replace("@", at)}{end}"'}

    return change


def _renamed(rename: Callable[[str], str]) -> _Change:
    return lambda source, values: {rename(k) if k == source.identity else k: v for k, v in values.items()}


def _respelled_instant(respell: Callable[[str], str]) -> _Change:
    return lambda source, values: values | {source.instant: respell(values[source.instant])}


def _not_shared(value: str) -> _Change:
    def change(_source: _Source, values: _Values) -> _Values:
        consents = "shareWithResearchAsOfDate" in values
        return values | {"shareWithFriendsAsOfDate" if consents else "shareWithResearchAsOfDate": value}

    return change


def _pretty(line: bytes) -> bytes:
    return json.dumps(json.loads(line), indent=2).encode() + b"\n"


def _packed(content: bytes) -> bytes:
    # gzip.compress writes other headers in Python 3.11 and 3.12.
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=packed, mtime=0) as file:
        file.write(content)
    return packed.getvalue()


BROKEN_KINDS: dict[str, BrokenKind] = {
    # To be accepted: what stands between records
    "glued": _layout(b"%b%b\n"),
    "comma_between": _layout(b"%b,%b\n"),
    "comma_at_end": _layout(b"%b,\n"),
    "carriage_return_between": _layout(b"%b\r%b\n"),
    "line_separator_between": _layout(b"%b\xe2\x80\xa8%b\n"),
    "array_on_a_line": _layout(b"[%b,%b]\n"),
    "array_over_lines": _layout(b"[\n%b,\n%b\n]\n"),
    "windows_line_end": _layout(b"%b\r\n"),
    "blank_lines": _layout(b"%b\n\n \t\n"),
    "byte_order_mark": _layout(b"\xef\xbb\xbf%b\n"),
    "pretty_printed": BrokenKind(lambda _source, lines, _nobody: _pretty(lines[0])),
    # To be accepted: keys and values
    "unknown_key": _unusual(lambda _source, values: values | {"firmware": '"2.1"'}),
    "other_key_case": _unusual(_renamed(str.upper)),
    "blanks_around": _unusual(_within_identity("  ", "\\t")),
    "instant_with_point": _unusual(_respelled_instant("{}.0".format)),
    "instant_with_exponent": _unusual(_respelled_instant(lambda digits: f"{digits[0]}.{digits[1:]}E{len(digits) - 1}")),
    "phone_as_number": _unusual(lambda _source, values: values | {"phone": values["phone"].strip('"')}, _CUSTOMER),
    "null_optional": _unusual(lambda _source, values: values | {"phone": "null"}, _CUSTOMER),
    "share_zero": _unusual(_not_shared("0"), _CUSTOMER),
    "share_false": _unusual(_not_shared("false"), _CUSTOMER),
    "share_empty_text": _unusual(_not_shared('""'), _CUSTOMER),
    # To be quarantined: no whole JSON object
    "cut_off": _text_kind(lambda record: record[: len(record) * 2 // 3]),
    "garbage_after": _layout(b"%b and so on\n", quarantined=1),
    "empty_array": _text_kind(lambda _record: b"[]"),
    "empty_object": _text_kind(lambda _record: b"{}"),
    "only_null": _text_kind(lambda _record: b"null"),
    "only_number": _text_kind(lambda _record: b"42"),
    "only_text": _text_kind(lambda _record: b'"abc"'),
    "single_quotes": _text_kind(lambda record: record.replace(b'"', b"'")),
    "unquoted_keys": _text_kind(lambda record: re.sub(rb'"(\w+)":', rb"\1:", record)),
    "comment": _text_kind(lambda record: record[:-1] + b" /* checked */}"),
    "leading_zero": _value_kind(_respelled_instant("0{}".format)),
    "control_character": _value_kind(_within_identity("\x01")),
    "nul_character": _value_kind(_within_identity("\0")),
    "tab_in_text": _value_kind(_within_identity("\t")),
    "invalid_utf8": _value_kind(_within_identity("\udcff")),
    "deep_nesting": _value_kind(lambda _source, values: values | {"more": "[" * 2_000 + "]" * 2_000}),
    "huge_text": _value_kind(lambda _source, values: values | {"more": f'"{"x" * (20 << 20)}"'}),
    # To be quarantined: keys
    "missing_key": _value_kind(lambda source, values: {k: v for k, v in values.items() if k != source.identity}),
    "key_twice": _text_kind(lambda record: record[:-1] + b"," + record[1:]),
    "key_twice_other_case": _value_kind(lambda source, values: values | {source.identity.upper(): '"twice"'}),
    "blank_in_key": _value_kind(_renamed(" {}".format)),
    # To be quarantined: values
    "null_required": _value_kind(_set("identity", "null")),
    "wrong_type": _value_kind(_set("number", '"soon"')),
    "number_as_text": _value_kind(_respelled_instant('"{}"'.format)),
    "true_in_number": _value_kind(_set("number", "true")),
    "empty_text_in_number": _value_kind(_set("number", '""')),
    "object_in_number": _value_kind(_set("number", '{"value":1}')),
    "number_in_text": _value_kind(_set("identity", "42")),
    "object_in_text": _value_kind(_set("identity", '{"value":"a@example.org"}')),
    "array_in_text": _value_kind(_set("identity", '["a@example.org"]')),
    "instant_zero": _value_kind(_set("instant", "0")),
    "instant_not_whole": _value_kind(_set("instant", "9.7")),
    "instant_negative": _value_kind(_respelled_instant("-{}".format)),
    "instant_in_seconds": _value_kind(_respelled_instant(lambda digits: digits[:-3])),
    "instant_in_microseconds": _value_kind(_respelled_instant("{}000".format)),
    "instant_of_23_digits": _value_kind(_set("instant", "1" * 23)),
    "nan": _value_kind(_set("number", "NaN")),
    "infinity": _value_kind(_set("number", "-Infinity")),
    "quoted_nan": _value_kind(_set("number", '"NaN"')),
    "quoted_infinity": _value_kind(_set("number", '"Infinity"')),
    "too_large": _value_kind(_set("number", "1e400")),
    "blank_in_email": _value_kind(_within_identity(at=" @"), _CUSTOMER, _PHONE),
    "no_at_in_email": _value_kind(_within_identity(at="."), _CUSTOMER, _PHONE),
    "two_ats_in_email": _value_kind(_within_identity(at="@@"), _CUSTOMER, _PHONE),
    # Files of their own
    "no_line_break_at_end": _sample_file(lambda line: line, "{}.json"),
    "upper_case_suffix": _sample_file(lambda line: line + b"\n", "{}.JSON"),
    "packed_named_json": _sample_file(lambda line: _packed(line + b"\n"), "{}.json"),
    "text_named_gz": _sample_file(lambda line: line + b"\n", "{}.json.gz"),
    "empty_file": _foreign_file(lambda _record: b""),
    "blank_file": _foreign_file(lambda _record: b"\n \r\n\t\n"),
    "cut_off_at_end": _foreign_file(lambda record: record[: len(record) * 2 // 3], 1),
    "html_page": _foreign_file(lambda _record: b"<html>\n<h1>502 Bad Gateway</h1>\n</html>\n", 3),
    "csv_file": _foreign_file(lambda _record: b"id,instant,value\n1,1655500000000,1.0\n2,1655500000000,0.0\n", 3),
    "random_bytes": _foreign_file(lambda _record: b"\x8f\x00\xc3\n\x17plain\x02\n\xe2\x28\xa1\n", 3),
    "utf16_file": _foreign_file(lambda record: record.decode().encode("utf-16"), fate="unreadable"),
    "truncated_gzip": _foreign_file(lambda record: _packed(record)[:-8], file_name="{}.json.gz", fate="unreadable"),
    "hidden_file": _foreign_file(lambda record: record + b"\n", file_name="_{}.json", fate="ignored"),
    "other_suffix": _foreign_file(lambda record: record + b"\n", file_name="{}.txt", fate="ignored"),
}
"""Every kind of broken delivery that is a matter of content, by the name it is asked for with."""


class _Broken(NamedTuple):
    """A broken delivery as it is written."""

    kind: str
    content: bytes


_Delivered = bytes | _Broken
"""What stands in a file: a line with one good record, or something broken."""


class _Weaver:
    """Spreads broken deliveries evenly over the regular lines of a source, and lets them take the lines they need."""

    def __init__(self, source: _Source, plan: _Plan) -> None:
        self._source, self._seed = source, plan.options.seed
        self._due = [kind for kind, count in plan.broken[source.name].items() for _ in range(count)]
        random.Random(f"{self._seed} broken {source.name}").shuffle(self._due)
        needed = sum(BROKEN_KINDS[kind].takes for kind in self._due)
        # The last one starts where enough lines are left for all of them, whatever they take.
        self._spread_over = max(0, plan.on_time_at_least(source) - needed)
        self._woven = self._seen = 0
        self._held: list[bytes] = []

    def weave(self, lines: list[bytes]) -> list[_Delivered]:
        """Return the lines, some of them replaced; lines may be held back until the next call."""
        if not self._held and self._next_at() >= self._seen + len(lines):
            self._seen += len(lines)
            return list(lines)
        delivered: list[_Delivered] = []
        for line in lines:
            self._held.append(line)
            self._seen += 1
            delivered += self._broken_now()
            if self._next_at() >= self._seen:
                delivered += self._held
                self._held = []
        return delivered

    def rest(self) -> list[_Delivered]:
        """Return what is still due when there was no line to put it at: all of them are late."""
        self._seen = sys.maxsize
        return list(self._broken_now())

    def _next_at(self) -> int:
        return self._woven * self._spread_over // len(self._due) if self._woven < len(self._due) else sys.maxsize

    def _broken_now(self) -> Iterator[_Broken]:
        while self._next_at() < self._seen:
            name = self._due[self._woven]
            kind = BROKEN_KINDS[name]
            if len(self._held) < kind.takes:
                return
            taken, self._held = self._held[: kind.takes], self._held[kind.takes :]
            nobody = _nobody(self._source, self._seed, self._woven)
            self._woven += 1
            yield _Broken(name, kind.write(self._source, [line.rstrip(b"\n") for line in taken], nobody))


# --- Files ----------------------------------------------------------------------------------------------------------


@dataclass
class _File:
    """A file of the landing folder, and what must become of it."""

    path: Path
    accepted: int = 0
    quarantined: int = 0
    broken: Counter[str] = field(default_factory=Counter)

    def count(self, delivered: _Delivered) -> None:
        if isinstance(delivered, bytes):
            self.accepted += 1
        else:
            kind = BROKEN_KINDS[delivered.kind]
            self.accepted += kind.takes
            self.quarantined += kind.quarantined
            self.broken[delivered.kind] += 1


class _FileSeries:
    """Files of so many records each, in the order in which they come in."""

    def __init__(
        self, folder: Path, next_name: Callable[[], str], records: int, *, packed: bool, modified: int | None = None
    ) -> None:
        self._folder, self._next_name, self._records = folder, next_name, records
        self._packed, self._modified = packed, modified
        self._waiting: list[_Delivered] = []
        self.files: list[_File] = []

    def add(self, delivered: Iterable[_Delivered]) -> None:
        for one in delivered:
            self._waiting.append(one)
            if len(self._waiting) == self._records:
                self.write_waiting()

    def write_waiting(self) -> None:
        if not self._waiting:
            return
        file = _File(self._folder / self._next_name())
        for one in self._waiting:
            file.count(one)
        content = b"".join(one if isinstance(one, bytes) else one.content for one in self._waiting)
        _write(file.path, _packed(content) if self._packed else content, self._modified)
        self.files.append(file)
        self._waiting = []


def _write(path: Path, content: bytes, modified: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden until it is whole: somebody may be watching the folder.
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    if modified is not None:
        os.utime(unfinished, (modified, modified))
    unfinished.replace(path)


class _Landing:
    """The landing folder of one source."""

    # Every customer's readings come in through several gateways, each of which delivers a batch at a time: so they
    # are spread over many files, in each of them together and newest first.
    _GATEWAYS = 8
    _BATCH = 100_000

    def __init__(self, source: _Source, folder: Path, plan: _Plan) -> None:
        self._name, self._folder, self._options = source.name, folder, plan.options
        self._random = random.Random(f"{plan.options.seed} files of {source.name}")
        self._delivered_at = _FIRST_DELIVERY + _SOURCES.index(source)
        self._weaver = _Weaver(source, plan)
        self._gateways: list[list[_Delivered]] = [[] for _ in range(self._GATEWAYS)]
        self._in_gateways = 0
        records, packed = plan.options.records_per_file, plan.options.gzip
        self._regular = _FileSeries(folder, self._next_name, records, packed=packed)
        self._late = _FileSeries(folder / "late", self._next_name, records, packed=packed, modified=_LATE_MODIFIED)
        self._of_their_own: list[_File] = []

    def deliver(self, lines: list[bytes], *, late: bool) -> None:
        """Write records of one customer, sooner or later."""
        if late:
            self._late.add(lines)
        else:
            self._through_gateways(self._weaver.weave(lines))

    def finish(self) -> SourceSummary:
        """Write what has not been written yet."""
        self._through_gateways(self._weaver.rest())
        self._deliver_batch()
        self._regular.write_waiting()
        self._late.write_waiting()
        repeated = [self._repeat(file) for file in self._to_be_repeated()]

        files = [*self._regular.files, *self._late.files, *self._of_their_own, *repeated]
        broken = sum((file.broken for file in files), Counter[str]())
        fates = Counter(BROKEN_KINDS[kind].fate for file in self._of_their_own for kind in file.broken)
        return SourceSummary(
            files=len(files),
            accepted=sum(file.accepted for file in files),
            quarantined=sum(file.quarantined for file in files),
            unreadable_files=fates["unreadable"],
            ignored_files=fates["ignored"],
            late_files=len(self._late.files),
            repeated_files=len(repeated),
            broken=dict(sorted(broken.items())),
        )

    def _through_gateways(self, delivered: Iterable[_Delivered]) -> None:
        for one in delivered:
            if isinstance(one, _Broken) and BROKEN_KINDS[one.kind].file_name:
                self._write_of_its_own(one)
            else:
                self._gateways[int(self._random.random() * self._GATEWAYS)].append(one)
                self._in_gateways += 1
        if self._in_gateways >= self._BATCH:
            self._deliver_batch()

    def _deliver_batch(self) -> None:
        for gateway in self._gateways:
            self._regular.add(gateway)
            gateway.clear()
        self._in_gateways = 0

    def _write_of_its_own(self, broken: _Broken) -> None:
        name = BROKEN_KINDS[broken.kind].file_name or ""
        file = _File(self._folder / name.format(self._next_stem()))
        file.count(broken)
        _write(file.path, broken.content)
        self._of_their_own.append(file)

    def _to_be_repeated(self) -> Iterable[_File]:
        files = [*self._regular.files, *self._late.files]
        return islice(cycle(files), _times(self._options.repeated_deliveries, len(files)))

    def _repeat(self, file: _File) -> _File:
        repeated = replace(file, path=self._folder / self._next_name())
        _write(repeated.path, file.path.read_bytes())
        return repeated

    def _next_name(self) -> str:
        return f"{self._next_stem()}.json{'.gz' if self._options.gzip else ''}"

    def _next_stem(self) -> str:
        self._delivered_at += self._random.randint(40, 150)
        return f"{self._name}-{self._delivered_at}"


# --- Command line ---------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a sample as the command line says. Return 2 when it is refused, after one line on what to change."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    lake, truth, every = given.pop("lake"), given.pop("truth"), given.pop("every")
    options = SampleOptions(**given | {"broken": dict(given["broken"])})
    try:
        if every is not None:
            for path in deliver_sample(lake, every, options, truth):
                print(path, flush=True)
            return 0
        summary = write_sample(lake, options, truth)
    except KeyboardInterrupt:
        return 0
    except SampleRefused as refused:
        print(f"{parser.prog}: {refused}", file=sys.stderr)
        return 2
    print(f"{summary.customers:,} customers, {summary.consenting:,} of them consent by their latest record")
    for name, source in summary.sources.items():
        print(f"{name}: {source.files:,} files, {source.accepted:,} good records, {source.quarantined:,} broken ones")
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = SampleOptions()
    parser = argparse.ArgumentParser(
        prog="python -m stedi_assets.sample_data",
        description="Write invented landing files like those of the three sources, and the truth about them.",
        epilog="AMOUNT is a number of times (3) or a share (0.03 or 3%). Kinds of --broken: "
        + ", ".join(["all", *BROKEN_KINDS]),
    )
    parser.add_argument("lake", metavar="LAKE", help="local folder of the lake; made when it does not exist")
    parser.add_argument("--customers", type=int, default=defaults.customers, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=defaults.seed, metavar="N", help="default: %(default)s")
    for owner in ("phone", "device"):
        name = f"readings_per_{owner}"
        parser.add_argument(
            f"--readings-per-{owner}",
            type=int,
            default=getattr(defaults, name),
            metavar="N",
            help="of each customer; default: %(default)s",
        )
    parser.add_argument(
        "--records-per-file",
        type=int,
        default=defaults.records_per_file,
        metavar="N",
        help="the most that a file holds; default: %(default)s",
    )
    parser.add_argument(
        "--serials-shared-by",
        type=int,
        default=defaults.serials_shared_by,
        metavar="N",
        help="customers who hold the same serial number; default: %(default)s",
    )
    for option, what in (
        ("--repeated-emails", "customers with an older record too, the e-mail in other letter case or with blanks"),
        ("--withdrawals", "consenting customers with a later record that does not consent"),
        ("--respelled-keys", "customers whose phone writes timeStamp for timestamp"),
        ("--late-deliveries", "customers whose records come in a sub-folder, with an older modification time"),
        ("--repeated-deliveries", "files of each source that are delivered again under another name"),
    ):
        parser.add_argument(option, type=_amount, default=0, metavar="AMOUNT", help=what)
    parser.add_argument(
        "--broken",
        type=_broken_amount,
        action="append",
        default=[],
        metavar="KIND=AMOUNT",
        help="broken deliveries in each source; may be given several times",
    )
    parser.add_argument("--gzip", action="store_true", help="pack the files")
    parser.add_argument(
        "--every",
        type=_seconds,
        metavar="5s",
        help="have the files arrive one after the other, with such a pause between",
    )
    parser.add_argument("--truth", metavar="FOLDER", help="where to write the truth, outside of the lake")
    return parser


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?s?", text):
        msg = f"{text!r} is no time such as 5s or 0.5s"
        raise argparse.ArgumentTypeError(msg)
    return float(text.removesuffix("s"))


def _amount(text: str) -> Amount:
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text) if "." in text else int(text)
    except ValueError:
        msg = f"{text!r} is neither a number of times (3) nor a share (0.03 or 3%)"
        raise argparse.ArgumentTypeError(msg) from None


def _broken_amount(text: str) -> tuple[str, Amount]:
    kind, _, amount = text.partition("=")
    return kind, _amount(amount)


if __name__ == "__main__":
    sys.exit(main())
