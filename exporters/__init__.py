"""Exporters: from a PyTorch network or a foreign graph to the ONNX graphs that artifacts hold."""
