"""Construction of a variant's network."""

from __future__ import annotations

import torch
from torch import nn

from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import CLASSES
from hrnet_deploy.models.heads import ClassificationModel, PooledTrunk, SegmentationModel, WideTrunk
from hrnet_deploy.models.trunk import Trunk
from hrnet_deploy.models.variants import Variant
from hrnet_deploy.spec import Task

HEADLESS = {"trunk": Trunk, "wide": WideTrunk, "pooled": PooledTrunk}
"""Networks without scores, each with more layers than the one before."""


def build_headless(variant: Variant, layers: str, *, device: str = "cpu") -> nn.Module:
    """Build one of `HEADLESS` in evaluation mode; the device is as for `build_network`."""
    with torch.device(device):
        return HEADLESS[layers](variant).eval()


def build_network(variant: Variant, num_classes: int, *, device: str = "cpu") -> nn.Module:
    """Build a network in evaluation mode, with the official parameter names.

    Args:
        variant: the architecture.
        num_classes: 1 to `limits.CLASSES`.
        device: device of its float32 parameters, which get PyTorch's random initialization (seed with
            `torch.manual_seed`). "meta" allocates nothing: for counting, and for weights that a file provides.

    Returns:
        A module that maps float (N, 3, H, W) to logits, float (N, classes) or, for segmentation,
        (N, classes, ceil(H / 4), ceil(W / 4)).
    """
    if not 1 <= num_classes <= CLASSES:
        raise UsageError(f"number of classes must be 1 to {CLASSES}, got {num_classes}. Correct --num-classes.")
    with torch.device(device):
        model = ClassificationModel if variant.task is Task.CLASSIFICATION else SegmentationModel
        return model(variant, num_classes).eval()
