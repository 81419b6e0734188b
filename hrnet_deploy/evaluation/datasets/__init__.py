"""Labeled datasets on disk."""
