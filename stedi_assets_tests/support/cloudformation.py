"""The parts of a stack that moto's CloudFormation does not know, made with moto's own services.

Imported where moto serves: moto finds the classes by itself. Of the parts here it has the services, but nothing that
makes them from a template.
"""

import json
from collections.abc import Callable
from typing import Any

from moto.athena.models import athena_backends
from moto.cloudformation.models import ChangeSet
from moto.cloudformation.parsing import OutputMap, ResourceMap
from moto.core.common_models import CloudFormationModel
from moto.glue.models import glue_backends
from moto.secretsmanager.models import secretsmanager_backends

Properties = dict[str, Any]
# Makes a part of an account and region, given its physical name; returns what `Ref` gives.
Create = Callable[[str, Properties, str, str], str]
Delete = Callable[[str, str, str], object]


def _part(kind: str, name_property: str, create: Create, delete: Delete) -> None:
    """Have moto make and delete parts of a kind. An update deletes and makes them again."""

    class Part(CloudFormationModel):
        def __init__(self, name: str) -> None:
            self.physical_resource_id = name

        @staticmethod
        def cloudformation_name_type() -> str:
            return name_property

        @staticmethod
        def cloudformation_type() -> str:
            return kind

        @classmethod
        def has_cfn_attr(cls, attr: str) -> bool:
            return not attr

        @classmethod
        def create_from_cloudformation_json(
            cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
        ) -> "Part":
            return Part(create(resource_name, cloudformation_json["Properties"], account_id, region_name))

        @classmethod
        def update_from_cloudformation_json(
            cls,
            original_resource: "Part",
            new_resource_name: str,
            cloudformation_json: Any,
            account_id: str,
            region_name: str,
        ) -> "Part":
            delete(original_resource.physical_resource_id, account_id, region_name)
            return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)

        @classmethod
        def delete_from_cloudformation_json(
            cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
        ) -> None:
            if cloudformation_json.get("DeletionPolicy") != "Retain":
                delete(resource_name, account_id, region_name)

        def is_created(self) -> bool:
            return True

    _PARTS.append(Part)


# Moto knows a class as long as somebody holds it.
_PARTS: list[type[CloudFormationModel]] = []


def _secret(name: str, properties: Properties, account: str, region: str) -> str:
    asked = properties["GenerateSecretString"]
    backend = secretsmanager_backends[account][region]
    secret = json.loads(
        backend.get_random_password(
            password_length=asked["PasswordLength"],
            exclude_characters="",
            exclude_numbers=False,
            exclude_punctuation=asked["ExcludePunctuation"],
            exclude_uppercase=False,
            exclude_lowercase=False,
            include_space=False,
            require_each_included_type=True,
        )
    )["RandomPassword"]
    made = backend.create_secret(name, secret, None, properties.get("Description"), None, None, None, [], False)
    return str(json.loads(made)["ARN"])


def _database(_: str, properties: Properties, account: str, region: str) -> str:
    given = properties["DatabaseInput"]
    glue_backends[account][region].create_database(given["Name"], given)
    return str(given["Name"])


def _job(name: str, properties: Properties, account: str, region: str) -> str:
    glue_backends[account][region].create_job(
        name=name,
        role=properties["Role"],
        command=properties["Command"],
        description=properties["Description"],
        log_uri="",
        execution_property=properties["ExecutionProperty"],
        default_arguments=properties["DefaultArguments"],
        non_overridable_arguments={},
        connections={},
        max_retries=properties["MaxRetries"],
        allocated_capacity=0,
        timeout=properties["Timeout"],
        max_capacity=0,
        security_configuration="",
        tags={},
        notification_property={},
        glue_version=properties["GlueVersion"],
        number_of_workers=int(properties["NumberOfWorkers"]),
        worker_type=properties["WorkerType"],
        code_gen_configuration_nodes={},
        execution_class="",
        source_control_details={},
    )
    return name


def _workgroup(name: str, properties: Properties, account: str, region: str) -> str:
    configuration = properties["WorkGroupConfiguration"]
    athena_backends[account][region].create_work_group(name, configuration, properties["Description"], [])
    return name


def _nothing(*_: str) -> None:
    """Delete nothing: what this part was of is deleted, too."""


_part("AWS::SecretsManager::Secret", "Name", _secret, _nothing)
_part("AWS::Glue::Database", "", _database, lambda name, a, r: glue_backends[a][r].delete_database(name))
_part("AWS::Glue::Job", "Name", _job, lambda name, a, r: glue_backends[a][r].jobs.pop(name))
_part("AWS::Athena::WorkGroup", "Name", _workgroup, lambda name, a, r: athena_backends[a][r].delete_work_group(name))
# Moto takes no notice of conditions: what is denied without TLS would be denied to everybody.
_part("AWS::S3::BucketPolicy", "", lambda name, *_: name, _nothing)
# Nobody but S3 sends here, and moto's asks for no permission.
_part("AWS::SQS::QueuePolicy", "", lambda name, *_: name, _nothing)

_apply = ChangeSet.apply


def _apply_with_outputs(change_set: ChangeSet) -> None:
    """Apply a change set, and have its stack say its outputs and parameters, which moto forgets."""
    for part in change_set.template_dict["Resources"].values():
        # Moto knows the older word alone, and rolls nothing back.
        if part.get("DeletionPolicy") == "RetainExceptOnCreate":
            part["DeletionPolicy"] = "Retain"
    _apply(change_set)
    stack = change_set.stack
    stack.output_map = OutputMap(stack.resource_map, change_set.template_dict, stack.stack_id)
    stack.parameters = change_set.parameters


ChangeSet.apply = _apply_with_outputs  # type: ignore[assignment,method-assign]  # moto writes `self` twice

_delete = ResourceMap.delete


def _delete_with_policies_first(resources: ResourceMap) -> None:
    """Delete the parts of a stack in an order in which that is possible: what is attached to a role goes first."""
    for role in resources.values():
        for policy in list(getattr(role, "managed_policies", {}).values()):
            policy.detach_from(role)
    _delete(resources)


ResourceMap.delete = _delete_with_policies_first  # type: ignore[assignment,method-assign]  # moto writes `self` twice
