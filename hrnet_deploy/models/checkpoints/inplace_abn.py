"""Batch norms of InPlaceABN, which scale by the magnitude of their weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_EPSILON = 1e-5


def norm_scales(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the scales of batch norms: 1-D weights with running statistics beside them."""
    return [
        name
        for name in state
        if name.endswith(".weight") and f"{name.removesuffix('weight')}running_var" in state and state[name].ndim == 1
    ]


def with_magnitudes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace every batch-norm scale by |scale| + 1e-5, as InPlaceABN computes it.

    Source: mapillary/inplace_abn v0.1, inplace_abn_cuda.cu, as in HRNet-Semantic-Segmentation's master branch.
    """
    return {**state, **{name: state[name].float().abs() + _EPSILON for name in norm_scales(state)}}


def negative_scales(state: Mapping[str, Tensor]) -> int:
    """Count the channels where InPlaceABN and a plain batch norm differ."""
    return sum(int((state[name] < 0).sum()) for name in norm_scales(state))
