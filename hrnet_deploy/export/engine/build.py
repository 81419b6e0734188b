"""Build of a TensorRT engine from a graph or an exported .onnx file, with an inspection of the result."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar, sidecar_path, write_sidecar
from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8
from hrnet_deploy.calibration.tensorrt_cache import make_calibrator
from hrnet_deploy.engines.cuda import provider
from hrnet_deploy.engines.difference import Difference
from hrnet_deploy.engines.tensorrt.builder import BuildRequest, BuiltPlan, Typing, build, inspect
from hrnet_deploy.engines.tensorrt.layers import Layer, int8_throughout, precision_share
from hrnet_deploy.errors import BuildError, UsageError, VerificationError
from hrnet_deploy.export.engine.plan import EnginePlan, plan_engine
from hrnet_deploy.export.graph_io import shape_range
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.plan import ENGINE_SUFFIX
from hrnet_deploy.export.quantize.calibrate import named_folder, select_images
from hrnet_deploy.export.result import ExportResult
from hrnet_deploy.export.verify import measure_parity
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.exporters.convolutions import conv_precisions
from hrnet_deploy.exporters.tensorrt_graph import gemm_to_conv, with_float_weights
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import ModelCard, ShapeRange

_NAME_LIMIT_BYTES = 4096
"""Maximum length of a network's name. Source: INetworkDefinition.name."""
_TURING = "sm75"
_SHOWN = 5
_FEW = 0.8
"""Share of convolutions in the engine's precision below which a warning is due if TensorRT chose it freely."""
_TRIED = 4
"""Images on which an engine is compared with its graph."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuiltEngine:
    """An engine and the result of its inspection.

    Attributes:
        facts: its sidecar.
        asked: convolutions requested in the engine's precision, or allowed if TensorRT chooses freely.
        reached: those that run in it; None if TensorRT does not report it.
        kernels: kernels launched per inference, fused ones counted once; 0 if TensorRT does not report it.
        int8_throughout: convolutions that read and write INT8.
        parity: distance from ONNX Runtime's outputs; None on a machine without a matching GPU.
        seconds: duration of the build.
    """

    facts: EngineSidecar
    asked: int
    reached: int | None
    kernels: int
    int8_throughout: int
    parity: Difference | None
    seconds: float


def compile_graph(
    graph: onnx.ModelProto,
    card: ModelCard,
    plan: EnginePlan,
    path: Path,
    *,
    reference: Path,
    images: Sequence[CalibrationImage],
    implicit: ImplicitInt8 | None,
    rebuild: str,
) -> BuiltEngine:
    """Build, inspect and compare an engine, and write its plan file and sidecar."""
    if plan.api.flavour == "tensorrt-rtx" and _TURING in plan.capabilities:
        graph = gemm_to_conv(graph)
    elif not plan.api.strong_typing:
        graph = with_float_weights(graph)
    content = graph.SerializeToString()
    scales = implicit if plan.implicit else None
    float_nodes = frozenset() if scales is None else scales.float_nodes
    built = build(plan.api, _request(content, card, plan, path.name, scales))
    runs_here = _runs_here(plan)
    layers = _layers(built, plan, runs_here=runs_here)
    asked, reached = _count_in_precision(graph, card, plan, layers, float_nodes)
    path.write_bytes(built.plan)
    facts = EngineSidecar(
        card=card,
        flavour=plan.api.flavour,
        version=plan.api.version,
        capabilities=plan.capabilities,
        gpu=plan.gpu,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        graph_sha256=hashlib.sha256(content).hexdigest(),
        precision=card.precision,
        profile=_profile(card),
        rebuild=rebuild,
        options=plan.options(),
        convolutions={"asked": asked} | ({} if reached is None else {"reached": reached}),
    )
    write_sidecar(facts, sidecar_path(path))
    found = measure_parity(reference, path, card, images, f"cuda:{plan.device}") if runs_here else None
    return BuiltEngine(facts, asked, reached, len(layers), int8_throughout(layers), found, built.seconds)


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
            images=images,
            implicit=None,
            rebuild=options.command_line(),
        )
        size_bytes = sum(part.stat().st_size for part in temporary.parent.iterdir())
    return ExportResult(path, card, compiled.parity, len(graph.graph.node), size_bytes, engine=compiled)


def _request(content: bytes, card: ModelCard, plan: EnginePlan, name: str, scales: ImplicitInt8 | None) -> BuildRequest:
    text = next(iter(card_metadata(card).values()))
    # The chosen GPU must be current in the build thread.
    other_gpu = bool(plan.gpu) and plan.device != 0
    return BuildRequest(
        graph=content,
        name=name,
        precision=card.precision,
        typing=plan.typing,
        profile=_profile(card),
        targets=plan.targets,
        network_name=text if len(text.encode()) < _NAME_LIMIT_BYTES else "",
        workspace_bytes=plan.workspace_bytes,
        timing_cache=plan.timing_cache,
        optimization_level=plan.opt_level,
        aux_streams=plan.aux_streams,
        tf32=plan.tf32,
        calibrator=None if scales is None else make_calibrator(plan.api.module, scales.amax),
        float_nodes=frozenset() if scales is None else scales.float_nodes,
        activate=functools.partial(provider.open_cuda().activate, plan.device) if other_gpu else None,
    )


def _profile(card: ModelCard) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Smallest, optimal and largest shape of the input; empty if it is fixed."""
    entry = card.inputs[0]
    if all(isinstance(size, int) for size in entry.shape):
        return {}
    sizes = (card.shapes.min_nhw, card.shapes.opt_nhw, card.shapes.max_nhw)
    channels = card.preprocessing.channel_order.channels
    low, best, high = ((n, h, w, 3) if card.pixels_in else (n, channels, h, w) for n, h, w in sizes)
    return {entry.name: (low, best, high)}


def _layers(built: BuiltPlan, plan: EnginePlan, *, runs_here: bool) -> tuple[Layer, ...]:
    """Layers from the inspector if it can load the engine and names types, else from the build log."""
    if not runs_here:
        return built.layers
    try:
        with provider.open_cuda().active(plan.device):
            inspected = inspect(plan.api, built.plan)
    except BuildError:
        if not built.layers:
            raise
        return built.layers
    return inspected if any(x.convolves and x.data_type for x in inspected) or not built.layers else built.layers


def _count_in_precision(
    graph: onnx.ModelProto, card: ModelCard, plan: EnginePlan, layers: tuple[Layer, ...], float_nodes: frozenset[str]
) -> tuple[int, int | None]:
    """Count the convolutions requested in the engine's precision, and those that run in it, or refuse the engine."""
    # With builder flags TensorRT takes a precision where it is faster.
    freely = plan.typing is Typing.WEAK
    asked = [
        name
        for name, precision in conv_precisions(graph).items()
        if (plan.flags_set_precision and name not in float_nodes) or precision is card.precision
    ]
    if not layers:
        return len(asked), None
    share = precision_share(layers, card.precision, asked)
    known = len(asked) - len(share.unidentified)
    if share.missing and (not freely or not share.achieved):
        raise VerificationError(
            f"engine must run {len(asked)} convolutions in {card.precision.value}, got {share.achieved}: not "
            f"{_first(share.missing)}. Nothing was written; choose another precision, or another --backend or --target."
        )
    if share.unidentified:
        found = (plan.api.label, len(share.unidentified), len(asked), _first(share.unidentified))
        _LOG.warning(
            "%s does not tell the precision of %d of %d convolutions: %s. Compare the engine's speed with FP16's.",
            *found,
        )
    if share.achieved < _FEW * known:
        advice = ", or try --int8-path qdq" if plan.implicit else ""
        counted = (share.achieved, known, card.precision.value, _first(share.missing), advice)
        _LOG.warning(
            "only %d of %d convolutions run in %s, which TensorRT chose where it is faster: not %s. "
            "Compare the engine's speed with another precision's%s.", *counted,
        )  # fmt: skip
    return len(asked), share.achieved if known else None


def _first(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}"


def _runs_here(plan: EnginePlan) -> bool:
    return bool(plan.gpu) and provider.open_cuda().capability(plan.device) in plan.capabilities


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
