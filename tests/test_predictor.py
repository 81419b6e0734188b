"""Predictor: sources in, results out, from one or several threads."""

import dataclasses
import json
import sys
import threading

import cv2
import numpy as np
import pytest
from helpers.image_content import save_images

from hrnet_deploy import (
    ArtifactError,
    ClassificationResult,
    DeviceError,
    ImageError,
    MissingFileError,
    Predictor,
    SegmentationResult,
    UsageError,
    export,
)
from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.spec import ShapeRange


@pytest.fixture(scope="module")
def photos(photos_onnx):
    return Predictor(photos_onnx, device="cpu")


@pytest.fixture(scope="module")
def street(street_onnx):
    return Predictor(street_onnx, device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Five pictures of different sizes."""
    return save_images(tmp_path)


def same(a, b):
    np.testing.assert_allclose(a.probs, b.probs, atol=1e-5)


def test_classification_answers_with_names_and_probabilities(photos, picture):
    result = photos.predict(picture)
    assert isinstance(result, ClassificationResult)
    assert result.label == photos.card.classes[int(result.probs.argmax())]
    assert result.score == pytest.approx(float(result.probs.max()))
    assert result.probs.sum() == pytest.approx(1, abs=1e-5)
    assert [score for _, score in result.topk(10)] == sorted(result.probs.tolist(), reverse=True)
    assert set(result.speed) == {"preprocess", "inference", "postprocess"}
    assert min(result.speed.values()) >= 0


def test_segmentation_answers_at_the_pictures_own_size(street, picture):
    result = street.predict(picture)
    assert isinstance(result, SegmentationResult)
    assert result.mask.shape == picture.shape[:2]
    assert result.mask.dtype == np.uint8
    assert result.classes == CITYSCAPES_CLASSES
    assert sum(result.shares.values()) == pytest.approx(1)
    assert result.overlay().shape[1] >= picture.shape[1]


def test_every_kind_of_single_source_gives_the_same_answer(photos, picture, tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), picture)
    image = pytest.importorskip("PIL.Image")
    wanted = photos.predict(picture)
    for source in (path, str(path), path.read_bytes(), image.open(path)):
        same(photos.predict(source), wanted)


def test_lists_folders_and_patterns_give_lists(photos, folder):
    paths = sorted(folder.glob("*.png"))
    wanted = [photos.predict(path) for path in paths]
    for source in (paths, folder, str(folder / "*.png")):
        for batch in (1, 2, 8):
            found = photos.predict(source, batch=batch)
            assert [result.name for result in found] == [result.name for result in wanted]
            for ours, one in zip(found, wanted, strict=True):
                same(ours, one)


def test_videos_stream_frame_by_frame(photos, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    if not writer.isOpened():
        pytest.skip("this OpenCV build writes no MJPG video")
    for image in synthetic_images(3, (64, 96)):
        writer.write(image)
    writer.release()
    results = list(photos.stream(path, batch=2))
    assert len(results) == 3
    assert len({result.name for result in results}) == 3


def test_pictures_of_different_sizes_may_share_a_batch_of_a_net_with_open_sizes(street, folder):
    paths = sorted(folder.glob("*.png"))
    for result, path in zip(street.predict(paths, batch=4), paths, strict=True):
        np.testing.assert_array_equal(result.mask, street.predict(path).mask)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_filled_and_split(demo, tmp_path, folder, photos, batch):
    path = export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        classes=demo / "photos10.txt",
        imgsz=64,
        resize="squash",
        batch=batch,
        output=tmp_path / "fixed.onnx",
    ).path
    for ours, one in zip(Predictor(path).predict(folder, batch=5), photos.predict(folder), strict=True):
        same(ours, one)


def test_a_batch_is_filled_to_the_smallest_that_is_open(photos_onnx, photos, folder, monkeypatch):
    size_hw = photos.card.shapes.opt_nhw[1:]
    shapes = ShapeRange((4, *size_hw), (4, *size_hw), (16, *size_hw))
    predictor = Predictor(photos_onnx, device="cpu", card=dataclasses.replace(photos.card, shapes=shapes))
    given, run = [], predictor._engine.run
    monkeypatch.setattr(predictor._engine, "run", lambda feed: given.append(len(*feed.values())) or run(feed))
    for result, expected in zip(predictor.predict(folder, batch=3), photos.predict(folder), strict=True):
        same(result, expected)
    assert given == [4, 4]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["bgr", "rgb"])
@pytest.mark.parametrize("labels_out", [False, "topk", "softmax"])
def test_pixels_in_and_labels_out_change_nothing_but_the_interface(demo, tmp_path, photos, picture, order, labels_out):
    path = export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        classes=demo / "photos10.txt",
        imgsz=64,
        resize="squash",
        pixels_in=order,
        labels_out=labels_out,
        output=tmp_path / "ends.onnx",
    ).path
    predictor = Predictor(path)
    assert predictor.card.inputs[0].dtype == "uint8"
    ours, wanted = predictor.predict(picture), photos.predict(picture)
    assert ours.topk(5) == [(name, pytest.approx(score, abs=1e-5)) for name, score in wanted.topk(5)]
    if labels_out == "topk":
        with pytest.raises(UsageError, match="top-5"):
            _ = ours.probs
    else:
        same(ours, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("imgsz", ["64:96x160:128x256", "96x160", "90x150"])
def test_a_mask_made_in_the_graph_equals_one_made_outside(demo, tmp_path, imgsz):
    image = synthetic_images(1, (90, 150) if imgsz == "90x150" else (96, 160))[0]
    weights = demo / "hrnetv2_w18_small_v1_street.pth"
    plain = export(weights=weights, imgsz=imgsz, output=tmp_path / "plain.onnx")
    ends = {"pixels_in": True, "labels_out": True}
    assert_same_mask(plain, export(weights=weights, imgsz=imgsz, output=tmp_path / "in.onnx", **ends), image)
    # The same graph again, in FP16.
    half = export(str(plain), precision="fp16", output=tmp_path / "half.onnx")
    assert_same_mask(half, export(str(plain), precision="fp16", output=tmp_path / "half_in.onnx", **ends), image)


def assert_same_mask(outside, inside, image):
    predictor = Predictor(outside)
    plain, inside = predictor.predict(image), Predictor(inside).predict(image)
    # bfloat16 keeps 8 bits, also of the normalized pixels, which are float32 where they are computed outside.
    assert np.mean(plain.mask == inside.mask) >= (0.99 if predictor.arithmetic == "bfloat16" else 0.999)


def test_raw_inference_takes_and_gives_named_arrays(photos):
    batch = np.zeros((2, 3, 64, 64), np.float32)
    assert photos.infer({"input": batch})["logits"].shape == (2, 10)
    np.testing.assert_array_equal(photos.infer(batch)["logits"], photos.infer({"input": batch})["logits"])
    with pytest.raises(UsageError, match="float32"):
        photos.infer(np.zeros((2, 3, 64, 64)))


def test_several_threads_share_one_predictor(photos, folder):
    wanted = photos.predict(folder)
    failures = []

    def work():
        try:
            for ours, one in zip(photos.predict(folder, batch=2), wanted, strict=True):
                same(ours, one)
        except Exception as error:  # noqa: BLE001  # reported to the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_bad_picture_is_raised_or_reported(photos, folder):
    (folder / "2.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"2\.png"):
        photos.predict(folder)
    skipped = []
    results = photos.predict(folder, on_error=lambda name, error: skipped.append((name, error)))
    assert len(results) == 4
    assert len(skipped) == 1
    assert "2.png" in skipped[0][0]


@pytest.mark.slow
def test_cuda_is_a_contract(photos_onnx):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime build has CUDA; `python -m pytest -m gpu` tests it on a GPU")
    with pytest.raises(DeviceError, match="cuda"):
        Predictor(photos_onnx, device="cuda")
    assert Predictor(photos_onnx, device="auto").device == "cpu"


def test_a_missing_artefact_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.onnx"):
        Predictor(tmp_path / "none.onnx")


@pytest.mark.slow
def test_a_card_may_be_given(photos_onnx, photos, tmp_path):
    import onnx

    model = onnx.load(photos_onnx)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    with pytest.raises(ArtifactError, match="card"):
        Predictor(tmp_path / "plain.onnx")
    card = dataclasses.replace(photos.card, classes=tuple("abcdefghij"))
    image = synthetic_images(1, (64, 64))[0]
    assert Predictor(tmp_path / "plain.onnx", card=card).predict(image).label in "abcdefghij"


@pytest.mark.parametrize("hw", [(1, 1), (1, 500), (700, 3), (2000, 50)])
def test_pictures_of_any_shape_are_answered(photos, street, hw):
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    assert photos.predict(image).probs.shape == (10,)
    assert street.predict(image).mask.shape == hw


def test_results_are_plain_json(photos, street, picture):
    for result in (photos.predict(picture), street.predict(picture)):
        record = json.loads(result.to_json())
        assert record["name"]
        assert record["speed"]
    record = photos.predict(picture).to_dict()
    assert record["pred_class"] == photos.card.classes[record["pred_label"]]
    assert record["pred_score"] == pytest.approx(max(record["pred_scores"]))


@pytest.mark.slow
def test_predicting_loads_neither_torch_nor_onnx(photos_onnx):
    import subprocess

    script = (
        "import sys, numpy; from hrnet_deploy import Predictor;"
        f"Predictor({str(photos_onnx)!r}).predict(numpy.zeros((64, 64, 3), 'uint8'));"
        "print(sorted({'torch', 'onnx', 'onnxsim'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_demo_nets_are_as_good_as_they_were(shared, photos, street):
    """Real pictures with labels: a change that costs accuracy anywhere on the way shows here."""
    names = photos.card.classes
    paths = sorted((shared / "data" / "photos" / "val").glob("*/*.jpg"))
    right = [names[r.index] == path.parent.name for r, path in zip(photos.predict(paths, batch=16), paths, strict=True)]
    assert len(paths) == 300
    assert np.mean(right) > 0.68
    frames = sorted((shared / "data" / "street" / "leftImg8bit" / "val").glob("*/*.png"))[:6]
    hits = total = 0
    for path in frames:
        label = str(path).replace("leftImg8bit", "gtFine", 1).replace("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
        truth = cv2.imread(label, cv2.IMREAD_UNCHANGED)
        mask = street.predict(path).mask
        hits += int(np.sum((mask == truth) & (truth != 255)))
        total += int(np.sum(truth != 255))
    assert hits / total > 0.8


def test_streams_are_those_the_machine_suits_where_none_are_named(photos_onnx):
    assert Predictor(photos_onnx, device="cpu", streams=None, threads=3).streams == 3
    assert Predictor(photos_onnx, device="cpu").streams == 1


@pytest.mark.slow
def test_former_spellings_still_work(photos_onnx, photos, folder):
    assert Predictor(photos_onnx, device="cpu", lanes=2).streams == 2
    assert Predictor(photos_onnx, device="cpu", streams=2).lanes == 2
    assert Predictor(photos_onnx, device="cpu", lanes=None, threads=3).streams == 3
    results = photos.predict(folder, stream=True)
    assert next(results).name == "0.png"
    assert [result.name for result in results] == [f"{index}.png" for index in range(1, 5)]


def test_opencvs_threads_are_left_alone(photos, folder):
    before = cv2.getNumThreads()
    assert len(photos.predict(folder, batch=2)) == 5
    assert cv2.getNumThreads() == before


def test_a_draft_decodes_large_jpegs_smaller_and_answers_nearly_the_same(photos, street, tmp_path):
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), cv2.resize(synthetic_images(1, (100, 150))[0], (1200, 800), interpolation=cv2.INTER_CUBIC))
    whole, draft = photos.predict(path), photos.predict(path, draft=True)
    assert whole.image.shape == (800, 1200, 3)
    assert draft.image.shape == (100, 150, 3)
    assert draft.label == whole.label
    np.testing.assert_allclose(draft.probs, whole.probs, atol=0.1)
    small = tmp_path / "small.jpg"
    cv2.imwrite(str(small), synthetic_images(1, (100, 150))[0])
    same(photos.predict(small, draft=True), photos.predict(small))
    with pytest.raises(UsageError, match="draft must be False for a model that segments"):
        street.predict(path, draft=True)
