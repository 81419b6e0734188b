"""What a user writes for batch and image size, as a shape range."""

from __future__ import annotations

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import ShapeRange

HeightWidth = tuple[int, int]

_DEFAULT_BATCH = (1, 1, 16)
_DYNAMIC_MIN_HW = (64, 64)
_DYNAMIC_MAX_HW = (2048, 4096)


def shape_range(imgsz: str | int | HeightWidth | None, batch: str | int | None, native_hw: HeightWidth) -> ShapeRange:
    """Batch, height and width an artefact shall take.

    Args:
        imgsz: H, "H", "HxW" or (H, W): fixed; "MIN:OPT:MAX" of those: a range; "dynamic": any; None: the net's own.
        batch: N: fixed; "MIN:OPT:MAX": a range; None: 1 to 16, for one at a time.
        native_hw: the net's own (height, width).

    Returns:
        The range; an ONNX file names what varies, an engine is built for it.

    Raises:
        UsageError: not of that form, or not in order.
    """
    low, opt, high = _batch_range(batch)
    min_hw, opt_hw, max_hw = _size_range(imgsz, native_hw)
    return ShapeRange((low, *min_hw), (opt, *opt_hw), (high, *max_hw))


def _batch_range(batch: str | int | None) -> tuple[int, int, int]:
    if batch is None:
        return _DEFAULT_BATCH
    parts = str(batch).split(":")
    if len(parts) not in {1, 3} or not all(map(_is_number, parts)):
        raise UsageError(f"batch must be N or MIN:OPT:MAX, got '{batch}'. Example: 1:8:16.")
    numbers = [int(p) for p in parts]
    return (numbers[0], numbers[len(numbers) // 2], numbers[-1])


def _size_range(
    imgsz: str | int | HeightWidth | None, native_hw: HeightWidth
) -> tuple[HeightWidth, HeightWidth, HeightWidth]:
    if imgsz is None:
        return native_hw, native_hw, native_hw
    if imgsz == "dynamic":
        return _DYNAMIC_MIN_HW, native_hw, _DYNAMIC_MAX_HW
    if isinstance(imgsz, tuple | list):
        imgsz = "x".join(map(str, imgsz))
    sizes = [_size(part, imgsz) for part in str(imgsz).split(":")]
    if len(sizes) not in {1, 3}:
        raise UsageError(f"image size must be one size or MIN:OPT:MAX, got '{imgsz}'. Example: 256:512x1024:1024x2048.")
    return sizes[0], sizes[len(sizes) // 2], sizes[-1]


def _size(text: str, whole: str | int) -> HeightWidth:
    parts = text.lower().split("x")
    if len(parts) not in {1, 2} or not all(map(_is_number, parts)):
        raise UsageError(f"image size must be H, HxW, MIN:OPT:MAX or 'dynamic', got '{whole}'. Example: 512x1024.")
    return int(parts[0]), int(parts[-1])


def _is_number(text: str) -> bool:
    """Digits, and few enough for int() to take."""
    return text.isdecimal() and len(text) < 10
