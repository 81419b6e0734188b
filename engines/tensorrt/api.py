"""One face for `tensorrt` and `tensorrt_rtx`: what a version can do is found by looking at it, never by its number."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.artifact.plan_file import CLASSIC, RTX
from hrnet_deploy.errors import MissingDependencyError, UsageError

BACKENDS = ("auto", CLASSIC, RTX)

_MODULES = {CLASSIC: "tensorrt", RTX: "tensorrt_rtx"}
_PIP = {
    CLASSIC: "pip install --extra-index-url https://pypi.nvidia.com 'hrnet-deploy[tensorrt]'",
    RTX: "pip install 'hrnet-deploy[tensorrt-rtx]'",
}


@dataclass(frozen=True)
class TrtApi:
    """An imported TensorRT and what it has.

    Attributes:
        module: the imported `tensorrt` or `tensorrt_rtx`.
        flavour: "tensorrt" or "tensorrt-rtx".
        version: the module's own, such as "10.13.0.35".
    """

    module: Any
    flavour: str
    version: str

    @property
    def label(self) -> str:
        """Flavour and version, for messages."""
        return f"{'TensorRT-RTX' if self.flavour == RTX else 'TensorRT'} {self.version}"

    @property
    def strong_typing(self) -> bool:
        """Precision may come from the graph (9 and later, RTX)."""
        return self._has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")

    @property
    def weak_typing(self) -> bool:
        """Precision may come from builder flags (10 and earlier)."""
        return self._has("BuilderFlag", "FP16")

    @property
    def implicit_int8(self) -> bool:
        """INT8 ranges may come from a calibrator (10 and earlier)."""
        return self._has("IInt8EntropyCalibrator2") and self._has("IBuilderConfig", "int8_calibrator")

    @property
    def explicit_batch(self) -> bool:
        """The flag that 8 requires and 10 ignores is there."""
        return self._has("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")

    @property
    def progress_monitor(self) -> bool:
        """A build can be watched and cancelled (9.1 and later, RTX)."""
        return self._has("IProgressMonitor") and self._has("IBuilderConfig", "progress_monitor")

    @property
    def compute_targets(self) -> tuple[str, ...]:
        """GPUs that can be built for without having them, as "sm86"; empty but for RTX."""
        members = getattr(getattr(self.module, "ComputeCapability", None), "__members__", {})
        names = [name.lower() for name in members if name.startswith("SM")]
        return tuple(sorted(names, key=lambda name: int(name[2:])))

    @property
    def timing_cache(self) -> bool:
        """Kernel timings can be kept. RTX has the calls, but they do nothing (its DeprecationWarning since 1.2)."""
        return self._has("IBuilderConfig", "create_timing_cache") and not self._has("ComputeCapability")

    @property
    def runtime_config(self) -> bool:
        """Contexts can be configured: CUDA graph strategy, runtime cache."""
        return self._has("ICudaEngine", "create_runtime_config")

    @property
    def tensor_io(self) -> bool:
        """Tensors are bound by name (8.5 and later)."""
        return self._has("IExecutionContext", "set_tensor_address")

    def _has(self, *path: str) -> bool:
        found: Any = self.module
        for name in path:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True


def find_api(backend: str = "auto") -> TrtApi:
    """Import TensorRT or TensorRT-RTX.

    Args:
        backend: "tensorrt", "tensorrt-rtx", or "auto" for the first of them that is installed.

    Returns:
        The adapter.

    Raises:
        UsageError: an unknown backend.
        MissingDependencyError: it is not installed, or its libraries do not load.
    """
    if backend not in BACKENDS:
        raise UsageError(f"TensorRT backend must be one of {', '.join(BACKENDS)}, got '{backend}'. Choose one.")
    reasons = []
    for flavour in (CLASSIC, RTX) if backend == "auto" else (backend,):
        try:
            return _load(flavour)
        except ImportError as error:  # noqa: PERF203 - two rounds
            reasons.append((flavour, error))
    asked = " or ".join(flavour for flavour, _ in reasons)
    # What is installed and broken tells more than what is not there.
    flavour, cause = max(reasons, key=lambda reason: not isinstance(reason[1], ModuleNotFoundError))
    raise MissingDependencyError(
        f"engines need the Python package of {asked}, got: {cause}. {_PIP[flavour]}."
    ) from cause


def _load(flavour: str) -> TrtApi:
    name = _MODULES[flavour]
    try:
        module = importlib.import_module(name)
    except (OSError, RuntimeError) as error:
        # The bindings load their libraries by ctypes, which speaks OSError.
        raise ImportError(f"{name} is installed but does not load ({' '.join(str(error).split())})") from error
    # The type stubs alone (tensorrt-stubs) leave an importable but empty package of this name.
    if not hasattr(module, "Builder"):
        raise ModuleNotFoundError(f"no module {name}, only an empty package of that name")
    return TrtApi(module, flavour, str(getattr(module, "__version__", "unknown")))
