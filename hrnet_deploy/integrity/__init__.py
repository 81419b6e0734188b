"""Inspection and verification of artifacts."""
