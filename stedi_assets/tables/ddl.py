"""A table's contract in Iceberg's terms: its schema, partitions and properties."""

from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.transforms import TruncateTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DoubleType,
    IcebergType,
    ListType,
    LongType,
    NestedField,
    StringType,
)

from stedi_assets.contracts import Table, Type
from stedi_assets.tables.days import DAY

# The format that Athena, Glue and Trino read.
FORMAT = 2
_FIRST_PARTITION_FIELD = 1000
PROPERTIES = {
    "format-version": str(FORMAT),
    # Keep no bounds of values in manifests: an instant can identify a person.
    "write.metadata.metrics.default": "counts",
    # The run that publishes removes older metadata files, and on S3 their versions too.
    "write.metadata.delete-after-commit.enabled": "false",
    "write.metadata.previous-versions-max": "20",
    # By default 100: whoever looks at a table would read as many manifests, and every update adds some.
    "commit.manifest.min-count-to-merge": "5",
}
# Until a schema is numbered as a whole.
_NO_ID = 0
_TYPES: dict[Type, IcebergType] = {
    Type.STRING: StringType(),
    Type.BIGINT: LongType(),
    Type.DOUBLE: DoubleType(),
    Type.BINARY: BinaryType(),
    Type.BOOLEAN: BooleanType(),
    Type.STRINGS: ListType(_NO_ID, StringType(), element_required=False),
}


def schema_of(table: Table) -> Schema:
    """Return a table's Iceberg schema, from its contract."""
    fields = [
        NestedField(_NO_ID, column.name, _TYPES[column.type], required=False, doc=column.description)
        for column in table.columns
    ]
    return assign_fresh_schema_ids(Schema(*fields))


def partitions_of(table: Table) -> PartitionSpec:
    """Return how a table is partitioned: a table of readings by the UTC day of their instant."""
    if table.instant is None:
        return UNPARTITIONED_PARTITION_SPEC
    source = 1 + table.column_names.index(table.instant)
    day: TruncateTransform[int] = TruncateTransform(DAY)
    return PartitionSpec(PartitionField(source, _FIRST_PARTITION_FIELD, day, "day"))
