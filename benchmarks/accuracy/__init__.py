"""The parts of `benchmarks/calibration.py`: trained models, quantizers, and the judge of their output."""
