"""What an error of AWS is called, without its message: that can quote what was asked."""

from botocore.exceptions import BotoCoreError, ClientError


def code_of(error: ClientError | BotoCoreError) -> str:
    """Return AWS's code of an error; of one that came before AWS could answer, its class."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
