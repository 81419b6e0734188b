"""A model in the words of the V2 protocol: metadata and Triton's model configuration."""

from __future__ import annotations

from typing import Any

from hrnet_deploy.artifact.card import ARITHMETIC_KEY, BACKEND_KEY, DEVICE_KEY, SHA256_KEY, card_metadata
from hrnet_deploy.serving.served_model import ServedModel
from hrnet_deploy.spec import TensorSpec
from hrnet_deploy.v2_tensors import V2_DTYPES


def has_open_batch(model: ServedModel) -> bool:
    """Decide whether every tensor has a batch of any size."""
    return all(isinstance(spec.shape[0], str) for spec in (*model.card.inputs, *model.card.outputs))


def metadata(model: ServedModel) -> dict[str, Any]:
    """Describe the tensors; a size of -1 is open."""
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": _platform(model),
        "inputs": [_tensor(spec) for spec in model.card.inputs],
        "outputs": [_tensor(spec) for spec in model.card.outputs],
    }


def config(model: ServedModel) -> dict[str, Any]:
    """Describe the model as a configuration of Triton; with an open batch, dims are those of one entry."""
    skipped = 1 if has_open_batch(model) else 0
    predictor = model.predictor
    parameters = {
        **card_metadata(model.card),
        SHA256_KEY: model.sha256,
        ARITHMETIC_KEY: predictor.arithmetic,
        DEVICE_KEY: predictor.device,
        BACKEND_KEY: predictor.backend,
    }
    described = {
        "name": model.name,
        "platform": _platform(model),
        "backend": predictor.backend,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": model.max_batch if skipped else 0,
        "input": [_described(spec, skipped) for spec in model.card.inputs],
        "output": [_described(spec, skipped) for spec in model.card.outputs],
        "instance_group": [
            {"kind": "KIND_CPU" if predictor.device == "cpu" else "KIND_GPU", "count": predictor.streams}
        ],
        "parameters": {key: {"string_value": value} for key, value in parameters.items() if value},
    }
    return described | ({"dynamic_batching": {}} if skipped else {})


def _platform(model: ServedModel) -> str:
    """Name runtime and format as Triton does, such as onnxruntime_onnx or tensorrt_plan."""
    backend = model.predictor.backend
    return f"{backend}_plan" if backend.startswith("tensorrt") else f"{backend.partition('-')[0]}_onnx"


def _sizes(spec: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in spec.shape]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": V2_DTYPES[spec.dtype], "shape": _sizes(spec)}


def _described(spec: TensorSpec, skipped: int) -> dict[str, Any]:
    return {"name": spec.name, "data_type": f"TYPE_{V2_DTYPES[spec.dtype]}", "dims": _sizes(spec)[skipped:]}
