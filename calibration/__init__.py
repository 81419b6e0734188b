"""Calibration: from images to activation ranges."""
