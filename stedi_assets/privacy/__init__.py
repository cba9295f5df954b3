"""Who may be in the lake: keys and pseudonyms, withdrawal, the list of erased people, erasure.

Belongs here: whatever must happen so that nobody's data is used without consent. Does not: Dagster.
"""
