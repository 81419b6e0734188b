from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from hrnet_deploy.engines import streams as room
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.streams import streams_for, threads_per_stream
from hrnet_deploy.errors import UsageError
from hrnet_deploy.predictor import Predictor

NET = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N, 3, 32, 32] x) => (float[N, 4, 32, 32] y) <float[4, 3, 3, 3] w = "
    "{" + ", ".join(f"{(i * 37 % 19 - 9) / 9}" for i in range(108)) + "}>"
    "{ c = Conv <pads = [1, 1, 1, 1]> (x, w) y = Relu(c) }"
).SerializeToString()
SMALL, LARGE = {"x": ("N", 3, 224, 224)}, {"x": ("N", 3, 1024, 2048)}


@pytest.mark.parametrize(
    ("inputs", "asked", "threads", "cores", "want"),
    [
        (SMALL, None, None, 2, 2),
        (SMALL, None, None, 16, 4),
        (SMALL, None, 1, 16, 1),
        (SMALL, None, 3, 16, 3),
        (SMALL, 6, None, 2, 6),
        (LARGE, None, None, 16, 1),
        (LARGE, 2, None, 16, 2),
        ({"x": ("N", 3, 512, 1024)}, None, None, 2, 2),
        ({"x": ("N", 3, "height", "width")}, None, None, 16, 2),
        ({"x": ("N", 3, "height", "width")}, None, None, 1, 1),
        ({}, None, None, 2, 2),
    ],
)
def test_how_many(inputs, asked, threads, cores, want, monkeypatch):
    monkeypatch.setattr(room, "cores", lambda: cores)
    assert streams_for(inputs, streams=asked, threads=threads) == want


def test_the_pool_and_its_callers_are_as_many_as_the_threads(monkeypatch):
    monkeypatch.setattr(room, "cores", lambda: 8)
    for streams in (1, 2, 4, 8):
        # ONNX Runtime counts the caller: of `n` it starts n - 1.
        assert threads_per_stream(streams, None) - 1 + streams == 8
    assert threads_per_stream(4, 2) == 1


@pytest.mark.parametrize("streams", [0, -1, 2**32])
def test_a_number_that_no_machine_has_is_refused(streams):
    with pytest.raises(UsageError, match=f"streams must be 1 to 256, got {streams}"):
        open_engine(NET, device="cpu", streams=streams)


@pytest.mark.parametrize("threads", [0, 2**32])
def test_threads_that_no_machine_has_are_refused(threads):
    with pytest.raises(UsageError, match=f"threads must be 1 to 1024, got {threads}"):
        Predictor("net.onnx", threads=threads)


def test_lanes_side_by_side_answer_as_one_does():
    batches = [np.random.default_rng(n).normal(size=(1 + n % 2, 3, 32, 32)).astype(np.float32) for n in range(12)]
    one, many = (open_engine(NET, device="cpu", backend="onnxruntime", streams=streams) for streams in (1, 3))
    assert (one.streams, many.streams) == (1, 3)
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda batch: many.run({"x": batch})["y"], batches))
    for batch, found in zip(batches, together, strict=True):
        np.testing.assert_allclose(found, one.run({"x": batch})["y"], atol=1e-6)
