"""Secrets of AWS Secrets Manager, which a setting names by ARN. The ARN itself is no secret."""

import os
import re
from functools import cache

from stedi_assets.storage.errors import LakeError

_ARN = r"arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+"


def is_arn_of_secret(configured: str) -> bool:
    """Whether a setting names a secret of AWS Secrets Manager, instead of holding one."""
    return re.fullmatch(_ARN, configured) is not None


@cache
def read_secret(arn: str) -> bytes:
    """Return a secret, which is read once per process. Raises `LakeError` if it cannot be read."""
    import boto3  # noqa: PLC0415  (takes a second to load; only who names a secret needs it)
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  (loads with boto3)

    from stedi_assets.storage.aws_errors import code_of  # noqa: PLC0415  (loads botocore)

    try:
        found = boto3.client("secretsmanager", region_name=arn.split(":")[3]).get_secret_value(SecretId=arn)
    except (BotoCoreError, ClientError) as error:
        msg = (
            f"The secret {arn} cannot be read from AWS Secrets Manager: {code_of(error)}. Check that it exists, and "
            "that this role may call secretsmanager:GetSecretValue on it."
        )
        raise LakeError(msg) from None
    return found["SecretBinary"] if "SecretBinary" in found else os.fsencode(found["SecretString"])
