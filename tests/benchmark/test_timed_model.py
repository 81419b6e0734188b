"""What is timed: an input made once, on the GPU where the engine computes there, and the whole way end to end."""

import contextlib
import ctypes
import dataclasses

import numpy as np
import pytest

from hrnet_deploy import Predictor
from hrnet_deploy.benchmark.benchmark import plan_batches
from hrnet_deploy.benchmark.timed_model import TimedModel, generate_image, read_image
from hrnet_deploy.engines.cuda import provider
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.image_header import read_header
from hrnet_deploy.spec import ShapeRange, Task


@pytest.fixture(scope="module")
def predictor(photos_onnx):
    with Predictor(photos_onnx, device="cpu", backend="onnxruntime") as opened:
        yield opened


class OnGpu:
    """A predictor that says it runs on a GPU, and keeps what it was fed."""

    device, backend, metadata = "cuda:1", "tensorrt", {}

    def __init__(self, card):
        self.card, self.fed = card, []

    def infer(self, feed):
        self.fed.append(feed)
        return {}


class Memory:
    """CUDA in host memory: as much of it as an upload needs."""

    def __init__(self):
        self.blocks, self.activated, self.streams = {}, [], 0

    @contextlib.contextmanager
    def active(self, device):
        self.activated.append(device)
        yield

    def allocate(self, size):
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def stream(self):
        self.streams += 1
        return 7

    def destroy_stream(self, stream):
        self.streams -= 1

    def copy_in(self, target, source, size, stream):
        ctypes.memmove(target, source, size)

    def synchronize(self, stream):
        pass


def test_input_is_the_prepared_picture_in_every_row(predictor, photos_onnx):
    model = TimedModel(photos_onnx, predictor)
    assert (model.input_hw, model.on_gpu, model.fixed_batch) == ((64, 64), False, None)
    (output,) = model.copying_call(3)().values()
    assert output.shape == (3, 10)
    assert np.allclose(output, output[:1], atol=1e-5)
    answers = model.whole_call(2)()
    assert [a.index for a in answers] == [int(output[0].argmax())] * 2


def test_on_a_gpu_the_engine_alone_is_fed_from_there(predictor, photos_onnx, monkeypatch):
    cuda = Memory()
    monkeypatch.setattr(provider, "open_cuda", lambda: cuda)
    gpu = OnGpu(predictor.card)
    model = TimedModel(photos_onnx, gpu)
    model.engine_call(2)()
    model.copying_call(2)()
    there, here = (feed["input"] for feed in gpu.fed)
    assert (there.shape, there.dtype, there.device) == ((2, 3, 64, 64), np.float32, 1)
    assert bytes(cuda.blocks[there.address]) == here.tobytes()
    assert cuda.activated == [1]
    assert cuda.streams == 0
    assert isinstance(here, np.ndarray)


def test_each_stream_has_an_input_of_its_own(predictor, photos_onnx):
    gpu = OnGpu(predictor.card)
    model = TimedModel(photos_onnx, gpu)
    model.copying_call(1)()
    model.copying_call(1)()
    first, second = (feed["input"] for feed in gpu.fed)
    assert not np.shares_memory(first, second)


def test_made_pictures_are_jpegs_of_the_size_users_have(predictor):
    image = generate_image(predictor.card)
    assert read_header(image.content).size_hw == (375, 500)
    assert image.content == generate_image(predictor.card).content
    assert image.name == "a generated JPEG, 375x500"


@pytest.mark.parametrize(("content", "error"), [(None, MissingFileError), (b"", ImageError), (b"GIF89a", ImageError)])
def test_pictures_that_are_none(tmp_path, content, error):
    path = tmp_path / "cat.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error):
        read_image(path)


@pytest.mark.parametrize(
    ("batches", "plan", "skipped"),
    [
        ((1, 4), {1: (0,), 4: (0,)}, []),
        ((16, 17), {16: (0,)}, [17]),
    ],
)
def test_batches_are_those_of_the_card(predictor, photos_onnx, batches, plan, skipped):
    found, left_out = plan_batches([TimedModel(photos_onnx, predictor)], batches)
    assert found == plan
    assert [one.batch for one in left_out] == skipped


def test_an_input_that_fills_the_memory_is_refused(predictor, photos_onnx):
    with pytest.raises(UsageError, match=r"got 0 MiB for batch 4\. Use a smaller --batch"):
        TimedModel(photos_onnx, predictor).check_memory(4, limit_bytes=100_000)


def test_a_card_may_not_ask_for_a_picture_that_fills_the_memory(predictor):
    huge = (1, 32_000, 32_000)
    card = dataclasses.replace(predictor.card, task=Task.SEGMENTATION, shapes=ShapeRange(huge, huge, huge))
    with pytest.raises(UsageError, match="Give one of your own with --image"):
        generate_image(card)
