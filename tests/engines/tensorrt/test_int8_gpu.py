"""INT8 engines of classic TensorRT on a real GPU: python -m pytest -m gpu tests/engines/tensorrt/test_int8_gpu.py"""

import cv2
import numpy as np
import onnx
import pytest

from hrnet_deploy import Predictor
from hrnet_deploy.artifact.plan_file import read_plan
from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.engines.tensorrt.api import find_api
from hrnet_deploy.engines.tensorrt.builder import inspect
from hrnet_deploy.engines.tensorrt.layers import precision_share
from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.export import export_artifact
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.spec import Precision

pytestmark = [pytest.mark.gpu, pytest.mark.trt]


@pytest.fixture(scope="module")
def api():
    """Classic TensorRT, with a GPU to build on."""
    try:
        found, count = find_api("tensorrt"), open_cuda().device_count()
    except MissingDependencyError as error:
        pytest.skip(f"needs TensorRT and CUDA's bindings: {error}")
    if not count:
        pytest.skip("needs an NVIDIA GPU and its driver")
    return found


@pytest.fixture(scope="module")
def photos(api, demo, tmp_path_factory):
    """(wishes) -> the photo classifier in INT8, batch 1 to 8."""
    folder = tmp_path_factory.mktemp("int8")
    pictures = folder / "pictures"
    pictures.mkdir()
    for index, picture in enumerate(synthetic_images(16, (64, 64))):
        cv2.imwrite(str(pictures / f"{index}.png"), picture)
    made = {}

    def make(name="photos.engine", **wishes):
        key = (name, *sorted(wishes.items()))
        if key not in made:
            place = folder / str(len(made))
            place.mkdir()
            made[key] = export_artifact(
                weights=demo / "hrnet_w18_small_v1_photos10.safetensors", precision="int8", imgsz=64, resize="squash",
                classes=demo / "photos10.txt", batch="1:4:8", calib_data=pictures, backend="tensorrt",
                calib_cache=folder / "table.json", output=place / name, **wishes,
            )  # fmt: skip
        return made[key]

    return make


@pytest.fixture
def implicit(api):
    if not api.implicit_int8:
        pytest.skip(f"needs a TensorRT with calibrators (8.6 to 10), not {api.version}")


def kernels(api, done):
    return inspect(api, bytes(read_plan(done.path).plan))


def logits(path, device):
    pictures = synthetic_images(8, (64, 64))
    with Predictor(path, device=device) as predictor:
        return np.stack([result.probs for result in predictor.predict(pictures, batch=4)])


def test_tensorrt_reads_the_cache_and_takes_int8(implicit, photos):
    done = photos(int8_path="implicit")
    assert done.engine.reached >= 0.8 * done.engine.asked
    assert done.card.quantization.implicit
    # Another quantisation than the judged one, but of the same net.
    judged = logits(photos("photos.onnx", qdq_target="tensorrt").path, "cpu")
    assert np.abs(logits(done.path, "cuda:0") - judged).max() < 0.15


def test_kept_blocks_are_in_float_in_an_implicit_engine(implicit, api, photos):
    done = photos(int8_path="implicit", keep_fp=("stage3.fuse",))
    graph = onnx.load(photos("photos.onnx", qdq_target="tensorrt").path).graph
    kept = [n.name for n in graph.node if n.op_type == "Conv" and "/stage3" in n.name and "fuse" in n.name]
    assert kept
    assert precision_share(kernels(api, done), Precision.INT8, kept).achieved == 0


@pytest.mark.parametrize("residual", ["float", "int8"])
def test_both_layouts_run_in_int8(api, photos, residual):
    done = photos(int8_path="qdq", residual=residual)
    assert done.engine.reached == done.engine.asked
    assert done.engine.parity.agreement > 0.9


def test_sums_are_fused_where_they_read_int8(api, photos):
    plain, fused = (photos(int8_path="qdq", residual=kind).engine for kind in ("float", "int8"))
    assert fused.int8_throughout > plain.int8_throughout
    assert fused.kernels < plain.kernels


def test_every_convolution_of_a_static_engine_is_identified(api, photos, caplog):
    done = photos(int8_path="qdq")
    assert done.engine.reached is not None
    assert "does not tell the precision" not in caplog.text


def test_tensorrt_8_takes_float_weights_behind_pairs(api, photos):
    if api.strong_typing:
        pytest.skip(f"needs TensorRT 8.6, not {api.version}, which takes INT8 weights")
    assert photos(int8_path="qdq").engine.parity.agreement > 0.9


def test_an_engine_is_inspected_on_the_second_gpu(api, photos):
    if open_cuda().device_count() < 2:
        pytest.skip("needs two NVIDIA GPUs")
    assert photos(int8_path="qdq", device="cuda:1").engine.reached
