"""A session on a GPU lives in one thread, whoever calls: a stand-in keeps graphs by thread, as ONNX Runtime does."""

import itertools
import logging
import threading
import types
from collections import Counter

import cv2
import numpy as np
import onnxruntime
import pytest

from hrnet_deploy import Predictor
from hrnet_deploy.engines.ort import engine, io_binding
from hrnet_deploy.errors import DeviceError
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.evaluation.streaming import InferenceTimer, stream
from hrnet_deploy.spec import Task


class StandIn:
    """A session on the CPU that keeps graphs by thread, as the CUDA provider does, and refuses what the other would."""

    def __init__(self, model):
        self.session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        self.threads, self.captures, self.replays = {threading.get_ident()}, Counter(), 0
        self.refuse = False
        self.ended_in = []

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run_with_iobinding(self, binding, options):
        self.threads.add(threading.get_ident())
        graph = options.graph
        if graph != "-1":
            place = (threading.get_ident(), graph)
            self.replays += place in self.captures
            self.captures[place] += place not in self.captures
            if self.refuse:
                raise RuntimeError("cudaErrorStreamCaptureInvalidated")
        self.session.run_with_iobinding(binding)

    def __del__(self):
        self.ended_in.append(threading.get_ident())


@pytest.fixture
def gpu(monkeypatch):
    """Opens the stand-in wherever a GPU is asked for; the list holds what was opened."""
    opened = []

    def open_here(model, name, **options):
        session = StandIn(model)
        opened.append(session)
        return session, True

    place = lambda *args, **options: io_binding.BoundSession(*args, **options | {"device_type": "cpu"})  # noqa: E731
    monkeypatch.setattr(engine, "open_on_gpu", open_here)
    monkeypatch.setattr(engine, "BoundSession", place)
    monkeypatch.setattr(io_binding, "_run_options", lambda graph: types.SimpleNamespace(graph=graph))
    return opened


@pytest.fixture
def pictures():
    return [np.random.default_rng(seed).integers(0, 255, (40, 50, 3), np.uint8) for seed in range(3)]


@pytest.mark.slow
def test_a_hundred_lists_are_one_thread_and_one_capture_a_shape(gpu, photos_onnx, pictures):
    wanted = [result.probs for result in Predictor(photos_onnx, device="cpu").predict(pictures, batch=2)]
    before = threading.active_count()
    with Predictor(photos_onnx, device="cuda") as predictor:
        for _ in range(100):
            for found, reference in zip(predictor.predict(pictures, batch=2), wanted, strict=True):
                np.testing.assert_allclose(found.probs, reference, atol=1e-6)
        (session,) = gpu
        assert len(session.threads) == 1
        assert threading.get_ident() not in session.threads
        # Two and one pictures a run: two shapes.
        assert list(session.captures.values()) == [1, 1]
        assert session.replays >= 198
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


@pytest.mark.slow
def test_evaluations_share_the_thread(gpu, photos_onnx, pictures, tmp_path):
    samples = []
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
        samples.append(Sample(f"{index}.png", tmp_path / f"{index}.png", index))
    dataset = Dataset(
        root=tmp_path, layout="", task=Task.CLASSIFICATION, classes=10, samples=tuple(samples), total=len(samples)
    )
    with Predictor(photos_onnx, device="cuda") as predictor:
        for _ in range(100):
            clock = InferenceTimer([0.0])
            assert len(list(stream([ModelRunner(predictor)], dataset, [0, 1, 2], clock, batch=2, workers=2))) == 3
        (session,) = gpu
        assert len(session.threads) == 1
        assert list(session.captures.values()) == [1, 1]


def test_the_session_ends_in_its_thread(gpu, photos_onnx):
    predictor = Predictor(photos_onnx, device="cuda")
    predictor.infer(np.zeros((1, 3, 64, 64), np.float32))
    session = gpu.pop()
    threads, ended = session.threads, session.ended_in
    del session
    predictor.close()
    assert set(ended) == threads


@pytest.mark.slow
def test_a_failed_capture_is_told_once_and_everything_goes_on_without(gpu, photos_onnx, caplog):
    x = np.random.default_rng(0).normal(size=(4, 3, 64, 64)).astype(np.float32)
    with Predictor(photos_onnx, device="cuda") as predictor, Predictor(photos_onnx, device="cpu") as plain:
        predictor.infer(x[:1])
        gpu[0].refuse = True
        with caplog.at_level(logging.WARNING):
            for count in (2, 3, 2, 4):
                found, wanted = (p.infer(x[:count])["logits"] for p in (predictor, plain))
                np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert [record.getMessage() for record in caplog.records] == [
            "CUDA graphs are not used here: cudaErrorStreamCaptureInvalidated"
        ]
        # What was captured before goes on.
        gpu[0].refuse = False
        predictor.infer(x[:1])
        assert sum(gpu[0].captures.values()) == 2


@pytest.mark.slow
def test_open_sizes_are_captured_when_they_come_back(gpu, street_onnx):
    with Predictor(street_onnx, device="cuda") as predictor:
        for width in (64, 96, 128, 64, 160, 64):
            predictor.infer(np.zeros((1, 3, 64, width), np.float32))
        kept = predictor._engine._bound._buffers
        assert {shapes[0][3]: buffers.has_graph for shapes, buffers in kept.items()} == {
            **dict.fromkeys((96, 128, 160), False),
            64: True,
        }
        assert sum(gpu[0].captures.values()) == 1


def test_an_error_in_the_thread_reaches_the_caller_and_the_next_run_works(gpu, photos_onnx):
    with Predictor(photos_onnx, device="cuda") as predictor:
        x = np.zeros((1, 3, 64, 64), np.float32)
        predictor.infer(x)
        gpu[0].refuse = True
        with pytest.raises(DeviceError, match="must run on cuda:0, got: cudaErrorStreamCaptureInvalidated"):
            predictor.infer(x)
        gpu[0].refuse = False
        predictor.infer(x)


def test_a_gpu_that_does_not_open_leaves_no_thread(photos_onnx, monkeypatch):
    def fail(*args, **options):
        raise DeviceError("no GPU")

    monkeypatch.setattr(engine, "open_on_gpu", fail)
    before = threading.active_count()
    with pytest.raises(DeviceError, match="no GPU"):
        Predictor(photos_onnx, device="cuda")
    assert threading.active_count() == before


def test_a_folder_of_two_sizes_changes_shape_seldom_and_keeps_its_order(gpu, street_onnx, tmp_path):
    """ONNX Runtime plans every convolution anew when the shape changes; images of one size therefore run together."""
    for index in range(12):
        width = (64, 96)[index % 2]
        picture = np.full((64, width, 3), 20 * index, np.uint8)
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), picture)
    with Predictor(street_onnx, device="cuda", threads=16) as predictor:
        shapes, run = [], predictor._engine.run

        def spied(feed):
            shapes.append(feed["input"].shape[3])
            return run(feed)

        predictor._engine.run = spied
        found = predictor.predict(str(tmp_path))
        assert [result.mask.shape[1] for result in found] == [64, 96] * 6
        assert [int(result.image[0, 0, 0]) for result in found] == [20 * index for index in range(12)]
    changes = sum(a != b for a, b in itertools.pairwise(shapes))
    assert changes <= 3, shapes
