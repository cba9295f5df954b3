"""Who may be in the lake: keys and pseudonyms, withdrawal, the list of erased people, erasure.

Belongs here: everything that keeps data from being used without consent. Does not: Dagster.
"""
