"""A client of an AWS service that a sensor calls: Dagster asks one sensor after the other, and each has a minute."""

from typing import Any

_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER, _ATTEMPTS = 2, 4, 2


class AwsCallFailed(Exception):
    """An AWS service did not do what it was asked. The message is the error's code or class, and quotes nothing."""


def call(service: str, region: str | None, operation: str, **parameters: Any) -> dict[str, Any]:
    """Call an AWS service, and give up soon. Raises `AwsCallFailed`."""
    import boto3  # noqa: PLC0415  (takes a second to load; only who sets a topic or a queue needs it)
    from botocore.config import Config  # noqa: PLC0415  (loads with boto3)
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  (loads with boto3)

    from stedi_assets.storage.aws_errors import code_of  # noqa: PLC0415  (loads botocore)

    config = Config(
        region_name=region,
        connect_timeout=_SECONDS_TO_CONNECT,
        read_timeout=_SECONDS_TO_ANSWER,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    try:
        answer: dict[str, Any] = getattr(boto3.client(service, config=config), operation)(**parameters)
    except (ClientError, BotoCoreError) as error:
        raise AwsCallFailed(code_of(error)) from None
    return answer
