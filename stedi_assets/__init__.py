"""The STEDI Human Balance lakehouse as a Dagster asset graph: eight tables in three zones, computed by PySpark."""
