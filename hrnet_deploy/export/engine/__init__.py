"""TensorRT engines from exported graphs."""
