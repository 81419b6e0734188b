"""Complete match of weights and a network: names, shapes, dtypes, values; and signs of damage in the values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.architecture import Shapes
from hrnet_deploy.models.checkpoints.file_format import few
from hrnet_deploy.models.variants import Variant

_LAYER_LEAVES = frozenset({"weight", "bias", "running_mean", "running_var"})
_TRAINING_HEAD = "auxiliary_head."
"""mmsegmentation's heads that only training uses."""
_TRAINING_WORDS = ("loss", "criterion", "metric")
_NETWORK_PARTS = re.compile(
    r"(conv\d|bn\d|layer1|transition\d|stage\d|incre_modules|downsamp_modules|final_layer|classifier|last_layer)\."
)
_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_BLOCK = 512
"""Numbers checked together: a page of 4 KiB, the smallest loss in a file, contains one whole block."""
_ABSURD = 1e6
"""A flipped bit in an exponent multiplies by 2^16 and more; weights of trained layers stay below a hundred."""


def split_extras(state: Mapping[str, Tensor], network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split tensors into those that may belong to the network and leftovers of training."""
    wanted = network.state_dict().keys()
    beside = {name: tensor for name, tensor in state.items() if name not in wanted and _is_beside(name, tensor)}
    return {name: tensor for name, tensor in state.items() if name not in beside}, beside


def _is_beside(name: str, tensor: Tensor) -> bool:
    if name.startswith(_TRAINING_HEAD) or any(word in name.lower() for word in _TRAINING_WORDS):
        return True
    if name.rpartition(".")[2] in _LAYER_LEAVES:
        return False
    return tensor.numel() <= 1 or not _NETWORK_PARTS.match(name)


def check_names_and_shapes(shapes: Shapes, network: nn.Module, variant: Variant, origin: str) -> None:
    """Require exactly the network's tensors, except batch counters; the error names the first few differences."""
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    differences = {
        "missing": [name for name in wanted if name not in shapes],
        "unexpected": [name for name in shapes if name not in wanted],
        "of another shape": [
            f"{name} {shapes[name]} instead of {shape}"
            for name, shape in wanted.items()
            if shapes.get(name, shape) != shape
        ],
    }
    if any(differences.values()):
        found = "; ".join(f"{what}: {few(names, 3)}" for what, names in differences.items() if names)
        raise CheckpointError(
            f"{origin} must fit {variant.name}, the closest variant, got tensors {found}. "
            "Check that it is complete and an unmodified HRNet."
        )


def check_dtypes(state: Mapping[str, Tensor], origin: str) -> None:
    """Require floating-point weights, else raise CheckpointError; tensors of files are dense already."""
    for name, tensor in state.items():
        if tensor.is_meta:
            raise CheckpointError(
                f"{origin} must hold weights, got '{name}' on the meta device, without numbers. Load the weights first."
            )
        if tensor.dtype not in _FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{origin} must hold float weights, got {kind} for '{name}'. Give weights that are not quantized."
            )


def check_values(network: nn.Module, origin: str) -> None:
    """Require finite weights and variances that are not negative, else raise CheckpointError."""
    for name, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{origin} must hold finite weights, got NaN or infinity in '{name}'. Fetch it again."
            )
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise CheckpointError(f"{origin} must have variances >= 0, got negative ones in '{name}'. Fetch it again.")


def signs_of_damage(state: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield one phrase for every tensor with a run of zeros or a weight that no training gives."""
    for name, tensor in state.items():
        if tensor.ndim < 2 or not tensor.numel():
            continue
        magnitudes = tensor.reshape(-1).abs()
        largest = float(magnitudes.max())
        if largest > _ABSURD:
            yield f"a weight of {largest:.1e} in '{name}'"
        blocks = magnitudes[: len(magnitudes) // _BLOCK * _BLOCK].view(-1, _BLOCK).amax(1)
        empty = int((blocks == 0).sum())
        if empty:
            yield f"at least {empty * _BLOCK} zeros in runs in '{name}'"
