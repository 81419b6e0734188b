"""One adapter of `tensorrt` and `tensorrt_rtx`: the module shows what it can do, not its version number."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.artifact.plan_file import CLASSIC, RTX
from hrnet_deploy.errors import MissingDependencyError, UsageError, one_line

_BACKENDS = ("auto", CLASSIC, RTX)

_MODULES = {CLASSIC: "tensorrt", RTX: "tensorrt_rtx"}
_PIP = {
    CLASSIC: "pip install --extra-index-url https://pypi.nvidia.com 'hrnet-deploy[tensorrt]'",
    RTX: "pip install 'hrnet-deploy[tensorrt-rtx]'",
}


@dataclass(frozen=True)
class TrtApi:
    """An imported TensorRT and its features.

    Attributes:
        flavour: "tensorrt" or "tensorrt-rtx".
    """

    module: Any
    flavour: str
    version: str

    @property
    def label(self) -> str:
        """Product and version, for messages."""
        return f"{'TensorRT-RTX' if self.flavour == RTX else 'TensorRT'} {self.version}"

    @property
    def strong_typing(self) -> bool:
        """Whether precision may come from the graph (9 and later, RTX)."""
        return self._has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")

    @property
    def weak_typing(self) -> bool:
        """Whether precision may come from builder flags (10 and earlier)."""
        return self._has("BuilderFlag", "FP16")

    @property
    def implicit_int8(self) -> bool:
        """Whether INT8 ranges may come from a calibrator (10 and earlier)."""
        return self._has("IInt8EntropyCalibrator2") and self._has("IBuilderConfig", "int8_calibrator")

    @property
    def explicit_batch(self) -> bool:
        """Whether there is the flag that 8 requires and 10 ignores."""
        return self._has("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")

    @property
    def progress_monitor(self) -> bool:
        """Whether a build reports progress and can be cancelled (9.1 and later, RTX)."""
        return self._has("IProgressMonitor") and self._has("IBuilderConfig", "progress_monitor")

    @property
    def compute_targets(self) -> tuple[str, ...]:
        """GPUs such as "sm86" that RTX builds for without having them; empty for classic TensorRT."""
        members = getattr(getattr(self.module, "ComputeCapability", None), "__members__", {})
        names = [name.lower() for name in members if name.startswith("SM")]
        return tuple(sorted(names, key=lambda name: int(name[2:])))

    @property
    def timing_cache(self) -> bool:
        """Whether kernel timings can be kept; RTX has the calls without effect (its DeprecationWarning since 1.2)."""
        return self._has("IBuilderConfig", "create_timing_cache") and not self._has("ComputeCapability")

    def _has(self, *path: str) -> bool:
        found: Any = self.module
        for name in path:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True


def find_api(backend: str = "auto") -> TrtApi:
    """Import "tensorrt", "tensorrt-rtx", or for "auto" the first of them that is installed.

    Raises:
        UsageError: an unknown backend.
        MissingDependencyError: it is not installed, or its libraries do not load.
    """
    if backend not in _BACKENDS:
        raise UsageError(f"TensorRT backend must be one of {', '.join(_BACKENDS)}, got '{backend}'. Choose one.")
    reasons = []
    for flavour in (CLASSIC, RTX) if backend == "auto" else (backend,):
        try:
            return _load(flavour)
        except ImportError as error:  # noqa: PERF203 - two rounds
            reasons.append((flavour, error))
    requested = " or ".join(flavour for flavour, _ in reasons)
    # An installed but broken package explains more than a missing one.
    flavour, cause = max(reasons, key=lambda reason: not isinstance(reason[1], ModuleNotFoundError))
    raise MissingDependencyError(
        f"engines need the Python package of {requested}, got: {cause}. {_PIP[flavour]}."
    ) from cause


def _load(flavour: str) -> TrtApi:
    name = _MODULES[flavour]
    try:
        module = importlib.import_module(name)
    except (OSError, RuntimeError) as error:
        # The bindings load their libraries by ctypes, which raises OSError.
        raise ImportError(f"{name} is installed but does not load ({one_line(error)})") from error
    # With the type stubs alone (tensorrt-stubs), the package of this name is importable but empty.
    if not hasattr(module, "Builder"):
        raise ModuleNotFoundError(f"no module {name}, only an empty package of that name")
    return TrtApi(module, flavour, str(getattr(module, "__version__", "unknown")))
