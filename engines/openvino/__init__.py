"""OpenVINO: ONNX graphs on the CPUs of any maker, in the arithmetic that the file states."""
