"""Checkpoints of all formats, and raw pickles."""

import functools
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch
from attacks.case import SPECIALS, Case
from attacks.child import CANARY_MODULE
from attacks.mutators import mutate, mutate_json

_EXPORT = ("export", "--device", "cpu", "-o", "out.onnx", "-q", "--weights")


@functools.cache
def _state() -> dict[str, Any]:

    names = ("conv1.weight", "bn1.weight", "bn1.bias", "stage2.0.branches.0.0.conv1.weight", "classifier.weight")
    return OrderedDict((name, torch.ones(2, 3)) for name in names)


@functools.cache
def _saved(*, legacy: bool) -> tuple[bytes, ...]:

    meta = {"CLASSES": ("cat", "dog"), "PALETTE": [[0, 0, 0], [1, 2, 3]]}
    found = []
    for content in (_state(), {"state_dict": _state(), "meta": meta, "epoch": 3}, {"model": {"a": [_state()]}}):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
        found.append(stream.getvalue())
    return tuple(found)


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def bombs() -> tuple[bytes, ...]:
    """Return small pickles that take memory or time: claims, deep and doubled containers, slow hashes."""
    doubled = b"(lq\x01" + b"".join(
        b"(h" + bytes([n]) + b"h" + bytes([n]) + b"lq" + bytes([n + 1]) for n in range(1, 60)
    )
    nested_tuple = b")" + b"\x85" * 100_000
    hashed = b"}" + b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(30)) + b"K\x01s"
    return (
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x02Nr\xff\xff\xff\xff.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fa.",
        b"\x80\x02" + doubled + b".",
        b"\x80\x02" + nested_tuple + b".",
        b"\x80\x02" + hashed + b".",
        b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        b"\x80\x02N" + b"2" * 3_000_000 + b".",
        b"\x80\x02I" + b"9" * 100_000 + b"\n.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"p999999999\n.",
        b"Np99999999999999\n.",
    )


def _called(module: str, name: str, argument: str) -> bytes:
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


def _executions() -> tuple[bytes, ...]:
    return (
        _called("os", "system", "touch marker"), _called("posix", "system", "touch marker"),
        _called("builtins", "eval", '__import__("os").system("touch marker")'), _called(CANARY_MODULE, "run", "x"),
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch marker\x85R.",
        _called("builtins", "open", "../outside/marker"), b"(S'touch marker'\nios\nsystem\n.",
    )  # fmt: skip


def _stride_zero() -> bytes:

    stream = io.BytesIO()
    torch.save({name: torch.ones(1).expand(1 << 20, 1 << 13) for name in _state()}, stream)
    return stream.getvalue()


@functools.cache
def _paddle() -> tuple[bytes, ...]:
    arrays = {name: np.ones((2, 3), np.float32) for name in _state()}
    split = {"a@@.0": np.ones(3), "UnpackBigParamInfor@@": {"a": {"OriginShape": (3,), "slices": ["a@@.0"]}}}
    contents = (arrays, {**arrays, "StructuredToParameterName@@": {}}, split)
    return tuple(pickle.dumps(content, protocol) for content in contents for protocol in (2, 4))


def random_pickle(random: Random) -> bytes:
    """Return a pickle of random opcodes that mostly keeps to the grammar of a stack."""
    start = random.choice((b"\x80\x02", b"\x80\x04", b""))
    return start + b"".join(random.choice(_OPCODES)(random) for _ in range(random.randint(1, 60))) + b"."


_TEXTS = (b"state_dict", b"conv1.weight", b"meta", b"CLASSES", b"\x1b[31m", b"\xed\xa0\x80", b"keys", b"__class__", b"")
_GLOBALS = (
    b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"cos\nsystem\n",
    b"cbuiltins\ngetattr\n", b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n",
    b"c__builtin__\nset\n", b"ccopy_reg\n_reconstructor\n", b"c" + CANARY_MODULE.encode() + b"\nrun\n",
)  # fmt: skip


def _text(random: Random) -> bytes:
    text = random.choice(_TEXTS)
    return b"X" + struct.pack("<I", len(text)) + text


_OPCODES: tuple[Callable[[Random], bytes], ...] = (
    _text,
    _text,
    lambda random: random.choice(_GLOBALS),
    lambda random: b"J" + struct.pack("<I", random.choice((0, 1, 2, 2**31, 2**32 - 1))),
    lambda random: random.choice((b"N", b"\x88", b"\x89", b"}", b"]", b")", b"(", b"(", b"\x8f")),
    lambda random: random.choice(
        (b"}", b"s", b"u", b"a", b"e", b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"\x90", b"\x91")
    ),
    lambda random: random.choice(
        (b"R", b"b", b"\x81", b"\x92", b"o", b"Q", b"\x82\x01", b"\x93", b"0", b"1", b"2", b"\x97")
    ),
    lambda random: random.choice((b"q", b"h")) + bytes([random.randrange(6)]),
    lambda random: b"\x8a\x09" + random.randbytes(9),
    lambda random: b"G" + random.randbytes(8),
    lambda random: random.choice(
        (b"I01\n", b"I99999999999999999999\n", b"F1e999\n", b"S'a'\n", b"Va\n", b"P1\n", b"Ix\n")
    ),
)


def _case(random: Random, name: str, content: bytes, share: float = 0.03) -> Case:
    if random.random() < 0.01:
        content = random.choice(SPECIALS).encode()
    words = (*_EXPORT, name) if random.random() < share else ("call:load_checkpoint", name)
    return Case(words=words, files={name: content}, output="out.onnx" if words[0] == "export" else "")


def torch_zips(random: Random) -> Case:
    """Files of torch.save since PyTorch 1.6."""
    content = random.choice(_saved(legacy=False))
    members = _members(content)
    program = next(name for name in members if name.endswith("data.pkl"))
    deed = random.random()
    if deed < 0.35:
        content = mutate(random, content, _saved(legacy=False))
    elif deed < 0.4:
        content = _zip(members | {"archive/data/9": bytes(30_000_000)}, zipfile.ZIP_DEFLATED)
    elif deed < 0.45:
        content = _zip(
            {
                random.choice(("../../x/", "/", "\x1b[31m", "a\nb", "é", "")) + name: part
                for name, part in members.items()
            }
        )
    elif deed < 0.47:
        content = _stride_zero()
    else:
        hostile = (
            random.choice(bombs() + _executions()) if deed < 0.6 else random_pickle(random) if deed < 0.75 else None
        )
        content = _zip(members | {program: hostile or mutate(random, members[program], rounds=3)})
    return _case(random, "weights.pth", content)


def torch_legacy(random: Random) -> Case:
    """Files of torch.save before PyTorch 1.6."""
    return _case(random, "weights.pth", mutate(random, random.choice(_saved(legacy=True)), _saved(legacy=True)))


def paddle(random: Random) -> Case:
    """Files of paddle.save."""
    return _case(random, "weights.pdparams", mutate(random, random.choice(_paddle()), _paddle(), rounds=3))


def safetensors(random: Random) -> Case:
    """Files of safetensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for number, name in enumerate(_state()):
        header[name] = {"dtype": "F32", "shape": [2, 3], "data_offsets": [24 * number, 24 * number + 24]}
    changed = mutate_json(random, header) if random.random() < 0.6 else header
    text = json.dumps(changed).encode("utf-8", "surrogatepass")
    length = random.choice((len(text),) * 8 + (2**63, 2**32, 0, len(text) + 100))
    content = struct.pack("<Q", length) + text + bytes(24 * len(_state()))
    return _case(random, "weights.safetensors", mutate(random, content) if random.random() < 0.5 else content)


def pickles(random: Random) -> Case:
    """Raw pickles under the names of checkpoints."""
    deed = random.random()
    if deed < 0.1:
        content = random.choice(bombs())
    elif deed < 0.2:
        content = random.choice(_executions())
    elif deed < 0.7:
        content = random_pickle(random)
    else:
        content = mutate(random, random.choice((*_paddle(), *bombs(), *_executions())))
    return _case(random, random.choice(("weights.pdparams", "weights.pth", "weights.pt", "weights.bin")), content)
