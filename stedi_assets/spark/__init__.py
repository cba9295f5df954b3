"""The Spark session: its settings, the Java it runs on, the jars, the class archive, scratch folders.

Does not belong here: Dagster, so that Spark can start while Dagster is loaded; and tables.
"""
