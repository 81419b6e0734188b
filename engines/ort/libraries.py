"""CUDA's and cuDNN's libraries for ONNX Runtime: where Python packages keep them, on no search path of the system."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import sys
from pathlib import Path

from hrnet_deploy.engines.quiet import call_unprinted

_LOG = logging.getLogger(__name__)


@functools.cache
def preload_libraries() -> None:
    """Load what onnxruntime-gpu (1.21) needs of the nvidia-* packages, once a process; nothing where there is none.

    ONNX Runtime looks beside its own package only. `pip install --target` and layered images put the nvidia-* packages
    elsewhere, so what is missing there is taken from the other folders of the `nvidia` namespace package.
    """
    import onnxruntime  # not at the top: the doctor asks for this where there may be none

    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is None:
        return
    for library in elsewhere():
        try:
            ctypes.CDLL(str(library))
        except OSError as error:  # noqa: PERF203 - what needs it says so when it loads
            _LOG.info("%s does not load: %s", library, error)
    call_unprinted(preload)  # it prints what it does not find


def elsewhere() -> list[Path]:
    """Libraries that ONNX Runtime wants, does not have beside itself, and another folder of `nvidia` holds.

    Returns:
        Files, in the order in which they must be loaded.
    """
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
