"""Deploys what a lake on AWS needs, and removes it: one stack, and in its bucket the wheel and the job's script."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

from stedi_assets.aws.stack import DeploymentFailed, Stack, as_failure, parameters_of

_PROJECT = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("glue_job.py")
_DEPLOYED = "deployed/"
# The wheel's files get this time, so that the same sources make the same wheel.
_SAME_TIME = {"SOURCE_DATE_EPOCH": "315532800"}
_AT_ONCE = 1000
_GONE = {"NoSuchBucket", "EntityNotFoundException"}
_DAYS_TO_RECOVER = 30


def deploy(stack: Stack, given: Mapping[str, str], confirm: Callable[[], bool]) -> dict[str, str]:
    """Create or update a stack, after showing what changes; return its outputs by their descriptions.

    `given` are its parameters by name; those left out stay, or have their defaults. Nothing changes unless `confirm`
    says so. Raises `DeploymentFailed`.
    """
    with as_failure(f"deploy the stack {stack.name}"), tempfile.TemporaryDirectory() as folder:
        found = stack.find()
        bucket = {**parameters_of(found), **given}.get("Bucket")
        if bucket is None:
            msg = f"There is no stack {stack.name} yet. Name the bucket to create with --bucket."
            raise DeploymentFailed(msg)
        _require_same_places(stack, parameters_of(found), given)
        artifacts = _artifacts(Path(folder))
        template = (files(__package__) / "stack.yaml").read_text("utf-8")
        change_set = stack.change_set(template, {**given, **{name: key for name, (key, _) in artifacts.items()}})
        if change_set is None:
            stack.say(f"{stack.name}: nothing changes")
        elif confirm():
            # The job that runs meanwhile finds the old files and the new ones.
            if found:
                _upload(bucket, artifacts)
            stack.execute(change_set)
        else:
            stack.drop(change_set)
            msg = f"{stack.name}: nothing was changed"
            raise DeploymentFailed(msg)
        _upload(bucket, artifacts)
        return {output["Description"]: output["OutputValue"] for output in stack.require()["Outputs"]}


def destroy(stack: Stack, delete_data: str | None) -> None:
    """Remove a stack, with its bucket, database and keys.

    `delete_data` is the name of the bucket, if what lies in it may go. Raises `DeploymentFailed`.
    """
    with as_failure(f"remove the stack {stack.name}"):
        found = stack.require()
        parameters = parameters_of(found)
        bucket = parameters["Bucket"]
        if delete_data != bucket and any(not key.startswith(_DEPLOYED) for key, _ in _versions(bucket)):
            named = f"{delete_data} is not its name. " if delete_data else ""
            msg = (
                f"The bucket {bucket} of the stack {stack.name} holds data. {named}Nothing was removed. To delete "
                f"all of it for good, confirm with the bucket's name: --delete-data {bucket}."
            )
            raise DeploymentFailed(msg)
        values = [output["OutputValue"] for output in found["Outputs"]]
        # First, so that someone who may not delete objects still has the stack, and can do this again.
        deleted = _empty(bucket)
        stack.delete()
        # A stack that is deleted leaves the rest, so that nobody loses data by a click in the console. A run that was
        # under way may have written again.
        deleted += _empty(bucket)
        stack.say(f"{bucket}: deleted {deleted:,} versions of objects")
        with _unless_gone():
            boto3.client("s3").delete_bucket(Bucket=bucket)
        with _unless_gone():
            boto3.client("glue").delete_database(Name=parameters["Database"])
        for secret in (value for value in values if ":secretsmanager:" in value):
            client = boto3.client("secretsmanager")
            client.delete_secret(SecretId=secret, RecoveryWindowInDays=_DAYS_TO_RECOVER)
            stack.say(f"{secret}: will be deleted in {_DAYS_TO_RECOVER} days, and can be restored until then")


def _require_same_places(stack: Stack, before: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Raise `DeploymentFailed` if a stack is to have another bucket or database: it would leave the lake behind."""
    for name in ("Bucket", "Database"):
        if name in before and given.get(name, before[name]) != before[name]:
            msg = (
                f"The stack {stack.name} has the {name.lower()} {before[name]} and cannot move to {given[name]}: the "
                f"lake would stay behind. Leave --{name.lower()} out, or deploy another stack with --stack."
            )
            raise DeploymentFailed(msg)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Ignore it if what is to be deleted is gone already."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise


def _artifacts(folder: Path) -> dict[str, tuple[str, Path]]:
    """Build the wheel; return it and the script by their parameters, each with its key in the bucket and its file."""
    if not (_PROJECT / "setup.py").exists():
        msg = "This is an installed package, and the wheel is built from a clone of the project. Deploy from a clone."
        raise DeploymentFailed(msg)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(_PROJECT)]
    built = subprocess.run(command, env={**os.environ, **_SAME_TIME}, capture_output=True, text=True, check=False)
    if built.returncode:
        msg = f"The wheel cannot be built: {(built.stderr.strip().splitlines() or ['pip does not say why'])[-1]}"
        raise DeploymentFailed(msg)
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes() + _SCRIPT.read_bytes()).hexdigest()[:12]
    below = f"{_DEPLOYED}{digest}/"
    return {"Wheel": (f"{below}{wheel.name}", wheel), "Script": (f"{below}{_SCRIPT.name}", _SCRIPT)}


def _upload(bucket: str, artifacts: Mapping[str, tuple[str, Path]]) -> None:
    for key, file in artifacts.values():
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=file.read_bytes())


def _versions(bucket: str) -> Iterator[tuple[str, str]]:
    """Yield every version of every object of a bucket, and what stands for deleted ones: key and version."""
    with _unless_gone():
        for page in boto3.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket):
            for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                yield version["Key"], version["VersionId"]


def _empty(bucket: str) -> int:
    """Delete every version of every object of a bucket; return how many."""
    deleted = 0
    while versions := list(islice(_versions(bucket), _AT_ONCE)):
        objects = [{"Key": key, "VersionId": version} for key, version in versions]
        answer = boto3.client("s3").delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if refused := answer.get("Errors"):
            code = refused[0]["Code"]
            msg = (
                f"{len(refused):,} objects of {bucket} cannot be deleted: {code}. Run it again with credentials that "
                "may delete versions of objects."
            )
            raise DeploymentFailed(msg)
        deleted += len(versions)
    return deleted
