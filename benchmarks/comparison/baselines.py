"""What a user would pick instead: torch, ONNX Runtime, OpenVINO and NNCF, each as its documentation shows it."""

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

from comparison.config import created_once, log
from comparison.interleave import Call
from hrnet_deploy.engines.openvino.runtime import load_openvino
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import Task

Floats = NDArray[np.float32]
Scores = Callable[[Floats], NDArray[Any]]

MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
_CROP = 0.875
_LIBRARIES: list[Any] = []
"""Libraries that torch forgets with the last reference."""


def by_pillow(content: bytes, size_hw: tuple[int, int]) -> Floats:
    """Prepare an encoded image as torchvision does: resize (or squash), crop, normalize; float32 (3, height, width)."""
    from PIL import Image

    return by_pillow_and_numpy(Image.open(io.BytesIO(content)).convert("RGB"), size_hw)


def by_pillow_and_numpy(image: Any, size_hw: tuple[int, int]) -> Floats:
    """Prepare a decoded RGB image of Pillow in the same way."""
    from PIL import Image

    height, width = size_hw
    size_wh = (width, height)
    if height == width:
        side, shorter = int(height / _CROP), min(image.size)
        size_wh = (int(side * image.size[0] / shorter), int(side * image.size[1] / shorter))
    left, top = round((size_wh[0] - width) / 2), round((size_wh[1] - height) / 2)
    resized = image.resize(size_wh, Image.Resampling.BILINEAR).crop((left, top, left + width, top + height))
    return np.ascontiguousarray(((np.asarray(resized, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1))


@functools.lru_cache(maxsize=1)
def torch_model(variant: str, weights: Path | None = None) -> Any:
    """Return timm's model with random weights; for segmentation or a checkpoint our reference model."""
    torch = _untyped("torch")

    torch.manual_seed(0)
    chosen = find_variant(variant)
    if chosen.task is Task.CLASSIFICATION and weights is None:
        if importlib.util.find_spec("torchvision") is not None:
            # A torchvision built for another torch lacks these, and timm cannot be imported then.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                with contextlib.suppress(RuntimeError):
                    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _LIBRARIES.append(library)
        return _untyped("timm").create_model(variant, pretrained=False).eval()
    from hrnet_deploy.models.network import build_network

    network = build_network(chosen, chosen.default_num_classes).eval()
    if weights is not None:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network


def checkpoint(variant: str, folder: Path) -> Path:
    """Save the weights of `torch_model`, which our exports use as well."""

    def create(path: Path) -> None:
        _untyped("safetensors.torch").save_file(torch_model(variant).state_dict(), path)

    return created_once(folder / f"{variant}.safetensors", create)


def plain_onnx(variant: str, size_hw: tuple[int, int], folder: Path, weights: Path | None = None) -> Path:
    """Export a model of `torch_model` once with torch.onnx.export alone, as a tutorial does; the batch is open."""
    import torch

    def create(path: Path) -> None:
        log(f"exports {variant} by torch.onnx.export")
        names: dict[str, Any] = {"input_names": ["input"], "output_names": ["logits"]}
        axes = {"input": {0: "n"}, "logits": {0: "n"}}
        batch = (torch.zeros(2, 3, *size_hw),)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = torch_model(variant, weights)
            torch.onnx.export(model, batch, str(path), dynamo=False, opset_version=18, dynamic_axes=axes, **names)

    return created_once(folder / f"{variant}-{size_hw[0]}x{size_hw[1]}-plain.onnx", create)


def quantized_onnx(plain: Path, images: Sequence[Floats]) -> Path:
    """Quantize with ONNX Runtime and its defaults; images are float32 (3, height, width)."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # no types there
        def __init__(self) -> None:
            self.left: Iterator[dict[str, Floats]] = ({"input": image[None]} for image in images)

        def get_next(self) -> dict[str, Floats] | None:
            return next(self.left, None)

    return created_once(
        plain.with_suffix(".static.onnx"), lambda path: quantize_static(str(plain), str(path), Reader())
    )


def quantized_openvino(plain: Path, images: Sequence[Floats]) -> Path:
    """Quantize with NNCF and its defaults; images are float32 (3, height, width)."""

    def create(folder: Path) -> None:
        openvino, nncf = load_openvino(), _untyped("nncf")
        nncf.set_log_level(40)
        model = openvino.Core().read_model(str(plain))
        model = nncf.quantize(model, nncf.Dataset([image[None] for image in images]), subset_size=len(images))
        folder.mkdir(exist_ok=True)
        openvino.save_model(model, folder / "net.xml", compress_to_fp16=False)

    return created_once(plain.with_suffix(".nncf"), create) / "net.xml"


def plain_session(path: Path) -> Scores:
    """Open ONNX Runtime as its README does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"input": batch})[0]


def openvino_request(path: Path, shape: Sequence[int], precision: str = "f32") -> Scores:
    """Open OpenVINO with a fixed shape; by itself it would compute in bfloat16 where the CPU has it."""
    core = load_openvino().Core()
    model = core.read_model(str(path))
    model.reshape(list(shape))
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()
    return lambda batch: request.infer({0: batch}, share_inputs=True)[0]  # a copy


def compiled(variant: str) -> Any:
    """Compile a model by torch.compile for one shape."""
    return _untyped("torch").compile(torch_model(variant), dynamic=False)


def inferring(model: Callable[[Any], Any], batch: Floats) -> Call:
    """Run a torch model on a batch."""
    import torch

    tensor = torch.from_numpy(batch)

    def call() -> Any:
        with torch.inference_mode():
            return model(tensor).numpy()

    return call


def eager_from_jpeg(variant: str, contents: Sequence[bytes], size_hw: tuple[int, int]) -> Call:
    """Run Pillow and torch: scores, or masks of the images' own sizes."""
    import torch
    from PIL import Image

    model, classifies = torch_model(variant), find_variant(variant).task is Task.CLASSIFICATION

    def call() -> Any:
        tensor = torch.from_numpy(np.stack([by_pillow(content, size_hw) for content in contents]))
        with torch.inference_mode():
            logits = model(tensor)
            if classifies:
                return logits.softmax(1).topk(5)
            sizes = [Image.open(io.BytesIO(content)).size[::-1] for content in contents]
            return [
                torch.nn.functional.interpolate(row[None], size=size, mode="bilinear").argmax(1)
                for row, size in zip(logits, sizes, strict=True)
            ]

    return call


def _untyped(name: str) -> Any:
    """Import a module without types."""
    return importlib.import_module(name)
