"""Benchmarks: each figure as a ratio to a baseline of the same run, next to its target."""
