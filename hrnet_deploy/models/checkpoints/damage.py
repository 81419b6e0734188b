"""Signs of damage in weights without checksums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

_BLOCK = 512
"""Numbers checked together: a page of 4 KiB, the smallest loss in a file, contains one whole block."""
_ABSURD = 1e6
"""A flipped bit in an exponent multiplies by 2^16 and more; weights of trained layers stay below a hundred."""


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
