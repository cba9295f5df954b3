"""A CloudFormation stack: what would change, what happens to it, and what it says of itself."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

Say = Callable[[str], None]
_UNDER_WAY = ("PENDING", "IN_PROGRESS")
_UNCHANGED = ("didn't contain changes", "No updates are to be performed")


class DeploymentFailed(Exception):
    """What was asked of AWS was not done. The message says what, where, why and what next."""


@contextmanager
def as_failure(what: str) -> Iterator[None]:
    """Turn an error of AWS into `DeploymentFailed`."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        why = str(error)
        if isinstance(error, ClientError):
            said = error.response["Error"]
            why = f"{error.operation_name} was refused with {said['Code']}: {said.get('Message', '')}"
        msg = f"Could not {what}: {why.rstrip('.')}. Check your credentials and AWS_DEFAULT_REGION; then try again."
        raise DeploymentFailed(msg) from None


@dataclass(frozen=True)
class Stack:
    """A stack by its name. `say` gets what happens, and `seconds` is how often AWS is asked."""

    name: str
    say: Say = field(default=print, compare=False)
    seconds: float = 5

    def find(self) -> dict[str, Any] | None:
        """Return the stack; None if there is none, or only the draft that a change set has left.

        Raises `DeploymentFailed` if its creation has failed.
        """
        found = self._described()
        if found and found["StackStatus"] == "ROLLBACK_COMPLETE":
            msg = (
                f"The stack {self.name} was never complete: its creation failed and was rolled back. Delete it in the "
                "CloudFormation console, whose events say why, then deploy again."
            )
            raise DeploymentFailed(msg)
        return found if found and found["StackStatus"] != "REVIEW_IN_PROGRESS" else None

    def require(self) -> dict[str, Any]:
        """Return the stack. Raises `DeploymentFailed` if there is none."""
        found = self.find()
        if found is None:
            region = boto3.Session().region_name
            msg = f"There is no stack {self.name} in {region}. Check AWS_DEFAULT_REGION, or name another with --stack."
            raise DeploymentFailed(msg)
        return found

    def change_set(self, template: str, parameters: Mapping[str, str]) -> str | None:
        """Have AWS work out what would change, and show it; return the change set's id, or None if nothing would.

        Parameters of an existing stack that are not given stay as they are. Raises `DeploymentFailed`.
        """
        found = self.find()
        kept = parameters_of(found).keys() - parameters.keys()
        made: str = self._client.create_change_set(
            StackName=self.name,
            ChangeSetName=f"stedi-{time.time_ns()}",
            ChangeSetType="UPDATE" if found else "CREATE",
            TemplateBody=template,
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                *({"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()),
                *({"ParameterKey": name, "UsePreviousValue": True} for name in kept),
            ],
        )["Id"]
        while (described := self._client.describe_change_set(ChangeSetName=made))["Status"].endswith(_UNDER_WAY):
            time.sleep(self.seconds)
        if described["Status"] == "FAILED":
            self._client.delete_change_set(ChangeSetName=made)
            why = described.get("StatusReason", "CloudFormation gives no reason")
            if any(sign in why for sign in _UNCHANGED):
                return None
            msg = f"The stack {self.name} cannot be changed as asked: {why}"
            raise DeploymentFailed(msg)
        for resource in (change["ResourceChange"] for change in described["Changes"]):
            replaced = ", replaced" if resource.get("Replacement") == "True" else ""
            self.say(
                f"  {resource['Action']:7} {resource['ResourceType']:28} {resource['LogicalResourceId']}{replaced}"
            )
        return made

    def drop(self, change_set: str) -> None:
        """Drop a change set; with it the draft of a stack that it was to create."""
        is_draft = self.find() is None
        self._client.delete_change_set(ChangeSetName=change_set)
        if is_draft:
            self._client.delete_stack(StackName=self.name)

    def execute(self, change_set: str) -> None:
        """Do what a change set shows, and say what happens. Raises `DeploymentFailed` if it is rolled back."""
        known = self._newest_event()
        self._client.execute_change_set(ChangeSetName=change_set)
        self._follow(known, {"CREATE_COMPLETE", "UPDATE_COMPLETE"})

    def delete(self) -> None:
        """Delete the stack, and say what happens. Raises `DeploymentFailed` if a part of it stays."""
        known = self._newest_event()
        self._client.delete_stack(StackName=self.name)
        self._follow(known, {"DELETE_COMPLETE"})

    @property
    def _client(self) -> Any:
        return boto3.client("cloudformation")

    def _described(self) -> dict[str, Any] | None:
        try:
            (found,) = self._client.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            # This is how AWS says that there is no stack of this name.
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        return dict(found)

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield what happened to the stack, the newest first."""
        try:
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=self.name):
                yield from page["StackEvents"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise

    def _newest_event(self) -> str | None:
        return next((event["EventId"] for event in self._events()), None)

    def _follow(self, known: str | None, wanted: set[str]) -> None:
        """Say what happens after a known event, until the stack is in one of the states wanted."""
        why, has_begun = "", False
        while True:
            new: list[dict[str, Any]] = []
            for event in self._events():
                if event["EventId"] == known:
                    break
                new.insert(0, event)
            has_begun = has_begun or bool(new)
            for event in new:
                known, status, resource = event["EventId"], event["ResourceStatus"], event["LogicalResourceId"]
                self.say(f"  {status:28} {resource}")
                if status.endswith("FAILED"):
                    why = why or f"{resource}: {event.get('ResourceStatusReason', 'no reason is given')}"
            found = self._described()
            state = found["StackStatus"] if found else "DELETE_COMPLETE"
            # Until something happens, the state is the old one: CloudFormation has only accepted the request.
            has_ended = found is None or (has_begun and not state.endswith("IN_PROGRESS"))
            if has_ended and state in wanted:
                return
            if has_ended:
                msg = (
                    f"The stack {self.name} ended as {state}. {why}. Its events in the CloudFormation console say more."
                )
                raise DeploymentFailed(msg)
            time.sleep(self.seconds)


def parameters_of(found: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the parameters of a stack by name."""
    return {each["ParameterKey"]: each["ParameterValue"] for each in (found or {}).get("Parameters", ())}
