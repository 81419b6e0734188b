"""Images are read ahead, run in batches and streams, and come back in order; threads end with their iterator."""

import threading
import weakref

import cv2
import numpy as np
import pytest
from helpers.image_content import save_images

from hrnet_deploy import (
    ImageError,
    Predictor,
)
from hrnet_deploy.processing.prefetch import readers


@pytest.fixture(scope="module")
def photos(photos_onnx):
    return Predictor(photos_onnx, device="cpu")


@pytest.fixture(scope="module", params=[1, 3])
def parallel(photos_onnx, request):
    """The same with one stream and with three."""
    return Predictor(photos_onnx, device="cpu", streams=request.param)


@pytest.fixture
def folder(tmp_path):
    """Five images of different sizes."""
    return save_images(tmp_path)


def same(a, b):
    np.testing.assert_allclose(a.probs, b.probs, atol=1e-5)


def alive():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("hrnet-")]


@pytest.mark.slow
def test_streaming_is_lazy_and_ordered(photos, folder):
    taken = []

    def images():
        for path in 20 * sorted(folder.glob("*.png")):
            taken.append(path.name)
            yield cv2.imread(str(path))

    stream = photos.stream(images())
    assert taken == []
    workers = readers()
    for count, result in enumerate(stream, start=1):
        assert result.name == f"image_{count - 1}"
        assert len(taken) - count <= 4 + workers
    assert len(taken) == count == 100


def test_reading_ahead_ends_its_threads_when_it_is_done_or_left(parallel, folder):
    assert len(parallel.predict(folder, batch=2)) == 5
    assert not alive()
    results = parallel.stream(20 * [str(path) for path in folder.glob("*.png")], batch=2)
    next(results)
    assert alive()
    results.close()
    assert not alive()
    for _ in parallel.stream(20 * [str(path) for path in folder.glob("*.png")]):
        break
    assert not alive()


def test_an_error_comes_after_the_results_before_it_and_ends_the_threads(parallel, folder):
    (folder / "3.png").write_bytes(b"no image")
    for batch in (1, 2, 3, 8):
        seen = []
        with pytest.raises(ImageError, match=r"3\.png"):
            seen.extend(result.name for result in parallel.stream(folder, batch=batch))
        assert seen == ["0.png", "1.png", "2.png"]
        assert not alive()


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_bad_images_are_reported_in_order_in_the_callers_thread(parallel, folder, batch):
    events = []

    def skip(name, error):
        assert isinstance(error, ImageError)
        events.append((name.rpartition("/")[2], threading.current_thread()))

    (folder / "1.png").write_bytes(b"no image")
    (folder / "3.png").unlink()
    paths = [folder / f"{index}.png" for index in range(5)]
    for result in parallel.stream(paths, batch=batch, on_error=skip):
        events += [(result.name, threading.current_thread())]
    assert [name for name, _ in events] == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert {thread for _, thread in events} == {threading.current_thread()}


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_of_the_caller_or_of_the_model_ends_the_threads(parallel, folder, monkeypatch, error):
    def images():
        for index, path in enumerate(10 * sorted(folder.glob("*.png"))):
            if index == 30:
                raise error
            yield path

    def fail(feed):
        raise error

    with pytest.raises(error):
        list(parallel.predict(images(), batch=2))
    assert not alive()
    if issubclass(error, Exception):
        monkeypatch.setattr(parallel._engine, "run", fail)
        with pytest.raises(error):
            list(parallel.stream(folder))
        assert not alive()


@pytest.mark.slow
def test_a_stream_holds_a_bounded_number_of_images(parallel, picture):
    live = []

    def images():
        for _ in range(60):
            image = picture.copy()
            live.append(weakref.ref(image))
            yield image

    most = 0
    for _ in parallel.stream(images(), batch=2):
        most = max(most, sum(one() is not None for one in live))
    assert most <= (2 * parallel.streams + 2) * 2 + 2 * readers() + 2


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_streams_change_no_prediction_and_no_order(photos, parallel, folder, batch):
    sources = 8 * sorted(folder.glob("*.png"))
    for result, expected in zip(parallel.predict(sources, batch=batch), photos.predict(sources), strict=True):
        assert result.name == expected.name
        same(result, expected)
