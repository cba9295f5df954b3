"""A terminal gets colours, tables that fit and progress; a pipe, and whoever wants no colours, the plain text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Column

from stedi_assets import terminal
from stedi_assets.contracts import TABLES
from stedi_assets_tests.support.terminals import on_terminal, without_codes

FILE = "[red]a:smile:file[/red]" + "-with-a-long-name" * 8
_SAYS = f"""
from rich.table import Column
from stedi_assets import terminal
terminal.say("12 of 13 checks passed\\n  passed  not_empty\\n  WARN    files_whole\\n  ERROR   {FILE}")
terminal.print_table(
    [
        Column("table"),
        Column("rows", justify="right", no_wrap=True, min_width=9),
        Column("checks", highlight=True),
        Column("id", min_width=19),
    ],
    [("one", "1,000,000,000", "1 ERROR, 2 WARN, 13 passed", "1234567890123456789"), ("{FILE}", "2", "0 WARN", "")],
)
"""
PLAIN = f"""\
12 of 13 checks passed
  passed  not_empty
  WARN    files_whole
  ERROR   {FILE}
{"table":{len(FILE)}}           rows  checks                      id
{"one":{len(FILE)}}  1,000,000,000  1 ERROR, 2 WARN, 13 passed  1234567890123456789
{FILE}              2  0 WARN
"""
_WORKS = """
import sys
from stedi_assets import terminal
with terminal.progress("{task.description}", "{task.completed} of {task.total}", vanishes=True) as shown:
    task = shown.add_task("[red]a_table", total=8)
    terminal.say("  passed  [red]" + 90 * "-")
    print("a warning", file=sys.stderr)
    shown.advance(task)
    shown.refresh()
print("done", terminal.progress(vanishes=True, hidden=True).disable)
"""
# A real run, of tables that are quickly built.
_BUILDS = """
import os
import dagster as dg
from stedi_assets import terminal
from stedi_assets.cli import build, runs
from stedi_assets.contracts import TABLES

def asset(before, name):
    @dg.asset(name=name, deps=before, check_specs=[dg.AssetCheckSpec("one", asset=name)])
    def table(context):
        context.log.info(f"{name}: 1 ERROR in [red]" + 90 * "-")
        context.log.debug("not shown")
        os.write(1, b"by itself\\n")
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])
    return table

runs.defs = dg.Definitions(
    assets=[asset(before, name) for before, name in zip([[], *([name] for name in TABLES)], TABLES)],
    jobs=[dg.define_asset_job("update_lakehouse")],
)
with terminal.progress("{task.description}", "{task.completed} of {task.total}", vanishes=True) as shown:
    result = build.build(shown, shown.add_task("starting", total=len(TABLES)))
print(result.success)
"""
GREEN, YELLOW, RED, END = "\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"


def test_a_pipe_gets_plain_text_however_long_a_line_is() -> None:
    done = subprocess.run([sys.executable, "-c", _SAYS], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (PLAIN, "")


@pytest.mark.parametrize("refusal", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "unknown"}], ids=str)
def test_so_does_a_terminal_that_wants_no_colours(refusal: dict[str, str]) -> None:
    assert on_terminal([sys.executable, "-c", _SAYS], refusal) == PLAIN
    shown = on_terminal([sys.executable, "-c", _WORKS], refusal)
    assert shown == f"  passed  [red]{90 * '-'}\na warning\ndone True\n"


def test_a_terminal_shows_outcomes_in_colour_and_nothing_as_markup() -> None:
    shown = on_terminal([sys.executable, "-c", _SAYS], columns=300)
    first, passed, warned, failed, _, row, last = shown.splitlines()
    assert first == "12 of 13 checks passed"
    assert passed == f"  {GREEN}passed{END}  not_empty"
    assert warned == f"  {YELLOW}WARN{END}    files_whole"
    assert failed == f"  {RED}ERROR{END}   {FILE}"
    assert f"{RED}1 ERROR{END}, {YELLOW}2 WARN{END}, {GREEN}13 passed{END}" in row
    assert last.split() == [FILE, "2", "0", "WARN"]
    assert [line.rstrip() for line in without_codes(shown).splitlines()] == PLAIN.splitlines()


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_folds_cells_and_cuts_none(columns: int) -> None:
    shown = without_codes(on_terminal([sys.executable, "-c", _SAYS], columns=columns))
    said, table = shown.split("table", 1)
    assert said == PLAIN.split("table", 1)[0]
    assert "…" not in table
    assert "1234567890123456789" in table.split()
    # The first column ends where the second begins, one blank further to the right.
    width = table.index(" rows") + len("table") - len("1,000,000,000") + len("rows") - 1
    assert "".join(line[:width].strip() for line in table.splitlines()).endswith(FILE)


def test_a_column_that_must_not_be_wrapped_is_whole_on_any_terminal_and_none_is_left_out() -> None:
    shown = without_codes(on_terminal([sys.executable, "-c", _SAYS], columns=10))
    assert {"table", "rows", "checks", "id", "1,000,000,000", "1234567890123456789", "ERROR,"} <= {*shown.split()}
    names = """
from rich.table import Column
from stedi_assets import terminal
terminal.print_table([Column("a", no_wrap=True), Column("b", no_wrap=True)], [(30 * "x", 30 * "y")])
"""
    shown = without_codes(on_terminal([sys.executable, "-c", names], columns=20))
    assert {30 * "x", 30 * "y"} <= {*shown.split()}


def test_columns_are_as_wide_as_they_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [Column("rows", justify="right", min_width=9), Column("id", min_width=5), Column("where")]
    terminal.print_table(columns, [("1", "2", "3")])
    assert capsys.readouterr().out == "     rows  id     where\n        1  2      3\n"


def test_progress_stays_below_what_is_printed_and_vanishes() -> None:
    shown = on_terminal([sys.executable, "-c", _WORKS])
    said = f"  {GREEN}passed{END}  [red]{90 * '-'}\n"
    for line in (said, "a warning\n", "done True\n"):
        # The line of progress is cleared before.
        assert f"\x1b[2K{line}" in shown
    assert "[red]a_table 0 of 8" in without_codes(shown)
    assert "[red]a_table 1 of 8" in without_codes(shown)
    assert shown.endswith("\x1b[?25h\r\x1b[1A\x1b[2Kdone True\n")
    # Errors that go elsewhere would have to go here.
    without_errors = ["sh", "-c", 'exec "$0" -c "$1" 2>/dev/null', sys.executable, _WORKS]
    assert on_terminal(without_errors) == f"{said}done True\n"


def test_a_pipe_gets_no_progress() -> None:
    done = subprocess.run([sys.executable, "-c", _WORKS], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"  passed  [red]{90 * '-'}\ndone True\n", "a warning\n")


def test_a_table_is_named_while_it_is_built_and_counted_once_it_is(tmp_path: Path) -> None:
    shown = on_terminal([sys.executable, "-c", _BUILDS], {"DAGSTER_HOME": str(tmp_path)}, columns=100)
    plain = without_codes(shown)
    for number, name in enumerate(TABLES):
        assert f"\x1b[2K  {name}: {RED}1 ERROR{END} in [red]{90 * '-'}\n" in shown
        assert f"{name} {number} of {len(TABLES)}" in plain
        assert f"{name}: 1 ERROR in [red]{90 * '-'}\n{name} {number} of " in plain
    assert "not shown" not in plain
    # Dagster keeps what the steps print.
    logs = [log.read_text() for log in tmp_path.rglob("*.out")]
    assert "by itself" in "".join(logs)
    assert "\x1b" not in "".join(logs)
    assert f"{name} {len(TABLES)} of {len(TABLES)}" in plain
    assert shown.endswith("\x1b[2KTrue\n")


@pytest.mark.parametrize("arguments", ["--version", "path customer_trusted", "--help"])
def test_a_command_that_draws_nothing_does_not_load_rich(arguments: str, tmp_path: Path) -> None:
    code = """
import sys
from stedi_assets.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print([name for name in sys.modules if name.split(".")[0] == "rich"])
"""
    command = [sys.executable, "-c", code, *arguments.split()]
    environment = {**os.environ, "STEDI_LAKE": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
