"""File formats: the card, ONNX headers, TensorRT plans and their sidecars; no runtime."""
