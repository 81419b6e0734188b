"""Weights under the names of other code bases, as their files hold them."""

import itertools
import json
import pickle
import re

import torch
from safetensors.torch import save_file

_MM = (
    (r"^incre_modules\.", "neck.0.increase_layers."),
    (r"^downsamp_modules\.(\d)\.0\.", r"neck.0.downsample_layers.\1.conv."),
    (r"^downsamp_modules\.(\d)\.1\.", r"neck.0.downsample_layers.\1.bn."),
    (r"^final_layer\.0\.", "neck.0.final_layer.conv."),
    (r"^final_layer\.1\.", "neck.0.final_layer.bn."),
    (r"^classifier\.", "head.fc."),
    (r"^last_layer\.0\.", "decode_head.convs.0.conv."),
    (r"^last_layer\.1\.", "decode_head.convs.0.bn."),
    (r"^last_layer\.3\.", "decode_head.conv_seg."),
    (r"^(?!neck|head|decode_head)", "backbone."),
)
_PADDLE = (
    (r"^(conv|bn)(\d)\.", r"conv_layer1_\2.\1."),
    (r"\.(conv|bn)(\d)\.(?=\w+$)", r".conv\2.\1."),
    (r"\.downsample\.0\.", ".conv_down.conv."),
    (r"\.downsample\.1\.", ".conv_down.bn."),
    (r"^transition1\.0\.", "conv_tr1_1."),
    (r"^transition1\.1\.0\.", "conv_tr1_2."),
    (r"^transition2\.2\.0\.", "conv_tr2."),
    (r"^transition3\.3\.0\.", "conv_tr3."),
    (r"^stage(\d)\.(\d)\.branches\.", r"st\1.stage_func_list.\2.basic_block_list."),
    (r"^incre_modules\.(\d)\.0\.", r"last_cls.func_list.\1."),
    (r"^downsamp_modules\.", "cls_head_conv_list."),
    (r"^final_layer\.", "conv_last."),
    (r"^classifier\.", "fc."),
    (r"^(conv_tr\w+|cls_head_conv_list\.\d|conv_last)\.0\.", r"\1.conv."),
    (r"^(conv_tr\w+|cls_head_conv_list\.\d|conv_last)\.1\.", r"\1.bn."),
    (r"running_mean$", "_mean"),
    (r"running_var$", "_variance"),
)
_FUSE = re.compile(r"^stage(\d)\.(\d)\.fuse_layers\.([\d.]+)\.([01])\.(\w+)$")


def save_timm(state, folder, **config):
    """Write model.safetensors and config.json, as the hub has them."""
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def save_mm(state, path, **meta):
    """Write a file of mmpretrain or mmsegmentation."""
    torch.save(
        {"meta": meta, "state_dict": {_renamed(name, _MM): value for name, value in _folded(state).items()}}, path
    )


def save_paddle(state, path):
    """Write a .pdparams file of PaddleClas: one pickle of arrays, with linear weights transposed."""
    arrays = {}
    for name, value in _folded(state).items():
        if not name.endswith("num_batches_tracked"):
            arrays[_paddle_name(name)] = (value.T if name == "classifier.weight" else value).contiguous().numpy()
    path.write_bytes(pickle.dumps(arrays, protocol=4))


def _folded(state):
    """Move the biases before batch norms into their means: these code bases have none."""
    folded = dict(state)
    for name in [name for name in state if re.search(r"(downsamp_modules\.\d|final_layer|last_layer)\.0\.bias$", name)]:
        bias = folded.pop(name)
        mean = name.replace(".0.bias", ".1.running_mean")
        folded[mean] = folded[mean] - bias
    return folded


def _renamed(name, rules):
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _paddle_name(name):
    if match := _FUSE.match(name):
        stage, module, path, part, kind = match.groups()
        place = _fuse_paths(int(stage)).index(path)
        kind = {"running_mean": "_mean", "running_var": "_variance"}.get(kind, kind)
        unit = ("conv", "bn")[int(part)]
        return f"st{stage}.stage_func_list.{module}.fuse_func.residual_func_list.{place}.{unit}.{kind}"
    return _renamed(name, _PADDLE)


def _fuse_paths(branches):
    """List the fuse layers of a module in the order of Paddle's flat list."""
    paths = []
    for i, j in itertools.product(range(branches), repeat=2):
        paths += [f"{i}.{j}"] if j > i else [f"{i}.{j}.{k}" for k in range(i - j)]
    return paths
