"""Contenders on a GPU: ours, and what one would use instead, each from arrays on the GPU to outputs on it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gpu_bench import noise
from numpy.typing import NDArray

from hrnet_deploy import Predictor, export
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.benchmark.timed_model import TimedModel
from hrnet_deploy.engines.ort.cuda import check_placement
from hrnet_deploy.engines.ort.libraries import preload_libraries
from hrnet_deploy.engines.ort.providers import CUDA
from hrnet_deploy.spec import Precision

Call = Callable[[], object]


class LeftOutError(Exception):
    """A contender does not run a column; the message has the reason."""


@dataclass(frozen=True)
class Cell:
    """A column of one model: its graph in a precision, a batch, and the device ("cpu" for a dry run)."""

    model: str
    path: Path
    precision: Precision
    batch: int
    device: str


@contextlib.contextmanager
def ours_onnx(cell: Cell) -> Iterator[Call]:
    """Run the .onnx file on ONNX Runtime."""
    with Predictor(cell.path, device=cell.device, backend="onnxruntime") as predictor:
        yield TimedModel(cell.path, predictor).engine_call(cell.batch)


@contextlib.contextmanager
def ours_engine(cell: Cell) -> Iterator[Call]:
    """Run the same graph compiled by the installed TensorRT."""
    if cell.device == "cpu":
        raise LeftOutError("TensorRT runs on a GPU only")
    path = cell.path.with_suffix(".engine")
    if not path.exists():
        export(str(cell.path), output=path)
    with Predictor(path, device=cell.device) as predictor:
        yield TimedModel(path, predictor).engine_call(cell.batch)


@contextlib.contextmanager
def plain_onnxruntime(cell: Cell) -> Iterator[Call]:
    """Run the .onnx file as ONNX Runtime's documentation shows it: default options, arrays bound on the GPU."""
    import onnxruntime

    provider = "CPUExecutionProvider"
    if cell.device == "cuda":
        preload_libraries()
        provider = CUDA
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what it cannot fold fills pages
    session = onnxruntime.InferenceSession(str(cell.path), options, providers=[provider])
    if cell.device == "cuda":
        check_placement(session, cell.device, provider)
    value = session.get_inputs()[0]
    binding = session.io_binding()
    on_device = onnxruntime.OrtValue.ortvalue_from_numpy(_input(cell), cell.device, 0)
    binding.bind_ortvalue_input(value.name, on_device)
    for output in session.get_outputs():
        binding.bind_output(output.name, cell.device, 0)
    yield lambda: session.run_with_iobinding(binding)


@contextlib.contextmanager
def torch_call(cell: Cell, *, compiled: bool = False) -> Iterator[Call]:
    """Run PyTorch, channels last, with cuDNN's own benchmark; compiled with CUDA graphs, on a CPU to C++ code."""
    import torch

    from hrnet_deploy.models.network import build_network
    from hrnet_deploy.models.variants import find_variant

    if compiled and cell.device == "cpu" and cell.precision is Precision.FP16:
        raise LeftOutError("a dry run compiles once, in FP32")
    if cell.precision is Precision.INT8:
        raise LeftOutError("PyTorch has no INT8 convolutions on a GPU")
    if cell.device == "cuda" and not torch.cuda.is_available():
        raise LeftOutError(f"torch {torch.__version__} has no CUDA here")
    dtype = torch.float16 if cell.precision is Precision.FP16 else torch.float32
    torch.backends.cudnn.benchmark = True
    (logits,) = read_header(cell.path).outputs.values()
    model: Any = build_network(find_variant(cell.model), int(logits[1]))
    model = model.to(cell.device, dtype, memory_format=torch.channels_last)
    x = torch.from_numpy(_input(cell)).to(cell.device, dtype, memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model, mode="reduce-overhead", dynamic=False)

    def call() -> object:
        with torch.inference_mode():
            output = model(x)
        if cell.device == "cuda":
            torch.cuda.synchronize()
        return output

    try:
        yield call
    finally:
        if compiled:
            torch.compiler.reset()


OURS = ("hrnet-deploy .onnx", "hrnet-deploy .engine")
CONTENDERS: dict[str, Callable[[Cell], AbstractContextManager[Call]]] = {
    "hrnet-deploy .onnx": ours_onnx,
    "hrnet-deploy .engine": ours_engine,
    "plain ONNX Runtime": plain_onnxruntime,
    "torch eager": torch_call,
    "torch.compile": functools.partial(torch_call, compiled=True),
}


def _input(cell: Cell) -> NDArray[np.float32]:
    (shape,) = read_header(cell.path).inputs.values()
    return noise(tuple(shape), cell.batch)
