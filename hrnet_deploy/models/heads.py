"""The two models: the trunk with a classification or a segmentation head."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.blocks import Bottleneck, conv_bn
from hrnet_deploy.models.trunk import Trunk, resize_to
from hrnet_deploy.models.variants import BOTTLENECK_EXPANSION, Variant

CLASSIFICATION_STRIDE = 32
"""Classification inputs must be multiples of this: only there does nearest upsampling match the branch sizes."""

_HEAD_PLANES = (32, 64, 128, 256)
_HEAD_CHANNELS = tuple(BOTTLENECK_EXPANSION * planes for planes in _HEAD_PLANES)
_FEATURES = 2048


class ClassificationModel(Trunk):
    """Image classifier. Source: HRNet-Image-Classification, lib/models/cls_hrnet.py."""

    def __init__(self, variant: Variant, num_classes: int) -> None:
        super().__init__(variant)
        bias = variant.head_bias
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(width, planes, squeeze_excitation=variant.squeeze_excitation))
            for width, planes in zip(variant.channels, _HEAD_PLANES, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(*conv_bn(fine, coarse, 3, 2, bias=bias), nn.ReLU())
            for fine, coarse in itertools.pairwise(_HEAD_CHANNELS)
        )
        self.final_layer = nn.Sequential(*conv_bn(_HEAD_CHANNELS[-1], _FEATURES, 1, bias=bias), nn.ReLU())
        self.classifier = nn.Linear(_FEATURES, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, classes) of normalized RGB images (N, 3, H, W); H and W must be multiples of 32."""
        height, width = images.shape[-2:]
        # While a graph is captured, sizes are no plain numbers.
        captured = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if not captured and (height % CLASSIFICATION_STRIDE or width % CLASSIFICATION_STRIDE):
            raise UsageError(
                f"classification input must have sides that are multiples of {CLASSIFICATION_STRIDE}, "
                f"got {height}x{width}. Choose another --imgsz."
            )
        branches = self.features(images)
        merged = self.incre_modules[0](branches[0])
        for down, widen, features in zip(self.downsamp_modules, self.incre_modules[1:], branches[1:], strict=True):
            merged = widen(features) + down(merged)
        pooled = F.adaptive_avg_pool2d(self.final_layer(merged), 1)
        logits: Tensor = self.classifier(pooled.flatten(1))
        return logits


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

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, classes, ceil(H / 4), ceil(W / 4)) of normalized RGB images (N, 3, H, W) of any size."""
        finest, *coarser = self.features(images)
        maps = [finest, *(resize_to(features, finest, align_corners=self.align_corners) for features in coarser)]
        logits: Tensor = self.last_layer(torch.cat(maps, 1))
        return logits
