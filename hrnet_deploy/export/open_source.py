"""The source of an export, found by the names a user gives and loaded."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.onnx_source import OnnxSource
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.torch_source import TorchSource
from hrnet_deploy.export.zoo_artifact import default_weights
from hrnet_deploy.exporters import opset as opsets
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.models.weights import zoo_entry
from hrnet_deploy.models.zoo import named_entry

SourceModel = OnnxSource | TorchSource
"""A model that runs as the reference, from float32 images to its outputs by name, and becomes a float32 graph."""


def open_source(options: ExportOptions, opset: int | None = None) -> SourceModel:
    """Load the model that the options name; an opset that cannot be written is refused before any work."""
    if opset is not None:
        opsets.check(opset)
    if options.ema and options.weights_key is not None:
        raise UsageError(f"--weights-key chooses the copy already, got {options.weights_key} and --ema. Leave one out.")
    model, weights = (None if name is None else str(name) for name in (options.model, options.weights))
    if model is not None and model.endswith(".onnx"):
        if weights is not None:
            raise UsageError(f"an .onnx file brings its weights, got --weights {weights} too. Leave one out.")
        return OnnxSource(Path(model), options)
    if options.task is not None:
        raise UsageError(f"--task is for foreign .onnx files, got it with {model or 'a checkpoint'}. Leave it out.")
    if weights is None:
        if model is None:
            raise UsageError(
                "an export needs a model or weights, got neither. Name one that hrnet-models lists, or give "
                "--weights FILE."
            )
        weights = default_weights(model)
    if model is None:
        return TorchSource(None, weights, options)
    entry, other = named_entry(model), zoo_entry(weights)
    if None not in (entry, other) and entry != other:
        raise UsageError(f"model and weights must be the same zoo row, got {model} and {weights}. Leave one out.")
    try:
        variant = find_variant(model)
    except UsageError:
        if entry is None:
            raise
        variant = find_variant(entry.variant)
    return TorchSource(variant, weights, options)
