"""How errors reach the person who runs something: one message, no stack, and no value of anybody."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pyspark.errors import PySparkException

from stedi_assets.lake.errors import LakeError
from stedi_assets.plumbing.java import NoJavaError


@contextmanager
def explained() -> Iterator[None]:
    """Turn what goes wrong into a `dagster.Failure` with a message for people.

    Running again would meet the same lake and the same Java, so that Dagster is told not to.
    """
    try:
        yield
    except (LakeError, NoJavaError) as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    except PySparkException as error:
        # Spark's messages can quote a record, and so does the chain of causes: only the kind of error is passed on.
        condition = error.getCondition() or type(error).__name__
        msg = f"Spark stopped with {condition}. Set STEDI_SPARK_LOG=error and run again to see its own log."
        raise dg.Failure(msg) from None
