"""How Dagster drives the lakehouse: assets, checks, IO managers, resources, sensors, jobs.

Thin on purpose: what a table means is in `transforms`, how it is stored in `tables`, what it promises in `contracts`.
"""
