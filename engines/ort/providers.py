"""What ONNX Runtime's CUDA and TensorRT providers are told, and what they are not asked for."""

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
    """How the CUDA provider computes; the defaults keep the artefact's measured parity.

    Attributes:
        tf32: round the factors of FP32 convolutions to 10 bits of mantissa for the tensor cores of Ampere and later.
            Off: the parity figure in the card was measured without it, and whoever wants speed has FP16. FP16
            graphs always use tensor cores.
        prefer_nhwc: channels last, which FP16 tensor cores read without a transpose; None for FP16 graphs only.
        fuse_conv_bias: compute a convolution, its bias and its activation in one kernel; None where channels are last.
            With channels first ONNX Runtime clears memory on the legacy stream, which ends a CUDA graph's capture.
        cuda_graph: replay each shape as one CUDA graph; None where everything but shape arithmetic runs on the GPU.
        pinned: copy from and to the host through pinned memory; None where cuda-bindings is installed.
        memory_limit_bytes: most that the provider's arena may take; None for no limit.

    Raises:
        UsageError: fuse_conv_bias with prefer_nhwc=False.
    """

    tf32: bool = False
    prefer_nhwc: bool | None = None
    fuse_conv_bias: bool | None = None
    cuda_graph: bool | None = None
    pinned: bool | None = None
    memory_limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.fuse_conv_bias and self.prefer_nhwc is False:
            raise UsageError("fuse_conv_bias must have channels last, got prefer_nhwc=False. Leave one of them out.")


def device_number(device: str) -> int:
    """Index of the GPU that is asked for.

    Args:
        device: "cuda" or "cuda:N".

    Returns:
        N, or 0.

    Raises:
        UsageError: anything else.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda" or not ((index.isascii() and index.isdecimal()) or device == "cuda"):
        raise UsageError(f"device must be cpu, cuda, cuda:N or auto, got '{device}'. Choose one.")
    return int(index or 0)


def cuda_options(
    tuning: CudaTuning, *, device: int, precision: Precision | None, open_sizes: bool, graph: bool
) -> dict[str, str]:
    """Options of the CUDA provider.

    Args:
        tuning: what the user chose.
        device: index of the GPU.
        precision: of the graph; None where nothing tells.
        open_sizes: whether height or width may vary from run to run.
        graph: capture CUDA graphs.

    Returns:
        Option by name, all as text.

    Raises:
        UsageError: fuse_conv_bias for a graph that runs with channels first.

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
        # Since cuDNN 9 "exhaustive" only takes the slower of two heuristics; older builds try every algorithm, which
        # costs seconds at each new shape.
        "cudnn_conv_algo_search": "HEURISTIC" if open_sizes else "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        "arena_extend_strategy": "kSameAsRequested",
        # Without it ONNX Runtime rules out every tensor-core kernel, of FP16 convolutions as well.
        "use_tf32": str(int(tuning.tf32 or half)),
        "prefer_nhwc": str(int(nhwc)),
        "fuse_conv_bias": str(int(fused)),
        "enable_cuda_graph": str(int(graph)),
    }
    if tuning.memory_limit_bytes is not None:
        options["gpu_mem_limit"] = str(tuning.memory_limit_bytes)
    return options


def tensorrt_options(card: ModelCard | None, *, device: int, cache: Path | None) -> dict[str, str]:
    """Options of the TensorRT provider.

    Its precision flags stay off, for INT8 too: precision is in the graph, and without any of them the provider builds a
    strongly typed network, which obeys it.

    Args:
        card: gives the range of shapes to build for; None leaves that to the first runs.
        device: index of the GPU.
        cache: folder for built engines and timings, of this graph alone; None keeps none.

    Returns:
        Option by name, all as text.

    Source: onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html; names read in the 1.31.1 library.
    """
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
    """The range of shapes that a TensorRT provider compiles for.

    Args:
        card: of the graph; None where there is none.
        prefix: of the options' names.

    Returns:
        Smallest, usual and largest shape by option; empty for fixed shapes and without a card.
    """
    options: dict[str, str] = {}
    if card is not None and (card.shapes.dynamic_batch or card.shapes.dynamic_hw):
        for kind in ("min", "opt", "max"):
            batch, height, width = getattr(card.shapes, f"{kind}_nhw")
            dims = (batch, height, width, 3) if card.pixels_in else (batch, 3, height, width)
            options[f"{prefix}_{kind}_shapes"] = f"{card.inputs[0].name}:{'x'.join(map(str, dims))}"
    return options


def int8_refusal(precision: Precision | None, *, quantised: bool) -> str | None:
    """Why a graph is not run on the CUDA provider.

    Args:
        precision: from the card; None without one.
        quantised: whether the graph holds Q/DQ or integer nodes.

    Returns:
        One line, or None where nothing speaks against it.

    Source: onnxruntime-gpu 1.31.1 has no QLinearConv or ConvInteger for CUDA; microsoft/onnxruntime #12229, #24807
    (INT8 slower than FP32 there).
    """
    if precision is not Precision.INT8 and not quantised:
        return None
    return (
        "ONNX Runtime's CUDA provider must be given FP32 or FP16, got an INT8 graph: it has no INT8 convolutions and "
        "would compute each in FP32 between conversions. Export --precision fp16, or INT8 as an .engine for TensorRT, "
        "or use device='cpu'."
    )


def missing_library(provider: str, folder: Path) -> str:
    """Why a provider's library does not load.

    Args:
        provider: CUDA or TENSORRT.
        folder: where ONNX Runtime keeps its libraries.

    Returns:
        The system's own words, such as "libcublasLt.so.13: cannot open shared object file"; "" where it has none.
    """
    names: Mapping[str, str] = {CUDA: "cuda", TENSORRT: "tensorrt"}
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    library = folder / pattern.format(names[provider])
    if not library.is_file():
        return "its library is not part of this build"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        text = str(error)
        # Loaded alone it lacks what its host provides; that is not what was missing.
        return "" if "undefined symbol" in text else text.split(": No such file", maxsplit=1)[0]
    return ""
