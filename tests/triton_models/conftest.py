"""Toy artifacts of every kind, exported once a session from graphs of a few nodes."""

import hashlib

import cv2
import numpy as np
import onnx
import pytest

from hrnet_deploy import export
from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar, sidecar_path, write_sidecar
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.imaging.synthetic_images import synthetic_images

CLASSES = ("cat", 'a "quoted" dog', "back\\slash", "naïve 犬", "two\nlines")
BATCH = "1:4:8"
_CLASSIFIER = """g (float[N,3,64,64] input) => (float[N,5] logits) {
    a = Conv<strides=[4,4]>(input, w1)
    b = Relu(a)
    c = Conv<strides=[2,2]>(b, w2)
    d = Relu(c)
    e = Conv(d, w3)
    f = GlobalAveragePool(e)
    h = Flatten(f)
    logits = Gemm<transB=1>(h, w4)
}"""
_SEGMENTER = """g (float[N,3,H,W] input) => (float[N,5,P,Q] logits) {
    a = Conv<strides=[4,4],pads=[1,1,1,1]>(input, w1)
    b = Relu(a)
    logits = Conv(b, w2)
}"""


def _graph(text, path, **shapes):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    noise = np.random.default_rng(0)
    for name, shape in shapes.items():
        weights = noise.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights.astype(np.float32), name))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Folder of small PNG files."""
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(synthetic_images(16, (80, 100))):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory, images):
    """Artifacts of every kind by name."""
    folder = tmp_path_factory.mktemp("artifacts")
    classifier = _graph(
        _CLASSIFIER, folder / "c.onnx", w1=(16, 3, 4, 4), w2=(16, 16, 3, 3), w3=(16, 16, 1, 1), w4=(5, 16)
    )
    segmenter = _graph(_SEGMENTER, folder / "s.onnx", w1=(16, 3, 4, 4), w2=(5, 16, 1, 1))
    plain = folder / "fp32.onnx"
    streets = folder / "sizes.onnx"
    export(classifier, task="classification", classes=CLASSES, preprocessing="official", batch=BATCH, output=plain)
    export(plain, precision="fp16", pixels_in=True, batch=BATCH, output=folder / "fp16.pixels.onnx")
    export(plain, labels_out="softmax", batch=4, output=folder / "batch4.onnx")
    export(
        plain, precision="int8", labels_out="topk", calib_data=images, calib_images=8, calib_method="minmax",
        keep_rejected=True, batch=BATCH, output=folder / "int8 top-k.onnx",
    )  # fmt: skip
    export(
        segmenter, task="segmentation", classes=list("abcde"), preprocessing="official", imgsz="64:64x96:128",
        output=streets,
    )  # fmt: skip
    export(streets, labels_out=True, pixels_in="rgb", batch="1:2:4", imgsz="64:64x96:128", output=folder / "masks.onnx")
    export(streets, batch=1, imgsz="64x96", output=folder / "one.onnx")
    model = onnx.load(plain)
    onnx.save(model, folder / "external.onnx", save_as_external_data=True, location="external.data", size_threshold=0)
    return {path.name: path for path in folder.glob("*.onnx") if path not in {classifier, segmenter}}


@pytest.fixture
def engine(artifacts, tmp_path):
    """(version, capability, changes of the sidecar) -> an engine with the card of fp32.onnx; no TensorRT can run it."""

    def make(version="10.5.0.18", capability="sm75", *, name="w18", flavour="tensorrt", padding=64):
        path = tmp_path / f"{name}.engine"
        content = b"ftrt" + bytes(padding)
        path.write_bytes(content)
        card = card_from_metadata(read_header(artifacts["fp32.onnx"]).metadata, "fp32.onnx")
        facts = EngineSidecar(
            card=card, flavour=flavour, version=version, capabilities=(capability,),
            plan_sha256=hashlib.sha256(content).hexdigest(), plan_bytes=len(content), graph_sha256="0" * 64,
            precision=card.precision, rebuild="hrnet-export fp32.onnx -o w18.engine",
        )  # fmt: skip
        write_sidecar(facts, sidecar_path(path))
        return path

    return make
