"""The contracts' column types as Arrow has them."""

import pyarrow as pa

from stedi_assets.contracts import Type

ARROW_TYPES = {
    Type.STRING: pa.string(),
    Type.BIGINT: pa.int64(),
    Type.DOUBLE: pa.float64(),
    Type.BINARY: pa.binary(),
    Type.BOOLEAN: pa.bool_(),
    Type.STRINGS: pa.list_(pa.field("element", pa.string())),
}
