"""The command `stedi`: a file per command, and `main`, which chooses among them.

Belongs here: what is printed, and the exit code of a command. Does not: anything that a Dagster job does as well.
"""
