"""Triton releases by the TensorRT in their containers: an engine runs in the version that built it only."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib.resources import files

from hrnet_deploy.artifact.engine_sidecar import EngineSidecar
from hrnet_deploy.artifact.plan_file import RTX, same_version
from hrnet_deploy.errors import UsageError

SUPPORT_MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"
"""NVIDIA's table of all containers."""


@dataclass(frozen=True)
class TritonRelease:
    """A row of the table of releases, which holds only those with a source.

    Attributes:
        triton: tag of the container tritonserver:NN.NN-py3.
        tensorrt: version of TensorRT in it.
        cuda: version of CUDA in it.
        min_capability: lowest compute capability that it serves, such as "7.5".
        onnxruntime: version of ONNX Runtime in it; "" where unknown. Source of all: docs/introduction/compatibility.md
            of triton-inference-server/server.
        source: addresses of the other values, with blanks between them.
    """

    triton: str
    tensorrt: str
    cuda: str
    min_capability: str
    onnxruntime: str
    source: str

    def serves(self, capability: str) -> bool:
        """Return whether it serves a compute capability such as "sm75"."""
        major, minor = self.min_capability.split(".")
        return int(capability.removeprefix("sm")) >= 10 * int(major) + int(minor)


@functools.cache
def triton_releases() -> tuple[TritonRelease, ...]:
    """Return all rows of the table, the oldest release first."""
    text = files("hrnet_deploy.triton").joinpath("releases.csv").read_text(encoding="utf-8")
    return tuple(TritonRelease(**row) for row in csv.DictReader(text.splitlines()))


def releases_of(sidecar: EngineSidecar, name: str) -> tuple[TritonRelease, ...]:
    """Find the releases that load an engine.

    Args:
        sidecar: the engine's.
        name: its file name, for the error.

    Returns:
        Releases with its TensorRT; none where the table has none, which is no proof that there is none.

    Raises:
        UsageError: an engine for TensorRT-RTX, or for GPUs that no release with its TensorRT serves.
    """
    if sidecar.flavour == RTX:
        raise UsageError(
            f"an engine for Triton must be built by TensorRT, got {name} by TensorRT-RTX {sidecar.version}, which no "
            "backend loads. Build it again: hrnet-export FILE.onnx --backend tensorrt -o NAME.engine"
        )
    known = [row for row in triton_releases() if same_version(row.tensorrt, sidecar.version)]
    serving = tuple(row for row in known if all(map(row.serves, sidecar.capabilities)))
    if known and not serving:
        least = ", ".join(f"{row.triton} from {row.min_capability} on" for row in known)
        raise UsageError(
            f"a Triton release with TensorRT {sidecar.version} must serve {', '.join(sidecar.capabilities)}, the GPU "
            f"of {name}, got {least}. Build it with an older TensorRT: {SUPPORT_MATRIX}"
        )
    return serving
