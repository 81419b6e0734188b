"""Opening ONNX Runtime on a GPU: everything that computes runs there, or the session is refused."""

from __future__ import annotations

import contextlib
import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from hrnet_deploy.artifact import CARD_KEY, card_from_metadata
from hrnet_deploy.engines.ort_cache import _make_room as make_room
from hrnet_deploy.engines.ort_cache import compiled_folder
from hrnet_deploy.engines.ort_header import OnnxHeader, read_header
from hrnet_deploy.engines.ort_providers import (
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
from hrnet_deploy.engines.ort_session import open_session, session_options
from hrnet_deploy.errors import ArtifactError, DeviceError
from hrnet_deploy.spec import ModelCard

_LENIENT = {"session.record_ep_graph_assignment_info": "1"}
_STRICT = _LENIENT | {"session.disable_cpu_ep_fallback": "1"}
_HEAVY = frozenset({"Conv", "FusedConv", "Gemm", "MatMul"})
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
    """

    session: Any
    number: int
    graphs: bool


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
    """Open a graph on a GPU.

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
    card = _card(header)
    precision = card.precision if card is not None else None
    if provider == CUDA and (refused := int8_refusal(precision, quantised=header.quantised)):
        raise DeviceError(refused)
    _preload()
    graphs = provider == CUDA and (tuning.cuda_graph if tuning.cuda_graph is not None else not header.open_sizes)

    def attempt(entries: dict[str, str], *, graph: bool) -> Any:
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

    try:
        session = attempt(_STRICT, graph=graphs)
    except ArtifactError:
        # Shape arithmetic of open sizes belongs on the CPU and forbids a capture; convolutions do not belong there.
        graphs = False
        try:
            session = attempt(_LENIENT, graph=False)
        except ArtifactError as error:
            if missing := missing_library(provider, _PACKAGE):
                raise _not_loaded(device, provider, missing, "no session") from error
            raise
    check_placement(session, device, provider)
    return GpuSession(session, number, graphs)


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
    if stray := nodes_on(session, CPU) & _HEAVY:
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


def _not_loaded(device: str, provider: str, missing: str, active: str) -> DeviceError:
    detail = f" ({missing})" if missing else ""
    return DeviceError(
        f"device '{device}' must run on the GPU, got {active}: the {_TITLES[provider]} provider did not "
        f"load{detail}. Check nvidia-smi and the {_NEEDS[provider]} libraries, or use device='cpu'."
    )


def _card(header: OnnxHeader) -> ModelCard | None:
    if CARD_KEY not in header.metadata:
        return None
    try:
        return card_from_metadata(header.metadata, "graph")
    except (ArtifactError, json.JSONDecodeError):
        return None


@functools.cache
def _preload() -> None:
    """Load CUDA's and cuDNN's libraries from the nvidia-* packages, where ONNX Runtime (1.21) knows how."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            preload()
