"""Where things lie and how they are read and published.

Belongs here: paths, raw files, snapshots, pointers, the pseudonym key. Does not: what a table means (`transforms`),
and Dagster (`plumbing`).
"""
