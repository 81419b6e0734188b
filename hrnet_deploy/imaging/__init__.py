"""Image file formats: what their headers say, and where OpenCV's decoders need help."""
