"""NumPy and OpenCV from decoded images to network inputs, and from outputs to predictions."""
