"""Checkpoints of a real HRNet with a few hostile changes, which reach the late steps of loading."""

import functools
import io
import json
import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from attacks.case import Case
from attacks.mutators import HOSTILE_TEXTS, HOSTILE_VALUES, mutate, mutate_json
from safetensors.torch import save

from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant

_META = {"CLASSES": ("cat", "dog", "frog"), "PALETTE": [[0, 0, 0], [1, 2, 3], [4, 5, 6]]}


@functools.cache
def _weights() -> dict[str, torch.Tensor]:
    """Return the weights of the smallest HRNet, in half precision."""
    state = build_network(find_variant("hrnetv2_w18_small_v1"), 3).state_dict()
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def _drop(random: Random, state: dict[str, Any]) -> None:
    del state[random.choice(list(state))]


def _rename(random: Random, state: dict[str, Any]) -> None:
    text = random.choice(HOSTILE_TEXTS)
    name = random.choice(list(state))
    state[random.choice((text, name + text, f"module.{name}", f"backbone.{name}"))] = state.pop(name)


def _reshape(random: Random, state: dict[str, Any]) -> None:
    name = random.choice(list(state))
    deeds: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
        torch.flatten,
        lambda value: value.reshape(-1)[:0],
        lambda value: value.reshape(-1)[:1].expand(1 << 16, 1 << 16),
        lambda value: value.repeat(2, *[1] * (value.ndim - 1)) if value.ndim else value,
        lambda value: value.to(torch.complex64),
        lambda value: value.bool(),
        lambda value: value.double() * float("nan"),
        lambda value: value.to_sparse() if value.ndim else value,
    )
    if isinstance(value := state[name], torch.Tensor):
        state[name] = random.choice(deeds)(value)


def _replace(random: Random, state: dict[str, Any]) -> None:
    state[random.choice(list(state))] = random.choice(HOSTILE_VALUES)


def _prefix(random: Random, state: dict[str, Any]) -> None:
    prefix = random.choice(("module.", "backbone.", "model.", "ema.", "teacher.", "\x1b[31m.", "a" * 3000 + "."))
    double = random.random() < 0.3
    for name in list(state):
        state[prefix + name] = state[name] if double else state.pop(name)


_CHANGES = (_drop, _rename, _reshape, _reshape, _replace, _prefix)


def _wrapped(random: Random, state: dict[str, Any]) -> Any:
    """Put the weights into the containers of training code, with hostile values beside them."""
    deed = random.random()
    if deed < 0.4:
        return state
    if deed < 0.7:
        return {"state_dict": state, "meta": mutate_json(random, _META), "epoch": random.choice(HOSTILE_VALUES)}
    if deed < 0.8:
        return {"model": state, "state_dict": dict(state), "class_to_idx": mutate_json(random, {"cat": 0, "dog": 1})}
    if deed < 0.9:
        return {"arch": random.choice(HOSTILE_TEXTS), "model": [state]}
    return {"model_ema": state, "optimizer": {"state": {0: {"exp_avg": state}}}}


def networks(random: Random) -> Case:
    """Files of a real HRNet in each format."""
    state: dict[str, Any] = dict(_weights())
    for _ in range(random.randint(0, 3)):
        random.choice(_CHANGES)(random, state)
    suffix = random.choice(("pth", "pth", "pth", "pdparams", "safetensors"))
    content = {"pth": _torch, "pdparams": _paddle, "safetensors": _safetensors}[suffix](random, state)
    files = {f"weights.{suffix}": content}
    if suffix == "safetensors":
        config = {"architecture": "hrnet_w18_small", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 8, 8]}}
        files["config.json"] = json.dumps(mutate_json(random, config)).encode()
    return Case(words=("call:load_checkpoint", f"weights.{suffix}"), files=files)


def _torch(random: Random, state: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    try:
        torch.save(_wrapped(random, state), stream, _use_new_zipfile_serialization=random.random() < 0.7)
    except (UnicodeEncodeError, RuntimeError):  # what torch cannot write, it cannot have written
        return random.randbytes(40)
    content = stream.getvalue()
    return mutate(random, content) if random.random() < 0.1 else content


def _paddle(random: Random, state: dict[str, Any]) -> bytes:
    arrays = {name: value.numpy() if _is_dense(value) else None for name, value in state.items()}
    return pickle.dumps(arrays, random.choice((2, 4)))


def _safetensors(random: Random, state: dict[str, Any]) -> bytes:
    tensors = {
        name.encode("utf-8", "replace").decode(): value.contiguous().clone()
        for name, value in state.items()
        if _is_dense(value)
    }
    content = save(tensors, {"format": "pt"})
    return mutate(random, content) if random.random() < 0.2 else content


def _is_dense(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and value.numel() < 1 << 24
