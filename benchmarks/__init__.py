"""Measurements of the project against independent plain code: `make bench`, or `python -m benchmarks --help`."""
