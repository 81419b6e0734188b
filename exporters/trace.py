"""ONNX graph from a PyTorch network."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import onnx
import torch
from torch import nn

from hrnet_deploy.errors import ExportError, UsageError
from hrnet_deploy.exporters.opset import TRACE_MAX_OPSET, convert, written
from hrnet_deploy.spec import ShapeRange
from hrnet_deploy.system.scratch_folder import scratch_folder

INPUT = "input"
OUTPUT = "logits"
SCORES_ONLY: Mapping[str, int] = MappingProxyType({OUTPUT: 4})
"""Outputs of a network with a head: the stride of each; 0 for a vector."""
_OPEN_SIDE = 256


def trace(
    network: nn.Module,
    shapes: ShapeRange,
    opset: int,
    *,
    channels: int = 3,
    outputs: Mapping[str, int] = SCORES_ONLY,
) -> onnx.ModelProto:
    """Trace a network, float32 (N, channels, H, W) -> outputs, into an ONNX graph with batch norms folded.

    TorchScript tracing, not the dynamo exporter: the graphs run equally fast on ONNX Runtime's CPU provider (0.99,
    benchmarks/results/cpu.md), and tracing takes seconds where dynamo takes twenty. Dimensions of `shapes` that may
    vary get a name: batch, height, width.

    Raises:
        ExportError: the tracer failed or wrote another opset.
    """
    n, h, w = shapes.opt_nhw
    if shapes.dynamic_hw:  # every size gives the same graph, and a small one takes little time and memory
        h, w = (max(low, min(side, _OPEN_SIDE)) for low, side in zip(shapes.min_nhw[1:], (h, w), strict=True))
    # The tracer would take a batch of 1 for a broadcast dimension.
    example = torch.zeros(2 if shapes.dynamic_batch else n, channels, h, w)
    try:
        model = _export(network, example, shapes, outputs, min(opset, TRACE_MAX_OPSET))
    except (UsageError, MemoryError):
        raise
    except Exception as error:  # the tracer raises errors of any type; their words are kept
        reason = f"{type(error).__name__}: {error}"
        raise ExportError(f"tracing must give an ONNX graph, got {reason}. Run with -v.") from error
    if not shapes.dynamic_batch:
        for output in model.graph.output:
            output.type.tensor_type.shape.dim[0].dim_value = n  # lost where the sizes are open
    converted = convert(model, opset)
    if written(converted) != opset:
        raise ExportError(f"opset must be {opset} as asked, got {written(converted)} in the file. Ask for that one.")
    return converted


def _export(
    network: nn.Module, example: torch.Tensor, shapes: ShapeRange, outputs: Mapping[str, int], opset: int
) -> onnx.ModelProto:
    axes: dict[str, dict[int, str]] = {name: {} for name in (INPUT, *outputs)}
    if shapes.dynamic_batch:
        for names in axes.values():
            names[0] = "batch"
    if shapes.dynamic_hw:
        axes[INPUT] |= {2: "height", 3: "width"}
        for name, stride in outputs.items():
            axes[name] |= {2: f"height/{stride}", 3: f"width/{stride}"} if stride else {}
    # Through a file: in memory the graph would exist three times during the transfer.
    with scratch_folder(Path(tempfile.gettempdir())) as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        file = str(folder / "traced.onnx")
        torch.onnx.export(
            network,
            (example,),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_axes=axes,
        )
        return onnx.load(file)
