"""Opening ONNX Runtime on a GPU: everything that computes runs there, or the session is refused."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata
from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.engines.compiled_cache import compiled_folder, make_room
from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.engines.ort.libraries import preload_libraries
from hrnet_deploy.engines.ort.providers import (
    CPU,
    CUDA,
    TENSORRT,
    CudaTuning,
    cuda_options,
    device_number,
    int8_refusal,
    missing_library,
    tensorrt_options,
)
from hrnet_deploy.engines.ort.session import open_session, reason, session_options
from hrnet_deploy.errors import ArtifactError, DeviceError, HrnetDeployError
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.system.gpu_table import Runtime, find_gpu, objection

LENIENT: Mapping[str, str] = {"session.record_ep_graph_assignment_info": "1"}
"""Session entries: nodes that the GPU does not take may run on the CPU, and it is told which."""
STRICT: Mapping[str, str] = {**LENIENT, "session.disable_cpu_ep_fallback": "1"}
"""Session entries: every node runs on the GPU."""
HEAVY = frozenset({"Conv", "FusedConv", "Gemm", "MatMul"})
"""Kinds of nodes that must not run on the CPU."""
_PACKAGE = Path(onnxruntime.__file__).parent / "capi"
_TITLES = {CUDA: "CUDA", TENSORRT: "TensorRT"}
_NEEDS = {CUDA: "CUDA and cuDNN", TENSORRT: "CUDA, cuDNN and TensorRT 10"}


@dataclass(frozen=True)
class GpuSession:
    """A session on a GPU.

    Attributes:
        session: onnxruntime.InferenceSession.
        number: index of the GPU.
        graphs: whether it may capture CUDA graphs.
        open_sizes: whether height or width may vary from run to run.
    """

    session: Any
    number: int
    graphs: bool
    open_sizes: bool


def open_on_gpu(
    model: Path | bytes,
    name: str,
    *,
    device: str,
    provider: str,
    tuning: CudaTuning,
    threads: int | None,
    in_order: bool = False,
) -> GpuSession:
    """Open a graph on a GPU; call it in the thread that will run the session.

    Args:
        model: an .onnx file, or the bytes of one.
        name: of the artefact, for errors.
        device: "cuda" or "cuda:N".
        provider: CUDA, or TENSORRT with CUDA for what TensorRT leaves over.
        tuning: of the CUDA provider.
        threads: CPU threads for what little runs there.
        in_order: run the nodes as listed.

    Returns:
        The session.

    Raises:
        DeviceError: the provider is not built in, does not load, leaves convolutions to the CPU or has no INT8.
        ArtifactError: ONNX Runtime cannot read the graph.
        UsageError: an unknown device.
    """
    number = device_number(device)
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"device '{device}' needs ONNX Runtime with {_TITLES[provider]}, got a build for "
            f"{onnxruntime.get_device()}. pip uninstall onnxruntime; pip install 'hrnet-deploy[gpu]', or use "
            "device='cpu'."
        )
    header = read_header(model)
    card = graph_card(header)
    precision = card.precision if card is not None else Precision.FP16 if header.half else None
    if provider == CUDA and (refused := int8_refusal(precision, quantised=header.quantised)):
        raise DeviceError(refused)
    preload_libraries()
    wanted = provider == CUDA and tuning.cuda_graph is not False

    def attempt(entries: Mapping[str, str], *, graph: bool) -> Any:
        providers: list[Any] = [
            (
                CUDA,
                cuda_options(
                    tuning,
                    device=number,
                    precision=precision,
                    open_sizes=header.open_sizes,
                    graph=graph,
                ),
            )
        ]
        if provider == TENSORRT:
            cache = compiled_folder("onnxruntime-trt", model, onnxruntime.__version__)
            if cache is not None:
                make_room(cache)  # TensorRT writes into it later, when it builds
            providers.insert(0, (TENSORRT, tensorrt_options(card, device=number, cache=cache)))
        options = session_options(threads=threads, in_order=in_order, quiet=True, entries=entries)
        return open_session(model, name, options, providers)

    session, graphs = None, False
    # Shape arithmetic of open sizes belongs on the CPU. It does not forbid a capture, for a graph is replayed for the
    # shape alone that it was captured at; ONNX Runtime itself refuses one where anything is copied to the CPU and back.
    for entries, graph in ((STRICT, wanted), *([(LENIENT, True)] if wanted else []), (LENIENT, False)):
        try:
            session, graphs = attempt(entries, graph=graph), graph
            break
        except ArtifactError as error:
            failure = error
    if session is None:
        if missing := missing_library(provider, _PACKAGE):
            raise _not_loaded(device, provider, missing, "no session") from failure
        raise failure
    check_placement(session, device, provider)
    return GpuSession(session, number, graphs, header.open_sizes)


def check_placement(session: Any, device: str, provider: str) -> None:
    """Refuse a session that would compute elsewhere.

    Args:
        session: onnxruntime.InferenceSession.
        device: as asked for, for the error.
        provider: what must come first.

    Raises:
        DeviceError: another provider comes first, or convolutions fell to the CPU.
    """
    active = session.get_providers()[0]
    if active != provider:
        raise _not_loaded(device, provider, missing_library(provider, _PACKAGE), active)
    if stray := nodes_on(session, CPU) & HEAVY:
        raise DeviceError(
            f"device '{device}' must run every convolution, got {', '.join(sorted(stray))} on the CPU. "
            "Export the artefact again, or use device='cpu'."
        )


def nodes_on(session: Any, provider: str) -> frozenset[str]:
    """Kinds of the nodes that a provider was given.

    Args:
        session: opened with `session.record_ep_graph_assignment_info`.
        provider: its name.

    Returns:
        Operator names; empty where this ONNX Runtime (before 1.24) or session does not tell.
    """
    try:
        assigned = session.get_provider_graph_assignment_info()
    except Exception:  # noqa: BLE001 - ONNX Runtime's own types share no base but Exception
        return frozenset()
    return frozenset(node.op_type for part in assigned if part.ep_name == provider for node in part.get_nodes())


def explained(error: Exception, number: int | None) -> str:
    """What a failing run said, and what the table of cards knows of it.

    A build for other cards opens a session all the same and fails when it first computes. The table speaks of PyPI's
    packages, so it is asked only then: builds from elsewhere may well have code for the card.

    Args:
        error: what ONNX Runtime raised.
        number: index of the GPU; None on a CPU.

    Returns:
        One line.
    """
    text = reason(error)
    if number is None or "no kernel image" not in " ".join(str(error).split()):
        return text
    arm = platform.machine().lower() in {"aarch64", "arm64"}
    try:
        gpu = find_gpu(open_cuda("cuda-python").capability(number))
    except HrnetDeployError:
        return f"{text} (this ONNX Runtime has no code for the card, see hrnet-doctor)"
    found = objection(gpu, Runtime.ONNXRUNTIME_CUDA, Precision.FP32, onnxruntime.__version__, arm=arm)
    why = f"{found.reason}; {found.way}" if found else f"this ONNX Runtime has no code for {gpu.sm}, see hrnet-doctor"
    return f"no kernel image for the card: {why}"


def _not_loaded(device: str, provider: str, missing: str, active: str) -> DeviceError:
    detail = f" ({missing})" if missing else ""
    return DeviceError(
        f"device '{device}' must run on the GPU, got {active}: the {_TITLES[provider]} provider did not "
        f"load{detail}. Check nvidia-smi and the {_NEEDS[provider]} libraries, or use device='cpu'."
    )


def graph_card(header: OnnxHeader) -> ModelCard | None:
    """What a graph says of itself.

    Args:
        header: of the graph.

    Returns:
        Its card; None without a valid one.
    """
    if CARD_KEY not in header.metadata:
        return None
    try:
        return card_from_metadata(header.metadata, "graph")
    except (ArtifactError, json.JSONDecodeError):
        return None
