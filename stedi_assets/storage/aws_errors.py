"""The code of an AWS error, without its message, which can quote the request."""

from botocore.exceptions import BotoCoreError, ClientError


def code_of(error: ClientError | BotoCoreError) -> str:
    """Return the code of an AWS error, or the class of one that was raised before AWS could answer."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
