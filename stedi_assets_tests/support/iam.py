"""What IAM would say: whether policies allow an action on a resource. Conditions count as met."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import boto3

Document = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """The statements that hold for somebody."""

    statements: tuple[Document, ...]

    def may(self, action: str, resource: str) -> bool:
        """Whether the action on the resource is allowed and not denied."""
        effects = {each["Effect"] for each in self.statements if _matches(each, action, resource)}
        return effects == {"Allow"}

    def with_statement(self, statement: Document) -> "Policy":
        """Return the policy with one more statement."""
        return Policy((*self.statements, statement))


class Policies(dict[str, list[Document]]):
    """The policy documents of roles, by the roles' names."""

    def of(self, role: str) -> Policy:
        """Return what holds for a role, which is given by a part of its name."""
        (documents,) = (found for name, found in self.items() if role in name)
        return Policy(tuple(statement for document in documents for statement in document["Statement"]))

    @staticmethod
    def matching(statement: Document, action: str, resource: str) -> bool:
        """Whether a statement is about an action on a resource."""
        return _matches(statement, action, resource)


def role_policies() -> Policies:
    """Return the policies of every role of the account."""
    iam = boto3.client("iam")
    found = Policies()
    for name in (role["RoleName"] for role in iam.list_roles()["Roles"]):
        inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
        found[name] = [_read(iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"]) for each in inline]
        for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            arn = attached["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            found[name].append(_read(document))
    return found


def _read(document: Any) -> Document:
    # What comes from a template, moto keeps as Python shows it.
    return dict(ast.literal_eval(unquote(document)) if isinstance(document, str) else document)


def _matches(statement: Document, action: str, resource: str) -> bool:
    if not _any(statement["Action"], action, re.IGNORECASE):
        return False
    if "NotResource" in statement:
        return not _any(statement["NotResource"], resource)
    return _any(statement["Resource"], resource)


def _any(patterns: str | Iterable[str], text: str, flags: int = 0) -> bool:
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(re.fullmatch(re.escape(each).replace(r"\*", ".*").replace(r"\?", "."), text, flags) for each in patterns)
