"""Plan of an engine build: TensorRT, GPU, and the way to set the precision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.engines.cuda import provider
from hrnet_deploy.engines.tensorrt.api import TrtApi, find_api
from hrnet_deploy.engines.tensorrt.builder import Typing
from hrnet_deploy.engines.tensorrt.load_checks import gpu_index
from hrnet_deploy.errors import DeviceError, MissingDependencyError, UsageError
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.system.gpu_table import Runtime, find_gpu, gpus, refusal

LOCAL = "local"
INT8_PATHS = ("auto", "implicit", "qdq")
_GIB = 1 << 30
_MAX_LEVEL = 5
"""Source: IBuilderConfig.builder_optimization_level."""


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """A build that this machine can do; None stands for TensorRT's default.

    Attributes:
        typing: whether the graph or builder flags set the precision.
        implicit: INT8 through the entropy calibrator instead of Q/DQ.
        targets: compute capabilities to build for ("sm86"); empty for the GPU in this machine.
        capabilities: compute capabilities on which the engine will run.
        device: index of the GPU that builds and runs the comparison.
        gpu: its name; "" without a GPU.
        workspace_bytes: maximum scratch memory of a kernel.
    """

    api: TrtApi
    precision: Precision
    typing: Typing
    implicit: bool
    targets: tuple[str, ...]
    capabilities: tuple[str, ...]
    device: int
    gpu: str
    timing_cache: Path | None
    workspace_bytes: int | None
    opt_level: int | None
    aux_streams: int | None
    tf32: bool

    @property
    def flags_set_precision(self) -> bool:
        """Whether builder flags set the precision of a float32 graph; a Q/DQ graph holds its own."""
        return self.typing is Typing.WEAK and (self.implicit or self.precision is not Precision.INT8)

    def options(self) -> Mapping[str, str]:
        """List the options that differ from TensorRT's defaults, for the sidecar."""
        chosen = {
            "typing": self.typing.value,
            "int8": "implicit" if self.implicit else "",
            "workspace_bytes": self.workspace_bytes,
            "opt_level": self.opt_level,
            "aux_streams": self.aux_streams,
            "tf32": "" if self.tf32 else "off",
        }
        return {name: str(value) for name, value in chosen.items() if value not in {None, ""}}


def plan_engine(options: ExportOptions, precision: Precision) -> EnginePlan:
    """Plan a build before any work is done."""
    _check(options)
    api = find_api(options.backend or "auto")
    runtime = Runtime(api.flavour)
    device = gpu_index(options.device or "auto", "an engine")
    targets, gpu = _targets(options.target or LOCAL, api, device)
    for target in targets or (gpu.capability,):
        known = {card.sm for card in gpus()}
        # TensorRT decides about GPUs that are newer than the table.
        why = refusal(find_gpu(target), runtime, precision, api.version) if target in known else None
        if why is not None:
            raise UsageError(why)
    if precision is Precision.INT8 and options.int8_path == "implicit" and not api.implicit_int8:
        raise UsageError(
            f"--int8-path implicit needs a TensorRT with calibrators (8.6 to 10), got {api.flavour} {api.version}. "
            "Leave it out: Q/DQ from the same table is used instead."
        )
    # The calibrator is the default where it exists, because TensorRT then fuses freely.
    implicit = precision is Precision.INT8 and options.int8_path != "qdq" and api.implicit_int8
    weak = implicit or not api.strong_typing
    if weak and not api.weak_typing:
        raise MissingDependencyError(
            f"TensorRT must have strong typing or precision flags, got {api.flavour} {api.version} with neither. "
            "pip install 'hrnet-deploy[tensorrt]'."
        )
    return EnginePlan(
        api=api,
        precision=precision,
        typing=Typing.WEAK if weak else Typing.STRONG,
        implicit=implicit,
        targets=targets,
        capabilities=targets or (gpu.capability,),
        device=device,
        gpu=gpu.name,
        timing_cache=_timing_cache(options.timing_cache, api, gpu),
        workspace_bytes=None if options.workspace is None else int(options.workspace * _GIB),
        opt_level=options.opt_level,
        aux_streams=options.aux_streams,
        tf32=options.tf32,
    )


@dataclass(frozen=True)
class _Local:
    """This machine's GPU; both fields are empty without one."""

    name: str = ""
    capability: str = ""


def _check(options: ExportOptions) -> None:
    if options.int8_path not in {None, *INT8_PATHS}:
        raise UsageError(f"--int8-path must be one of {', '.join(INT8_PATHS)}, got '{options.int8_path}'. Choose one.")
    if options.workspace is not None and not 0 < options.workspace < 1 << 20:
        raise UsageError(f"--workspace must be a positive number of GiB, got {options.workspace}. Leave it out.")
    if options.opt_level is not None and not 0 <= options.opt_level <= _MAX_LEVEL:
        raise UsageError(f"--opt-level must be 0 to {_MAX_LEVEL}, got {options.opt_level}. Leave it out.")
    if options.aux_streams is not None and options.aux_streams < 0:
        raise UsageError(f"--aux-streams must be 0 or more, got {options.aux_streams}. Leave it out.")
    if options.timing_cache is not None and Path(options.timing_cache).is_dir():
        raise UsageError(f"--timing-cache must be a file, got the folder {options.timing_cache}. Add a file name.")


def _targets(text: str, api: TrtApi, device: int) -> tuple[tuple[str, ...], _Local]:
    """Resolve the GPUs to build for, and this machine's GPU."""
    local = _local_gpu(device)
    if text != LOCAL:
        # A model name ("t4") means its compute capability.
        targets = tuple(dict.fromkeys(find_gpu(part.strip()).sm for part in text.split(",")))
        if not api.compute_targets and targets != (local.capability,):
            raise UsageError(
                f"TensorRT {api.version} builds for this machine's GPU only ({local.name or 'there is none'}), "
                f"got --target {text}. Build there, or: --backend tensorrt-rtx"
            )
        return (targets if api.compute_targets else ()), local
    if not local.capability:
        if api.compute_targets:
            raise UsageError(
                "a machine without an NVIDIA GPU must name the one to build for, got --target local. "
                "Example: --target sm86"
            )
        raise DeviceError(
            f"building with TensorRT {api.version} needs an NVIDIA GPU, got none. Build on the machine that will run "
            "the engine, or: --backend tensorrt-rtx --target sm86"
        )
    return ((local.capability,) if api.compute_targets else ()), local


def _local_gpu(device: int) -> _Local:
    try:
        cuda = provider.open_cuda()
        count = cuda.device_count()
    except (MissingDependencyError, DeviceError):
        return _Local()
    if count and device >= count:
        raise DeviceError(f"--device must be one of the {count} GPUs here, got cuda:{device}. Use cuda:{count - 1}.")
    return _Local(cuda.device_name(device), cuda.capability(device)) if count else _Local()


def _timing_cache(option: str | Path | None, api: TrtApi, gpu: _Local) -> Path | None:
    if not api.timing_cache:
        if option is not None:
            raise UsageError(
                f"--timing-cache needs a TensorRT that keeps timings, got {api.flavour} {api.version}. Leave it out."
            )
        return None
    if option is not None:
        return Path(option)
    name = re.sub(r"[^\w.-]+", "_", f"{api.flavour}-{api.version}-{gpu.name}-{gpu.capability}")
    return cache_folder("timing") / f"{name}.cache"
