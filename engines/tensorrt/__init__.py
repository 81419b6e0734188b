"""TensorRT and TensorRT-RTX: build engines and run them."""
