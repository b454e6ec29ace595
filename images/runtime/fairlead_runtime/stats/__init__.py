"""Intervals, resampling, metrics and drift tests: arithmetic on arrays.

Nothing here reads a file, a clock or the environment, and all randomness comes from a seed that the caller
passes. Called by `evaluate` and `monitor`.
"""
