"""The request of a build: its check against the features of a TensorRT, and its settings there."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.engines.tensorrt.log import BuildLog
from hrnet_deploy.errors import BuildError, UsageError
from hrnet_deploy.spec import Precision

if TYPE_CHECKING:
    import tensorrt as trt

_Value = TypeVar("_Value")
_LOG = logging.getLogger(__name__)
Shape = tuple[int, ...]
"""Sizes of a tensor, batch first."""


class Typing(enum.Enum):
    """The origin of a network's precision."""

    STRONG = "strong"
    """The graph: its casts and Q/DQ pairs."""
    WEAK = "weak"
    """Builder flags, with which TensorRT chooses layer by layer; removed in TensorRT 11."""


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """The options of a build; None leaves a choice to TensorRT.

    Attributes:
        graph: serialized ONNX with its weights.
        profile: min, opt and max shape by input; empty for a graph of fixed sizes.
        targets: GPUs to build for ("sm75", ...), TensorRT-RTX only; () for the GPU in this machine. Several share the
            kernels of the oldest: with "sm75" among them no convolution is INT8.
        network_name: stored in the engine, at most 4,095 characters.
        workspace_bytes: scratch memory that a kernel may use.
        timing_cache: file that keeps kernel timings between builds; ignored where this TensorRT has none.
        optimization_level: 0 (fastest build) to 5 (fastest engine).
        aux_streams: max number of streams beside the main one.
        calibrator: an IInt8Calibrator for INT8 by flags; its `raise_if_failed` is called after the build.
        float_nodes: ONNX nodes whose layers an INT8 build must keep in FP16; for weak typing.
        activate: makes the chosen GPU current; called in the thread that builds.
    """

    graph: bytes = field(repr=False)
    name: str
    precision: Precision
    typing: Typing
    profile: Mapping[str, tuple[Shape, Shape, Shape]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    network_name: str = ""
    workspace_bytes: int | None = None
    timing_cache: Path | None = None
    optimization_level: int | None = None
    aux_streams: int | None = None
    tf32: bool = True
    calibrator: Any = None
    float_nodes: frozenset[str] = frozenset()
    activate: Callable[[], object] | None = None


def check_request(api: TrtApi, request: BuildRequest) -> None:
    """Refuse a request that contradicts itself or needs a feature that this TensorRT lacks."""
    weak = request.typing is Typing.WEAK
    if weak and not api.weak_typing:
        raise UsageError(f"builder flags for precision need TensorRT 10 or older, got {api.label}. Use strong typing.")
    if not weak and not api.strong_typing:
        raise UsageError(f"precision in the graph needs TensorRT 9 or newer, got {api.label}. Use weak typing.")
    if request.calibrator is not None:
        if not (weak and request.precision is Precision.INT8):
            raise UsageError(
                f"calibrator needs INT8 and weak typing, got {request.precision.value} and {request.typing.value}. "
                "Leave it out: a strongly typed graph carries its own ranges."
            )
        if not api.implicit_int8:
            raise UsageError(f"calibrator needs TensorRT 10 or older, got {api.label}. Use a Q/DQ graph.")
    if request.float_nodes and not weak:
        raise UsageError("layers kept out of INT8 need weak typing, got strong. Write their precision into the graph.")
    known = api.compute_targets
    if request.targets and not known:
        raise UsageError(
            f"targets need TensorRT-RTX, got {api.label}, which builds for the GPU in the machine. Leave them out."
        )
    for target in request.targets:
        if target not in known:
            raise UsageError(f"target must be one of {', '.join(known)}, got '{target}'. {api.label} has no other.")
    if request.timing_cache is not None and request.timing_cache.is_dir():
        raise UsageError(f"timing cache must be a file, got the folder {request.timing_cache}. Add a file name.")
    for name, value, minimum in (
        ("workspace", request.workspace_bytes, 1),
        ("auxiliary streams", request.aux_streams, 0),
        ("optimization level", request.optimization_level, 0),
    ):
        if value is not None and value < minimum:
            raise UsageError(f"{name} must be {minimum} or more, got {value}. Leave it out for TensorRT's choice.")


def creation_flags(api: TrtApi, request: BuildRequest) -> int:
    """Return the creation flags of a network, as bits by the module's enum: its values differ between versions."""
    if not TYPE_CHECKING:
        trt = api.module
    flags = 0
    if api.explicit_batch:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if request.typing is Typing.STRONG:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def configure(api: TrtApi, config: trt.IBuilderConfig, request: BuildRequest) -> None:
    """Set all options but the profile."""
    if not TYPE_CHECKING:
        trt = api.module
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if request.typing is Typing.WEAK and request.precision is not Precision.FP32:
        config.set_flag(trt.BuilderFlag.FP16)
        if request.precision is Precision.INT8:
            config.set_flag(trt.BuilderFlag.INT8)
    if request.calibrator is not None:
        config.int8_calibrator = request.calibrator
    if request.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    # TensorRT silently clips numbers to their range.
    if request.optimization_level is not None:
        config.builder_optimization_level = request.optimization_level
        if config.builder_optimization_level != request.optimization_level:
            raise UsageError(f"optimization level must be 0 to 5, got {request.optimization_level}. Choose one.")
    if request.aux_streams is not None:
        config.max_aux_streams = request.aux_streams
        if config.max_aux_streams != request.aux_streams:
            raise UsageError(f"auxiliary streams must be 0 or more, got {request.aux_streams}. Choose a number.")
    _share_profiles(api, config)
    _set_targets(api, config, request)


def constrain(api: TrtApi, network: trt.INetworkDefinition, config: trt.IBuilderConfig, request: BuildRequest) -> None:
    """Keep layers in FP16 that have INT8 scales only because their neighbors need them."""
    if not TYPE_CHECKING:
        trt = api.module
    if not request.float_nodes:
        return
    # The parser names a layer after its node.
    layers = {layer.name: layer for layer in map(network.get_layer, range(network.num_layers))}
    for name in request.float_nodes & layers.keys():
        layers[name].precision = trt.DataType.HALF
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    lost = sorted(request.float_nodes - layers.keys())
    if lost:
        _LOG.warning("%s does not name the layers of %d kept nodes, such as %s.", api.label, len(lost), lost[0])


def _share_profiles(api: TrtApi, config: Any) -> None:
    """Let several contexts use one profile, which TensorRT 8 must enable at build time."""
    feature = getattr(getattr(api.module, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
    if feature is not None:
        config.set_preview_feature(feature, True)  # noqa: FBT003  # TensorRT's signature


def _set_targets(api: TrtApi, config: Any, request: BuildRequest) -> None:
    """Set the GPUs to build for. Only TensorRT-RTX has these calls; the stubs lack them, hence Any."""
    if not api.compute_targets:
        return
    # By default RTX builds for Ampere and later, which excludes a Turing GPU in the machine.
    names = [target.upper() for target in request.targets] or ["CURRENT"]
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        if not config.set_compute_capability(getattr(api.module.ComputeCapability, name), index):
            raise BuildError(f"target {name.lower()} must be accepted by {api.label}, got a refusal. Choose another.")


def set_profile(
    api: TrtApi, builder: trt.Builder, config: trt.IBuilderConfig, request: BuildRequest, log: BuildLog
) -> None:
    """Set the range of shapes, and the one shape of the calibration."""
    if not request.profile:
        return
    profile = require(builder.create_optimization_profile(), "optimization profile", api, log)
    shapes: Any  # TensorRT accepts tuples where its stubs require Dims
    for name, shapes in request.profile.items():
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(f"profile {dict(request.profile)} must fit {request.name}, got: {log.reason()}. Correct it.")
    if request.calibrator is None:
        return
    # TensorRT calibrates at one shape and overwrites the others with the opt shape.
    calibration = require(builder.create_optimization_profile(), "calibration profile", api, log)
    for name, shapes in request.profile.items():
        calibration.set_shape(name, shapes[1], shapes[1], shapes[1])
    accepted: Any = config.set_calibration_profile(calibration)  # the stubs confuse its bool with DataType.bool
    if not accepted:
        raise BuildError(f"calibration profile must be accepted, got: {log.reason()}. Correct the profile.")


def require(value: _Value | None, what: str, api: TrtApi, log: BuildLog) -> _Value:
    """Return a value from TensorRT, or raise a BuildError with the log's reason where TensorRT returned None."""
    if value is None:
        raise BuildError(f"{api.label} must give the {what}, got: {log.reason()}. Check the driver and the version.")
    return value
