"""Engines: open an artifact and run it."""
