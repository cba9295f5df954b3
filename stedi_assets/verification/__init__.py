"""Whether what is stored is right: every rule evaluated, and the tables' meaning computed once more in SQL.

Belongs here: a `.sql` file for each derived table and each view it needs, the engine that runs them, how each rule is
evaluated. Does not: PySpark, Dagster, and the rules themselves (`contracts`). The lake is not changed.
"""
