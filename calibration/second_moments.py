"""How the inputs of a convolution go together: what rounding its weights well has to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

_POSITIONS = 256
"""Output pixels taken of each image: neighbours tell the same. 128 and 512 rounded the photo net equally well."""
_AT_ONCE = 1024
"""Pixels multiplied at a time: each product reads and writes as many sums as there are pairs of inputs."""


@dataclass(frozen=True)
class Window:
    """Which inputs one output pixel of a convolution is made of.

    Attributes:
        value: the tensor read, (1, channels, height, width).
        kernel: height and width.
        strides: down and across.
        pads: zeros above, left, below, right; None for as many as make the output 1/strides of the input.
        extra_first: of an odd number of these, whether the one more comes above and left.
    """

    value: str
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int] | None
    extra_first: bool = False

    @classmethod
    def of(cls, node: onnx.NodeProto, weights: NDArray[np.float32]) -> Window | None:
        """A convolution's window.

        Args:
            node: a Conv.
            weights: its weights, (outputs, inputs, height, width).

        Returns:
            The window; None for convolutions HRNet has none of: grouped, dilated, or not of images.
        """
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if weights.ndim != 4 or given.get("group", 1) != 1 or set(given.get("dilations", [1])) != {1}:
            return None
        (height, width), (down, across) = weights.shape[2:], given.get("strides", [1, 1])
        padding = given.get("auto_pad", b"NOTSET")
        pads = None if padding.startswith(b"SAME") else tuple(given.get("pads", [0, 0, 0, 0]))
        return cls(node.input[0], (height, width), (down, across), pads, padding == b"SAME_LOWER")

    def patches(self, tensor: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """What some output pixels are made of.

        Args:
            tensor: (1, channels, height, width).
            random: picks the pixels where there are more than enough.

        Returns:
            (pixels, channels * kernel height * kernel width), in the order of the weights.
        """
        image = tensor[0]
        sizes = image.shape[1:]
        top, left, bottom, right = self.pads or self._same(sizes)
        rows = (sizes[0] + top + bottom - self.kernel[0]) // self.strides[0] + 1
        columns = (sizes[1] + left + right - self.kernel[1]) // self.strides[1] + 1
        pixels = np.arange(rows * columns)
        if len(pixels) > _POSITIONS:
            pixels = random.choice(pixels, _POSITIONS, replace=False)
        down = (pixels // columns * self.strides[0] - top)[:, None] + np.arange(self.kernel[0])
        across = (pixels % columns * self.strides[1] - left)[:, None] + np.arange(self.kernel[1])
        inside = ((down >= 0) & (down < sizes[0]))[:, :, None] & ((across >= 0) & (across < sizes[1]))[:, None]
        down, across = down.clip(0, sizes[0] - 1), across.clip(0, sizes[1] - 1)
        chosen = image[:, down[:, :, None], across[:, None]] * inside  # what lies in the padding is zero
        return np.ascontiguousarray(chosen.swapaxes(0, 1)).reshape(len(pixels), -1)

    def _same(self, sizes: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Source: ONNX, Conv, auto_pad."""
        first, last = [], []
        for size, kernel, stride in zip(sizes, self.kernel, self.strides, strict=True):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            first.append((missing + self.extra_first) // 2)
            last.append(missing - first[-1])
        return first[0], first[1], last[0], last[1]


class SecondMoment:
    """The mean of x xT over the windows x of convolutions that read the same ones, grown image by image."""

    def __init__(self, window: Window, size: int) -> None:
        """Start with nothing seen.

        Args:
            window: what one output pixel is made of.
            size: how many inputs that is: channels * kernel height * kernel width.
        """
        self._window = window
        self._total = np.zeros((size, size), np.float32)
        self._count = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._random = np.random.default_rng(0)

    def add(self, tensor: NDArray[np.float32]) -> None:
        """Count one image.

        Args:
            tensor: what the window reads, (1, channels, height, width).
        """
        self._waiting.append(self._window.patches(tensor, self._random))
        if sum(map(len, self._waiting)) >= _AT_ONCE:
            self._multiply()

    def mean(self) -> NDArray[np.float32]:
        """What was seen so far.

        Returns:
            Symmetric (size, size); zeros before the first image.
        """
        if self._waiting:
            self._multiply()
        return self._total / np.float32(max(self._count, 1))

    def _multiply(self) -> None:
        patches = np.concatenate(self._waiting)
        self._waiting.clear()
        self._total += patches.T @ patches
        self._count += len(patches)
