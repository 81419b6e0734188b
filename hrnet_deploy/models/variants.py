"""The HRNet architectures as data; loads without torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import Task

BOTTLENECK_EXPANSION = 4
"""Output channels of a bottleneck block over its planes."""

_WIDTHS = (18, 30, 32, 40, 44, 48, 64)
_INPUT_HW = MappingProxyType({Task.CLASSIFICATION: (224, 224), Task.SEGMENTATION: (1024, 2048)})


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One architecture.

    Attributes:
        layer1_planes: planes of the first layer's bottleneck blocks; it has four times as many output channels.
        channels: channels of the four branches, finest first.
        blocks_per_branch: basic blocks of each branch in each module.
        modules: high-resolution modules of stages 2, 3 and 4.
        squeeze_excitation: whether every block recalibrates its channels (PaddleClas SE_HRNet).
        head_bias: whether the head's convolutions before a batch norm have a bias (official files: yes).
        align_corners: resize mode of a segmentation head and of the final resize to the image.
        align_corners_fuse: resize mode of the fuse layers of a segmentation model.
        in_channels: channels of the input image.
        multi_scale: whether stage 4 computes all four branches; trunks of pose estimators compute the finest alone.

    Source: the yaml configurations of HRNet-Image-Classification and HRNet-Semantic-Segmentation (pytorch-v1.1).
    """

    name: str
    task: Task
    layer1_blocks: int
    layer1_planes: int
    channels: tuple[int, int, int, int]
    blocks_per_branch: int
    modules: tuple[int, int, int]
    squeeze_excitation: bool = False
    head_bias: bool = True
    align_corners: bool = False
    align_corners_fuse: bool = False
    in_channels: int = 3
    multi_scale: bool = True

    @property
    def layer1_channels(self) -> int:
        """Input channels of the first transition."""
        return BOTTLENECK_EXPANSION * self.layer1_planes

    @property
    def default_input_hw(self) -> tuple[int, int]:
        """(height, width) in pixels of the published figures: 224x224, Cityscapes 1024x2048."""
        return _INPUT_HW[self.task]

    @property
    def default_num_classes(self) -> int:
        """Classes of the published weights: 1000 of ImageNet, 19 of Cityscapes."""
        return 1000 if self.task is Task.CLASSIFICATION else 19

    def same_graph(self, other: Variant) -> bool:
        """Whether both have the same layers, except for what the tensors of a file decide."""
        kept: dict[str, Any] = {"name": self.name, "head_bias": self.head_bias}
        kept |= {"in_channels": self.in_channels, "multi_scale": self.multi_scale}
        kept |= {"align_corners": self.align_corners, "align_corners_fuse": self.align_corners_fuse}
        return replace(other, **kept) == self


def _variant(name: str, width: int, layer1: tuple[int, int], blocks: int, modules: tuple[int, int, int]) -> Variant:
    recalibrates = name.startswith("se_")
    return Variant(
        name=name,
        task=Task.SEGMENTATION if name.startswith("hrnetv2") else Task.CLASSIFICATION,
        layer1_blocks=layer1[0],
        layer1_planes=layer1[1],
        channels=(width, 2 * width, 4 * width, 8 * width),
        blocks_per_branch=blocks,
        modules=modules,
        squeeze_excitation=recalibrates,
        head_bias=not recalibrates,  # PaddleClas: none of its head convolutions has a bias
    )


def _table() -> Iterator[Variant]:
    for family in ("hrnet", "hrnetv2"):
        yield _variant(f"{family}_w18_small_v1", 16, (1, 32), 2, (1, 1, 1))
        yield _variant(f"{family}_w18_small_v2", 18, (2, 64), 2, (1, 3, 2))
    families = {"hrnet": _WIDTHS, "se_hrnet": _WIDTHS, "hrnetv2": (18, 48)}
    for family, widths in families.items():
        for width in widths:
            yield _variant(f"{family}_w{width}", width, (4, 64), 4, (1, 4, 3))


VARIANTS: Mapping[str, Variant] = MappingProxyType({variant.name: variant for variant in _table()})
"""Every variant by name."""

_ALIASES = MappingProxyType({"hrnet_w18_small": "hrnet_w18_small_v1", "hrnetv2_w18_small": "hrnetv2_w18_small_v1"})
_NO_HEAD_BIAS_SUFFIX = "_ssld"


def find_variant(name: str) -> Variant:
    """Look a variant up by a publisher's name, in any case; UsageError, which names the closest, for others.

    Known are the keys of `VARIANTS`, timm's names ("hrnet_w18_small", "hrnet_w18_ssld") and PaddleClas'
    ("SE_HRNet_W64_C"). "..._ssld" has no bias in the head's convolutions, as in those weights.
    """
    plain = name.lower().replace("-", "_")
    base = plain.removesuffix(_NO_HEAD_BIAS_SUFFIX).removesuffix("_c")
    found = VARIANTS.get(_ALIASES.get(base, base))
    if found is None:
        close = difflib.get_close_matches(plain, VARIANTS, n=3) or list(VARIANTS)
        raise UsageError(f"variant must be a known HRNet, got '{name}'. Closest: {', '.join(close)}.")
    return replace(found, head_bias=False) if plain.endswith(_NO_HEAD_BIAS_SUFFIX) else found
