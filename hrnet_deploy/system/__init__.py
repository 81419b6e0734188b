"""The machine: hardware tables, packages, caches, progress and text."""
