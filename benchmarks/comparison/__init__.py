"""The suites of `benchmarks/compare.py`, the baselines, and the records of what was measured."""
