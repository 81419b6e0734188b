"""A network whose outputs are its scores, if it has a head, and features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from torch import Tensor, nn

from hrnet_deploy.errors import UsageError
from hrnet_deploy.feature_names import BLOCKS, output_names, stride_of
from hrnet_deploy.models.heads import LOGITS, ClassificationModel, SegmentationModel, WideTrunk
from hrnet_deploy.models.trunk import Trunk

_TRUNK_BLOCKS = ("conv1", "stem", "layer1", "stage2", "stage3", "maps")
_MAPS = {"stage2": 2, "stage3": 3, "maps": 4, "incre": 4}


class FeatureNetwork(nn.Module):
    """A network with the blocks that a user named as further outputs.

    Attributes:
        features: names of the feature outputs, in the order of the blocks.
        outputs: all outputs by name with their strides, 0 for a vector; the scores come first.
    """

    def __init__(self, network: nn.Module, blocks: tuple[str, ...]) -> None:
        """Choose the blocks; UsageError, which lists those that the network has, for others."""
        super().__init__()
        self.network = network
        known = blocks_of(network)
        for block in blocks:
            if block not in known:
                raise UsageError(
                    f"--features {block} is the {BLOCKS[block]}, got a network with {', '.join(known)}. Choose one."
                )
        self._blocks = blocks
        self.features = tuple(name for block in blocks for name in output_names(block, known[block]))
        head = isinstance(network, ClassificationModel | SegmentationModel)
        self._wanted = ((LOGITS,) if head else ()) + blocks
        strides = {name: stride_of(name) for name in self.features}
        self.outputs = {LOGITS: 4, **strides} if head else strides
        self.eval()  # a tracer restores the mode of the whole network, which must not become training

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs, float32, of normalized images (N, channels, H, W)."""
        found = {name: maps for name, maps in _computed(self.network, images) if name in self._wanted}
        return tuple(tensor for name in self._wanted for tensor in found[name])


def blocks_of(network: nn.Module) -> dict[str, int]:
    """Return the blocks that a network computes, each with its number of maps."""
    names: Iterable[str] = _TRUNK_BLOCKS
    if isinstance(network, WideTrunk):
        names = BLOCKS if hasattr(network, "final_layer") else (*_TRUNK_BLOCKS, "incre")
    counts = {name: _MAPS.get(name, 1) for name in names}
    last = cast("Trunk", network).stage4[-1]
    return counts | {"maps": len(cast("nn.ModuleList", last.fuse_layers))}


def _computed(network: nn.Module, images: Tensor) -> Iterator[tuple[str, list[Tensor]]]:
    return cast("Trunk", network).blocks(images)
