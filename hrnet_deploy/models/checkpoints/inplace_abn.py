"""Batch norms of InPlaceABN, which scale by the magnitude of their weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_EPSILON = 1e-5


def norm_scales(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the scales of batch norms.

    Args:
        state: weights by official names.

    Returns:
        Those of one dimension that have running statistics beside them.
    """
    return [
        name
        for name in state
        if name.endswith(".weight") and f"{name.removesuffix('weight')}running_var" in state and state[name].ndim == 1
    ]


def with_magnitudes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give plain batch norms the scales that InPlaceABN computes.

    Args:
        state: weights by official names.

    Returns:
        The same weights, with |weight| + 1e-5 for every scale.

    Source: mapillary/inplace_abn v0.1, inplace_abn_cuda.cu, as in HRNet-Semantic-Segmentation's master branch.
    """
    return {**state, **{name: state[name].float().abs() + _EPSILON for name in norm_scales(state)}}


def negative_scales(state: Mapping[str, Tensor]) -> int:
    """How many channels two kinds of batch norm disagree on.

    Args:
        state: weights by official names.

    Returns:
        The number of scales below zero.
    """
    return sum(int((state[name] < 0).sum()) for name in norm_scales(state))
