"""The contracts' column types as Arrow has them."""

import pyarrow as pa

from stedi_assets.contracts import Table, Type

ARROW_TYPES = {
    Type.STRING: pa.string(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BINARY: pa.binary(),
    Type.BOOLEAN: pa.bool_(),
    Type.STRINGS: pa.list_(pa.field("element", pa.string())),
}


def arrow_schema(table: Table) -> pa.Schema:
    """Return a table's columns as Arrow has them."""
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in table.columns])
