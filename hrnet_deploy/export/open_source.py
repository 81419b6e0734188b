"""The source of an export, found by the names a user gives and loaded."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.onnx_source import OnnxSource
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.source import SourceModel, extra_missing
from hrnet_deploy.export.torch_source import TorchSource
from hrnet_deploy.models.variants import VARIANTS, Variant, find_variant
from hrnet_deploy.models.weights import zoo_entry
from hrnet_deploy.models.zoo import default_entry, find_entry, list_models, named_entry


def open_source(options: ExportOptions, opset: int | None = None) -> SourceModel:
    """Load the model that the options name.

    Args:
        options: of which those about the model count.
        opset: of the graph to come; refused before any work if it cannot be written.

    Raises:
        UsageError: an unknown model, or options that contradict each other.
        MissingDependencyError: the export extra is not installed.
        HrnetDeployError: whatever loading raises.
    """
    if opset is not None:
        _check_opset(opset)
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
    variant = None if model is None else _variant_of(model, weights)
    return TorchSource(variant, weights, options)


def default_weights(model: str) -> str:
    """Return the name of the zoo weights that a model's name stands for.

    Args:
        model: a zoo name, its publisher's, or a variant, which stands for its default weights.

    Raises:
        UsageError: there are none; the message names the closest, or those to fetch by hand.
    """
    entry = named_entry(model)
    if entry is not None:
        return entry.name
    name = model.strip().lower().replace("-", "_")
    if name not in VARIANTS:
        return find_entry(model).name  # which refuses it and names the closest
    entry = default_entry(name)
    if entry is not None:
        return entry.name
    known = ", ".join(row.name for row in list_models(name))
    hint = f"The zoo knows {known}, to be fetched by hand. " if known else ""
    raise UsageError(f"{name} needs weights, got none. {hint}Give --weights FILE (or 'random' to measure speed).")


def _check_opset(opset: int) -> None:
    try:
        from hrnet_deploy.exporters.opset import check
    except ImportError as error:
        raise extra_missing(error) from error
    check(opset)


def _variant_of(model: str, weights: str) -> Variant:
    """Return the architecture of a model; a zoo name with other zoo weights is refused."""
    entry, other = named_entry(model), zoo_entry(weights)
    if None not in (entry, other) and entry != other:
        raise UsageError(f"model and weights must be the same zoo row, got {model} and {weights}. Leave one out.")
    try:
        return find_variant(model)
    except UsageError:
        if entry is None:
            raise
        return find_variant(entry.variant)
