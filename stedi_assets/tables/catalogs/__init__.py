"""The kinds of Iceberg catalog, a module for each: how PyIceberg opens it, and what Spark is told of it."""
