"""The doorbell: an Amazon SQS queue that S3 notifies of new objects, so that a look lists the folders only if it rang.

A message only says that it is worth looking; what there is to do is read from the lake. A message stays in the queue
until a look that began after it was received has found nothing left to do, so a look or a run that dies loses nothing.
"""

import re
from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from stedi_assets.orchestration.aws_client import AwsCallFailed, call

# What SQS hands out, and takes back, in one request.
_MOST_PER_REQUEST = 10
_REQUESTS_PER_LOOK = 20
# Longer than a look. If that dies, its messages ring again then.
_SECONDS_HIDDEN = 300


class Doorbell(dg.ConfigurableResource):  # type: ignore[type-arg]  # Dagster's own subclasses give none
    """Says whether S3 has reported objects since everything landed."""

    queue: str | None = Field(default=None, description="The URL of the queue; without one, every tick lists.")

    def receive(self) -> Sequence[str]:
        """Return the receipts of messages that ring, and hide these from others. Raises `AwsCallFailed`."""
        receipts: list[str] = []
        for _ in range(_REQUESTS_PER_LOOK):
            answer = self._call(
                "receive_message",
                MaxNumberOfMessages=_MOST_PER_REQUEST,
                VisibilityTimeout=_SECONDS_HIDDEN,
                # Without waiting, SQS asks only some of its servers, and can miss a message.
                WaitTimeSeconds=1,
            )
            found = [message["ReceiptHandle"] for message in answer.get("Messages", ())]
            receipts += found
            if not found:
                break
        return receipts

    def silence(self, receipts: Sequence[str]) -> None:
        """Remove messages: everything that they reported has landed. Raises `AwsCallFailed`."""
        self._in_batches("delete_message_batch", receipts)

    def ring_again(self, receipts: Sequence[str]) -> None:
        """Have messages ring again at the next look. Raises `AwsCallFailed`."""
        self._in_batches("change_message_visibility_batch", receipts, VisibilityTimeout=0)

    def _in_batches(self, operation: str, receipts: Sequence[str], **each: int) -> None:
        for first in range(0, len(receipts), _MOST_PER_REQUEST):
            batch = receipts[first : first + _MOST_PER_REQUEST]
            entries = [{"Id": str(number), "ReceiptHandle": receipt, **each} for number, receipt in enumerate(batch)]
            # A message that one of these leaves out rings again, which costs a look.
            self._call(operation, Entries=entries)

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        region = re.search(r"//sqs\.([a-z0-9-]+)\.", self.queue or "")
        try:
            return call("sqs", region and region[1], operation, QueueUrl=self.queue, **parameters)
        except AwsCallFailed as error:
            raise AwsCallFailed(
                f"Amazon SQS cannot be used ({error}): {self.queue}. Until it can, every tick lists the landing "
                "folders. Check that STEDI_ARRIVALS_QUEUE names the queue, and that Dagster's role may call "
                "sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility."
            ) from None
