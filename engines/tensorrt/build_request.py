"""The request of a build, checked against the features of a TensorRT."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import Precision

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
    """The options of a build.

    Attributes:
        graph: serialized ONNX with its weights.
        name: name in messages and on the progress bar.
        precision: the one to achieve.
        typing: whether the graph or flags set the precision.
        profile: min, opt and max shape by input; empty for a graph of fixed sizes.
        targets: GPUs to build for ("sm75", ...), TensorRT-RTX only; () for the GPU in this machine. Several share the
            kernels of the oldest: with "sm75" among them no convolution is INT8.
        network_name: stored in the engine, at most 4,095 characters.
        workspace_bytes: scratch memory that a kernel may use; None for no limit.
        timing_cache: file that keeps kernel timings between builds; ignored where this TensorRT has none.
        optimization_level: 0 (fastest build) to 5 (fastest engine); None for TensorRT's choice.
        aux_streams: max number of streams beside the main one; None for TensorRT's choice.
        tf32: let float32 products use TF32.
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
