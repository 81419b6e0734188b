"""Stand-in for Triton's ONNX Runtime backend, in Python: the same files, the same checks of a config, one session."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

DTYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int64)": "TYPE_INT64",
}


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        return auto_complete_model_config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        name = config["default_model_filename"] or "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(args["model_repository"]) / args["model_version"] / name
        self.session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        self.batching = config["max_batch_size"] > 0
        self.outputs = [tensor.name for tensor in self.session.get_outputs()]
        check(config["input"], self.session.get_inputs(), self.batching)
        check(config["output"], self.session.get_outputs(), self.batching)

    def execute(self, requests):
        inputs = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        if self.batching and len({tuple(a.shape[1:] for a in tensors.values()) for tensors in inputs}) == 1:
            rows = [len(next(iter(tensors.values()))) for tensors in inputs]
            whole = self.run({name: np.concatenate([tensors[name] for tensors in inputs]) for name in inputs[0]})
            parts = [np.split(array, np.cumsum(rows)[:-1]) for array in whole]
            results = list(zip(*parts, strict=True))
        else:
            results = [self.run(tensors) for tensors in inputs]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(*pair) for pair in zip(self.outputs, result, strict=True)])
            for result in results
        ]

    def run(self, tensors):
        return self.session.run(self.outputs, tensors)


def check(configured, graph, batching):
    """The rules of onnxruntime.cc: every name exists, types are equal, and so are dimensions that the graph fixes."""
    tensors = {tensor.name: tensor for tensor in graph}
    for entry in configured:
        found = tensors.get(entry["name"])
        if found is None:
            raise ValueError(f"unexpected tensor '{entry['name']}', allowed are {', '.join(tensors)}")
        if DTYPES[found.type] != entry["data_type"]:
            raise ValueError(f"tensor '{found.name}' is {DTYPES[found.type]}, configured {entry['data_type']}")
        dims = [-1] * batching + [int(size) for size in entry["dims"]]
        sizes = [size if isinstance(size, int) else -1 for size in found.shape]
        if len(dims) != len(sizes) or any(size not in {-1, dim} for size, dim in zip(sizes, dims, strict=True)):
            raise ValueError(f"tensor '{found.name}' has dimensions {sizes}, configured {dims}")
    if len(configured) != len(tensors):
        raise ValueError(f"{len(tensors)} tensors, configured {len(configured)}")
