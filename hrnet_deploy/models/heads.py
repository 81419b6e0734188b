"""The two models, the trunk with a classification or a segmentation head, and a classifier's parts."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.blocks import Bottleneck, conv_bn
from hrnet_deploy.models.trunk import Trunk, resize_to
from hrnet_deploy.models.variants import BOTTLENECK_EXPANSION, Variant

CLASSIFICATION_STRIDE = 32
"""Classification inputs must be multiples of this: only there does nearest upsampling match the branch sizes."""

LOGITS = "logits"
"""Name of the block that holds the scores."""

_HEAD_PLANES = (32, 64, 128, 256)
_HEAD_CHANNELS = tuple(BOTTLENECK_EXPANSION * planes for planes in _HEAD_PLANES)
_FEATURES = 2048


class WideTrunk(Trunk):
    """A classifier up to its widened branch maps, as timm's `features_only` has it."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant)
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(width, planes, squeeze_excitation=variant.squeeze_excitation))
            for width, planes in zip(variant.channels, _HEAD_PLANES, strict=True)
        )

    def blocks(self, images: Tensor) -> Iterator[tuple[str, list[Tensor]]]:
        """Compute the blocks of the trunk and "incre", the widened maps."""
        branches: list[Tensor] = []
        for name, branches in super().blocks(images):
            yield name, branches
        yield "incre", [widen(features) for widen, features in zip(self.incre_modules, branches, strict=True)]


class PooledTrunk(WideTrunk):
    """A classifier without its last layer."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant)
        bias = variant.head_bias
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(*conv_bn(fine, coarse, 3, 2, bias=bias), nn.ReLU())
            for fine, coarse in itertools.pairwise(_HEAD_CHANNELS)
        )
        self.final_layer = nn.Sequential(*conv_bn(_HEAD_CHANNELS[-1], _FEATURES, 1, bias=bias), nn.ReLU())

    def blocks(self, images: Tensor) -> Iterator[tuple[str, list[Tensor]]]:
        """Compute the blocks before, "final" (N, 2048, H / 32, W / 32) and "pooled" (N, 2048)."""
        wide: list[Tensor] = []
        for name, wide in super().blocks(images):
            yield name, wide
        merged = wide[0]
        for down, features in zip(self.downsamp_modules, wide[1:], strict=True):
            merged = features + down(merged)
        final = self.final_layer(merged)
        yield "final", [final]
        yield "pooled", [F.adaptive_avg_pool2d(final, 1).flatten(1)]


class ClassificationModel(PooledTrunk):
    """Image classifier. Source: HRNet-Image-Classification, lib/models/cls_hrnet.py."""

    def __init__(self, variant: Variant, num_classes: int) -> None:
        super().__init__(variant)
        self.classifier = nn.Linear(_FEATURES, num_classes)

    def blocks(self, images: Tensor) -> Iterator[tuple[str, list[Tensor]]]:
        """Compute the blocks before, and "logits" (N, classes)."""
        height, width = images.shape[-2:]
        # While a graph is captured, sizes are no plain numbers.
        captured = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if not captured and (height % CLASSIFICATION_STRIDE or width % CLASSIFICATION_STRIDE):
            raise UsageError(
                f"classification input must have sides that are multiples of {CLASSIFICATION_STRIDE}, "
                f"got {height}x{width}. Choose another --imgsz."
            )
        pooled: list[Tensor] = []
        for name, pooled in super().blocks(images):
            yield name, pooled
        yield LOGITS, [self.classifier(pooled[0])]

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, classes) of normalized RGB images (N, 3, H, W); H and W must be multiples of 32."""
        return _last(self.blocks(images))


class SegmentationModel(Trunk):
    """Pixel classifier with output at a quarter of the input's size.

    Source: HRNet-Semantic-Segmentation pytorch-v1.1, lib/models/seg_hrnet.py.
    """

    def __init__(self, variant: Variant, num_classes: int) -> None:
        super().__init__(variant)
        self.align_corners = variant.align_corners
        width = sum(variant.channels)
        self.last_layer = nn.Sequential(
            *conv_bn(width, width, 1, bias=variant.head_bias), nn.ReLU(), nn.Conv2d(width, num_classes, 1)
        )

    def blocks(self, images: Tensor) -> Iterator[tuple[str, list[Tensor]]]:
        """Compute the blocks of the trunk, and "logits" (N, classes, ceil(H / 4), ceil(W / 4))."""
        branches: list[Tensor] = []
        for name, branches in super().blocks(images):
            yield name, branches
        finest, *coarser = branches
        maps = [finest, *(resize_to(features, finest, align_corners=self.align_corners) for features in coarser)]
        yield LOGITS, [self.last_layer(torch.cat(maps, 1))]

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, classes, ceil(H / 4), ceil(W / 4)) of normalized RGB images (N, 3, H, W) of any size."""
        return _last(self.blocks(images))


def _last(blocks: Iterator[tuple[str, list[Tensor]]]) -> Tensor:
    """Return the only map of the last block; those before are freed as soon as nothing needs them."""
    ((_, (logits,)),) = collections.deque(blocks, maxlen=1)
    return logits
