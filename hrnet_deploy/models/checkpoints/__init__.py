"""Checkpoints of five sources, read without running anything they contain; start at `load`."""
