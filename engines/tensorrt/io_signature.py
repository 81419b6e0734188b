"""The inputs and outputs of an engine, and the shapes of its optimization profiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.spec import ModelCard, TensorSpec

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Min, opt and max shape by input."""
OPEN = -1
"""TensorRT's size of an open dimension."""

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Binding:
    """One input or output tensor; -1 in its shape is an open dimension."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape

    def nbytes(self, shape: Shape) -> int:
        """Return the bytes of this tensor at a shape without open dimensions."""
        return math.prod(shape) * self.dtype.itemsize


@dataclass(frozen=True)
class IoSignature:
    """All tensors and optimization profiles of an engine; there is at least one profile."""

    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    profiles: tuple[Profile, ...]

    @property
    def splittable(self) -> bool:
        """Whether the first dimension of every tensor is the batch and open."""
        return all(binding.shape[:1] == (OPEN,) for binding in self.inputs + self.outputs)

    def specs(self, card: ModelCard | None) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Return inputs and outputs with the card's names of open dimensions; without a card "batch" and "?"."""
        inputs, outputs = (card.inputs, card.outputs) if card else ((), ())
        return (
            tuple(_spec(binding, inputs) for binding in self.inputs),
            tuple(_spec(binding, outputs) for binding in self.outputs),
        )

    def ordered_as(self, card: ModelCard) -> IoSignature:
        """Return the same tensors in a card's order, where it lists all of them."""
        return replace(self, inputs=_ordered(self.inputs, card.inputs), outputs=_ordered(self.outputs, card.outputs))


def read_signature(api: TrtApi, engine: Any, name: str) -> IoSignature:
    """Read the signature of an engine; `name` is the artifact's, for the error."""
    inputs: list[Binding] = []
    outputs: list[Binding] = []
    for index in range(engine.num_io_tensors):
        tensor = engine.get_tensor_name(index)
        dtype = _DTYPES.get(engine.get_tensor_dtype(tensor).name)
        location = engine.get_tensor_location(tensor).name if hasattr(engine, "get_tensor_location") else "DEVICE"
        if dtype is None or location != "DEVICE":
            got = f"{engine.get_tensor_dtype(tensor).name.lower()} in {location.lower()} memory"
            raise ArtifactError(
                f"tensor '{tensor}' of {name} must be of {', '.join(_DTYPES.values())} in GPU memory, got {got}. "
                "Export the model with such inputs and outputs."
            )
        binding = Binding(tensor, np.dtype(dtype), tuple(int(d) for d in engine.get_tensor_shape(tensor)))
        is_input = engine.get_tensor_mode(tensor) == api.module.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(binding)
    profiles = range(max(engine.num_optimization_profiles, 1))
    ranges = ({binding.name: _range(engine, binding, index) for binding in inputs} for index in profiles)
    return IoSignature(tuple(inputs), tuple(outputs), tuple(ranges))


@dataclass(frozen=True)
class Chunk:
    """A part of a batch that one execution computes.

    Attributes:
        profile: index of the profile.
        start: first row; 0 where the batch is not split.
        shapes: shape of each input, in the signature's order.
    """

    profile: int
    start: int
    shapes: tuple[Shape, ...]


def split_batch(signature: IoSignature, shapes: tuple[Shape, ...]) -> tuple[Chunk, ...]:
    """Split a batch into the parts that one profile holds; one part where it holds the whole batch."""
    named = dict(zip((binding.name for binding in signature.inputs), shapes, strict=True))
    profiles = signature.profiles
    whole = [i for i, profile in enumerate(profiles) if all(_holds(profile, n, shape) for n, shape in named.items())]
    if whole:
        return (Chunk(min(whole, key=lambda index: _distance(profiles[index], named)), 0, shapes),)
    batches = {shape[0] for shape in shapes if shape}
    if signature.splittable and len(batches) == 1:
        (batch,) = batches
        for index in sorted(range(len(profiles)), key=lambda index: _batch_range(profiles[index]), reverse=True):
            high, low = _batch_range(profiles[index])
            sizes = _parts(batch, low, high)
            if sizes and all(_holds(profiles[index], n, (sizes[0], *shape[1:])) for n, shape in named.items()):
                parts = zip(itertools.accumulate(sizes, initial=0), sizes, strict=False)
                return tuple(
                    Chunk(index, start, tuple((size, *shape[1:]) for shape in shapes)) for start, size in parts
                )
    raise _out_of_range(signature, named)


def _batch_range(profile: Profile) -> tuple[int, int]:
    """Return the largest and the smallest batch of a profile."""
    ranges = profile.values()
    return min(high[0] for _, _, high in ranges), max(low[0] for low, _, _ in ranges)


def _parts(batch: int, low: int, high: int) -> list[int]:
    """Return sizes that sum up to `batch`; full ones first, so that few shapes need a recording."""
    if not 0 < high < batch or low > high:
        return []
    full, rest = divmod(batch, high)
    if not rest or rest >= low:
        return [high] * full + [rest] * bool(rest)
    even, extra = divmod(batch, full + 1)
    return [even + 1] * extra + [even] * (full + 1 - extra) if even >= low else []


def _holds(profile: Profile, name: str, shape: Shape) -> bool:
    low, _, high = profile[name]
    return len(shape) == len(low) and all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True))


def _distance(profile: Profile, named: Mapping[str, Shape]) -> float:
    """Return the distance of the shapes from a profile's opt shapes."""
    return sum(
        abs(math.log(max(math.prod(shape), 1) / max(math.prod(profile[name][1]), 1))) for name, shape in named.items()
    )


def _out_of_range(signature: IoSignature, named: Mapping[str, Shape]) -> UsageError:
    held = {n: any(_holds(profile, n, shape) for profile in signature.profiles) for n, shape in named.items()}
    name = next((n for n, fits in held.items() if not fits), signature.inputs[0].name)
    allowed = " or ".join(
        f"{low} to {high}" if low != high else f"{low}"
        for low, _, high in (profile[name] for profile in signature.profiles)
    )
    return UsageError(
        f"input '{name}' must be within {allowed}, got {named[name]}. "
        "Resize it, or build an engine for it: hrnet-export --batch MIN:OPT:MAX --imgsz ..."
    )


def _range(engine: Any, binding: Binding, profile: int) -> tuple[Shape, Shape, Shape]:
    if OPEN not in binding.shape:
        return binding.shape, binding.shape, binding.shape
    low, best, high = (tuple(int(d) for d in dims) for dims in engine.get_tensor_profile_shape(binding.name, profile))
    return low, best, high


def _spec(binding: Binding, listed: tuple[TensorSpec, ...]) -> TensorSpec:
    known = next((spec for spec in listed if spec.name == binding.name), None)
    names: list[int | str] = ["batch", *["?"] * (len(binding.shape) - 1)]
    if known and len(known.shape) == len(binding.shape):
        names = [entry if isinstance(entry, str) else name for entry, name in zip(known.shape, names, strict=True)]
    shape = tuple(name if size == OPEN else size for size, name in zip(binding.shape, names, strict=False))
    return TensorSpec(binding.name, binding.dtype.name, shape)


def _ordered(bindings: tuple[Binding, ...], listed: tuple[TensorSpec, ...]) -> tuple[Binding, ...]:
    places = {spec.name: place for place, spec in enumerate(listed)}
    if places.keys() != {binding.name for binding in bindings}:
        return bindings
    return tuple(sorted(bindings, key=lambda binding: places[binding.name]))
