"""What the sensor `new_landing_files` reports to people and to Dagster: each thing once.

The sensor's cursor records what was reported. It is only a hint: if it is deleted, everything is reported again.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from stedi_assets.ingest.arrivals import Arrivals, digest_of
from stedi_assets.orchestration.alerts import MessageNotSent, Notifier
from stedi_assets.orchestration.external_assets import observation

_NAMES_SHOWN = 3
_LONG = 3600


def read_cursor(cursor: str | None) -> Mapping[str, str]:
    """Return what people were notified of. It is only a hint, and may hold anything that was typed in."""
    try:
        found = json.loads(cursor or "{}")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


@dataclass
class Notified:
    """What people are notified of, once each: a digest of the message's state, by what it is about.

    Likewise `observations`: what Dagster is told of raw files.
    """

    before: Mapping[str, str]
    notifier: Notifier
    log: logging.Logger
    now: dict[str, str] = field(default_factory=dict)
    observations: list[dg.AssetObservation] = field(default_factory=list)

    def observe(self, found: Arrivals) -> None:
        """Tell Dagster what a landing folder holds, unless it holds the same as at the last tick."""
        about, state = f"raw files {found.source.name}", digest_of(found.content, str(found.unsettled))
        if self.before.get(about) != state:
            self.observations.append(observation(found))
        self.now[about] = state

    def once(self, about: str, state: str, subject: str, message: str) -> None:
        """Notify people, unless they were notified of exactly this."""
        if self.before.get(about) != digest_of(state):
            try:
                self.notifier.tell(subject, message, self.log)
            except MessageNotSent as error:
                # No run must wait for a message; the next tick tries again.
                self.log.warning(str(error))
                return
        self.now[about] = digest_of(state)

    def keep(self) -> None:
        """Keep everything as it was, because it could not be looked at."""
        self.now = dict(self.before)


def notify_of_a_long_run(record: dg.RunRecord, now: float, notified: Notified) -> None:
    """Tell of a run that has been under way for hours. `now` is in epoch seconds."""
    run, hours = record.dagster_run, (now - record.create_timestamp.timestamp()) / _LONG
    if hours >= 1:
        message = (
            f"Run {run.run_id} of {run.job_name} was requested {hours:,.0f} hours ago, and whatever arrives waits for "
            "it, withdrawals too. If its process is gone, terminate it in Dagster's UI."
        )
        notified.once("long run", run.run_id, "A run has been in progress for hours", message)


def notify_of_gone_files(found: Arrivals, notified: Notified) -> None:
    """Tell of files that have landed and are gone."""
    if found.gone:
        name, landing = found.source.name, found.source.landing.name
        message = (
            f"{len(found.gone):,} files that {landing} was made from are gone: {names_in_words(found.gone)}. Their "
            "records stay in the tables. Bring them back, or have them forgotten with the run config "
            f'ops: {{{landing}: {{config: {{forget_files: ["…"]}}}}}}.'
        )
        notified.once(f"gone {name}", "\n".join(found.gone), f"Landing files of {name} are gone", message)


def notify_of_files_dated_ahead(found: Arrivals, notified: Notified) -> None:
    """Tell of files that are dated in the future."""
    if found.dated_ahead:
        # A machine with a wrong clock dates every file like this: people are notified once.
        subject = f"Landing files of {found.source.name} are dated in the future"
        notified.once(f"dated ahead {found.source.name}", "", subject, dated_ahead_in_words(found))


def dated_ahead_in_words(found: Arrivals) -> str:
    """Return in words which files are dated in the future, and what to do."""
    return (
        f"{len(found.dated_ahead):,} files in {found.source.raw_path} are dated in the future: "
        f"{names_in_words(found.dated_ahead)}. They are read without waiting until they have settled. "
        "Set the clock of the machine that writes them, or of this one."
    )


def names_in_words(paths: Sequence[str]) -> str:
    """Return the first few of many names, and how many more there are."""
    more = len(paths) - _NAMES_SHOWN
    return ", ".join(paths[:_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
