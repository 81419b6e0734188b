"""The choice of the CUDA provider."""

from __future__ import annotations

import sys
from contextlib import suppress

from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.errors import MissingDependencyError, UsageError

_PROVIDERS = ("auto", "cuda-python", "pycuda")


def open_cuda(provider: str = "auto") -> Cuda:
    """Open a CUDA provider; a driver and a GPU are not needed yet.

    Args:
        provider: "cuda-python", "pycuda", or "auto": PyCUDA where one of its contexts is current in this thread, so
            that its arrays and streams are usable; else cuda-python; else PyCUDA.

    Returns:
        The provider.

    Raises:
        UsageError: an unknown provider.
        MissingDependencyError: its package is not installed.
        DeviceError: PyCUDA found no driver.
    """
    if provider not in _PROVIDERS:
        raise UsageError(f"CUDA provider must be one of {', '.join(_PROVIDERS)}, got '{provider}'. Choose one.")
    if provider == "pycuda" or (provider == "auto" and _pycuda_context_is_current()):
        return _pycuda()
    try:
        return _cuda_python()
    except MissingDependencyError:
        if provider == "auto":
            with suppress(MissingDependencyError):
                return _pycuda()
        raise


def _cuda_python() -> Cuda:
    try:
        from hrnet_deploy.engines.cuda.cuda_python import CudaPython

        return CudaPython()
    except ImportError as error:
        raise MissingDependencyError(
            f"running on a GPU needs CUDA's Python bindings, got: {error}. pip install 'hrnet-deploy[cuda]'"
        ) from error


def _pycuda() -> Cuda:
    try:
        from hrnet_deploy.engines.cuda.pycuda import PyCuda

        return PyCuda()
    except ImportError as error:
        raise MissingDependencyError(
            f"CUDA through PyCUDA needs the package, got: {error}. "
            "pip install 'hrnet-deploy[pycuda]' (it compiles against the CUDA toolkit), or use cuda-python."
        ) from error


def _pycuda_context_is_current() -> bool:
    """Return whether the caller already works with PyCUDA, without importing it."""
    driver = sys.modules.get("pycuda.driver")
    # None also for an imported driver that was never initialized.
    return driver is not None and driver.Context.get_current() is not None
