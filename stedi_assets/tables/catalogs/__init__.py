"""The kinds of Iceberg catalog, a module for each: how PyIceberg opens it, and Spark's settings for it."""
