import importlib.util
import json
import threading
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Interpolation, Preprocessing

DIALECTS = {
    "official": Preprocessing(),
    "timm_ms_aug": Preprocessing(crop_pct=0.95),
    "timm_gluon": Preprocessing(interpolation="bicubic"),
    "ppcls": Preprocessing(interpolation="opencv-linear", rounding="paddle"),
}


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalised(pixels, spec):
    """The definition, in float64: uint8 (h, w, 3) -> (3, h, w)."""
    return ((pixels / 255.0 - np.array(spec.mean)) / np.array(spec.std)).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def fixtures(shared):
    """Picture name -> (BGR image, {array name: crop as the dialect makes it})."""
    location = importlib.util.spec_from_file_location("rule", shared / "fixtures" / "rule.py")
    rule = importlib.util.module_from_spec(location)
    location.loader.exec_module(rule)
    content = {}
    for name, entry in json.loads((shared / "fixtures/preproc/index.json").read_text())["pictures"].items():
        if "file" in entry:
            image = cv2.imread(str(shared / "data/imagenet/val" / entry["file"]))
        else:
            image = rule.image(tuple(entry["rule_shape"]))
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        with np.load(shared / f"fixtures/preproc/{name}.npz") as crops:
            content[name] = image, dict(crops)
    return content


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_crops_equal_those_of_the_dialects_own_code(fixtures, dialect):
    for name, (image, crops) in fixtures.items():
        if dialect in crops:
            difference = np.abs(Preprocessor(DIALECTS[dialect]).pixels(image).astype(int) - crops[dialect])
            assert difference.max() == 0, name


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_every_imagenet_picture_equals_pillow(shared, interpolation):
    make = Preprocessor(Preprocessing(interpolation=interpolation))
    files = sorted((shared / "data/imagenet").rglob("*.JPEG"))
    for path in files:
        opened = Image.open(path).convert("RGB")
        width, height = opened.size
        size_hw = (int(256 * height / width), 256) if width < height else (256, int(256 * width / height))
        top, left = (round((side - 224) / 2) for side in size_hw)
        resized = opened.resize(size_hw[::-1], getattr(Image.Resampling, interpolation.upper()))
        expected = np.asarray(resized)[top : top + 224, left : left + 224]
        got = make.pixels(cv2.cvtColor(np.asarray(opened), cv2.COLOR_RGB2BGR))
        assert np.abs(got.astype(int) - expected).max() == 0, path.name
    assert files


SPECS = [
    *DIALECTS.values(),
    Preprocessing(resize="squash", size_hw=(96, 160), interpolation="opencv-linear"),
    Preprocessing(resize="squash", size_hw=(96, 160)),
    Preprocessing(resize="long-side", size_hw=(100, 200), interpolation="opencv-linear"),
    Preprocessing(resize="long-side", size_hw=(100, 200), rounding="paddle"),
    Preprocessing(resize="none", size_hw=None),
    Preprocessing(resize="none", size_hw=None, channel_order="bgr", mean=(0.1, 0.5, 0.9), std=(0.2, 1, 0.3)),
    Preprocessing(size_hw=(160, 96), crop_pct=0.9, channel_order="bgr"),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("source_hw", [(90, 120), (200, 130), (1, 1), (7, 300), (256, 256)], ids=str)
def test_the_input_is_the_pixels_normalised(spec, source_hw):
    image = random_image(*source_hw)
    make = Preprocessor(spec)
    pixels, tensor = make.pixels(image), make(image)
    assert pixels.dtype == np.uint8
    assert tensor.dtype == np.float32
    assert pixels.shape == (*make.output_hw(source_hw), 3)
    assert tensor.shape == (3, *make.output_hw(source_hw))
    assert pixels.flags.c_contiguous
    assert tensor.flags.c_contiguous
    assert np.abs(tensor - normalised(pixels, spec)).max() <= 1e-6
    assert not np.shares_memory(pixels, image)


def test_every_grey_level_is_normalised_to_1e_6():
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    spec = Preprocessing(resize="none", size_hw=None)
    assert np.abs(Preprocessor(spec)(levels) - normalised(levels, spec)).max() <= 1e-6


def test_it_writes_into_one_entry_of_a_batch():
    image, make = random_image(300, 400), Preprocessor(Preprocessing())
    batch = np.full((3, 3, 224, 224), np.nan, np.float32)
    assert make(image, batch[1]).base is batch
    assert np.array_equal(batch[1], make(image))
    assert np.isnan(batch[[0, 2]]).all()


@pytest.mark.parametrize(
    "out", [np.empty((3, 224, 223), np.float32), np.empty((3, 224, 224)), np.empty((224, 224, 3), "f")]
)
def test_an_output_array_that_does_not_fit_is_refused(out):
    with pytest.raises(UsageError, match=r"must be float32 \(3, 224, 224\)"):
        Preprocessor(Preprocessing())(random_image(300, 400), out)


@pytest.mark.parametrize(
    ("spec", "source_hw", "expected"),
    [
        (Preprocessing(), (500, 333), (224, 224)),
        (Preprocessing(resize="squash", size_hw=(10, 20)), (500, 333), (10, 20)),
        (Preprocessing(resize="long-side", size_hw=(1024, 2048)), (1000, 500), (2048, 1024)),
        (Preprocessing(resize="long-side", size_hw=(1024, 2048)), (333, 1000), (681, 2048)),
        (Preprocessing(resize="long-side", size_hw=(1024, 2048), rounding="paddle"), (333, 1000), (682, 2048)),
        (Preprocessing(resize="long-side", size_hw=(10, 20)), (1, 1000), (1, 20)),
        (Preprocessing(resize="none", size_hw=None), (3, 5), (3, 5)),
        (Preprocessing(resize="none", size_hw=(3, 5)), (3, 5), (3, 5)),
    ],
)
def test_output_sizes(spec, source_hw, expected):
    make = Preprocessor(spec)
    assert make.output_hw(source_hw) == expected
    assert make(random_image(*source_hw)).shape == (3, *expected)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.floats(0.05, 1),
    st.sampled_from(["torchvision", "paddle"]),
)
def test_the_crop_always_lies_within_the_resized_image(source_hw, size_hw, crop_pct, rounding):
    make = Preprocessor(Preprocessing(size_hw=size_hw, crop_pct=crop_pct, rounding=rounding))
    whole, offset, crop = make._geometry(np.broadcast_to(np.uint8(0), (*source_hw, 3)))
    for size, start, length in zip(whole, offset, crop, strict=True):
        assert 0 <= start <= start + length <= size


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"got uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"got uint8 \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), r"got float32 \(4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "must have pixels, got 0x4"),
        ([[1]], "got list"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    for call in (Preprocessor(Preprocessing()), Preprocessor(Preprocessing()).pixels):
        with pytest.raises(ImageError, match=message):
            call(image)


def test_another_size_is_refused_where_nothing_resizes():
    with pytest.raises(ImageError, match=r"image must be 512x1024 \(height x width\), got 10x20"):
        Preprocessor(Preprocessing(resize="none", size_hw=(512, 1024)))(random_image(10, 20))


@pytest.mark.parametrize("spec", list(DIALECTS.values()), ids=list(DIALECTS))
@pytest.mark.parametrize("source_hw", [(1, 60_000), (60_000, 1)], ids=str)
def test_extreme_shapes_take_little_memory(spec, source_hw):
    make, image = Preprocessor(spec), random_image(*source_hw)
    tracemalloc.start()
    try:
        tensor = make(image)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert np.isfinite(tensor).all()


@pytest.mark.parametrize("source_hw", [(1, 400), (400, 1), (2, 90)], ids=str)
def test_the_bounded_path_of_cv2s_filter_agrees_with_the_whole_one(source_hw, monkeypatch):
    image, make = random_image(*source_hw), Preprocessor(DIALECTS["ppcls"])
    whole = make.pixels(image)
    monkeypatch.setattr("hrnet_deploy.processing.preprocess._WHOLE_RESIZE_PX", 0)
    assert np.abs(make.pixels(image).astype(int) - whole).max() <= 1


def test_a_view_gives_what_its_copy_gives():
    image = random_image(400, 600)
    view = image[10:350, 500:30:-1]
    for spec in (*SPECS, Preprocessing(interpolation=Interpolation.OPENCV_LINEAR)):
        assert np.array_equal(Preprocessor(spec)(view), Preprocessor(spec)(view.copy()))


@pytest.mark.slow
def test_one_preprocessor_serves_many_threads():
    for spec in (Preprocessing(), DIALECTS["ppcls"]):
        make = Preprocessor(spec)
        images = [random_image(150 + 40 * i, 260 - 20 * i, seed=i) for i in range(6)]
        expected = [(make(image), make.pixels(image)) for image in images]
        wrong = []

        def work(i, make=make, images=images, expected=expected, wrong=wrong):
            for _ in range(20):
                if not (
                    np.array_equal(make(images[i]), expected[i][0])
                    and np.array_equal(make.pixels(images[i]), expected[i][1])
                ):
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
