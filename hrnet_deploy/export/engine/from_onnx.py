"""Build of an engine from an exported .onnx file, whose graph already has its precision, input and output."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.engine.build import compile_graph
from hrnet_deploy.export.engine.plan import plan_engine
from hrnet_deploy.export.graph_io import shape_range
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.plan import ENGINE_SUFFIX
from hrnet_deploy.export.quantize.calibrate import named_folder, select_images
from hrnet_deploy.export.result import ExportResult
from hrnet_deploy.export.verify import parity_images
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import ModelCard, ShapeRange

_TRIED = 4
"""Images on which an engine is compared with its graph."""


def compile_file(card: ModelCard, options: ExportOptions, step: Callable[[str], None]) -> ExportResult:
    """Compile an artifact without changing its arithmetic."""
    source = Path(str(options.model))
    if card.quantization is not None and card.quantization.target is QdqTarget.CPU:
        raise UsageError(
            f"an engine needs Q/DQ pairs for TensorRT, got {source.name} with those for the CPU. "
            "Export it with --qdq-target tensorrt, or straight to .engine from the FP32 model."
        )
    plan = plan_engine(dataclasses.replace(options, int8_path="qdq"), card.precision)
    card = dataclasses.replace(card, shapes=_shapes(card, options))
    step("loading")
    graph = onnx_file.read(source)
    path = Path(options.output or source.with_suffix(ENGINE_SUFFIX).name)
    step("building")
    folder = named_folder(options.eval_data or options.calib_data)
    # Images of any split serve: no figure depends on them.
    images = () if folder is None else select_images(folder, _TRIED, allow_val=True).calibration
    with atomic_output(path) as temporary:
        compiled = compile_graph(
            graph,
            card,
            plan,
            temporary,
            reference=source,
            images=parity_images(card, images),
            implicit=None,
            rebuild=options.command_line(),
        )
        size_bytes = sum(part.stat().st_size for part in temporary.parent.iterdir())
    return ExportResult(path, card, compiled.parity, len(graph.graph.node), size_bytes, engine=compiled)


def _shapes(card: ModelCard, options: ExportOptions) -> ShapeRange:
    """Replace the card's range where the graph has dynamic dimensions."""
    own = card.shapes
    if options.batch is None and options.imgsz is None:
        return own
    entry = card.inputs[0].shape
    open_batch, open_size = (any(isinstance(s, str) for s in dims) for dims in (entry[:1], entry[1:]))
    if (options.batch is not None and not open_batch) or (options.imgsz is not None and not open_size):
        raise UsageError(
            f"the graph takes input {entry} only, got --batch {options.batch} --imgsz {options.imgsz}. "
            "Leave them out, or export it with open sizes."
        )
    wanted = shape_range(options.imgsz, options.batch, own.opt_nhw[1:])
    batch = own if options.batch is None else wanted
    size = own if options.imgsz is None else wanted
    return ShapeRange(
        (batch.min_nhw[0], *size.min_nhw[1:]),
        (batch.opt_nhw[0], *size.opt_nhw[1:]),
        (batch.max_nhw[0], *size.max_nhw[1:]),
    )
