"""Names of features: the blocks of an HRNet that --features takes, and the graph outputs that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from hrnet_deploy.errors import UsageError

POOLED = "pooled"
"""Block and output of the embedding before the last layer."""
MAPS = "maps"
"""Block of the branch maps that stage 4 computes."""

BLOCKS: Mapping[str, str] = MappingProxyType(
    {
        POOLED: "embedding (N, 2048) before the last layer of a classifier",
        MAPS: "branch maps after stage 4, at 1/4 to 1/32 of the size",
        "conv1": "first convolution of the stem, at 1/2",
        "stem": "stem, at 1/4",
        "layer1": "first stage, at 1/4",
        "stage2": "two branch maps",
        "stage3": "three branch maps",
        "incre": "branch maps of a classifier with 128 to 1024 channels",
        "final": "map (N, 2048, H/32, W/32) before the pooling of a classifier",
    }
)
"""Every block with its description, in the order of computation except for the first two."""

_ALIASES = MappingProxyType({"stage4": MAPS})
_FIRST_STRIDE = {"conv1": 2, "final": 32}
_PREFIXES = {MAPS: "map"}


def usual_name(block: str) -> str:
    """Return the usual name of a block; other names stay."""
    return _ALIASES.get(block, block)


def blocks_named(names: Iterable[str]) -> tuple[str, ...]:
    """Return blocks by their usual names, each once; UsageError, which lists all blocks, for an unknown one."""
    found = dict.fromkeys(map(usual_name, names))
    for name in found:
        if name not in BLOCKS:
            raise UsageError(f"--features must be of {', '.join([*BLOCKS, *_ALIASES])}, got '{name}'. Choose some.")
    return tuple(found)


def output_names(block: str, count: int) -> tuple[str, ...]:
    """Name the graph outputs of a block with this many maps, such as "map_4" at a quarter of the image's size."""
    if block == POOLED:
        return (POOLED,)
    first = _FIRST_STRIDE.get(block, 4)
    return tuple(f"{_PREFIXES.get(block, block)}_{first << index}" for index in range(count))


def stride_of(output: str) -> int:
    """Return how many times smaller than the image a feature map is, by its output's name; 0 for a vector."""
    last = output.rpartition("_")[2]
    return int(last) if last.isdecimal() else 0


def block_of(output: str) -> str:
    """Return the block that an output of our own graphs belongs to."""
    prefix = output.rpartition("_")[0] or output
    return next((block for block, name in _PREFIXES.items() if name == prefix), prefix)
