"""A session of a Spark Connect server: connected at once or not at all, and with this project's settings."""

import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from stedi_assets.storage.errors import LakeError

ICEBERG = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
# What its server decides, not a session.
_OF_THE_SERVER = {"spark.sql.extensions"}
# https://spark.apache.org/docs/latest/spark-connect-overview.html
_PORT = 15002
_SECONDS_TO_CONNECT = 10


def remote_session(address: str, settings: Mapping[str, str]) -> SparkSession:
    """Return a session of the server at an address, `sc://host:port`, with those settings that a session decides.

    Raises `LakeError` if the server cannot be used.
    """
    where = urlsplit(address).netloc
    try:
        return connected(address, settings)
    except TimeoutError:
        msg = (
            f"The Spark Connect server at {where} takes no connection: {_SECONDS_TO_CONNECT} s were not enough. With "
            "a token, or with use_ssl=true, it needs TLS, unless its host is written localhost."
        )
        raise LakeError(msg) from None
    except (OSError, PySparkException) as error:
        # Its words can hold the address with its token.
        msg = f"The Spark Connect server at {where} cannot be used ({type(error).__name__}). Check that it is running."
        raise LakeError(msg) from None


def connected(
    address: str, settings: Mapping[str, str], *, channel: Mapping[str, int] | None = None, retries: int | None = None
) -> SparkSession:
    """Return a session, as `remote_session` does. `channel` are options of gRPC; `retries` limits those of a request.

    Raises `OSError` or `PySparkException` if there is no connection, and `LakeError` if the server has no Iceberg.
    """
    # Loaded here, because a run with a Spark of its own does without, and a Glue job may not have them.
    import grpc  # noqa: PLC0415  (see above)
    from pyspark.sql.connect.client import DefaultChannelBuilder  # noqa: PLC0415  (see above)
    from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415  (see above)
    from pyspark.sql.connect.session import SparkSession as RemoteSession  # noqa: PLC0415  (see above)

    target = urlsplit(address)
    # Spark's own client would try for ten minutes.
    socket.create_connection((target.hostname or "", target.port or _PORT), _SECONDS_TO_CONNECT).close()
    builder = DefaultChannelBuilder(address, list((channel or {}).items()))
    with builder.toChannel() as tried:
        try:
            grpc.channel_ready_future(tried).result(timeout=_SECONDS_TO_CONNECT)
        except grpc.FutureTimeoutError:
            raise TimeoutError from None
    # A process has one session, and joins no rows of two.
    session = RemoteSession.builder.channelBuilder(builder).getOrCreate()
    try:
        if retries is not None:
            session.client.set_retry_policies([DefaultPolicy(max_retries=retries)])
        _prepare(session, settings, target.netloc)
    except BaseException:
        # Otherwise the next attempt would get this session again, whichever server it asks.
        session.stop()
        raise
    # From now on, PySpark's functions are those of the client.
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
    return session  # type: ignore[return-value]  # PySpark has no type for both kinds of session


def _prepare(session: Any, settings: Mapping[str, str], where: str) -> None:
    """Give a new session its settings. Raises `LakeError` if its server, which is at `where`, has no Iceberg."""
    for name, value in settings.items():
        if name not in _OF_THE_SERVER:
            session.conf.set(name.removeprefix("spark.hadoop."), value)
    if ICEBERG not in (session.conf.get("spark.sql.extensions", "") or ""):
        msg = (
            f"The Spark Connect server at {where} does not know Iceberg: start it with Iceberg's jars and "
            f"spark.sql.extensions={ICEBERG} (docs/spark-connect.md)."
        )
        raise LakeError(msg)
