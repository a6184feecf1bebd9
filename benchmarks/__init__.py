"""Measurements: `python -m benchmarks …`. Every number is a `Record` (see `record.py`)."""
