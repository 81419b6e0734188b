"""Options of ONNX Runtime's CUDA and TensorRT providers, and the graphs that they refuse."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import ModelCard, Precision

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


@dataclass(frozen=True, kw_only=True)
class CudaTuning:
    """Options of the CUDA provider; the defaults keep the artifact's measured parity.

    Attributes:
        tf32: round the factors of FP32 convolutions to 10 bits of mantissa for the tensor cores of Ampere and later.
            Off by default: the card's parity was measured without it. FP16 graphs always use tensor cores.
        prefer_nhwc: channels last, which FP16 tensor cores read without a transpose; None for FP16 graphs only.
        fuse_conv_bias: compute a convolution, its bias and its activation in one kernel; None where channels are last.
            With channels first ONNX Runtime clears memory on the legacy stream, which ends a CUDA graph's capture.
        cuda_graph: replay each shape as one CUDA graph; None where all but shape arithmetic runs on the GPU.
        pinned: copy from and to the host through pinned memory; None where cuda-bindings is installed.
        memory_limit_bytes: limit of the provider's arena; None for no limit.
    """

    tf32: bool = False
    prefer_nhwc: bool | None = None
    fuse_conv_bias: bool | None = None
    cuda_graph: bool | None = None
    pinned: bool | None = None
    memory_limit_bytes: int | None = None


def device_number(device: str, known: str = "cpu, cuda, cuda:N or auto") -> int:
    """Return N of "cuda:N", 0 of "cuda", or raise a UsageError with the `known` devices."""
    kind, _, index = device.partition(":")
    # isdecimal() is also true for digits of other scripts, and "cuda:" names no GPU.
    if kind != "cuda" or not ((index.isascii() and index.isdecimal()) or device == "cuda"):
        raise UsageError(f"device must be {known}, got '{device}'. Choose one.")
    return int(index or 0)


def cuda_options(
    tuning: CudaTuning, *, device: int, precision: Precision | None, open_sizes: bool, graph: bool
) -> dict[str, str]:
    """Return the CUDA provider's options by name; `graph` captures CUDA graphs, `precision` is None where unknown.

    Source: onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html; names read in the 1.31.1 library;
    onnxruntime/core/providers/cuda/nn/conv.cc, CreateCudnnFeExecutionPlan (use_tf32) and ComputeInternal (bias).
    """
    half = precision is Precision.FP16
    nhwc = half if tuning.prefer_nhwc is None else tuning.prefer_nhwc
    if tuning.fuse_conv_bias and not nhwc:
        raise UsageError("fuse_conv_bias must have channels last, got a graph with channels first. Add prefer_nhwc.")
    fused = nhwc if tuning.fuse_conv_bias is None else tuning.fuse_conv_bias
    options = {
        "device_id": str(device),
        # With cuDNN 9 "exhaustive" only selects the slower of two heuristics; older builds try every algorithm, which
        # costs seconds at each new shape.
        "cudnn_conv_algo_search": "HEURISTIC" if open_sizes else "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        "arena_extend_strategy": "kSameAsRequested",
        # Without it ONNX Runtime excludes all tensor-core kernels, also those of FP16 convolutions.
        "use_tf32": str(int(tuning.tf32 or half)),
        "prefer_nhwc": str(int(nhwc)),
        "fuse_conv_bias": str(int(fused)),
        "enable_cuda_graph": str(int(graph)),
    }
    if tuning.memory_limit_bytes is not None:
        options["gpu_mem_limit"] = str(tuning.memory_limit_bytes)
    return options


def tensorrt_options(card: ModelCard | None, *, device: int, cache: Path | None) -> dict[str, str]:
    """Return the options of the TensorRT provider; without a card, the first runs set the range of shapes.

    Source: onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html; names read in the 1.31.1 library.
    """
    # All precision flags stay off: the provider then builds a strongly typed network with the graph's precision.
    options = {"device_id": str(device)} | profile_shapes(card, prefix="trt_profile")
    if cache is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return options


def profile_shapes(card: ModelCard | None, *, prefix: str) -> dict[str, str]:
    """Return min, opt and max shape by option; empty for fixed shapes and without a card."""
    options: dict[str, str] = {}
    if card is not None and (card.shapes.dynamic_batch or card.shapes.dynamic_hw):
        for kind in ("min", "opt", "max"):
            batch, height, width = getattr(card.shapes, f"{kind}_nhw")
            dims = (batch, height, width, 3) if card.pixels_in else (batch, 3, height, width)
            options[f"{prefix}_{kind}_shapes"] = f"{card.inputs[0].name}:{'x'.join(map(str, dims))}"
    return options


def int8_refusal(precision: Precision | None, *, quantized: bool) -> str | None:
    """Return why the CUDA provider does not run an INT8 graph; None for other graphs.

    Source: onnxruntime-gpu 1.31.1 has no QLinearConv or ConvInteger for CUDA; microsoft/onnxruntime #12229, #24807
    (INT8 slower than FP32 there).
    """
    if precision is not Precision.INT8 and not quantized:
        return None
    return (
        "ONNX Runtime's CUDA provider must be given FP32 or FP16, got an INT8 graph: it has no INT8 convolutions and "
        "would compute each in FP32 between conversions. Export --precision fp16, or INT8 as an .engine for TensorRT, "
        "or use device='cpu'."
    )


def missing_library(provider: str, folder: Path) -> str:
    """Return the system's reason why a provider's library does not load; "" where it has none."""
    names: Mapping[str, str] = {CUDA: "cuda", TENSORRT: "tensorrt"}
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    library = folder / pattern.format(names[provider])
    if not library.is_file():
        return "its library is not part of this build"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        text = str(error)
        # Loaded alone, it always lacks the symbols of its host.
        return "" if "undefined symbol" in text else text.split(": No such file", maxsplit=1)[0]
    return ""
