"""Holding what is published against the rules of the contracts.

Belongs here: how each rule is found kept or broken, and the second engine. Does not: the rules themselves (contracts),
Dagster. Nothing here changes the lake.
"""
