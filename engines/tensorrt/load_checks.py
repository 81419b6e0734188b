"""The choices before an engine is loaded: the GPU, the TensorRT and the model card."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata, card_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar
from hrnet_deploy.artifact.plan_file import PlanFile, card_from_ultralytics
from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.engines.tensorrt.io_signature import IoSignature
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError
from hrnet_deploy.spec import ModelCard, ShapeRange

_LOG = logging.getLogger(__name__)


def gpu_index(device: str, name: str) -> int:
    """Parse a device string.

    Args:
        device: "cuda", "cuda:N" or "auto".
        name: name of the artifact, for the error.

    Returns:
        Index of the GPU, which need not exist.

    Raises:
        DeviceError: "cpu", which runs no engine.
        UsageError: any other text.
    """
    if device == "auto":
        return 0
    kind, _, index = device.partition(":")
    if device == "cpu":
        raise DeviceError(
            f"device 'cpu' cannot run {name}: TensorRT engines run on NVIDIA GPUs only, got no GPU. "
            "Use device='cuda', or the .onnx file."
        )
    # isdecimal() is also true for digits of other scripts, and "cuda:" names no GPU.
    if kind != "cuda" or (device != "cuda" and not (index.isascii() and index.isdecimal())):
        raise UsageError(f"device must be cuda, cuda:N or auto for an engine, got '{device}'. Choose one.")
    return int(index or 0)


def check_gpu(index: int, device: str, name: str, cuda: Cuda) -> None:
    """Refuse a GPU that is not there.

    Args:
        index: index of the GPU.
        device: as requested, for the error.
        name: name of the artifact, for the error.
        cuda: the provider.

    Raises:
        DeviceError: there is no driver, no GPU, or none of that number.
    """
    count = cuda.device_count()
    if not count:
        raise DeviceError(
            f"device '{device}' must have an NVIDIA GPU for {name}, got none: no driver, or no GPU it shows. "
            "Check nvidia-smi and CUDA_VISIBLE_DEVICES, or run the .onnx file on device='cpu'."
        )
    if index >= count:
        raise DeviceError(
            f"device '{device}' must be one of the {count} there are, got none of that number. Use cuda:{count - 1}."
        )


def choose_flavour(backend: str, plan: PlanFile, sidecar: EngineSidecar | None) -> str:
    """Return the requested TensorRT, else the one that built the file, else "auto"."""
    return backend if backend != "auto" else sidecar.flavour if sidecar else plan.flavour or "auto"


def find_card(
    plan: PlanFile, sidecar: EngineSidecar | None, network_name: str, signature: IoSignature
) -> tuple[ModelCard | None, Mapping[str, str]]:
    """Return the model card of the sidecar, the network name or Ultralytics' header, and all metadata."""
    card = sidecar.card if sidecar else _named_card(network_name) or _foreign_card(plan, signature)
    return card, {**plan.metadata, **(card_metadata(card) if card else {})}


def _named_card(network_name: str) -> ModelCard | None:
    if not network_name.startswith("{"):
        return None
    try:
        return card_from_metadata({CARD_KEY: network_name}, "network name")
    except ArtifactError as error:
        _LOG.info("%s", error)
        return None


def _foreign_card(plan: PlanFile, signature: IoSignature) -> ModelCard | None:
    low, best, high = signature.profiles[0].ranges[signature.inputs[0].name]
    if not plan.metadata or len(best) != 4:
        return None
    inputs, outputs = signature.specs(None)
    sizes = [(shape[0], shape[2], shape[3]) for shape in (low, best, high)]
    return card_from_ultralytics(plan.metadata, inputs=inputs, outputs=outputs, shapes=ShapeRange(*sizes))
