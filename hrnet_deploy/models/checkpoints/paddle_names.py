"""Official names for PaddleClas' names of HRNet's tensors, in both generations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_TAIL = r"(?P<tail>\.conv\d|\.conv_down|\.se\.(?:fc_)?squeeze|\.se\.(?:fc_)?excitation)"
_TAILS = {".conv_down": ".downsample", ".se.squeeze": ".se.fc_squeeze", ".se.excitation": ".se.fc_excitation"}
_UNIT = re.compile(r"(?P<unit>.+)\.(?P<part>_?conv|bn|_batch_norm)")
_NAMED_CONV = re.compile(r"(.*\.)?conv(\d)")
_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}

Rules = Mapping[str, "str | Callable[[re.Match[str]], str]"]
"""Official names of layers by patterns of Paddle's names, as templates or functions of the match."""


def _fuse_by_position(match: re.Match[str]) -> str:
    """Name a convolution by its number. Source: as CURRENT, FuseLayers."""
    stage, module, position = (int(group) for group in match.groups())
    slots: list[str] = []
    for i in range(stage):
        for j in range(stage):
            slots += [f"{i}.{j}"] * (j > i) + [f"{i}.{j}.{k}" for k in range(i - j)]
    path = slots[position] if position < len(slots) else f"slot{position}"
    return f"stage{stage}.{module}.fuse_layers.{path}"


def _fuse_by_name(match: re.Match[str]) -> str:
    module, i, j = (int(match[name]) - 1 for name in ("module", "i", "j"))
    step = f".{int(match['k']) - 1}" if match["k"] else ""
    return f"stage{match['stage']}.{module}.fuse_layers.{i}.{j}{step}"


def _branch_by_name(match: re.Match[str]) -> str:
    module, branch, block = (int(match[name]) - 1 for name in ("module", "branch", "block"))
    return f"stage{match['stage']}.{module}.branches.{branch}.{block}{match['tail']}"


CURRENT: Rules = {
    r"conv_layer1_(\d)": r"conv\1",
    r"layer1\.(\d+)" + _TAIL: r"layer1.\1\g<tail>",
    r"conv_tr1_1": "transition1.0",
    r"conv_tr1_2": "transition1.1.0",
    r"conv_tr2": "transition2.2.0",
    r"conv_tr3": "transition3.3.0",
    r"st(\d)\.stage_func_list\.(\d+)\.basic_block_list\.(\d+)\.(\d+)" + _TAIL: r"stage\1.\2.branches.\3.\4\g<tail>",
    r"st([234])\.stage_func_list\.(\d+)\.fuse_func\.residual_func_list\.(\d+)": _fuse_by_position,
    r"last_cls\.func_list\.(\d)" + _TAIL: r"incre_modules.\1.0\g<tail>",
    r"cls_head_conv_list\.(\d)": r"downsamp_modules.\1",
    r"conv_last": "final_layer",
    r"fc": "classifier",
}
"""Names of PaddleClas 2.2 and later. Source: PaddleClas d178931, ppcls/arch/backbone/legendary_models/hrnet.py."""

_STAGE = r"st(?P<stage>[234])\.stage_st(?P=stage)_(?P<module>\d+)"
_BLOCK = r"\.branches_func\.bb_st(?P=stage)_(?P=module)_branch_layer_(?P<branch>\d)_(?P<block>\d+)"
_FUSE = r"\.fuse_func\.residual_st(?P=stage)_(?P=module)_layer_(?P<i>\d)_(?P<j>\d)(?:_(?P<k>\d))?"
LEGACY: Rules = {
    r"conv_layer1_(\d)": r"conv\1",
    r"la1\.bb_layer2_(\d+)" + _TAIL: lambda match: f"layer1.{int(match[1]) - 1}{match['tail']}",
    r"tr1\.transition_tr1_layer_1": "transition1.0",
    r"tr1\.transition_tr1_layer_2": "transition1.1.0",
    r"tr2\.transition_tr2_layer_3": "transition2.2.0",
    r"tr3\.transition_tr3_layer_4": "transition3.3.0",
    _STAGE + _BLOCK + _TAIL: _branch_by_name,
    _STAGE + _FUSE: _fuse_by_name,
    r"last_cls\.conv_cls_head_conv_(\d)" + _TAIL: lambda match: f"incre_modules.{int(match[1]) - 1}.0{match['tail']}",
    r"cls_head_add(\d)": lambda match: f"downsamp_modules.{int(match[1]) - 1}",
    r"conv_last": "final_layer",
    r"out": "classifier",
}
"""Names of PaddleClas 2.0 and 2.1. Source: release/2.1 (a518e45), ppcls/modeling/architectures/hrnet.py."""


def official_name(key: str, rules: Rules) -> str:
    """Translate a name of PaddleClas; an unknown name stays."""
    module, _, leaf = key.rpartition(".")
    unit = _UNIT.fullmatch(module)
    for pattern, replacement in rules.items():
        match = re.fullmatch(pattern, unit["unit"] if unit else module)
        if match:
            name = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
            tail = match.groupdict().get("tail") or ""
            name = name.removesuffix(tail) + _TAILS.get(tail, tail)
            return f"{_member(name, unit['part']) if unit else name}.{_LEAVES.get(leaf, leaf)}"
    return key


def _member(unit: str, part: str) -> str:
    """Return the official name of a unit's convolution or batch norm."""
    named = _NAMED_CONV.fullmatch(unit)
    is_conv = part.endswith("conv")
    if named:
        return unit if is_conv else f"{named[1] or ''}bn{named[2]}"
    return f"{unit}.{0 if is_conv else 1}"
