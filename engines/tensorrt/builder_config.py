"""A build request as TensorRT's settings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.engines.tensorrt.build_request import BuildRequest, Typing
from hrnet_deploy.engines.tensorrt.log import BuildLog
from hrnet_deploy.errors import BuildError, UsageError
from hrnet_deploy.spec import Precision

if TYPE_CHECKING:
    import tensorrt as trt

_Value = TypeVar("_Value")
_LOG = logging.getLogger(__name__)


def creation_flags(api: TrtApi, request: BuildRequest) -> int:
    """Return the creation flags of a network, as bits by the module's enum: its values differ between versions."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api.module
    flags = 0
    if api.explicit_batch:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if request.typing is Typing.STRONG:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def configure(api: TrtApi, config: trt.IBuilderConfig, request: BuildRequest) -> None:
    """Set all options but the profile."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
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
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
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
