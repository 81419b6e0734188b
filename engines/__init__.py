"""Engines: open an artefact and run it."""
