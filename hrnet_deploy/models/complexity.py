"""How large a variant is and what one forward pass costs; nothing is allocated."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import Variant


def count_parameters(variant: Variant, num_classes: int | None = None) -> int:
    """Count learnable parameters; the running statistics of batch norms are not among them.

    Args:
        variant: the architecture.
        num_classes: classes of its head; None for those of the published weights.

    Returns:
        The number of parameters.

    Raises:
        UsageError: the number of classes is not positive.
    """
    network = build_network(variant, _classes(variant, num_classes), device="meta")
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(variant: Variant, input_hw: tuple[int, int] | None = None, num_classes: int | None = None) -> int:
    """Count the multiply-adds of convolutions and linear layers for one image.

    Args:
        variant: the architecture.
        input_hw: input (height, width) in pixels; None for `variant.default_input_hw`.
        num_classes: classes of its head; None for those of the published weights.

    Returns:
        Multiply-adds. The official tables print them divided by 1024^3 and call them GFLOPs.

    Raises:
        UsageError: the number of classes is not positive, or a classification size is no multiple of 32.

    Source: get_model_summary of HRNet-Image-Classification, lib/utils/modelsummary.py.
    """
    network = build_network(variant, _classes(variant, num_classes), device="meta")
    total = 0

    def add(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.get_parameter("weight")
        total += output.numel() * math.prod(weight.shape[1:])

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(add)
    height, width = input_hw or variant.default_input_hw
    with torch.inference_mode():
        network(torch.empty((1, 3, height, width), device="meta"))
    return total


def _classes(variant: Variant, num_classes: int | None) -> int:
    return variant.default_num_classes if num_classes is None else num_classes
