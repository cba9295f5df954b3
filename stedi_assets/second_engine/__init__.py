"""The tables' meaning a second time, in SQL that Athena runs too; DuckDB answers it.

Belongs here: a `.sql` file for each derived table and for each view it needs, the engine that runs them, what is
counted with it. Does not: PySpark, and where things lie; tables come as pyarrow datasets.
"""
