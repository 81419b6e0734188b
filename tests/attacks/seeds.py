"""Small valid files, from which the families start."""

import functools
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from helpers.color_artifact import write_color_artifact

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.preprocessing_spec import Preprocessing
from hrnet_deploy.spec import ModelCard, Precision, ShapeRange, Task, TensorSpec

CLASSES = ("cat", "dog", "frog")


def card(task: Task = Task.CLASSIFICATION, *, pixels_in: bool = True) -> ModelCard:
    """Return the card of the toy models."""
    places = ("batch", "height", "width")
    shape = (*places, 3) if pixels_in else ("batch", 3, *places[1:])
    scores = ("batch", 3) if task is Task.CLASSIFICATION else ("batch", 3, *places[1:])
    return ModelCard(
        task=task,
        variant="foreign",
        classes=CLASSES,
        preprocessing=Preprocessing(size_hw=(8, 8)),
        precision=Precision.FP32,
        inputs=(TensorSpec("input", "uint8" if pixels_in else "float32", shape),),
        outputs=(TensorSpec("logits", "float32", scores),),
        shapes=ShapeRange((1, 8, 8), (1, 8, 8), (4, 64, 64)),
        pixels_in=pixels_in,
        lineage={"source": "toy"},
        measured={"cosine": 1.0},
    )


@functools.cache
def model(task: str = "classification") -> bytes:
    """Return an artifact with pixels as input."""
    with tempfile.TemporaryDirectory() as folder:
        return write_color_artifact(Path(folder, "model.onnx"), card(Task(task))).read_bytes()


@functools.cache
def float_model(*, with_card: bool, convolutions: int = 1) -> bytes:
    """Return a graph of convolutions and a product, which has weights."""
    weights = np.random.default_rng(0)
    names = ["input", *(f"active{number}" for number in range(convolutions))]
    layers = "".join(
        f"features{number} = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>({names[number]}, kernel{number})\n"
        f"active{number} = Relu(features{number})\n"
        for number in range(convolutions)
    )
    text = f"""<ir_version: 9, opset_import: ["" : 20]>
    g (float[batch,3,height,width] input) => (float[batch,3] logits) {{
        {layers}
        pooled = GlobalAveragePool({names[-1]})
        flat = Flatten(pooled)
        logits = Gemm(flat, matrix, bias)
    }}"""
    graph = onnx.parser.parse_model(text)
    kernels = {f"kernel{number}": (4, 4 if number else 3, 3, 3) for number in range(convolutions)}
    for name, shape in {**kernels, "matrix": (4, 3), "bias": (3,)}.items():
        values = weights.normal(size=shape).astype(np.float32)
        graph.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    if with_card:
        onnx.helper.set_model_props(graph, card_metadata(card(pixels_in=False)))
    return graph.SerializeToString()


def photo(height: int = 20, width: int = 30) -> np.ndarray:
    """Return an image with edges and a gradient."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 7 % 256, columns * 5 % 256, (rows // 4 + columns // 4) % 2 * 200], 2).astype(np.uint8)


@functools.cache
def images() -> dict[str, bytes]:
    """Return an image in each format that this OpenCV, or Pillow, writes."""
    from PIL import Image

    found = {}
    for name in ("png", "jpg", "webp", "avif", "tiff", "bmp", "gif", "jp2", "ppm", "pgm", "pbm"):
        pixels = photo(96, 128) if name == "jp2" else photo()  # JPEG 2000 halves the sides five times
        pixels = pixels[..., 0] if name in {"pgm", "pbm"} else pixels
        try:
            good, content = cv2.imencode(f".{name}", pixels)
        except cv2.error:
            continue
        if good:
            found[name] = content.tobytes()
    whole = Image.fromarray(photo())
    for name, options in {
        "progressive.jpg": {"format": "JPEG", "progressive": True},
        "cmyk.jpg": {"format": "JPEG"},
        "palette.png": {"format": "PNG"},
        "pillow.png": {"format": "PNG"},
        "deflate.tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
        "animated.gif": {"format": "GIF", "save_all": True, "append_images": [whole.rotate(90)]},
        "animated.webp": {"format": "WEBP", "save_all": True, "append_images": [whole.rotate(90)]},
    }.items():
        modes = {"cmyk": "CMYK", "palette": "P", "animated": "RGB"}
        stream = io.BytesIO()
        whole.convert(modes.get(name.partition(".")[0], "RGB")).save(stream, **options)
        found[name] = stream.getvalue()
    return found


@functools.cache
def video(suffix: str = "avi", codec: str = "MJPG") -> bytes:
    """Return four frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"v.{suffix}")
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 5, (32, 24))
        for _ in range(4):
            writer.write(photo(24, 32))
        writer.release()
        return path.read_bytes()
