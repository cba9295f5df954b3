"""Benchmarks: times and ratios, with the command to repeat them. Tests never assert a time."""
