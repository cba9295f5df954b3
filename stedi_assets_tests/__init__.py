"""The tests: real Spark, real Dagster, and an oracle that shares no code with the transforms."""
