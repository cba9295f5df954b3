"""The command `stedi`: a file per command, and `main`, which chooses among them.

Belongs here: what is printed and which code a command ends with. Does not: whatever a Dagster job does as well.
"""
