"""Write a sample: at once (`write_sample`), or one file after the other, as devices deliver them (`deliver_sample`)."""

import json
import os
import random
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

from stedi_assets.sample_data.customers import customers
from stedi_assets.sample_data.folders import empty_truth_folder, local_folder, refuse_used
from stedi_assets.sample_data.instants import with_instants
from stedi_assets.sample_data.landing_folder import LandingFolder
from stedi_assets.sample_data.options import SampleOptions
from stedi_assets.sample_data.plan import Plan
from stedi_assets.sample_data.records import customer_lines, device_lines, phone_lines
from stedi_assets.sample_data.sources import SOURCES
from stedi_assets.sample_data.truth import SampleSummary, device_truth, person_truth, truth_file


def write_sample(
    lake: str | os.PathLike[str], options: SampleOptions = SampleOptions(), truth: str | os.PathLike[str] | None = None
) -> SampleSummary:
    """Write landing files into a lake folder, and the truth about them into a folder outside of it.

    The truth is `people.jsonl` (who consents, by their latest record), `device_readings.jsonl` (whose each reading is)
    and `summary.json` (what is returned). Raises `SampleRefused` when the options contradict one another, when a
    landing folder or the truth folder already holds a file, or when a place is not a local folder.
    """
    plan = Plan.of(options)
    root = local_folder(lake)
    folders = {source.name: root / source.name / "landing" for source in SOURCES}
    for folder in folders.values():
        refuse_used(folder)
    truth_folder = None if truth is None else empty_truth_folder(truth, root)

    landings = {source.name: LandingFolder(source, folders[source.name], plan) for source in SOURCES}
    phone_readings = 0
    with ExitStack() as stack:
        tell_people = truth_file(stack, truth_folder, "people.jsonl")
        tell_readings = truth_file(stack, truth_folder, "device_readings.jsonl")
        phones, devices = random.Random(f"{options.seed} phones"), random.Random(f"{options.seed} devices")
        for customer, instants in with_instants(plan, customers(plan)):
            of_phone = phone_lines(phones, customer, instants, options.readings_per_phone)
            distances = [201 + int(devices.random() * 100) for _ in instants]
            landings["customer"].deliver(customer_lines(options.seed, customer), late=customer.late)
            landings["accelerometer"].deliver(of_phone, late=customer.late)
            landings["step_trainer"].deliver(device_lines(customer, instants, distances), late=customer.late)
            phone_readings += len(of_phone)
            tell_people(person_truth(customer))
            tell_readings(device_truth(customer, instants, distances))

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
    """Make one file of a sample arrive every so many seconds, and yield the path of each.

    The sources take turns, customers first. Each file appears whole. Raises `SampleRefused` as `write_sample` does.
    """
    root = local_folder(lake)
    for source in SOURCES:
        refuse_used(root / source.name / "landing")
    if truth is not None:
        empty_truth_folder(truth, root)
    root.mkdir(parents=True, exist_ok=True)
    # On the lake's disk, so that a file appears in one step.
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=root) as folder:
        write_sample(folder, options, truth)
        waiting = [
            sorted(path for path in (Path(folder) / source.name).rglob("*") if path.is_file()) for source in SOURCES
        ]
        for place, path in enumerate(path for turn in zip_longest(*waiting) for path in turn if path):
            if place:
                time.sleep(every)
            arrived = root / path.relative_to(folder)
            arrived.parent.mkdir(parents=True, exist_ok=True)
            path.replace(arrived)
            yield str(arrived)
