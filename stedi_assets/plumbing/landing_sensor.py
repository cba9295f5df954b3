"""The sensor `new_landing_files`: requests one run of what depends on the landing files that have arrived.

It remembers nothing that matters. What there is to do is read from the lake at each tick, and what was tried already
from Dagster's runs; the cursor only says of what people have been told. A run carries, for each of its sources, the
digest of the files it was requested for; the key of a request is made of those and of how often they were tried.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from pydantic import Field

from stedi_assets.contracts import TABLES
from stedi_assets.lake.arrivals import Arrivals, find_arrivals, published_tables, tables_behind, tables_to_make
from stedi_assets.lake.layout import masked
from stedi_assets.plumbing.alerts import MessageNotSent, Notifier
from stedi_assets.plumbing.erasure import erase_person
from stedi_assets.plumbing.failures import explained
from stedi_assets.plumbing.jobs import rebuild_lakehouse
from stedi_assets.plumbing.lake import LakeResource

_TAG = "stedi/"
_NAMES_SHOWN = 3
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]
_JOBS_THAT_WRITE = {rebuild_lakehouse.name, erase_person.name}


class WatchResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """When a landing file is taken, and how often a run that fails is requested again."""

    settled_seconds: int = Field(default=10, description="How long a local file must not have changed.")
    attempts: int = Field(default=5, description="How often the same files are tried.")
    pause_seconds: int = Field(default=60, description="Before the second attempt; doubled before each further one.")


def new_landing_files_sensor(every_seconds: int) -> dg.SensorDefinition:
    """Make the sensor, to tick about so often."""

    @dg.sensor(
        name="new_landing_files",
        job=rebuild_lakehouse,
        minimum_interval_seconds=every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Watches the landing folders, and has made anew whatever depends on files that are new, replaced "
        "or late. Of files that are gone it tells people, and forgets none by itself.",
    )
    def new_landing_files(
        context: dg.SensorEvaluationContext, lake: LakeResource, watch: WatchResource, notifier: Notifier
    ) -> dg.SensorResult:
        told = _Told(json.loads(context.cursor or "{}"), notifier, context.log)
        try:
            with explained():
                request, why = _look(context.instance, lake, watch, told)
        except dg.Failure as failure:
            request, why = None, failure.description or ""
            told.keep()
            told.once("trouble", why, "The landing folders cannot be watched", why)
        return dg.SensorResult(
            run_requests=[request] if request else [],
            skip_reason=None if request else dg.SkipReason(why),
            cursor=json.dumps(told.now, sort_keys=True),
        )

    return new_landing_files


@dataclass
class _Told:
    """Of what people are told, each once: by what it is about, a digest of what it was."""

    before: Mapping[str, str]
    notifier: Notifier
    log: logging.Logger
    now: dict[str, str] = field(default_factory=dict)

    def once(self, about: str, state: str, subject: str, message: str) -> None:
        """Tell people, unless they were told of just that."""
        digest = hashlib.sha256(state.encode()).hexdigest()[:16]
        if self.before.get(about) != digest:
            try:
                self.notifier.tell(subject, message, self.log)
            except MessageNotSent as error:
                # No run must wait for a message; the next tick tries again.
                self.log.warning(str(error))
                return
        self.now[about] = digest

    def keep(self) -> None:
        """Leave all as it was, where it could not be looked at."""
        self.now = dict(self.before)


@dataclass(frozen=True)
class _Need:
    """A source with something to do, and what Dagster's runs say of its files.

    `requested` is how many runs were requested for just these files, `failed` how many of them failed since one
    succeeded, and `last_ended` when the last one ended, in epoch seconds.
    """

    found: Arrivals
    requested: int
    failed: int
    last_ended: float

    @property
    def name(self) -> str:
        """The source's name."""
        return self.found.source.name

    @property
    def may_withdraw(self) -> bool:
        """Whether a withdrawal may be among the files, and not have counted yet."""
        return self.name == "customer" and bool(self.found.changed)

    def seconds_left(self, watch: WatchResource, now: float) -> float | None:
        """Return how long to wait before the next attempt; None where there is none without somebody's help."""
        if self.may_withdraw or not self.failed:
            return 0
        if self.failed >= watch.attempts:
            return None
        pause: int = watch.pause_seconds * 2 ** (self.failed - 1)
        return max(0, self.last_ended + pause - now)


def _look(
    instance: dg.DagsterInstance, lake: LakeResource, watch: WatchResource, told: _Told
) -> tuple[dg.RunRequest | None, str]:
    """Return the run to request, or why there is none."""
    # Before the lake is read: a run that ends meanwhile has published by then, or its failure is counted.
    if run := _under_way(instance):
        told.keep()
        return None, f"Run {run.run_id} is under way. What has arrived waits for the next one."
    now = time.time()
    settled_before = int((now - watch.settled_seconds) * 1000)
    arrivals = find_arrivals(lake.lake, settled_before).values()
    published = published_tables(lake.lake)
    behind = tables_behind(published)
    needs = [
        _need(instance, found)
        for found in arrivals
        if found.changed or any(found.source.name in sources for sources in behind.values())
    ]
    for found in arrivals:
        _tell_of_gone_files(found, told)
    for need in needs:
        _tell_of_failures(need, watch, told)

    left = {need.name: need.seconds_left(watch, now) for need in needs}
    due = [need for need in needs if left[need.name] == 0]
    if due:
        tables = tables_to_make([need.name for need in due], published)
        return _request(due, tables, ", ".join(behind), settled_before), ""
    return None, _why_not(left, sum(found.unsettled for found in arrivals))


def _under_way(instance: dg.DagsterInstance) -> dg.DagsterRun | None:
    """Return a run that is changing the lake, or is going to."""
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        if run.job_name in _JOBS_THAT_WRITE or {key.path[-1] for key in run.asset_selection or ()} & TABLES.keys():
            return run
    return None


def _why_not(left: Mapping[str, float | None], unsettled: int) -> str:
    words = [
        f"{name}: tried too often, and not again by itself."
        if seconds is None
        else f"{name}: the next attempt is in {seconds:,.0f} s."
        for name, seconds in left.items()
    ]
    if not left:
        words.append("Every table is made of what is there.")
    if unsettled:
        words.append(f"{unsettled:,} files may still be written.")
    return " ".join(words)


def _need(instance: dg.DagsterInstance, found: Arrivals) -> _Need:
    records = instance.get_run_records(dg.RunsFilter(tags={_TAG + found.source.name: found.content}))
    succeeded = [record.dagster_run.is_success for record in records]
    failed = succeeded.index(True) if any(succeeded) else len(succeeded)
    last_ended = records[0].end_time or records[0].update_timestamp.timestamp() if records else 0
    return _Need(found, len(records), failed, last_ended)


def _tell_of_gone_files(found: Arrivals, told: _Told) -> None:
    # With others there, they may have been renamed: the run that takes those will say.
    if found.gone and not found.changed and not found.unsettled:
        name, landing = found.source.name, found.source.landing.name
        message = (
            f"{len(found.gone):,} files that {landing} was made from are gone: {_names(found.gone)}. Their records "
            "stay in the tables. Bring them back, or say that they may go with the run config "
            f'ops: {{{landing}: {{config: {{forget_files: ["…"]}}}}}}.'
        )
        told.once(f"gone {name}", "\n".join(found.gone), f"Landing files of {name} are gone", message)


def _tell_of_failures(need: _Need, watch: WatchResource, told: _Told) -> None:
    if need.failed >= watch.attempts:
        what_now = (
            "As they may hold a withdrawal, they are tried again all the same. Mend what the last run says."
            if need.may_withdraw
            else "They are not tried again by themselves. Mend what the last run says; then materialise "
            f"{need.found.source.landing.name} with all that is downstream of it."
        )
        message = f"{need.failed:,} runs for the files of {need.name} failed, one after the other. {what_now}"
        state = f"{need.found.content} {need.failed // watch.attempts}"
        told.once(f"failures {need.name}", state, f"Files of {need.name} are not getting in", message)


def _request(due: Sequence[_Need], tables: Sequence[str], behind: str, settled_before: int) -> dg.RunRequest:
    # What is not made anew is checked before anything is made of it.
    leant_on = {name for table in tables for name in TABLES[table].inputs} - {*tables}
    checks = [
        dg.AssetCheckKey(dg.AssetKey(name), rule.name) for name in (*tables, *leant_on) for rule in TABLES[name].rules
    ]
    settled = {"config": {"settled_before": settled_before}}
    attempt = str(1 + max(need.requested for need in due))
    return dg.RunRequest(
        run_key="-".join([*(f"{need.name}:{need.found.content}" for need in due), attempt]),
        asset_selection=[dg.AssetKey(name) for name in tables],
        asset_check_keys=checks,
        run_config={"ops": {need.found.source.landing.name: settled for need in due}},
        tags={
            **{_TAG + need.name: need.found.content for need in due},
            _TAG + "because": _because(due) or f"tables are behind their inputs: {behind}",
            _TAG + "attempt": attempt,
            # Dagster's own retries would multiply the sensor's.
            "dagster/max_retries": "0",
        },
    )


def _because(due: Sequence[_Need]) -> str:
    """Return which files a run was requested for, for people; nothing if for none."""
    files = [(f"{need.found.source.raw_path}/{entry.path}", entry.size) for need in due for entry in need.found.changed]
    paths, size = [path for path, _ in files], sum(size for _, size in files)
    return f"{len(files):,} new or replaced files, {size:,} bytes: {_names(paths)}" if files else ""


def _names(paths: Sequence[str]) -> str:
    more = len(paths) - _NAMES_SHOWN
    return ", ".join(map(masked, paths[:_NAMES_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
