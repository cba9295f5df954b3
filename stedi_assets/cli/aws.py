"""`stedi aws`: deploy what a lake on AWS needs, remove it, or say what is missing."""

import argparse
import sys

from stedi_assets.aws.deployment import deploy, destroy
from stedi_assets.aws.inspection import inspect
from stedi_assets.aws.stack import DeploymentFailed, Stack, as_failure
from stedi_assets.cli.arguments import STACK_PARAMETERS
from stedi_assets.settings import Settings


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do what was asked for; return the exit code."""
    try:
        return _ACTIONS[chosen.action](settings, chosen)
    except DeploymentFailed as error:
        print(error, file=sys.stderr)
        return 1


def _deploy(_: Settings, chosen: argparse.Namespace) -> int:
    values = {name: getattr(chosen, name) for name in STACK_PARAMETERS}
    given = {name.title().replace("_", ""): value for name, value in values.items() if value is not None}
    outputs = deploy(Stack(chosen.stack), given, lambda: chosen.yes or _is_confirmed())
    lines = [f"{name}={value}" for name, value in outputs.items() if name.isupper()]
    roles = [f"{value}: {name}" for name, value in outputs.items() if not name.isupper()]
    print("\nDeployed. Copy these lines into .env:\n", *lines, "", *roles, sep="\n")
    return 0


def _is_confirmed() -> bool:
    try:
        return input("Make these changes? Type yes: ").strip() == "yes"
    except EOFError:
        return False


def _destroy(_: Settings, chosen: argparse.Namespace) -> int:
    destroy(Stack(chosen.stack), chosen.delete_data)
    print("Removed.")
    return 0


def _check(settings: Settings, _: argparse.Namespace) -> int:
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
