"""The findings for each rule of a published table: how much was checked, how much fails, and whether that passes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

from stedi_assets.contracts import ALL_TABLES, LANDING_TABLES, TABLES, Policy, Rule, Severity, Source, Table
from stedi_assets.contracts import rules as r
from stedi_assets.storage.lake import Lake
from stedi_assets.storage.names import counted
from stedi_assets.tables.days import Days
from stedi_assets.tables.file_reports import FileReport, read_file_reports
from stedi_assets.tables.manifest_report import read_manifest_report
from stedi_assets.tables.quarantine import in_words, quarantine_of, reasons_by_file
from stedi_assets.tables.snapshots import (
    NO_DAY,
    Snapshot,
    current,
    data_files,
    dataset,
    newer_input,
    read_snapshot_of,
    require_readable,
    rows_by_day,
)
from stedi_assets.verification.compare import compare_days
from stedi_assets.verification.engine import SecondEngineFailed
from stedi_assets.verification.results import NOT_RUN
from stedi_assets.verification.rules import applies, count_by, recount

# The details of a finding that name a file begin with it.
NAMED = "file "
_NAMES_SHOWN = 3
_FIELDS_SHOWN = 20
_UNUSABLE_MANIFEST = "Have unusable manifests corrected; rename any that hold records: those are not read."


@dataclass(frozen=True)
class Finding:
    """The finding for one rule. `looked_at` and `failing` are rows, records or files, depending on the rule.

    `remedy` is what to do if the cause is known and is not the one that the rule assumes. Of the details, those are
    numbers whose change over time says something: Dagster plots each number.
    """

    rule: Rule
    looked_at: int
    failing: int
    passed: bool
    severity: Severity
    details: Mapping[str, str | int] = field(default_factory=dict)
    remedy: str | None = None

    @property
    def what_to_do(self) -> str:
        """What to do about a rule that fails."""
        return self.remedy or self.rule.what_to_do


@dataclass(frozen=True)
class Audit:
    """A published table, and everything that its rules are evaluated with.

    `run_id` is the run that asks. If that run has published the snapshot itself, the counts taken then are used; any
    other snapshot is counted again from the stored files, so that a change to those is found.
    """

    lake: Lake
    table: Table
    run_id: str
    thresholds: r.Thresholds
    key: Callable[[], bytes]

    def findings(self, wanted: Iterable[str]) -> list[Finding]:
        """Return the findings for the wanted rules, which are given by name.

        Raises `LakeError` if something that a rule is evaluated with is missing or damaged, and `SecondEngineFailed` if
        DuckDB stops for another reason.
        """
        names = set(wanted)
        try:
            found = [self._finding(rule) for rule in self.table.rules if rule.name in names]
        except SecondEngineFailed:
            self._require_readable()
            raise
        if not self.fresh and any(not each.passed and each.severity is Severity.ERROR for each in found):
            # A damaged file may be the only reason.
            self._require_readable()
        return found

    def _require_readable(self) -> None:
        """Raise `CorruptTableError` if a stored file is damaged: this table's, or one that its rules may read."""
        for name in {self.table.name: None, **TABLES}:
            if snapshot := read_snapshot_of(self.lake, ALL_TABLES[name]):
                require_readable(self.lake, ALL_TABLES[name], snapshot.id)

    def _finding(self, rule: Rule) -> Finding:
        if not applies(rule, self.policy):
            return _finding(rule, 0, 0, policy="the rule does not apply under the policy the table was made under")
        if rule.name in _MEASURES:
            return _MEASURES[rule.name](self, rule)
        found = _finding(rule, self.counts["rows"], self.counts[rule.name])
        if not found.passed and rule.what_to_do == r.REBUILD and (moved := self.moved):
            return replace(found, remedy=_materialise(moved))
        return found

    @cached_property
    def snapshot(self) -> Snapshot:
        """The table's current snapshot, read once."""
        return self.current(self.table.name)

    @cached_property
    def current(self) -> Callable[[str], Snapshot]:
        """Gives a table's current snapshot by its name, and looks each up once."""
        return cache(lambda name: current(self.lake, ALL_TABLES[name]))

    @property
    def policy(self) -> Policy:
        """The policy that the table was made under; the landing zone has the default one."""
        return Policy.from_dict(self.snapshot.policy)

    @property
    def fresh(self) -> bool:
        """Whether the run that asks has itself published the table."""
        return self.snapshot.run_id == self.run_id

    @cached_property
    def counts(self) -> dict[str, int]:
        """The table's rows, and the violations of each counted rule."""
        if self.fresh:
            saved = self.snapshot.counts
            # When people leave a table, it is published again without counting everything.
            if self._counted <= saved.keys():
                return saved
        return recount(self.lake, self.table, self.snapshot, self.key)

    @property
    def computed(self) -> Days | None:
        """The days that the run computed; None if they are all, or if another run asks."""
        return frozenset(self.snapshot.computed) if self.fresh and self.snapshot.computed is not None else None

    @property
    def moved(self) -> str | None:
        """The name of a table that this one was computed from, directly or not, and that has moved since."""
        return newer_input(self.snapshot, self.current)

    @property
    def _counted(self) -> set[str]:
        rules = [rule for rule in self.table.rules if applies(rule, self.policy)]
        return {rule.name for rule in rules if rule.row_predicate or rule.violations_sql}

    @property
    def source(self) -> Source:
        """The source of a landing table."""
        return LANDING_TABLES[self.table.name]

    @cached_property
    def files(self) -> tuple[FileReport, ...]:
        """The report of each file that a landing table was made from."""
        return read_file_reports(self.lake, self.source, self.snapshot)

    @property
    def records(self) -> int:
        """How many records the files of a landing table hold."""
        return sum(file.records for file in self.files)

    @cached_property
    def quarantine(self) -> Snapshot:
        """The quarantine that belongs to a landing table."""
        return quarantine_of(self.lake, self.source, self.snapshot)

    @cached_property
    def reasons(self) -> Mapping[str, dict[str, int]]:
        """How many records of each file are in quarantine, by reason."""
        return reasons_by_file(self.lake, self.source, self.quarantine)

    def why(self, file: FileReport) -> str:
        """Return in words why a file's records are in quarantine."""
        return in_words(self.reasons[file.path]) if file.path in self.reasons else "not there any more"


def _finding(rule: Rule, looked_at: int, failing: int, **details: str | int) -> Finding:
    return Finding(rule, looked_at, failing, failing == 0, rule.severity, details)


def _share(rule: Rule, looked_at: int, failing: int, allowed: float, **details: str | int) -> Finding:
    """Compare a share with a limit: the rule passes unless more fail than are allowed."""
    passed = failing <= allowed * looked_at
    return Finding(rule, looked_at, failing, passed, rule.severity, {"allowed": f"{allowed:.1%}", **details})


def _named(rule: Rule, looked_at: int, failing: Sequence[str]) -> Finding:
    return _finding(rule, looked_at, len(failing), **_first_few(failing))


def _first_few(files: Sequence[str]) -> dict[str, str]:
    """Return the details that name the first few files."""
    return {f"{NAMED}{number}": words for number, words in enumerate(files[:_NAMES_SHOWN], start=1)}


def _as_published(audit: Audit, rule: Rule) -> Finding:
    listed = rows_by_day(audit.lake, audit.table, audit.snapshot.id)
    looked_at = listed if audit.computed is None else {day: listed.get(day, 0) for day in {*audit.computed, NO_DAY}}
    # The rest of the files are those of the snapshot before.
    files = data_files(audit.lake, audit.table, audit.snapshot.id, audit.computed)
    lacking = abs(sum(looked_at.values()) - sum(file.rows for file in files))
    changed = sum(not file.as_in_contract for file in files)
    astray = abs(audit.snapshot.rows - sum(listed.values())) + lacking + changed
    return _finding(rule, audit.snapshot.rows, astray, files=f"{len(files):,}")


def _row_count_change(audit: Audit, rule: Rule) -> Finding:
    rows, before = audit.snapshot.rows, audit.snapshot.previous_rows
    if before is None:
        return _finding(rule, rows, 0, compared="with nothing: this is the first snapshot")
    allowed = audit.thresholds.row_count_change
    change = abs(rows - before)
    details: dict[str, str | int] = {"before": f"{before:,}", "allowed": f"{allowed:.0%}"}
    return Finding(rule, rows, change, change <= allowed * before, rule.severity, details)


def _policy_is_default(audit: Audit, rule: Rule) -> Finding:
    changed = 0 if audit.policy.is_default else audit.snapshot.rows
    return _finding(rule, audit.snapshot.rows, changed, **audit.policy.as_dict())


def _unattributed_share(audit: Audit, rule: Rule) -> Finding:
    readings = audit.current("step_trainer_landing").rows
    return _share(rule, readings, audit.counts[rule.name], audit.thresholds.unattributed_share)


def _no_more_rows_than_landing(audit: Audit, rule: Rule) -> Finding:
    readings = audit.current("step_trainer_landing").rows
    return _finding(rule, audit.counts["rows"], max(0, audit.counts["rows"] - readings), landing=f"{readings:,}")


def _not_empty(audit: Audit, rule: Rule) -> Finding:
    delivered = audit.counts["rows"] - audit.snapshot.delivery["superseded"]
    return _finding(rule, delivered, int(delivered == 0))


def _files_readable(audit: Audit, rule: Rule) -> Finding:
    unreadable = [f"{file.path}: {file.error}" for file in audit.files if file.error and not file.forgotten]
    return _named(rule, len(audit.files), unreadable)


def _every_file_gives_records(audit: Audit, rule: Rule) -> Finding:
    useless = [
        f"{file.path}: {counted(file.quarantined, 'record')}, all in quarantine ({audit.why(file)})"
        for file in audit.files
        if file.quarantined and not file.accepted and not file.suppressed
    ]
    return _named(rule, len(audit.files), useless)


def _files_whole(audit: Audit, rule: Rule) -> Finding:
    cut_off = [
        f"{file.path}: its last record is incomplete ({file.accepted:,} of {counted(file.records, 'record')} accepted)"
        for file in audit.files
        if file.cut_off
    ]
    return _named(rule, len(audit.files), cut_off)


def _files_match_manifests(audit: Audit, rule: Rule) -> Finding:
    report = read_manifest_report(audit.snapshot)
    failing = [found.in_words for found in report.named]
    # A manifest that cannot be used is looked at, and lists nothing.
    looked_at, number = report.listed + report.unusable, report.differing + report.unusable
    remedies = (report.differing and rule.what_to_do, report.unusable and _UNUSABLE_MANIFEST)
    remedy = " ".join(words for words in remedies if words)
    return replace(_named(rule, looked_at, failing), failing=number, remedy=remedy)


def _few_people_leave_unread(audit: Audit, rule: Rule) -> Finding:
    withdrawn = audit.snapshot.delivery["withdrawn"]
    allowed = audit.thresholds.people_leaving_unread
    return _share(rule, withdrawn["people"], withdrawn["unread"], allowed, left=withdrawn["left"])


def _rows_accounted_for(audit: Audit, rule: Rule) -> Finding:
    expected = {file.path: (file.accepted, file.quarantined) for file in audit.files if not file.error}
    lost_bytes = sum(
        abs(file.bytes - file.accepted_bytes - file.quarantined_bytes - file.separator_bytes)
        for file in audit.files
        if not file.error
    )
    quarantined, suppressed = audit.quarantine, sum(file.suppressed for file in audit.files)
    delivery = audit.snapshot.delivery
    superseded = delivery["superseded"] + delivery["superseded_quarantined"]
    if audit.fresh:
        # Each file was counted before the tables were written.
        astray = abs(audit.records - audit.counts["rows"] - quarantined.rows - suppressed + superseded)
    else:
        stored = _stored_by_file(audit)
        astray = sum(
            abs(found - wanted)
            for path in expected.keys() | stored.keys()
            for found, wanted in zip(stored.get(path, (0, 0)), expected.get(path, (0, 0)), strict=True)
        )
    details = {
        "accepted": audit.counts["rows"] - delivery["superseded"],
        "quarantined": quarantined.rows - delivery["superseded_quarantined"],
        "suppressed": suppressed,
        "superseded": superseded,
    }
    return _finding(rule, audit.records, astray + lost_bytes, **details)


def _stored_by_file(audit: Audit) -> dict[str, tuple[int, int]]:
    """Count the stored records of each file: accepted, quarantined."""
    quarantine = audit.source.quarantine
    stored = ((audit.table, audit.snapshot.id), (quarantine, audit.snapshot.inputs[quarantine.name]))
    good, bad = (
        count_by(table, dataset(audit.lake, table, snapshot), "_source_file", _live(table))
        for table, snapshot in stored
    )
    return {path: (good.get(path, 0), bad.get(path, 0)) for path in good.keys() | bad.keys()}


def _live(table: Table) -> str:
    """Return the condition for the rows of a landing table or quarantine that their file still holds."""
    return 'NOT "_superseded"' if "_superseded" in table.column_names else "TRUE"


def _quarantine_rate(audit: Audit, rule: Rule) -> Finding:
    # Compare bytes as well: a file of one record can be a large part of a delivery.
    size = sum(file.accepted_bytes + file.quarantined_bytes for file in audit.files)
    failing, allowed = sum(file.quarantined_bytes for file in audit.files), audit.thresholds.quarantine_rate
    worst = sorted((file for file in audit.files if file.quarantined), key=lambda file: -file.quarantined_bytes)
    named = [
        f"{file.path}: {file.quarantined:,} of {counted(file.records, 'record')} ({audit.why(file)})" for file in worst
    ]
    details: dict[str, str | int] = {"bytes": f"{size:,}", "failing bytes": failing, **_first_few(named)}
    by_records = _share(rule, audit.records, audit.quarantine.rows, allowed, **details)
    return by_records if failing <= allowed * size else replace(by_records, passed=False)


def _unknown_fields(audit: Audit, rule: Rule) -> Finding:
    names = sorted(set[str]().union(*(file.unknown_fields for file in audit.files)))
    others = sum(file.other_names for file in audit.files)
    more = {"names not shown": f"{others:,}"} if others else {}
    fields = {"fields": ", ".join(names[:_FIELDS_SHOWN])} if names else {}
    return _finding(rule, audit.records, len(names) + others, **fields, **more)


def _ignored_files(audit: Audit, rule: Rule) -> Finding:
    ignored = audit.snapshot.delivery["ignored"]
    return _named(rule, len(audit.files) + len(ignored), ignored)


def _quarantined_people_known(audit: Audit, rule: Rule) -> Finding:
    return _finding(rule, audit.quarantine.rows, audit.counts[rule.name])


def _agrees_with_second_engine(audit: Audit, rule: Rule) -> Finding:
    moved = audit.moved
    if moved:
        not_run, remedy = {NOT_RUN: f"{moved} is newer than this table"}, _materialise(moved)
        found = _finding(rule, audit.snapshot.rows, 0, **not_run)
        return replace(found, passed=False, severity=Severity.WARN, remedy=remedy)
    compared = compare_days(audit.lake, audit.table, audit.snapshot, audit.policy, audit.key, audit.computed)
    details: dict[str, str | int] = {
        "recomputed": f"{compared.recomputed:,}",
        "missing": compared.missing,
        "surplus": compared.surplus,
    }
    return _finding(rule, compared.published, compared.missing + compared.surplus, **details)


def _materialise(moved: str) -> str:
    return f"{moved} is newer than this table: materialise this table, or run update_lakehouse."


# How rules are evaluated that are not merely counted.
_MEASURES: dict[str, Callable[[Audit, Rule], Finding]] = {
    r.AS_PUBLISHED.name: _as_published,
    r.ROW_COUNT_CHANGE.name: _row_count_change,
    r.POLICY_IS_DEFAULT.name: _policy_is_default,
    r.AGREES_WITH_SECOND_ENGINE.name: _agrees_with_second_engine,
    r.NOT_EMPTY.name: _not_empty,
    r.FILES_READABLE.name: _files_readable,
    r.ROWS_ACCOUNTED_FOR.name: _rows_accounted_for,
    "every_file_gives_records": _every_file_gives_records,
    r.FILES_WHOLE.name: _files_whole,
    r.FILES_MATCH_MANIFESTS.name: _files_match_manifests,
    r.FEW_PEOPLE_LEAVE_UNREAD.name: _few_people_leave_unread,
    r.QUARANTINE_RATE.name: _quarantine_rate,
    r.UNKNOWN_FIELDS.name: _unknown_fields,
    r.IGNORED_FILES.name: _ignored_files,
    r.QUARANTINED_PEOPLE_KNOWN.name: _quarantined_people_known,
    r.UNATTRIBUTED_SHARE.name: _unattributed_share,
    r.NO_MORE_ROWS_THAN_LANDING.name: _no_more_rows_than_landing,
}
