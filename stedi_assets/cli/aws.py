"""`stedi aws`: deploy what a lake on AWS needs, take it away, or say what is missing."""

import argparse
import sys

from stedi_assets.settings import Settings

_PARAMETERS = {
    "bucket": "the bucket that the stack makes; needed the first time",
    "database": "the Glue database of the tables (stedi)",
    "kms_key": "the ARN of the KMS key that encrypts the lake (S3's own keys)",
    "principal": "the ARN of who may take the roles (whoever the account lets)",
    "alerts_to": "an e-mail address for alerts (nobody's)",
    "workers": "how many G.1X workers a run of the job has (2)",
    "with_crawler": "yes: a crawler on the raw files (no)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows `stedi aws`."""
    actions = parser.add_subparsers(dest="action", required=True)
    deploy = actions.add_parser("deploy", help="create the stack, or update it; what changes is shown first")
    for name, what in _PARAMETERS.items():
        deploy.add_argument(f"--{name.replace('_', '-')}", help=what)
    deploy.add_argument("--yes", action="store_true", help="do not ask before anything changes")
    destroy = actions.add_parser("destroy", help="take the stack away, with its bucket, database and keys")
    destroy.add_argument("--delete-data", metavar="BUCKET", help="the bucket's name: what lies in it may go")
    for each in (deploy, destroy):
        each.add_argument("--stack", default="stedi", help="the stack's name (stedi)")
    actions.add_parser("check", help="say what is there of all that the settings name, and what is missing")


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do what was asked for; return the exit code."""
    from stedi_assets.aws.stack import DeploymentFailed  # noqa: PLC0415  (loads boto3)

    try:
        return _ACTIONS[chosen.action](settings, chosen)
    except DeploymentFailed as error:
        print(error, file=sys.stderr)
        return 1


def _deploy(_: Settings, chosen: argparse.Namespace) -> int:
    from stedi_assets.aws.deployment import deploy  # noqa: PLC0415  (loads boto3)
    from stedi_assets.aws.stack import Stack  # noqa: PLC0415  (loads boto3)

    values = {name: getattr(chosen, name) for name in _PARAMETERS}
    given = {name.title().replace("_", ""): value for name, value in values.items() if value is not None}
    outputs = deploy(Stack(chosen.stack), given, lambda: chosen.yes or _is_confirmed())
    lines = [f"{name}={value}" for name, value in outputs.items() if name.isupper()]
    roles = [f"{value}: {name}" for name, value in outputs.items() if not name.isupper()]
    print("\nDeployed. The lines of .env:\n", *lines, "", *roles, sep="\n")
    return 0


def _is_confirmed() -> bool:
    try:
        return input("Do this? Type yes: ").strip() == "yes"
    except EOFError:
        return False


def _destroy(_: Settings, chosen: argparse.Namespace) -> int:
    from stedi_assets.aws.deployment import destroy  # noqa: PLC0415  (loads boto3)
    from stedi_assets.aws.stack import Stack  # noqa: PLC0415  (loads boto3)

    destroy(Stack(chosen.stack), chosen.delete_data)
    print("Taken away.")
    return 0


def _check(settings: Settings, _: argparse.Namespace) -> int:
    from stedi_assets.aws.inspection import inspect  # noqa: PLC0415  (loads boto3)
    from stedi_assets.aws.stack import as_failure  # noqa: PLC0415  (loads boto3)

    if not settings.lake.startswith("s3://"):
        print(f"STEDI_LAKE={settings.lake} is a folder: there is nothing on AWS to check.", file=sys.stderr)
        return 1
    problems = 0
    with as_failure("look at AWS"):
        for found in inspect(settings):
            problems += found.problem is not None
            print(
                f"{'missing' if found.problem else 'ok':8} {found.part}{f' {found.problem}' if found.problem else ''}"
            )
    return int(problems > 0)


_ACTIONS = {"deploy": _deploy, "destroy": _destroy, "check": _check}
