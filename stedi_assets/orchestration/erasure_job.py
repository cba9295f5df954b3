"""The job `erase_person`. It is thin: `stedi_assets.privacy.erasure` does the work.

Dagster keeps run config in its database forever, so the person is given as a keyed hash.
"""

import dagster as dg
from pydantic import Field

from stedi_assets.orchestration.failures import as_dagster_failures
from stedi_assets.orchestration.io_managers import LakeResource
from stedi_assets.orchestration.spark_resource import SparkResource
from stedi_assets.privacy.erasure import Receipt, erase
from stedi_assets.tables.staging import RunContext

_NAMES_SHOWN = 20


class ErasureConfig(dg.Config):
    """The person to be erased."""

    person: str = Field(description="The 64 hex digits that `stedi hash-person` prints. Never an e-mail.")
    expect_nobody: bool = Field(
        default=False, description="Keep the person out even if nobody with that hash is in the lake."
    )


@dg.op(description="Remove a person from every table, quarantine and old snapshot, and keep the person out.")
def erase_from_lake(
    context: dg.OpExecutionContext, config: ErasureConfig, lake: LakeResource, spark: SparkResource
) -> None:
    """Erase the person and report what was removed, in counts."""
    with as_dagster_failures():
        run = RunContext(context.run_id, lake.purpose, key=lake.pseudonym_key, warn=context.log.warning)
        try:
            receipt = erase(
                spark.spark_session,
                lake.lake,
                config.person,
                key=lake.suppression_key,
                run=run,
                expect_nobody=config.expect_nobody,
            )
        finally:
            spark.forget_rows()
    context.log.info(_in_words(receipt))
    if receipt.raw_files:
        first, more = receipt.raw_files[:_NAMES_SHOWN], len(receipt.raw_files) - _NAMES_SHOWN
        also = f" and {more:,} more, which the receipt names" if more > 0 else ""
        context.log.warning(f"Raw files that still hold the person, for their owner to clean: {', '.join(first)}{also}")
    context.log.info(f"The receipt, which does not say who it was: {receipt.path}")
    context.add_output_metadata({**receipt.removed, "raw files to clean": len(receipt.raw_files)})


def _in_words(receipt: Receipt) -> str:
    if any(receipt.removed.values()):
        return "Erased: " + ", ".join(f"{rows:,} of {table}" for table, rows in receipt.removed.items())
    if receipt.erased_before:
        return "Erased already: nothing of the person was left."
    return "Nobody with that hash is in a current table. No old snapshot is left; the person is kept out from now on."


@dg.job(description="Erase one person, by the keyed hash that `stedi hash-person` prints.")
def erase_person() -> None:
    """Erase one person."""
    erase_from_lake()
