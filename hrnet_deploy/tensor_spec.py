"""Descriptions of a graph's inputs and outputs, and of the sizes that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import BATCH
from hrnet_deploy.preprocessing_spec import positive_ints


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output; `dtype` is a NumPy name, and a string in the shape names a dynamic dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.shape)
        if not all(type(v) is str for v in (self.name, self.dtype)) or not all(type(d) in {int, str} for d in shape):
            raise UsageError(
                f"a tensor needs a name, a dtype and a shape of numbers and names, got {self!s:.200}. Correct it."
            )
        object.__setattr__(self, "shape", shape)


@dataclass(frozen=True)
class ShapeRange:
    """Smallest, optimal and largest (batch, height, width) of an artifact; equal where it is fixed."""

    min_nhw: tuple[int, int, int]
    opt_nhw: tuple[int, int, int]
    max_nhw: tuple[int, int, int]

    def __post_init__(self) -> None:
        for name in ("min_nhw", "opt_nhw", "max_nhw"):
            object.__setattr__(self, name, positive_ints("shape range", getattr(self, name), 3))
        if self.max_nhw[0] > BATCH:
            raise UsageError(f"batch must be at most {BATCH}, got {self.max_nhw[0]}. Run several batches.")
        for axis, low, opt, high in zip(
            ("batch", "height", "width"), self.min_nhw, self.opt_nhw, self.max_nhw, strict=True
        ):
            if not low <= opt <= high:
                raise UsageError(f"{axis} range must satisfy min <= opt <= max, got {low}:{opt}:{high}. Reorder it.")

    @property
    def dynamic_batch(self) -> bool:
        """Whether the batch size is dynamic."""
        return self.min_nhw[0] != self.max_nhw[0]

    @property
    def dynamic_hw(self) -> bool:
        """Whether height or width is dynamic."""
        return self.min_nhw[1:] != self.max_nhw[1:]
