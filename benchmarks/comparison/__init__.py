"""The parts of `benchmarks/fast.py`: who takes part, what is measured, and what is kept of it."""
