"""The trunk of all HRNets: stem, first layer, and three stages of parallel branches that exchange features."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrnet_deploy.models.blocks import BasicBlock, Bottleneck, conv_bn
from hrnet_deploy.models.variants import Variant
from hrnet_deploy.spec import Task

_STEM_CHANNELS = 64


def resize_to(features: Tensor, target: Tensor, *, align_corners: bool) -> Tensor:
    """Upsample bilinearly to another map's size.

    Source: HRNet-Semantic-Segmentation, lib/models/seg_hrnet.py; the branch HRNet-OCR aligns corners, pytorch-v1.1 not.
    """
    return F.interpolate(features, size=target.shape[-2:], mode="bilinear", align_corners=align_corners)


def _down(source: int, target: int, steps: int) -> nn.Sequential:
    """Build `steps` stride-2 convolutions; only the last changes the channels, and it has no ReLU."""
    hidden = [nn.Sequential(*conv_bn(source, source, 3, 2), nn.ReLU()) for _ in range(steps - 1)]
    return nn.Sequential(*hidden, nn.Sequential(*conv_bn(source, target, 3, 2)))


class Exchange(nn.Module):
    """Blocks on every branch, then each branch sums all at its own size. Source: arXiv:1908.07919, section 3."""

    def __init__(self, variant: Variant, branches: int, targets: int | None = None) -> None:
        """Build the module; it computes the first `targets` branches only, if that is given."""
        super().__init__()
        channels = variant.channels[:branches]
        self.bilinear = variant.task is Task.SEGMENTATION
        self.align_corners = variant.align_corners_fuse
        count, recalibrate = variant.blocks_per_branch, variant.squeeze_excitation
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, squeeze_excitation=recalibrate) for _ in range(count)))
            for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(channels, i, j) for j in range(branches)) for i in range(targets or branches)
        )

    def _path(self, channels: tuple[int, ...], i: int, j: int) -> nn.Module:
        """Build the path from branch j to branch i."""
        if j == i:
            return nn.Identity()
        if j < i:
            return _down(channels[j], channels[i], i - j)
        narrow = conv_bn(channels[j], channels[i], 1)
        # Bilinear maps are resized in `forward`, to the size of the target branch.
        widen = [] if self.bilinear else [nn.Upsample(scale_factor=float(2 ** (j - i)), mode="nearest")]
        return nn.Sequential(*narrow, *widen)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Compute the module on float (N, C_i, H / 2^i, W / 2^i) for each branch i; the shapes stay."""
        branches = [branch(features) for branch, features in zip(self.branches, inputs, strict=True)]
        return [self._fuse(i, branches) for i in range(len(self.fuse_layers))]

    def _fuse(self, i: int, branches: list[Tensor]) -> Tensor:
        paths = cast("nn.ModuleList", self.fuse_layers[i])
        maps = [path(features) for path, features in zip(paths, branches, strict=True)]
        if self.bilinear:
            coarser, target = maps[i + 1 :], branches[i]
            maps[i + 1 :] = [resize_to(features, target, align_corners=self.align_corners) for features in coarser]
        return F.relu(functools.reduce(torch.add, maps))


def _transition(sources: tuple[int, ...], targets: tuple[int, ...]) -> nn.ModuleList:
    """Bring the branches of one stage to the channels of the next, and derive the new one from the last."""
    steps = nn.ModuleList()
    for i, width in enumerate(targets):
        if i >= len(sources):
            steps.append(nn.Sequential(nn.Sequential(*conv_bn(sources[-1], width, 3, 2), nn.ReLU())))
        elif sources[i] != width:
            steps.append(nn.Sequential(*conv_bn(sources[i], width, 3), nn.ReLU()))
        else:
            steps.append(nn.Identity())
    return steps


def _grow(transition: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    return [step(branches[min(i, len(branches) - 1)]) for i, step in enumerate(transition)]


class Trunk(nn.Module):
    """The network without a head; heads derive from it, so that parameter names stay the official ones."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(variant.in_channels, _STEM_CHANNELS, 3, 2)
        self.conv2, self.bn2 = conv_bn(_STEM_CHANNELS, _STEM_CHANNELS, 3, 2)
        widths = [_STEM_CHANNELS] + [variant.layer1_channels] * (variant.layer1_blocks - 1)
        self.layer1 = nn.Sequential(
            *(Bottleneck(w, variant.layer1_planes, squeeze_excitation=variant.squeeze_excitation) for w in widths)
        )
        channels = variant.channels
        self.transition1 = _transition((variant.layer1_channels,), channels[:2])
        self.stage2 = nn.Sequential(*(Exchange(variant, 2) for _ in range(variant.modules[0])))
        self.transition2 = _transition(channels[:2], channels[:3])
        self.stage3 = nn.Sequential(*(Exchange(variant, 3) for _ in range(variant.modules[1])))
        self.transition3 = _transition(channels[:3], channels)
        targets = [None] * (variant.modules[2] - 1) + [None if variant.multi_scale else 1]
        self.stage4 = nn.Sequential(*(Exchange(variant, 4, count) for count in targets))

    def blocks(self, images: Tensor) -> Iterator[tuple[str, list[Tensor]]]:
        """Compute block by block: each name of `feature_names.BLOCKS` with its maps, of images (N, channels, H, W).

        The map i of a stage is (N, C * 2^i, H / 2^(i+2), W / 2^(i+2)), with sizes rounded up.
        """
        stem = F.relu(self.bn1(self.conv1(images)))
        yield "conv1", [stem]
        stem = F.relu(self.bn2(self.conv2(stem)))
        yield "stem", [stem]
        branches = [self.layer1(stem)]
        yield "layer1", branches
        branches = self.stage2(_grow(self.transition1, branches))
        yield "stage2", branches
        branches = self.stage3(_grow(self.transition2, branches))
        yield "stage3", branches
        branches = self.stage4(_grow(self.transition3, branches))
        yield "maps", branches
