"""The contracts' column types as Arrow has them."""

from collections.abc import Iterable

import pyarrow as pa

from stedi_assets.contracts import Column, Type

ARROW_TYPES = {
    Type.STRING: pa.string(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BINARY: pa.binary(),
    Type.BOOLEAN: pa.bool_(),
    Type.STRINGS: pa.list_(pa.field("element", pa.string())),
}


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Return a contract's columns as a schema of Arrow's."""
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in columns])
