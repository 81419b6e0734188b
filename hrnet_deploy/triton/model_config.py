"""The configuration of a model in Triton, from the card of its artifact.

Source: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hrnet_deploy.artifact.card import CARD_KEY, SHA256_KEY, card_metadata
from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import ModelCard, OutputKind, Task, TensorSpec
from hrnet_deploy.triton.pbtxt import Identifier
from hrnet_deploy.v2_tensors import V2_DTYPES

LABELS_FILE = "labels.txt"
"""File with the class names, one a line, in the folder of a model."""
MODEL_KEY = "hrnet_deploy.model"
"""Parameter of a model that takes image files: the name of the model that it calls."""
MAX_IMAGES = 16
"""Images in one request to a model that takes image files, where the other model takes smaller batches."""

IMAGE_INPUT, RESULT_OUTPUT, MASK_OUTPUT = "image", "result", "mask"
"""Tensors of a model that takes image files: encoded images; results as JSON; masks as PNG files."""


def model_config(name: str, card: ModelCard, sha256: str, backend: str, delay_us: int) -> dict[str, Any]:
    """Configure the model of an artifact.

    Args:
        name: of the model.
        card: of the artifact.
        sha256: digest of its file.
        backend: "onnxruntime" or "tensorrt".
        delay_us: longest wait for a larger batch in microseconds.

    Returns:
        The message ModelConfig.

    Raises:
        UsageError: batches that Triton cannot keep to.
    """
    batch = max_batch_size(card)
    config: dict[str, Any] = {
        "name": name,
        "backend": backend,
        "max_batch_size": batch,
        "input": [_tensor(spec, batch) for spec in card.inputs],
        "output": [_tensor(spec, batch) for spec in card.outputs],
        "instance_group": [{"kind": Identifier("KIND_AUTO")}],  # a GPU where there is one, else the CPU
        "model_warmup": _warmup(card, batch),
        "parameters": [_parameter(CARD_KEY, card_metadata(card)[CARD_KEY]), _parameter(SHA256_KEY, sha256)],
    }
    if has_labels(card):
        config["output"][0]["label_filename"] = LABELS_FILE
    if batch > 1:
        preferred = sorted({size for size in (card.shapes.opt_nhw[0], batch) if size > 1})
        config["dynamic_batching"] = {
            "preferred_batch_size": preferred,
            "max_queue_delay_microseconds": delay_us,
        }
    return config


def images_config(name: str, model: str, card: ModelCard, sha256: str) -> dict[str, Any]:
    """Configure a model that takes image files and calls another model.

    Args:
        name: of the model.
        model: name of the model that it calls.
        card: of that model's artifact.
        sha256: digest of the artifact's file.

    Returns:
        The message ModelConfig.
    """
    outputs = [RESULT_OUTPUT] + [MASK_OUTPUT] * (card.task is Task.SEGMENTATION)
    return {
        "name": name,
        "backend": "python",
        "max_batch_size": max(batch_limit(card), MAX_IMAGES),
        "input": [{"name": IMAGE_INPUT, "data_type": Identifier("TYPE_STRING"), "dims": [1]}],
        "output": [{"name": output, "data_type": Identifier("TYPE_STRING"), "dims": [1]} for output in outputs],
        "instance_group": [{"kind": Identifier("KIND_CPU"), "count": 1}],
        "dynamic_batching": {},
        "parameters": [
            _parameter(CARD_KEY, card_metadata(card)[CARD_KEY]),
            _parameter(SHA256_KEY, sha256),
            _parameter(MODEL_KEY, model),
        ],
    }


def max_batch_size(card: ModelCard) -> int:
    """Return the largest batch that Triton may form; 0 for a graph with a fixed batch, which Triton leaves alone.

    Raises:
        UsageError: only some tensors have an open batch, or there is a smallest batch above 1.
    """
    specs = (*card.inputs, *card.outputs)
    fixed = [spec for spec in specs if not spec.shape or isinstance(spec.shape[0], int)]
    if len(fixed) == len(specs):
        return 0
    if fixed:
        raise UsageError(
            f"all tensors must have an open batch, or none, got '{fixed[0].name}' with {fixed[0].shape}. Export it "
            "again."
        )
    if card.shapes.min_nhw[0] > 1:
        raise UsageError(
            f"a model for Triton, which forms batches from 1 image on, must have batch 1 as its smallest, got "
            f"{card.shapes.min_nhw[0]}. Export it with --batch 1:{card.shapes.opt_nhw[0]}:{card.shapes.max_nhw[0]}, or "
            "with a fixed batch."
        )
    return card.shapes.max_nhw[0]


def batch_limit(card: ModelCard) -> int:
    """Return the most images that one inference takes, of an open or a fixed batch."""
    first = card.inputs[0].shape[0]
    return first if isinstance(first, int) else card.shapes.max_nhw[0]


def has_labels(card: ModelCard) -> bool:
    """Return whether the output holds one score per class: in a top-k, names would belong to ranks."""
    scores = card.output_kind in {OutputKind.LOGITS, OutputKind.PROBABILITIES}
    shape = card.outputs[0].shape
    return card.task is Task.CLASSIFICATION and scores and len(shape) == 2 and shape[1] == len(card.classes)


def labels_text(card: ModelCard) -> str:
    """Return the class names, one a line; a line break inside a name is written as an escape."""
    return "".join(name.replace("\r", "\\r").replace("\n", "\\n") + "\n" for name in card.classes)


def _tensor(spec: TensorSpec, batch: int) -> dict[str, Any]:
    """Describe a tensor; the batch is no part of its dimensions where Triton forms batches."""
    if spec.dtype not in V2_DTYPES:
        raise UsageError(
            f"tensor '{spec.name}' must have a data type of Triton, got {spec.dtype!r:.40}. Export it again."
        )
    dims = [size if isinstance(size, int) else -1 for size in spec.shape[1 if batch else 0 :]]
    if not dims:
        raise UsageError(
            f"tensor '{spec.name}' must have dimensions beside the batch, got {spec.shape}. Export it again."
        )
    return {"name": spec.name, "data_type": Identifier(f"TYPE_{V2_DTYPES[spec.dtype]}"), "dims": dims}


def _warmup(card: ModelCard, batch: int) -> list[dict[str, Any]]:
    """Describe inferences of zeros at the smallest and at the best size."""
    sizes = {"smallest": card.shapes.min_nhw, "best": card.shapes.opt_nhw}
    if sizes["smallest"] == sizes["best"]:
        del sizes["smallest"]
    warmups: list[dict[str, Any]] = []
    for label, nhw in sizes.items():
        inputs = []
        for spec in card.inputs:
            dims = _sized(spec, nhw, rows_first=card.pixels_in)[1 if batch else 0 :]
            value = {"data_type": Identifier(f"TYPE_{V2_DTYPES[spec.dtype]}"), "dims": dims, "zero_data": True}
            inputs.append({"key": spec.name, "value": value})
        warmups.append({"name": label, "batch_size": nhw[0] if batch else 1, "inputs": inputs})
    return warmups


def _sized(spec: TensorSpec, nhw: tuple[int, int, int], *, rows_first: bool) -> list[int]:
    """Fill the open dimensions of an input, (N, H, W, 3) or (N, 3, H, W)."""
    count, height, width = nhw
    whole = (count, height, width, 3) if rows_first else (count, 3, height, width)
    return [size if isinstance(size, int) else whole[axis] for axis, size in enumerate(spec.shape)]


def _parameter(key: str, value: str) -> Mapping[str, Any]:
    return {"key": key, "value": {"string_value": value}}
