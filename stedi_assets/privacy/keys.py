"""The two secrets: where they are kept, and in which form Spark gets one.

The pseudonym key turns a person into a `subject_id`. The suppression key hides who is on the list of erased people;
it must never change, or the list would suppress nobody. A setting holds a key itself, or the ARN of a secret of AWS
Secrets Manager, which is no secret.
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from stedi_assets.storage.errors import LakeError
from stedi_assets.storage.lake import Lake, is_on_s3
from stedi_assets.storage.secrets_manager import is_arn_of_secret, read_secret

_BLOCK = hashlib.sha256().block_size
LEAST_BYTES = 32


def pseudonym_key(configured: str | None, lake: Lake) -> bytes:
    """Return the configured key, or this user's, which is created once.

    Raises `LakeError` if the key is too short, would lie in the lake whose people it hides, or would differ from
    machine to machine: a lake on S3 needs a configured one.
    """
    return _key("pseudonym", configured, lake)


def suppression_key(configured: str | None, lake: Lake) -> bytes:
    """Return the key of the list of erased people, as `pseudonym_key` returns the other."""
    return _key("suppression", configured, lake)


def hmac_pads(spark: SparkSession, key: bytes) -> DataFrame:
    """Return the two pads of HMAC-SHA256 (RFC 2104) as one row: `inner_pad`, `outer_pad` BINARY.

    They are data, because literals would appear in the query plan.
    """
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    # Through Arrow, which needs no Python workers.
    return spark.createDataFrame(pa.table({"inner_pad": [inner], "outer_pad": [outer]}))


def _key(name: str, configured: str | None, lake: Lake) -> bytes:
    variable = f"STEDI_{name.upper()}_KEY"
    if configured is not None:
        key = read_secret(configured) if is_arn_of_secret(configured) else os.fsencode(configured)
        if len(key) < LEAST_BYTES:
            msg = f"{variable} has {len(key)} bytes; at least {LEAST_BYTES} are needed to keep people hidden."
            raise LakeError(msg)
        return key
    if is_on_s3(lake.location):
        msg = (
            f"A lake on S3 is used by several machines, which need the same {name} key: set {variable} to a secret of "
            f"at least {LEAST_BYTES} bytes, for example from a secrets manager."
        )
        raise LakeError(msg)
    try:
        path = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "stedi" / f"{name}.key"
    except RuntimeError:
        msg = f"This user's home cannot be found, and so neither can the {name} key. Set {variable} or HOME."
        raise LakeError(msg) from None
    if path.resolve().is_relative_to(Path(lake.location).resolve()):
        msg = f"The {name} key {path} would lie below the lake {lake.location}. Set {variable} or XDG_CONFIG_HOME."
        raise LakeError(msg)
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        msg = f"The {name} key {path} cannot be read or created: {error.strerror}. Set {variable} instead."
        raise LakeError(msg) from error
    if len(key) < LEAST_BYTES:
        msg = f"The {name} key {path} has {len(key)} bytes; at least {LEAST_BYTES} are needed. Restore the old one."
        raise LakeError(msg)
    return key


def _make(path: Path) -> None:
    """Create a key, unless another run has just created one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Write it whole under its own name, then link it: if several runs do so at once, all get the key of the first.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(LEAST_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
