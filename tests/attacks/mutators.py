"""Deterministic mutations of bytes and of JSON values."""

import json
import struct
from random import Random
from typing import Any

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
HOSTILE_TEXTS = (
    "", " ", "\x1b[31mred\x1b[0m", "bell\x07", "one\nhrnet-predict: forged", "a\rb", "\u202egnp.exe", "\u2066x\u2069",
    "\x00", "\x9b31m", "\ud800", "\u2028", "A" * 5000, "../" * 8 + "etc/passwd", "/dev/zero", "%s%n", "{0}", "<script>",
    "|a|`b`", "$(touch marker)", "nan", "1e999", "🐸" * 90,
)  # fmt: skip
HOSTILE_NUMBERS = (
    0,
    -1,
    1,
    2,
    255,
    256,
    65_536,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    -(2**63),
    10**30,
    10**400,
    0.5,
    -0.0,
    1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
)
HOSTILE_VALUES = (*HOSTILE_TEXTS, *HOSTILE_NUMBERS, None, True, False, [], {}, [[]], [None], {"": {}}, [0] * 3000)


def mutate(random: Random, content: bytes, others: tuple[bytes, ...] = (), rounds: int = 6) -> bytes:
    """Change bytes in one to `rounds` places; `others` are spliced in."""
    data = bytearray(content)
    for _ in range(random.randint(1, rounds)):
        data = bytearray(random.choice(_BYTE_MUTATIONS)(random, data, others))
    return bytes(data)


def _place(random: Random, data: bytearray) -> int:
    # Headers are short and everything depends on them.
    return random.randrange(min(len(data), 64) if random.random() < 0.4 else len(data)) if data else 0


def _flip(random: Random, data: bytearray, _: tuple[bytes, ...]) -> bytes:
    if data:
        data[_place(random, data)] ^= 1 << random.randrange(8)
    return data


def _set(random: Random, data: bytearray, _: tuple[bytes, ...]) -> bytes:
    """Write an interesting number in one of the usual widths and orders; that inflates length fields."""
    place = _place(random, data)
    code = random.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(code)
    data[place : place + size] = struct.pack(code, random.choice(INTERESTING) & (1 << 8 * size) - 1)
    return data


def _cut(random: Random, data: bytearray, _: tuple[bytes, ...]) -> bytes:
    return data[: _place(random, data)]


def _delete(random: Random, data: bytearray, _: tuple[bytes, ...]) -> bytes:
    place = _place(random, data)
    del data[place : place + random.choice((1, 2, 4, 16, 300))]
    return data


def _repeat(random: Random, data: bytearray, _: tuple[bytes, ...]) -> bytes:
    place = _place(random, data)
    block = data[place : place + random.choice((1, 4, 12, 64, 400))]
    data[place:place] = block * random.choice((1, 2, 50))
    return data


def _insert(random: Random, data: bytearray, _: tuple[bytes, ...]) -> bytes:
    place = _place(random, data)
    data[place:place] = random.randbytes(random.choice((1, 4, 16, 200)))
    return data


def _splice(random: Random, data: bytearray, others: tuple[bytes, ...]) -> bytes:
    other = random.choice(others) if others else data
    start = random.randrange(len(other) + 1)
    return data[: _place(random, data)] + other[start : start + 4096]


_BYTE_MUTATIONS = (_flip, _flip, _set, _set, _set, _cut, _delete, _repeat, _insert, _splice)


def mutate_json(random: Random, value: Any, rounds: int = 3) -> Any:
    """Replace, delete, double or nest values anywhere in a JSON value."""
    for _ in range(random.randint(1, rounds)):
        value = _changed(random, value)
    return value


def _changed(random: Random, value: Any) -> Any:
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = random.choice(keys)
        changed: Any = dict(value) if isinstance(value, dict) else list(value)
        deed = random.random()
        if deed < 0.1:
            del changed[key]
        elif deed < 0.15 and isinstance(changed, dict):
            changed[random.choice(HOSTILE_TEXTS)] = changed.pop(key)
        else:
            changed[key] = _changed(random, changed[key])
        return changed
    if random.random() < 0.15:
        return [value] * random.choice((2, 40, 3000))
    if random.random() < 0.1 and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return random.choice(HOSTILE_VALUES)


def json_bytes(random: Random, value: Any) -> bytes:
    """Write mutated JSON, sometimes with damage that only a text can have."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.7)
    deed = random.random()
    if deed < 0.04:
        text = "[" * 100_000 + text
    elif deed < 0.06:
        text = text.replace("1", "1" * 5000, 1)
    content = text.encode("utf-8", "surrogatepass")
    return mutate(random, content, rounds=2) if deed > 0.85 else content
