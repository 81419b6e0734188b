"""Second moments of the inputs of a convolution: the layer-wise Hessian of GPTQ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

_POSITIONS = 256
"""Output positions sampled per image, since neighbors are correlated. 128 and 512 rounded the photo model equally
well."""
_ROWS_PER_PRODUCT = 1024
"""Each product reads and writes one sum per pair of inputs, so patches are multiplied in large groups."""


@dataclass(frozen=True)
class Window:
    """The inputs of one output position of a convolution.

    Attributes:
        value: name of the input tensor, (1, channels, height, width).
        pads: top, left, bottom, right; None for ONNX's SAME padding.
        extra_first: whether the odd one of SAME padding goes to the top and left.
    """

    value: str
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int] | None
    extra_first: bool = False

    @classmethod
    def of(cls, node: onnx.NodeProto, weights: NDArray[np.float32]) -> Window | None:
        """Read a convolution's window; None where it is grouped, dilated or not 2-D, as HRNet has none."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if weights.ndim != 4 or attributes.get("group", 1) != 1 or set(attributes.get("dilations", [1])) != {1}:
            return None
        (height, width), (down, across) = weights.shape[2:], attributes.get("strides", [1, 1])
        padding = attributes.get("auto_pad", b"NOTSET")
        pads = None if padding.startswith(b"SAME") else tuple(attributes.get("pads", [0, 0, 0, 0]))
        return cls(node.input[0], (height, width), (down, across), pads, padding == b"SAME_LOWER")

    def patches(self, tensor: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """Return the inputs of sampled output positions, (positions, channels * kernel height * kernel width)."""
        image = tensor[0]
        sizes = image.shape[1:]
        top, left, bottom, right = self.pads or self._same(sizes)
        rows = (sizes[0] + top + bottom - self.kernel[0]) // self.strides[0] + 1
        columns = (sizes[1] + left + right - self.kernel[1]) // self.strides[1] + 1
        positions = np.arange(rows * columns)
        if len(positions) > _POSITIONS:
            positions = random.choice(positions, _POSITIONS, replace=False)
        down = (positions // columns * self.strides[0] - top)[:, None] + np.arange(self.kernel[0])
        across = (positions % columns * self.strides[1] - left)[:, None] + np.arange(self.kernel[1])
        inside = ((down >= 0) & (down < sizes[0]))[:, :, None] & ((across >= 0) & (across < sizes[1]))[:, None]
        down, across = down.clip(0, sizes[0] - 1), across.clip(0, sizes[1] - 1)
        chosen = image[:, down[:, :, None], across[:, None]] * inside  # the padding is zero
        return np.ascontiguousarray(chosen.swapaxes(0, 1)).reshape(len(positions), -1)

    def _same(self, sizes: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Compute SAME padding. Source: ONNX, Conv, auto_pad."""
        first, last = [], []
        for size, kernel, stride in zip(sizes, self.kernel, self.strides, strict=True):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            first.append((missing + self.extra_first) // 2)
            last.append(missing - first[-1])
        return first[0], first[1], last[0], last[1]


class SecondMoment:
    """The mean of x xT over the windows x of one input tensor, accumulated image by image."""

    def __init__(self, window: Window, size: int) -> None:
        """Start with no images; `size` is the number of a window's values."""
        self._window = window
        self._total = np.zeros((size, size), np.float32)
        self._count = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._random = np.random.default_rng(0)

    def add(self, tensor: NDArray[np.float32]) -> None:
        """Count one image's input tensor, (1, channels, height, width)."""
        self._waiting.append(self._window.patches(tensor, self._random))
        if sum(map(len, self._waiting)) >= _ROWS_PER_PRODUCT:
            self._multiply()

    def mean(self) -> NDArray[np.float32]:
        """Return the symmetric (size, size) mean; zeros before the first image."""
        if self._waiting:
            self._multiply()
        return self._total / np.float32(max(self._count, 1))

    def _multiply(self) -> None:
        patches = np.concatenate(self._waiting)
        self._waiting.clear()
        self._total += patches.T @ patches
        self._count += len(patches)
