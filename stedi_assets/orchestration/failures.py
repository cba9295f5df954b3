"""How errors reach the person who runs something: one message, no stack trace, and no personal data."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from py4j.protocol import Py4JJavaError, Py4JNetworkError
from pyspark.errors import PySparkException

from stedi_assets.spark.java import NoJavaError
from stedi_assets.spark.warm import has_died
from stedi_assets.storage.errors import CommitConflictError, LakeError
from stedi_assets.storage.names import masked
from stedi_assets.verification.engine import SecondEngineFailed

_TABLES_STAY = "The published tables stay as they were. Fix that and run again."
# As often as other runs are likely to publish the same table meanwhile.
_RETRIES = 5
_JAVA_ENDED = f"Spark stopped: Java has ended, maybe out of memory: set STEDI_SPARK_MEMORY. {_TABLES_STAY}"
_SERVER_ENDED = f"Spark's warm server has ended, maybe out of memory: set STEDI_SPARK_MEMORY. {_TABLES_STAY}"
_REFUSALS = {
    "No space left on device": "the disk is full, that of the lake or of the temporary folder (TMPDIR)",
    "Disk quota exceeded": "the disk quota is used up",
    "Permission denied": "it has no permission to write to the lake or to its temporary folder",
    "OutOfMemoryError": "Java ran out of memory; STEDI_SPARK_MEMORY gives it more",
    "INVALID_DRIVER_MEMORY": "Java may use less memory than Spark needs to start",
}


@contextmanager
def as_dagster_failures() -> Iterator[None]:
    """Turn an error into a `dagster.Failure` with a message for people.

    A step that has lost to another run starts over, from what that run has published. An error of the lake, of Java or
    of the second engine would only occur again, so Dagster does not retry it. An error of Spark may be retried.
    """
    try:
        yield
    except CommitConflictError as error:
        raise dg.RetryRequested(max_retries=_RETRIES) from dg.Failure(str(error))
    except (LakeError, NoJavaError, SecondEngineFailed) as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    except PySparkException as error:
        if has_died():
            # The next attempt starts another.
            raise dg.RetryRequested(max_retries=1) from dg.Failure(_SERVER_ENDED)
        raise dg.Failure(_in_short(error)) from None
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError, Py4JNetworkError):
        raise dg.Failure(_JAVA_ENDED, allow_retries=False) from None
    except OSError as error:
        where = masked(str(error.filename or "the lake"))
        raise dg.Failure(f"{error.strerror}: {where}. {_TABLES_STAY}", allow_retries=False) from None
    except Py4JJavaError as error:
        raise dg.Failure(_in_short(error)) from None


def _in_short(error: Exception) -> str:
    """Say why Spark stopped. Its own messages can quote a record, and so can the chain of their causes."""
    try:
        whole = str(error)
    except (OSError, Py4JNetworkError):
        # The text comes from Java itself.
        return _JAVA_ENDED
    refused = next((words for sign, words in _REFUSALS.items() if sign in whole), None)
    if refused:
        return f"Spark stopped: {refused}. {_TABLES_STAY}"
    condition = error.getCondition() if isinstance(error, PySparkException) else None
    return (
        f"Spark stopped with {condition or type(error).__name__}. The published tables stay as they were. "
        "Set STEDI_SPARK_LOG=error and run again to see its own log; that may show people's data."
    )
