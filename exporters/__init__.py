"""Exporters: PyTorch to ONNX, simplified, with the precision written into the graph."""
