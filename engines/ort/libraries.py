"""The libraries of CUDA and cuDNN in Python packages, which are on no search path of the system."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)


@functools.cache
def preload_libraries() -> None:
    """Load the libraries of the nvidia-* packages that onnxruntime-gpu (1.21 and later) needs, once per process."""
    # ONNX Runtime searches beside its own package only, but `pip install --target` and layered images put the nvidia-*
    # packages elsewhere: in other folders of the `nvidia` namespace package.
    import onnxruntime  # not at the top: hrnet-doctor calls this without ONNX Runtime

    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:
        return
    for library in libraries_elsewhere():
        try:
            ctypes.CDLL(str(library))
        except OSError as error:  # noqa: PERF203 - a library that needs it fails with its own message
            _LOG.info("%s does not load: %s", library, error)
    call_unprinted(preload)  # it prints what it does not find


def libraries_elsewhere() -> list[Path]:
    """List required libraries that are not beside ONNX Runtime but in another folder of `nvidia`, in loading order."""
    import onnxruntime

    listed = getattr(onnxruntime, "_get_nvidia_dll_paths", None)
    found = importlib.util.find_spec("nvidia")
    if listed is None or found is None or not getattr(onnxruntime, "cuda_version", ""):
        return []
    own = Path(onnxruntime.__file__).parents[1]
    others = [Path(folder).parent for folder in found.submodule_search_locations or ()]
    files = []
    for parts in listed(sys.platform == "win32"):
        if not own.joinpath(*parts).is_file():
            files += [path for folder in others if (path := folder.joinpath(*parts)).is_file()][:1]
    return files


def call_unprinted(function: Callable[..., Any]) -> Any:
    """Call a copy of a Python function in which `print` does nothing: `sys.stdout` belongs to all threads."""
    if not isinstance(function, types.FunctionType):
        return function()
    silent = {**function.__globals__, "print": lambda *_, **__: None}
    copy = types.FunctionType(function.__code__, silent, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy()
