"""What a user would pick instead: torch, a plain ONNX Runtime script, OpenVINO; each as its documentation has it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contest.setting import made, say
from contest.turns import Call
from hrnet_deploy.engines.openvino.runtime import load_openvino
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import Task

Floats = NDArray[np.float32]

_MEAN, _STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
_CROP = 0.875
_KEPT: list[Any] = []
"""What torch would forget with the last reference."""


def by_pillow(content: bytes, size_hw: tuple[int, int]) -> Floats:
    """What torchvision's evaluation transforms do: resize the short side to 8/7, crop the centre, normalise.

    Args:
        content: an encoded picture.
        size_hw: of the net; where it is no square the whole picture is squashed into it.

    Returns:
        float32 (3, height, width).
    """
    from PIL import Image

    picture = Image.open(io.BytesIO(content)).convert("RGB")
    height, width = size_hw
    if height == width:
        scale = int(height / _CROP) / min(picture.size)
        wide, high = (round(side * scale) for side in picture.size)
        left, top = (wide - width) // 2, (high - height) // 2
        resized = picture.resize((wide, high), Image.Resampling.BILINEAR).crop((left, top, left + width, top + height))
    else:
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(((np.asarray(resized, np.float32) / 255 - _MEAN) / _STD).transpose(2, 0, 1))


@functools.lru_cache(maxsize=1)
def torch_net(variant: str) -> Any:
    """The net of that name in timm, or our reference model where timm has none (segmentation); random weights."""
    torch = _untyped("torch")

    torch.manual_seed(0)
    chosen = find_variant(variant)
    if chosen.task is Task.CLASSIFICATION:
        if importlib.util.find_spec("torchvision") is not None:
            # A torchvision built for another torch lacks these, and timm cannot be imported then.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                with contextlib.suppress(RuntimeError):
                    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEPT.append(library)
        return _untyped("timm").create_model(variant, pretrained=False).eval()
    from hrnet_deploy.models.network import build_network

    return build_network(chosen, chosen.default_num_classes).eval()


def checkpoint(variant: str, folder: Path) -> Path:
    """The weights of `torch_net`, for ours to be made of the same."""

    def make(path: Path) -> None:
        _untyped("safetensors.torch").save_file(torch_net(variant).state_dict(), path)

    return made(folder / f"{variant}.safetensors", make)


def plain_onnx(variant: str, size_hw: tuple[int, int], folder: Path) -> Path:
    """The script of a tutorial: torch.onnx.export with an open batch, nothing else."""
    import torch

    def make(path: Path) -> None:
        say(f"exports {variant} by torch.onnx.export")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                torch_net(variant),
                (torch.zeros(2, 3, *size_hw),),
                str(path),
                dynamo=False,
                opset_version=18,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
            )

    return made(folder / f"{variant}-plain.onnx", make)


def quantised_onnx(plain: Path, images: Sequence[Floats]) -> Path:
    """ONNX Runtime's own static quantisation, with its defaults; each image float32 (3, height, width)."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # no types there
        def __init__(self) -> None:
            self.left: Iterator[dict[str, Floats]] = ({"input": image[None]} for image in images)

        def get_next(self) -> dict[str, Floats] | None:
            return next(self.left, None)

    return made(plain.with_suffix(".static.onnx"), lambda path: quantize_static(str(plain), str(path), Reader()))


def quantised_openvino(plain: Path, images: Sequence[Floats]) -> Path:
    """OpenVINO's graph, quantised by NNCF with its defaults; each image float32 (3, height, width)."""

    def make(folder: Path) -> None:
        openvino, nncf = load_openvino(), _untyped("nncf")
        nncf.set_log_level(40)
        model = openvino.Core().read_model(str(plain))
        model = nncf.quantize(model, nncf.Dataset([image[None] for image in images]), subset_size=len(images))
        folder.mkdir(exist_ok=True)
        openvino.save_model(model, folder / "net.xml", compress_to_fp16=False)

    return made(plain.with_suffix(".nncf"), make) / "net.xml"


def plain_session(path: Path, batch: Floats) -> Call:
    """ONNX Runtime as its own README opens it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": batch})[0]


def openvino_net(path: Path, batch: Floats) -> Call:
    """OpenVINO itself with a fixed shape; bfloat16, which it would take where the CPU has it, is kept out."""
    core = load_openvino().Core()
    model = core.read_model(str(path))
    model.reshape(batch.shape)
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    return lambda: request.infer({0: batch}, share_inputs=True)[0]


def eager(variant: str, batch: Floats) -> Call:
    """Torch as it is."""
    import torch

    return _inferring(torch_net(variant), torch.from_numpy(batch))


def compiled(variant: str, batch: Floats) -> Call:
    """torch.compile for this shape."""
    torch = _untyped("torch")
    return _inferring(torch.compile(torch_net(variant), dynamic=False), torch.from_numpy(batch))


def eager_from_jpeg(variant: str, contents: Sequence[bytes], size_hw: tuple[int, int]) -> Call:
    """Torch behind Pillow: scores, or masks of the pictures' own sizes."""
    import torch
    from PIL import Image

    net, classifies = torch_net(variant), find_variant(variant).task is Task.CLASSIFICATION

    def call() -> Any:
        tensor = torch.from_numpy(np.stack([by_pillow(content, size_hw) for content in contents]))
        with torch.inference_mode():
            logits = net(tensor)
            if classifies:
                return logits.softmax(1).topk(5)
            sizes = [Image.open(io.BytesIO(content)).size[::-1] for content in contents]
            return [
                torch.nn.functional.interpolate(row[None], size=size, mode="bilinear").argmax(1)
                for row, size in zip(logits, sizes, strict=True)
            ]

    return call


def _inferring(net: Callable[[Any], Any], tensor: Any) -> Call:
    import torch

    def call() -> Any:
        with torch.inference_mode():
            return net(tensor).numpy()

    return call


def _untyped(name: str) -> Any:
    """A module whose types say too little."""
    return importlib.import_module(name)
