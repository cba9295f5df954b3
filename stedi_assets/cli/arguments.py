"""The commands of `stedi`, each with its purpose and its arguments. Apart from their code, which is slow to import."""

import argparse

from stedi_assets.contracts import SOURCES

COMMANDS = {
    "start": "Prepare Dagster, make sample data if there are none, and build all tables.",
    "status": "Show each table's rows, age, last check results and snapshot. Spark is not started.",
    "check": "Run every check on the stored tables, and print the results. Nothing is rebuilt.",
    "quarantine": "Show which records could not be accepted: in which files, where, and why.",
    "path": "Print the path of a table's current metadata file, for Iceberg's readers.",
    "hash-person": "Read an e-mail address from standard input, and print the run config that erases this person, "
    "by a keyed hash.",
    "repair": "Go back to the newest whole snapshot of each table that is damaged, or that the catalog does not know.",
    "rotate-key": "Switch the lake to the current pseudonym key, and remove the ML table made with the old one.",
    "upgrade": "Upgrade a lake from before its tables were Iceberg tables, and remove the old tables.",
    "relocate": "Update the paths in the tables of a lake that was moved, copied or restored.",
    "purge": "Remove at once every snapshot that is not current, and what killed runs left behind.",
    "fetch-jars": "Fetch the jars that Spark needs (134 MB, once) from the Maven repository in STEDI_MAVEN, and "
    "check those that are there.",
    "aws": "Deploy what a lake on AWS needs, remove it, or check it.",
}
STACK_PARAMETERS = {
    "bucket": "the bucket to create; required the first time",
    "database": "the Glue database of the tables (stedi)",
    "kms_key": "the ARN of the KMS key that encrypts the lake (S3's own keys)",
    "principal": "the ARN of who may assume the roles (anyone the account allows)",
    "alerts_to": "an e-mail address for alerts (none)",
    "workers": "how many G.1X workers a run of the job has (2)",
    "with_crawler": "yes: a crawler on the raw files (no)",
}
_PLACES = 20


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare what may follow a command."""
    if command in _ARGUMENTS_OF:
        _ARGUMENTS_OF[command](parser)


def _count(text: str) -> int:
    if not text.isdecimal() or not text.isascii():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)


def _start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sample-data", action="store_true", help="also make sample landing files in a lake that STEDI_LAKE names"
    )


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as JSON, for programs")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 also if a table is missing, an ERROR check failed, or a check could not run",
    )


def _quarantine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", choices=[*SOURCES], help="only this source")
    parser.add_argument("--file", help="the records of this file, each with its position")
    parser.add_argument("--most", type=_count, default=_PLACES, help=f"how many records of a file to show ({_PLACES})")
    parser.add_argument("--raw", action="store_true", help="print the records themselves: they can hold personal data")


def _path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="the name of the table")


def _aws(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    deploy = actions.add_parser("deploy", help="create the stack, or update it; what changes is shown first")
    for name, what in STACK_PARAMETERS.items():
        deploy.add_argument(f"--{name.replace('_', '-')}", help=what)
    deploy.add_argument("--yes", action="store_true", help="make the changes without asking")
    destroy = actions.add_parser("destroy", help="remove the stack, with its bucket, database and keys")
    destroy.add_argument("--delete-data", metavar="BUCKET", help="the bucket's name, to delete its contents too")
    for each in (deploy, destroy):
        each.add_argument("--stack", default="stedi", help="the stack's name (stedi)")
    actions.add_parser("check", help="say which of the resources in the settings exist, and which are missing")


_ARGUMENTS_OF = {"start": _start, "status": _status, "quarantine": _quarantine, "path": _path, "aws": _aws}
