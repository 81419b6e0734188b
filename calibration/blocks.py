"""Names of HRNet's blocks, which sensitivity and --keep-fp share with the PyTorch modules."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

import onnx

from hrnet_deploy.errors import UsageError
from hrnet_deploy.qdq_plan import name_of

_STAGE = re.compile(r"/stage(\d)/stage\d\.\d+/(?:branches\.(\d)/)?")
_PREFIXES = (
    (re.compile(r"/layer1/"), "layer1"),
    (re.compile(r"/transition(\d)"), r"transition{}"),
    (re.compile(r"/(?:incre_modules|downsamp_modules|final_layer|last_layer|classifier)"), "head"),
)
_STEM = re.compile(r"/(?:conv[12]|bn[12]|relu|Relu(?:_1)?)(?:/|$)")
_CONVOLUTIONS_PER_RUN = 6
"""A graph without HRNet's names is cut into runs of this many convolutions."""


def blocks(model: onnx.ModelProto) -> dict[str, frozenset[str]]:
    """Group the node names of a graph by the PyTorch module they come from.

    Returns:
        By block, in graph order: stem, layer1, transitionN, stageN.branchM, stageN.fuse, head. A graph without HRNet's
        names has the blocks conv0-5, conv6-11 and so on.
    """
    nodes = [node for node in model.graph.node if node.op_type not in {"Constant", "Shape", "Slice"}]
    block_of = {name_of(node): _block(name_of(node)) for node in nodes}
    if not any(block and block.startswith("stage") for block in block_of.values()):
        block_of = _by_position(nodes)
    grouped: dict[str, set[str]] = {}
    for name, block in block_of.items():
        grouped.setdefault(block or "head", set()).add(name)
    return {block: frozenset(names) for block, names in grouped.items()}


def resolve(patterns: Iterable[str], model: onnx.ModelProto) -> frozenset[str]:
    """Find the nodes that block names, node names or patterns select, such as "stage4.fuse" or "/last_layer/*".

    Raises:
        UsageError: a pattern that matches nothing.
    """
    known = blocks(model)
    names = [name_of(node) for node in model.graph.node]
    found: set[str] = set()
    for pattern in patterns:
        matched = known.get(pattern) or frozenset(fnmatch.filter(names, pattern))
        if not matched:
            raise UsageError(f"--keep-fp must name a block or a node, got '{pattern}'. Blocks: {', '.join(known)}.")
        found |= matched
    return frozenset(found)


def _block(name: str) -> str | None:
    stage = _STAGE.match(name)
    if stage:
        return f"stage{stage[1]}.branch{stage[2]}" if stage[2] else f"stage{stage[1]}.fuse"
    for pattern, block in _PREFIXES:
        match = pattern.match(name)
        if match:
            return block.format(*match.groups())
    return "stem" if _STEM.match(name) else None


def _by_position(nodes: Iterable[onnx.NodeProto]) -> dict[str, str | None]:
    block_of: dict[str, str | None] = {}
    latest = -1
    for node in nodes:
        latest += node.op_type == "Conv"
        first = max(latest, 0) // _CONVOLUTIONS_PER_RUN * _CONVOLUTIONS_PER_RUN
        block_of[name_of(node)] = f"conv{first}-{first + _CONVOLUTIONS_PER_RUN - 1}"
    return block_of
