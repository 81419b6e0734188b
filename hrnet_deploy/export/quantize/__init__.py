"""Conversion of a graph to FP32, FP16 or INT8."""
