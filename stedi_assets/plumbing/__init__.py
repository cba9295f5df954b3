"""How Dagster drives the lakehouse: assets, checks, IO managers, resources, jobs.

Thin on purpose: what a table means is in `transforms`, how it is stored in `lake`, what it promises in `contracts`.
"""
