"""The residual blocks of HRNet; attribute names are those of the official code."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hrnet_deploy.models.variants import BOTTLENECK_EXPANSION

SE_REDUCTION = 16
"""Squeeze-and-excitation: channels over hidden channels. Source: PaddleClas, legendary_models/hrnet.py."""


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, *, bias: bool = False) -> list[nn.Module]:
    """Return a convolution and its batch norm; the padding keeps the size at stride 1."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias), nn.BatchNorm2d(outputs)]


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from all channel means.

    The two layers are 1x1 convolutions, so pooled maps need no reshaping in the graph; the weights are those of
    PaddleClas' linear layers. Source: Hu et al., Squeeze-and-Excitation Networks, arXiv:1709.01507.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc_squeeze = nn.Conv2d(channels, channels // SE_REDUCTION, 1)
        self.fc_excitation = nn.Conv2d(channels // SE_REDUCTION, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Recalibrate float (N, C, H, W)."""
        hidden = F.relu(self.fc_squeeze(F.adaptive_avg_pool2d(features, 1)))
        gates: Tensor = self.fc_excitation(hidden).sigmoid()
        return features * gates


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the channels stay. Source: He et al., arXiv:1512.03385."""

    def __init__(self, channels: int, *, squeeze_excitation: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, channels, 3)
        self.conv2, self.bn2 = conv_bn(channels, channels, 3)
        self.se = SqueezeExcitation(channels) if squeeze_excitation else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Compute the block on float (N, C, H, W); the shape stays."""
        hidden = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.se(self.bn2(self.conv2(hidden))) + features)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut, which projects if channels change. Source: arXiv:1512.03385."""

    def __init__(self, inputs: int, planes: int, *, squeeze_excitation: bool) -> None:
        super().__init__()
        outputs = BOTTLENECK_EXPANSION * planes
        self.conv1, self.bn1 = conv_bn(inputs, planes, 1)
        self.conv2, self.bn2 = conv_bn(planes, planes, 3)
        self.conv3, self.bn3 = conv_bn(planes, outputs, 1)
        self.se = SqueezeExcitation(outputs) if squeeze_excitation else nn.Identity()
        self.downsample = nn.Sequential(*conv_bn(inputs, outputs, 1)) if inputs != outputs else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Compute the block: float (N, inputs, H, W) to (N, 4 * planes, H, W)."""
        hidden = F.relu(self.bn1(self.conv1(features)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        return F.relu(self.se(self.bn3(self.conv3(hidden))) + self.downsample(features))
