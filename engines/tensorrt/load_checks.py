"""The choices before an engine is loaded: the GPU, the TensorRT and the model card."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata, card_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar
from hrnet_deploy.artifact.plan_file import PlanFile, card_from_ultralytics
from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.engines.ort.providers import device_number
from hrnet_deploy.engines.tensorrt.io_signature import IoSignature
from hrnet_deploy.errors import ArtifactError, DeviceError
from hrnet_deploy.spec import ModelCard, ShapeRange

_LOG = logging.getLogger(__name__)


def gpu_index(device: str, name: str) -> int:
    """Return the index of the GPU that "cuda", "cuda:N" or "auto" names, which need not exist.

    Raises:
        DeviceError: "cpu", which runs no engine; `name` is the artifact's.
        UsageError: any other text.
    """
    if device == "cpu":
        raise DeviceError(
            f"device 'cpu' cannot run {name}: TensorRT engines run on NVIDIA GPUs only, got no GPU. "
            "Use device='cuda', or the .onnx file."
        )
    return 0 if device == "auto" else device_number(device, "cuda, cuda:N or auto for an engine")


def check_gpu(index: int, device: str, name: str, cuda: Cuda) -> None:
    """Raise a DeviceError where there is no driver or no such GPU; `device` is as requested, `name` the artifact's."""
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
    low, best, high = signature.profiles[0][signature.inputs[0].name]
    if not plan.metadata or len(best) != 4:
        return None
    inputs, outputs = signature.specs(None)
    sizes = [(shape[0], shape[2], shape[3]) for shape in (low, best, high)]
    return card_from_ultralytics(plan.metadata, inputs=inputs, outputs=outputs, shapes=ShapeRange(*sizes))
