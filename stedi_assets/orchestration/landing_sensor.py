"""The sensor `new_landing_files`: requests a run of what depends on the landing files that have arrived.

It remembers nothing that matters. At each tick it reads from the lake what there is to do, and from Dagster's runs what
was tried already; the cursor only says what people and Dagster have been told. A run carries, for each source that it
was requested for, a digest of that source's files; the key of a request consists of those and of the attempt.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import SENSOR_NAME_TAG
from pydantic import Field

from stedi_assets.contracts import LANDING_TABLES, TABLES
from stedi_assets.ingest.arrivals import (
    Arrivals,
    digest_of,
    find_arrivals,
    published_tables,
    tables_behind,
    tables_to_make,
)
from stedi_assets.orchestration.alerts import ATTEMPT_TAG, Notifier
from stedi_assets.orchestration.doorbell import Doorbell
from stedi_assets.orchestration.erasure_job import erase_person
from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.orchestration.jobs import rebuild_lakehouse, update_lakehouse
from stedi_assets.orchestration.looks import answer, list_again, look
from stedi_assets.orchestration.maintenance_job import maintain_lakehouse
from stedi_assets.orchestration.notices import (
    Notified,
    dated_ahead_in_words,
    names_in_words,
    notify_of_a_long_run,
    notify_of_files_dated_ahead,
    notify_of_gone_files,
    read_cursor,
)
from stedi_assets.privacy.consent_dates import next_date
from stedi_assets.privacy.deliveries import LISTED
from stedi_assets.privacy.suppression import digest_for
from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake
from stedi_assets.tables.snapshots import Snapshot

NAME = "new_landing_files"
_TAG = "stedi/{}".format
# It takes the place of a source's name: tables that are behind their inputs, although all files have landed.
_TABLES = "tables"
_RUNS_LOOKED_AT = 200
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]
_JOBS_THAT_WRITE = {rebuild_lakehouse.name, update_lakehouse.name, maintain_lakehouse.name, erase_person.name}


class WatchResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """When a landing file is taken, and how often a failed run is requested again."""

    settled_seconds: int = Field(default=10, description="How long a local file must not have changed.")
    attempts: int = Field(default=5, description="How often the same files are tried.")
    pause_seconds: int = Field(default=60, description="Before the second attempt; doubled before each further one.")


def new_landing_files_sensor(every_seconds: int) -> dg.SensorDefinition:
    """Return the sensor, which ticks about every `every_seconds`."""

    @dg.sensor(
        name=NAME,
        job=update_lakehouse,
        minimum_interval_seconds=every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Watches the landing folders, and requests runs that compute whatever depends on new, replaced or "
        "late files. It notifies people of files that are gone, and forgets none by itself.",
    )
    def new_landing_files(
        context: dg.SensorEvaluationContext,
        lake: LakeResource,
        watch: WatchResource,
        doorbell: Doorbell,
        notifier: Notifier,
    ) -> dg.SensorResult:
        notified = Notified(read_cursor(context.cursor), notifier, context.log)
        try:
            with as_dagster_failures():
                request, why = _look(context.instance, lake, watch, doorbell, notified)
        except dg.Failure as failure:
            request, why = None, failure.description or ""
            notified.keep()
            list_again(notified)
            notified.once("trouble", why, "The landing folders cannot be watched", why)
        return dg.SensorResult(
            run_requests=[request] if request else [],
            skip_reason=None if request else dg.SkipReason(why),
            cursor=json.dumps(notified.now, sort_keys=True),
            asset_events=notified.observations,
        )

    return new_landing_files


@dataclass(frozen=True)
class _Need:
    """A source with files to land, or tables behind their inputs.

    `moved` are the tables to make again, with those downstream of them. `content` identifies what they are to be made
    from. `failed` is how many runs for the source have failed since one succeeded, and `attempts` how many of the last
    of these were for the same content. `last` is the last run of all.
    """

    name: str
    moved: Sequence[str]
    content: str
    arrivals: Arrivals | None
    failed: int
    attempts: int
    last: dg.RunRecord | None

    @property
    def may_withdraw(self) -> bool:
        """Whether the files may hold a withdrawal that has not counted yet."""
        return self.name == "customer"

    @property
    def last_ended(self) -> float:
        """When the last run for the source ended, in epoch seconds."""
        return (self.last.end_time or self.last.update_timestamp.timestamp()) if self.last else 0

    def seconds_left(self, watch: WatchResource, now: float) -> float | None:
        """Return how long to wait before the next attempt, in seconds; None if it needs a person's help."""
        if not self.attempts:
            return 0
        if self.attempts >= watch.attempts and not self.may_withdraw:
            return None
        # A withdrawal must not wait longer and longer.
        doubled = 0 if self.may_withdraw else self.attempts - 1
        pause: int = watch.pause_seconds * 2**doubled
        return max(0, self.last_ended + pause - now)


def _look(
    instance: dg.DagsterInstance, lake: LakeResource, watch: WatchResource, doorbell: Doorbell, notified: Notified
) -> tuple[dg.RunRequest | None, str]:
    """Return the run to request, or why there is none."""
    now = time.time()
    # Before the lake is read: a run that ends meanwhile has then published, or its failure is counted.
    if record := _under_way(instance):
        notified.keep()
        notify_of_a_long_run(record, now, notified)
        return None, f"Run {record.dagster_run.run_id} is under way. What has arrived waits for the next one."
    settled_before = int((now - watch.settled_seconds) * 1000)
    published = published_tables(lake.lake)
    seen = look(lake.lake, published, doorbell, notified)
    arrivals: Mapping[str, Arrivals] = {}
    if seen.listed is None:
        notified.keep()
    else:
        arrivals = find_arrivals(lake.lake, settled_before, seen.listed, key=lake.suppression_key)
    runs = instance.get_run_records(dg.RunsFilter(tags={SENSOR_NAME_TAG: NAME}), limit=_RUNS_LOOKED_AT)
    needs = [
        _need(name, [found.source.landing.name], _to_land(found), found, runs)
        for name, found in arrivals.items()
        if found.changed or found.manifests_changed
    ]
    # Tables downstream of files to land are made again with those.
    with_files = tables_to_make([name for need in needs for name in need.moved], published)
    late = tables_behind(published) | _consents_due(lake.lake, published, now)
    if behind := {name: inputs for name, inputs in late.items() if name not in with_files}:
        needs.append(_need(_TABLES, [*behind], digest_of(*behind.values()), None, runs))
    # Each in a need of its own: while one of them cannot be landed, nothing else waits for it.
    listed = _listed_since(lake.lake, published, arrivals)
    needs += [_need(name, [name], content, None, runs) for name, content in listed.items() if name not in with_files]
    for found in arrivals.values():
        notified.observe(found)
        notify_of_gone_files(found, notified)
        notify_of_files_dated_ahead(found, notified)
    for need in needs:
        _notify_of_failures(need, watch, notified)
    if seen.listed is not None:
        answer(seen.receipts, doorbell, notified, all_landed=not needs)

    left = {need.name: need.seconds_left(watch, now) for need in needs}
    if due := _together([need for need in needs if left[need.name] == 0]):
        tables = tables_to_make([name for need in due for name in need.moved], published)
        return _request(due, tables, settled_before), ""
    return None, seen.why_not if not left and seen.why_not else _why_not(left, arrivals.values())


def _consents_due(lake: Lake, published: Mapping[str, Snapshot], now: float) -> dict[str, str]:
    """Return customer_trusted, with what it is to be made from, if a consent or a record has come into force since."""
    landed, people = published.get("customer_landing"), published.get("customer_trusted")
    if landed is None or people is None or people.as_of is None:
        return {}
    due = next_date(lake, landed.id, people.as_of)
    return {"customer_trusted": f"{landed.content} {people.as_of}"} if due is not None and due <= now * 1000 else {}


def _listed_since(lake: Lake, published: Mapping[str, Snapshot], arrivals: Mapping[str, Arrivals]) -> dict[str, str]:
    """Return the landing tables made with another list of erased people, each with what it is to be made from.

    A look that lists no files does not know which are gone, and leaves this to the next one that does.
    """
    since = {}
    for found in arrivals.values():
        name = found.source.landing.name
        if name in published:
            try:
                digest = digest_for(lake, found.source)
            except LakeError:
                return {}  # whatever lands says what is wrong with the list
            if published[name].delivery.get(LISTED, digest) != digest:
                since[name] = digest_of(digest, *found.gone)
    return since


def _to_land(found: Arrivals) -> str:
    """Return what identifies a source's files and which of them are to be landed: a run may have landed some."""
    return digest_of(found.content, *(entry.path for entry in found.changed))


def _under_way(instance: dg.DagsterInstance) -> dg.RunRecord | None:
    """Return a run that is changing the lake, or is about to."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        if run.job_name in _JOBS_THAT_WRITE or {key.path[-1] for key in run.asset_selection or ()} & TABLES.keys():
            return record
    return None


def _need(
    name: str, moved: Sequence[str], content: str, arrivals: Arrivals | None, runs: Sequence[dg.RunRecord]
) -> _Need:
    ours = [record for record in runs if _TAG(name) in record.dagster_run.tags]
    succeeded = [record.dagster_run.is_success for record in ours]
    failed = succeeded.index(True) if any(succeeded) else len(ours)
    since = [record.dagster_run.tags[_TAG(name)] == content for record in ours[:failed]]
    attempts = since.index(False) if not all(since) else failed
    return _Need(name, moved, content, arrivals, failed, attempts, ours[0] if ours else None)


def _together(due: Sequence[_Need]) -> Sequence[_Need]:
    """Return what to request one run for: everything that has not failed, or one thing that has, alone.

    So nothing else fails with it. They take turns: what was tried longest ago goes first.
    """
    groups = [[need for need in due if not need.failed], *([need] for need in due if need.failed)]
    return min(filter(None, groups), key=lambda group: min(need.last_ended for need in group), default=[])


def _why_not(left: Mapping[str, float | None], arrivals: Collection[Arrivals]) -> str:
    words = [
        f"{name}: out of attempts; not tried again until something changes."
        if seconds is None
        else f"{name}: the next attempt is in {seconds:,.0f} s."
        for name, seconds in left.items()
    ]
    if not left:
        words.append("Every table is up to date.")
    if unsettled := sum(found.unsettled for found in arrivals):
        words.append(f"{unsettled:,} files may still be written.")
    words += [dated_ahead_in_words(found) for found in arrivals if found.dated_ahead]
    return " ".join(words)


def _notify_of_failures(need: _Need, watch: WatchResource, notified: Notified) -> None:
    if need.failed >= watch.attempts:
        what_now = (
            "They may hold a withdrawal, so they are tried again anyway."
            if need.may_withdraw
            else "They are not tried again until something changes."
        )
        message = (
            f"{need.failed:,} runs for {need.name} failed in a row. {what_now} "
            f"Fix what the last run reports, and materialise {', '.join(need.moved)} with everything downstream."
        )
        # After five, ten, twenty, …
        times = (need.failed // watch.attempts).bit_length()
        notified.once(f"failures {need.name}", str(times), f"Runs for {need.name} keep failing", message)


def _request(due: Sequence[_Need], tables: Sequence[str], settled_before: int) -> dg.RunRequest:
    # Inputs that are not made again are checked before anything is made from them.
    leant_on = {name for table in tables for name in TABLES[table].inputs} - {*tables}
    checks = [
        dg.AssetCheckKey(dg.AssetKey(name), rule.name) for name in (*tables, *leant_on) for rule in TABLES[name].rules
    ]
    landing = [name for name in tables if name in LANDING_TABLES]
    settled = {"config": {"settled_before": settled_before}}
    attempt = str(1 + max(need.attempts for need in due))
    words = (_files_in_words(due), _manifests_in_words(due), _tables_in_words(due))
    # The same content may be there again some day, and need a run of its own.
    after = "".join(need.last.dagster_run.run_id[:8] for need in due if need.last)
    return dg.RunRequest(
        run_key="-".join([*(f"{need.name}:{need.content}" for need in due), attempt, after]),
        asset_selection=[dg.AssetKey(name) for name in tables],
        asset_check_keys=checks,
        run_config={"ops": dict.fromkeys(landing, settled)},
        tags={
            **{_TAG(need.name): need.content for need in due},
            _TAG("because"): "; ".join(filter(None, words)),
            ATTEMPT_TAG: attempt,
            # Dagster's own retries would multiply the sensor's.
            "dagster/max_retries": "0",
        },
    )


def _files_in_words(due: Sequence[_Need]) -> str:
    found = [need.arrivals for need in due if need.arrivals]
    files = [(f"{one.source.raw_path}/{entry.path}", entry.size) for one in found for entry in one.changed]
    paths, size = [path for path, _ in files], sum(size for _, size in files)
    return f"{len(files):,} new or replaced files, {size:,} bytes: {names_in_words(paths)}" if files else ""


def _manifests_in_words(due: Sequence[_Need]) -> str:
    sources = [need.name for need in due if need.arrivals and need.arrivals.manifests_changed]
    return f"new or changed manifests of {', '.join(sources)}" if sources else ""


def _tables_in_words(due: Sequence[_Need]) -> str:
    behind = [name for need in due if not need.arrivals for name in need.moved]
    return f"tables behind their inputs: {', '.join(behind)}" if behind else ""
