"""HRNet's blocks by name, so that a sensitivity or a --keep-fp speaks of PyTorch modules."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

import onnx

from hrnet_deploy.calibration.qdq_placement import name_of
from hrnet_deploy.errors import UsageError

_STAGE = re.compile(r"/stage(\d)/stage\d\.\d+/(?:branches\.(\d)/)?")
_PREFIXES = (
    (re.compile(r"/layer1/"), "layer1"),
    (re.compile(r"/transition(\d)"), r"transition{}"),
    (re.compile(r"/(?:incre_modules|downsamp_modules|final_layer|last_layer|classifier)"), "head"),
)
_STEM = re.compile(r"/(?:conv[12]|bn[12]|relu|Relu(?:_1)?)(?:/|$)")
_FOREIGN_CONVOLUTIONS = 6
"""A graph without HRNet's names is cut into runs of this many convolutions."""


def blocks(model: onnx.ModelProto) -> dict[str, frozenset[str]]:
    """Group a graph's nodes by the PyTorch module they came from.

    Args:
        model: traced by us, or foreign.

    Returns:
        Node names by block, in graph order: stem, layer1, transitionN, stageN.branchM, stageN.fuse, head; of a foreign
        graph conv0-5, conv6-11 and so on.
    """
    nodes = [node for node in model.graph.node if node.op_type not in {"Constant", "Shape", "Slice"}]
    named = {name_of(node): _block(name_of(node)) for node in nodes}
    if not any(block and block.startswith("stage") for block in named.values()):
        named = _by_position(nodes)
    grouped: dict[str, set[str]] = {}
    for name, block in named.items():
        grouped.setdefault(block or "head", set()).add(name)
    return {block: frozenset(names) for block, names in grouped.items()}


def resolve(wishes: Iterable[str], model: onnx.ModelProto) -> frozenset[str]:
    """The nodes a user means by block names, node names or patterns.

    Args:
        wishes: such as "stage4.fuse", "/last_layer/*".
        model: the graph.

    Returns:
        Node names.

    Raises:
        UsageError: a wish that matches nothing.
    """
    known = blocks(model)
    names = [name_of(node) for node in model.graph.node]
    found: set[str] = set()
    for wish in wishes:
        matched = known.get(wish) or frozenset(fnmatch.filter(names, wish))
        if not matched:
            raise UsageError(f"--keep-fp must name a block or a node, got '{wish}'. Blocks: {', '.join(known)}.")
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
    named: dict[str, str | None] = {}
    count = 0
    for node in nodes:
        first = max(count - (node.op_type != "Conv"), 0) // _FOREIGN_CONVOLUTIONS * _FOREIGN_CONVOLUTIONS
        named[name_of(node)] = f"conv{first}-{first + _FOREIGN_CONVOLUTIONS - 1}"
        count += node.op_type == "Conv"
    return named
