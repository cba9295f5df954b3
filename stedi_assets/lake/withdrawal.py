"""Withdrawal: who is not in customer_trusted any more leaves every table that was made of it, old snapshots included.

It is never held up. The tables are not computed again for it: their last snapshots are published once more without
the people who left, whatever is wrong with other sources. Those furthest down go first and customer_trusted last, so
that a run that dies half-way is made good by the next one.
"""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from stedi_assets.contracts import SOURCES, TABLES, MatchOn, Policy
from stedi_assets.lake.keys import hmac_pads
from stedi_assets.lake.landing import Landing, read_file_reports, together
from stedi_assets.lake.layout import Lake
from stedi_assets.lake.publishing import Provenance, republish
from stedi_assets.lake.snapshots import (
    Pointer,
    current_dataset,
    dataset,
    read_pointer,
    read_quarantine,
    read_snapshot,
    rows_in,
)
from stedi_assets.second_engine.breaches import count_missing
from stedi_assets.transforms.people import chosen_records
from stedi_assets.transforms.pseudonyms import with_subjects

_CUSTOMERS = SOURCES["customer"]
_PEOPLE = TABLES["customer_trusted"]
_MADE_OF_PEOPLE = ("machine_learning_curated", "step_trainer_trusted", "customers_curated", "accelerometer_trusted")


def withdraw_first(spark: SparkSession, lake: Lake, landing: Landing, by: Provenance) -> int:
    """Remove the people who, by what customers' files say now, are in no table any more; return how many.

    For what has landed and is not published yet, and also where it cannot be: of files that are gone, what was read
    of them last is used. `by.as_of` is the instant of the run, in epoch milliseconds.
    """
    pointer = read_pointer(lake, _PEOPLE)
    if pointer is None or by.as_of is None or not _changed(lake, landing):
        return 0
    accepted, quarantined = _all_delivered(spark, lake, landing)
    if accepted is None:
        return 0
    policy = Policy.from_dict(pointer.policy) if pointer.policy else Policy()
    stay = chosen_records(accepted, quarantined, policy, by.as_of).select("email", "serialNumber")
    people = read_snapshot(spark, lake, _PEOPLE, pointer.snapshot)
    if not (left := people.join(stay, on="email", how="left_anti").count()):
        return 0
    let_leave(lake, pointer, people.join(stay, on="email", how="left_semi").select(*people.columns), by)
    return left


def let_leave(lake: Lake, pointer: Pointer, staying: DataFrame, by: Provenance) -> dict[str, int]:
    """Publish customer_trusted, and before it what was made of it, with those who stay alone.

    `pointer` is that of customer_trusted, `staying` the rows of it that stay. Returns the rows removed, by table.
    """
    removed: dict[str, int] = {}
    fewer = republish(
        lake,
        _PEOPLE,
        pointer,
        staying,
        run_id=by.run_id,
        before_switch=lambda folder: removed.update(
            _leave_what_was_made(lake, rows_in(staying.sparkSession, _PEOPLE, folder), by)
        ),
    )
    return {**removed, _PEOPLE.name: pointer.rows - fewer.rows}


def leave_with(spark: SparkSession, lake: Lake, folder: Path, by: Provenance) -> bool:
    """Before what a folder holds becomes customer_trusted: remove all others from what was made of that.

    Returns whether there were any.
    """
    if read_pointer(lake, _PEOPLE) is None:
        return False
    before, after = current_dataset(lake, _PEOPLE.name), dataset(_PEOPLE, folder)
    if not count_missing(_PEOPLE.name, "email", before, after):
        return False
    _leave_what_was_made(lake, rows_in(spark, _PEOPLE, folder), by)
    return True


def _leave_what_was_made(lake: Lake, stay: DataFrame, by: Provenance) -> dict[str, int]:
    removed = {}
    for name in _MADE_OF_PEOPLE:
        pointer = read_pointer(lake, TABLES[name])
        if pointer is not None:
            rows = read_snapshot(stay.sparkSession, lake, TABLES[name], pointer.snapshot)
            staying = _of_those_who_stay(name, rows, stay, pointer, by)
            fewer = republish(lake, TABLES[name], pointer, staying, run_id=by.run_id)
            removed[name] = pointer.rows - fewer.rows
    return removed


def _of_those_who_stay(name: str, rows: DataFrame, stay: DataFrame, pointer: Pointer, by: Provenance) -> DataFrame:
    match_on = (pointer.policy or {}).get("match_on")
    if name == "machine_learning_curated":
        pads = hmac_pads(rows.sparkSession, by.key())
        people, on = with_subjects(stay.select("email"), "email", pads), "subject_id"
    elif name == "customers_curated":
        people, on = stay, "email"
    elif name == "step_trainer_trusted" and match_on == MatchOn.TIMESTAMP.value:
        people, on = stay, "serialNumber"
    else:
        people, on = stay.select(F.col("email").alias("user")), "user"
    return rows.join(people, on=on, how="left_semi").select(*rows.columns)


def _changed(lake: Lake, landing: Landing) -> bool:
    """Whether any file is another than those that the published landing table was made from."""
    before = read_file_reports(lake, _CUSTOMERS, landing.previous) if landing.previous else ()
    now, then = ({(file.path, file.fingerprint, file.error) for file in files} for files in (landing.files, before))
    return now != then


def _all_delivered(spark: SparkSession, lake: Lake, landing: Landing) -> tuple[DataFrame | None, DataFrame | None]:
    """Return all accepted and quarantined records: those that landed now, and the last ones of files that are gone.

    Where nothing that landed can be accepted, no file of the last time counts as replaced.
    """
    if landing.previous is None or (landing.accepted is not None and not landing.gone):
        return landing.accepted, landing.quarantined
    before = read_snapshot(spark, lake, _CUSTOMERS.landing, landing.previous.snapshot)
    doubtful = read_quarantine(spark, lake, _CUSTOMERS.landing, landing.previous)
    if landing.accepted is not None:
        gone = F.col("_source_file").isin(*landing.gone)
        before, doubtful = before.where(gone), doubtful.where(gone) if doubtful is not None else None
    return (
        together(_CUSTOMERS.landing, [landing.accepted, before]),
        together(_CUSTOMERS.quarantine, [landing.quarantined, doubtful]),
    )
