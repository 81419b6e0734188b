"""Stand-in for Triton's TensorRT backend: it finds the plan that the config names and returns zeros."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        return auto_complete_model_config

    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        name = self.config["default_model_filename"] or "model.plan"
        path = Path(args["model_repository"]) / args["model_version"] / name
        if path.read_bytes()[1:4] != b"trt":
            raise ValueError(f"no plan: {path}")

    def execute(self, requests):
        return [pb_utils.InferenceResponse(self.zeros(request)) for request in requests]

    def zeros(self, request):
        images = request.inputs()[0].as_numpy()
        rows = [len(images)] if self.config["max_batch_size"] else []
        return [
            pb_utils.Tensor(
                entry["name"],
                np.zeros(
                    rows + [1 if int(size) < 0 else int(size) for size in entry["dims"]],
                    pb_utils.triton_string_to_numpy(entry["data_type"]),
                ),
            )
            for entry in self.config["output"]
        ]
